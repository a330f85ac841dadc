/**
 * Delivery: takes batches from the queue, sends them, waits and tries again. One tab sends at a time; a page that goes
 * away does not ask the others, since the collector counts an event once however often it is sent.
 */

import { BATCH_EVENTS } from "./buffer.js";
import { now } from "./event.js";
import { PREFIX } from "./storage.js";
import { decide } from "./retry.js";
import { send } from "./transport.js";

/** Where there are no locks: a tab that is sending has so long before the others do not believe in it any more. */
const LEASE_SECONDS = 5;
/** Within this a tab sees what others have written: a browser takes a few for that, and more under load. */
const PAUSE_MILLISECONDS = 200;

/**
 * @param {import("./settings.js").Settings} settings
 * @param {import("./buffer.js").Buffer} buffer
 * @param {import("./storage.js").Kept} kept
 */
export function workerOf(settings, buffer, kept) {
  let timer = 0;
  /**
   * Of how many the last was a failure: while there is one only the timer, or the network that is back, lead to another.
   *
   * @type {any} A number, or false.
   */
  let attempt = 0;
  let limit = BATCH_EVENTS;
  /** @type {Promise<unknown> | undefined} */
  let running;

  /** @type {(seconds: any) => any} Returns nothing. */
  const wait = (seconds) => {
    clearTimeout(timer);
    timer = setTimeout(worker._run, seconds * 1000);
  };

  /**
   * For all tabs: nothing is sent for so long.
   *
   * @param {number} seconds
   */
  const lease = (seconds) => kept._set(PREFIX + "l", /** @type {any} */ (now() + seconds));

  /**
   * Send the next batch and do what follows on the answer; true if there is more to send now.
   *
   * @param {boolean} [leaving] The page may go away: the request shall outlive it.
   */
  const deliver = async (leaving) => {
    const entries = buffer._take(limit);
    if (!entries[0]) return lease(0);
    const losses = buffer._losses();
    const events = entries.map((entry) => entry[1]);
    const rest = JSON.stringify({ context: settings.context, sentAt: new Date() }).slice(1);
    const answer = await send(settings, `{"batch":[${events}],"lost":[${losses.map((entry) => entry[1])}],${rest}`, leaving);
    const decision = /** @type {any} */ (decide(answer, attempt + 1, events.length));
    const [seconds, isAsked] = decision; // letters, where it is a word: those are no number
    attempt = seconds >= 0 && attempt + 1;
    // A wait that was asked for is one for all tabs.
    lease(attempt && isAsked && seconds);
    if (attempt) wait(seconds);
    else if (decision == "split") limit = events.length >> 1;
    else {
      limit = BATCH_EVENTS;
      const settled = buffer._settle(entries);
      if (decision == "delivered") {
        buffer.delivered += settled;
        buffer._settle(losses);
      } else if (settled) buffer._lose(decision, settled);
    }
    settings.onAnswer?.(answer[0], answer[2], events);
    return !attempt && buffer.queued && !wait(0);
  };

  /**
   * Deliver a batch, unless a collector, or a tab that is sending where there are no locks, has to be waited for.
   *
   * @type {(lock?: unknown) => Promise<any>} Without a lock, of tabs that begin at once one goes on: who wrote last.
   *   Who shares with nobody needs none.
   */
  const turn = async (lock) => {
    const leased = /** @type {any} */ (kept._get(PREFIX + "l")) - now();
    // A longer one was made by another clock.
    if (leased > 0 && leased < 400) return wait(leased);
    // What there is to send is found in one task, and put in order and sent in the next.
    if (buffer.queued <= limit && buffer._look()) return !wait(0);
    lease(LEASE_SECONDS + Math.random());
    const mine = kept._get(PREFIX + "l");
    if (!lock) await new Promise((then) => setTimeout(then, PAUSE_MILLISECONDS));
    return kept._get(PREFIX + "l") == mine ? deliver() : turn();
  };

  const worker = {
    /**
     * Send after so many seconds, or sooner if that was to be; after a failure, when that has been waited for.
     *
     * @param {number | false} seconds
     */
    _schedule: (seconds) => attempt || (timer && seconds) || wait(seconds),

    /** Send a batch now, or when the other tabs have sent theirs; true if there is more. */
    _run() {
      clearTimeout(timer);
      timer = 0;
      return (running ||= ((kept._isShared() && navigator.locks?.request(PREFIX, turn)) || turn(!kept._isShared())).finally(
        () => (running = undefined),
      ));
    },

    _deliver: deliver,

    /** The page, or the network, is back: what was sent may not have arrived. */
    _back() {
      attempt = 0;
      wait(0);
    },
  };

  return worker;
}
