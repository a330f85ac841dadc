/**
 * Add-on for development: tells on the console what the collector says of each event, and what of a call cannot be sent.
 * Names, paths and types are told, no values.
 */

import { verdictLines } from "./verdicts.js";

/**
 * @param {any} client
 * @param {{warn?: (text: string) => void, strict?: boolean}} [options] `strict`: a call throws instead.
 */
export function debug(client, { warn = console.warn, strict = false } = {}) {
  /** @type {Set<string>} */
  const said = new Set();
  const once = (/** @type {string} */ text) => {
    if (!said.has(text)) warn("polku: " + text);
    said.add(text);
  };
  /** @type {(value: any, path: string, around: unknown[]) => string[]} */
  const findings = (value, path, around) => {
    const type = typeof value;
    if (type == "number" ? !isFinite(value) : /^(big|fun|sym)/.test(type)) return [path + " has no JSON form"];
    if (type == "string" && /[\ud800-\udfff]/u.test(value)) return [path + " holds half of a cut emoji"];
    if (!value || type != "object" || value.toJSON) return [];
    if (around.includes(value)) return [path + " refers to itself"];
    if (value instanceof Map || value instanceof Set) return [path + " is a Map or Set, which has no JSON form"];
    return Object.keys(value).flatMap((name) => findings(value[name], path + "." + name, [...around, value]));
  };
  for (const call of ["track", "identify", "page", "screen", "group", "alias"]) {
    const original = client[call];
    client[call] = (/** @type {unknown[]} */ ...given) => {
      const found = findings(given[1], "$", []);
      if (strict && found[0]) throw Error(`polku: ${given[0]}: ${found.join(", ")}`);
      for (const finding of found) once(`${call} '${given[0]}': ${finding}`);
      return original(...given);
    };
  }
  const { settings } = client;
  settings.onLoss = (/** @type {import("./buffer.js").Loss} */ { reason, count }) => once(`${count} events lost: ${reason}`);
  settings.onAnswer = (/** @type {number | undefined} */ status, /** @type {any} */ body, /** @type {string[]} */ events) => {
    if (status != 200) once(`${settings.endpoint} answered ${status}: ${body ? body.message : "no answer"}`);
    else verdictLines(body, events).forEach(once);
    if (("; " + document.cookie).split("; polku_id=")[2])
      once("two cookies polku_id: say the collector's cookie.domain as cookieDomain, or its cookie stays without consent");
  };
}
