/**
 * One POST of one body. Returns what happened as an `Answer`, failures of the network included, and leaves to
 * `retry.js` what to make of it.
 *
 * The body is a text without a header of its own, so that a browser does not ask first. A request with `keepalive`
 * outlives its page as `sendBeacon` does, within the same 64 KiB, and its answer is heard if the page stays after all.
 */

const TIMEOUT_MILLISECONDS = 10_000;

/**
 * @typedef {[status?: number, retryAfter?: string | null, body?: any]} Answer What came back, nothing if nothing did.
 *   `body` is the JSON of a collector, whatever is in it.
 */

/**
 * @param {import("./settings.js").Settings} settings
 * @param {string} body
 * @param {boolean | undefined} keepalive Whether the request has to outlive its page.
 * @returns {Promise<Answer>}
 */
export async function send(settings, body, keepalive) {
  try {
    const answer = await fetch(
      `${settings.endpoint + settings.path}?writeKey=${encodeURIComponent(settings.writeKey)}`,
      {
        method: "POST",
        body,
        keepalive,
        signal: AbortSignal.timeout?.(TIMEOUT_MILLISECONDS),
        credentials: settings.storage == "cookie" ? "include" : "omit",
      },
    );
    return [answer.status, answer.headers.get("retry-after"), await answer.json().catch(() => {})];
  } catch {
    return [];
  }
}
