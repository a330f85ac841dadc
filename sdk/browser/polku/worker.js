/**
 * Delivery: takes batches from the queue, sends them, waits and tries again. One tab sends at a time; a page that goes
 * away does not ask the others, since the collector counts an event once however often it is sent.
 */

import { BATCH_EVENTS } from "./buffer.js";
import { ageOf } from "./event.js";
import { PREFIX } from "./storage.js";
import { decide } from "./retry.js";
import { send } from "./transport.js";

/** Where there are no locks: a tab that is sending has so long before the others do not believe in it any more. */
const LEASE_SECONDS = 5;
/** Another tab is sending: looked at again after this. */
const OTHER_TAB_SECONDS = 1;

/**
 * @param {import("./settings.js").Settings} settings
 * @param {import("./buffer.js").Buffer} buffer
 * @param {import("./storage.js").Kept} kept
 */
export function workerOf(settings, buffer, kept) {
  let timer = 0;
  /** Waiting after a failure: only the timer, or the network that is back, ends that. */
  let waiting = false;
  let attempt = 0;
  let limit = BATCH_EVENTS;
  /** Of the batch that was sent when the page seemed to go away. */
  let lastAway = "";
  /** @type {Promise<number | void> | undefined} */
  let running;

  const worker = {
    /**
     * Send after so many seconds, or sooner if that was to be.
     *
     * @param {number} [seconds]
     */
    _schedule(seconds) {
      if (waiting || (timer && seconds)) return;
      clearTimeout(timer);
      timer = setTimeout(worker._run, (seconds || 0) * 1000);
    },

    /** Send a batch now, if no other tab does; true if there is more. */
    _run() {
      clearTimeout(timer);
      timer = 0;
      waiting = false;
      return (running = running || exclusive().finally(() => (running = undefined)));
    },

    /** The page may go away: what is queued is sent in a way that outlives it. */
    _leave() {
      deliver(true);
    },

    /** The page, or the network, is back: what was sent may not have arrived. */
    _back() {
      lastAway = "";
      waiting = false;
      worker._schedule();
    },
  };

  /**
   * For all tabs: nothing is sent for so long.
   *
   * @param {number} seconds
   */
  const lease = (seconds) => kept._set(PREFIX + "l", /** @type {any} */ (Date.now() + seconds * 1000));

  /** Deliver a batch while no other tab does. */
  async function exclusive() {
    const leased = (/** @type {any} */ (kept._get(PREFIX + "l")) - Date.now()) / 1000;
    // A longer one was made by another clock.
    if (leased > 0 && leased < 302) return worker._schedule(leased);
    if (kept._isShared() && navigator.locks)
      return navigator.locks.request(PREFIX, { ifAvailable: true }, async (lock) =>
        lock ? deliver() : worker._schedule(OTHER_TAB_SECONDS),
      );
    lease(LEASE_SECONDS);
    return deliver();
  }

  /**
   * Send the next batch and do what follows on the answer; true if there is more to send now.
   *
   * @param {boolean} [leaving]
   */
  async function deliver(leaving = false) {
    const entries = buffer._take(limit);
    const events = entries.map(([, text]) => text);
    const away = "" + events;
    if (!away || (leaving && away == lastAway)) return lease(0);
    if (leaving) lastAway = away;
    const lost = buffer._untold;
    const rest = JSON.stringify({ lost, context: settings.context, sentAt: new Date() }).slice(1);
    const answer = await send(
      `${settings.endpoint + settings.path}?writeKey=${encodeURIComponent(settings.writeKey)}`,
      `{"batch":[${away}],${rest}`,
      leaving,
      settings.storage == "cookie" ? "include" : "omit",
    );
    const decision = /** @type {any} */ (decide(answer, ++attempt, ageOf(entries[0][0].slice(-36)), events.length));
    const { _seconds: seconds, _asked: asked } = decision;
    settings.onAnswer?.(answer._status, answer._body, events);
    // A wait that was asked for is one for all tabs.
    lease(asked ? seconds : 0);
    if (seconds >= 0) {
      worker._schedule(seconds);
      waiting = true;
      return;
    }
    attempt = 0;
    if (events[1] && /split|prune/.test(decision)) limit = events.length >> 1;
    else {
      limit = BATCH_EVENTS;
      const settled = buffer._settle(entries);
      if (decision == "delivered") {
        buffer.delivered += settled;
        buffer._untold = buffer._untold.filter((loss) => !lost.includes(loss));
      } else buffer._lose(decision == "prune" ? "refused" : decision, settled);
    }
    if (buffer.queued) worker._schedule();
    return buffer.queued;
  }

  return worker;
}
