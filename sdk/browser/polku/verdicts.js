/** What the collector says about single events of a batch it took, in words for the developer. Used by `debug.js`. */

/** @typedef {{index: number, code: string, path?: string, message?: string}} Verdict */

/**
 * A line for each event of a batch that was not plainly accepted.
 *
 * @param {{rejected?: Verdict[], warnings?: Verdict[]} | undefined} reply
 * @param {string[]} events
 */
export function verdictLines(reply, events) {
  const tell = (/** @type {string} */ what) => (/** @type {Verdict} */ { index, code, path, message }) => {
    const { event, type } = JSON.parse(events[index]);
    return `the collector ${what} '${event || type}': ${code} at ${path}: ${message}`;
  };
  const { rejected = [], warnings = [] } = reply || {};
  return [...rejected.map(tell("put into quarantine")), ...warnings.map(tell("has a warning for"))];
}
