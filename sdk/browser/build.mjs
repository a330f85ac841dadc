// Builds what a page loads into the folder that the collector serves it from, and holds each file to its size.
//
//     node build.mjs            write
//     node build.mjs --check    compare with what is there, write nothing

import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";
import ts from "typescript";

const TARGET = new URL("../../collector/polku_collector/static/", import.meta.url);
const CORE = 3_000;
const ADD_ON = 1_000;

/** Name → what it is built of, its form, and the most bytes it may have after gzip. */
const FILES = {
  "polku.js": ["script", "iife", CORE],
  "polku.mjs": ["index", "esm", CORE],
  ...Object.fromEntries(
    ["clicks", "scroll", "vitals", "errors", "debug"].flatMap((name) => [
      [`polku-${name}.js`, [`script-${name}`, "iife", ADD_ON]],
      [`polku-${name}.mjs`, [name, "esm", ADD_ON]],
    ]),
  ),
};

/** What `polku.d.mts` declares: what somebody who imports `polku.mjs` may name. */
const PUBLIC = ["Item", "Loss", "Options", "CallOptions", "Stats", "Client", "createClient"];

const check = process.argv.includes("--check");
let wrong = 0;

function put(name, text) {
  const file = new URL(name, TARGET);
  if (!check) writeFileSync(file, text);
  else if (readFileSync(file, "utf8") !== text) wrong += console.error(`${name} is not what the sources say: npm run build`) ?? 1;
}

/** The types of the module in one file, taken from the comments of the sources. */
function declarations() {
  const found = {};
  const entry = new URL("polku/index.js", import.meta.url).pathname;
  const { options } = ts.convertCompilerOptionsFromJson({
    ...ts.readConfigFile(new URL("tsconfig.json", import.meta.url).pathname, ts.sys.readFile).config.compilerOptions,
    ...{ noEmit: false, declaration: true, emitDeclarationOnly: true, skipLibCheck: true },
  });
  ts.createProgram([entry], options).emit(undefined, (name, text) => {
    for (const statement of ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true).statements)
      // What only hands on the type of another file is not it.
      if (statement.name && statement.type?.kind !== ts.SyntaxKind.ImportType)
        found[statement.name.text] ??= statement.getFullText().trim();
  });
  const own = (name) => found[name].replace(/import\("[^"]+"\)\./g, "");
  return `// The types of polku.mjs: keep it beside that file.\n\n${PUBLIC.map(own).join("\n\n")}\n`;
}

put("polku.d.mts", declarations());
for (const [name, [entry, format, most]] of Object.entries(FILES)) {
  const built = await build({
    entryPoints: [`polku/${entry}.js`],
    absWorkingDir: new URL(".", import.meta.url).pathname,
    bundle: true,
    write: false,
    format,
    target: "es2021",
    // What terser finds and what esbuild finds is not the same; conditions it makes smaller.
    minify: true,
    // Members that begin so are nobody else's.
    mangleProps: /^_/,
  });
  const { code: text } = await minify(built.outputFiles[0].text, {
    module: true,
    ecma: 2020,
    compress: { passes: 3, unsafe_arrows: true, pure_getters: true, booleans_as_integers: false, conditionals: false },
  });
  const size = gzipSync(text, { level: 9 }).length;
  console.log(`${name.padEnd(18)} ${String(text.length).padStart(6)} bytes, ${size} after gzip, at most ${most}`);
  if (size > most) wrong += console.error(`${name} is ${size - most} bytes too large`) ?? 1;
  put(name, text);
}
process.exit(wrong ? 1 : 0);
