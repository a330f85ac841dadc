/**
 * One POST of one body. Returns what happened as an `Answer`, failures of the network included, and leaves to
 * `retry.js` what to make of it.
 *
 * The body is a text without a header of its own, so that a browser does not ask first. A request with `keepalive`
 * outlives its page as `sendBeacon` does, within the same 64 KiB, and its answer is heard if the page stays after all.
 */

const TIMEOUT_MILLISECONDS = 10_000;

/**
 * @typedef {{_status?: number, _body?: any, _retryAfter?: string | null}} Answer What came back, without a status if
 *   nothing did. `_body` is the JSON of a collector, whatever is in it.
 */

/**
 * @param {string} url
 * @param {string} body
 * @param {boolean} keepalive Whether the request has to outlive its page.
 * @param {RequestCredentials} credentials
 * @returns {Promise<Answer>}
 */
export async function send(url, body, keepalive, credentials) {
  try {
    const signal = AbortSignal.timeout?.(TIMEOUT_MILLISECONDS);
    const answer = await fetch(url, { method: "POST", body, keepalive, credentials, signal });
    return {
      _status: answer.status,
      _retryAfter: answer.headers.get("retry-after"),
      _body: await answer.json().catch(() => {}),
    };
  } catch {
    return {};
  }
}
