/** Add-on: errors of scripts that nobody has caught, as `script_failed`, each once and at most ten of a page. */

/** @param {import("./client.js").Client} client */
export function errors(client) {
  /** @type {Set<string>} */
  const seen = new Set();
  const tell = (/** @type {any} */ error, file = "", line = 0) => {
    const message = String((error && error.message) || error).slice(0, 200);
    const key = message + file + line;
    if (seen.has(key) || seen.size > 9) return;
    seen.add(key);
    // The query of an address may hold what is personal.
    client.track("script_failed", { error_message: message, script_file: file.split("?")[0], script_line: line });
  };
  addEventListener("error", (event) => event.message && tell(event.error || event.message, event.filename, event.lineno));
  addEventListener("unhandledrejection", (event) => tell(event.reason));
}
