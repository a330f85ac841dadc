/** What follows on an attempt to send a batch. Pure: an answer and its number in, a decision out. */

/** The first retry waits a random time up to this; the bound doubles with each attempt … */
const BASE_SECONDS = 0.5;
/** … up to this. */
const CAP_SECONDS = 30;
/** A `Retry-After` beyond this is taken as this. */
const MAX_RETRY_AFTER_SECONDS = 300;
/**
 * Events are given up when they are this old: they may have been sent before, without anybody having heard of it, and a
 * collector knows a copy by its id for seven days, a little longer.
 */
export const GIVE_UP_AFTER_SECONDS = 600_000;

/**
 * @typedef {import("./transport.js").Answer} Answer
 * @typedef {[seconds: number, isAsked: boolean]} Wait Send again after so long; `isAsked`: the collector named the time.
 * @typedef {"delivered" | "split" | "too_large" | "refused" | Wait} Decision `split`: send the halves, since they are
 *   too many, or one of them is no JSON, which finds it. The last two: the events are lost.
 */

/**
 * Decide what follows on the answer to attempt number `attempt` (from 1) to send so many `events`. `at` is the
 * time a `Retry-After` date is compared with; `jitter` is in [0, 1).
 *
 * @param {Answer} answer
 * @param {number} attempt
 * @param {number} events
 * @returns {Decision}
 */
export function decide(
  [status = 599, retryAfter],
  attempt,
  events,
  at = Date.now(),
  jitter = Math.random(),
) {
  if (status < 300) return "delivered";
  if (events > 1 && (status == 400 || status == 413)) return "split";
  if (status == 413) return "too_large";
  if (status < 500 && ![408, 425, 429].includes(status)) return "refused";
  // A number of seconds, or a date; what is neither is NaN.
  const said = +(/** @type {string} */ (retryAfter)) || (Date.parse(/** @type {string} */ (retryAfter)) - at) / 1000;
  const isAsked = said == said;
  // A server's own figure is kept to in full; the jitter on top spreads the clients it told the same.
  const seconds = isAsked
    ? Math.max(0, Math.min(said, MAX_RETRY_AFTER_SECONDS)) + jitter * BASE_SECONDS
    : jitter * Math.min(CAP_SECONDS, (BASE_SECONDS / 2) * 2 ** attempt);
  return [seconds, isAsked];
}
