/**
 * The bounded queue: every event is an entry of what is kept, which all tabs of a site share. Whoever sends next sends
 * what is there, whoever queued it. Also the count of what became of events.
 */

import { newId } from "./event.js";
import { PREFIX } from "./storage.js";

/** A batch has so many events at most … */
export const BATCH_EVENTS = 200;
/** … and so many bytes, so that a page that goes away can still send it (browsers allow 64 KiB). */
const BATCH_BYTES = 60_000;
/** Characters that this page queues at most; more than localStorage takes go to memory. */
const QUEUE_CHARACTERS = 10_000_000;
/** A longer event, in characters, is dropped. */
const EVENT_CHARACTERS = 30_000;

/**
 * @typedef {{id: string, reason: string, count: number}} Loss Events that will not be delivered, as it is told.
 * @typedef {[name: string, text: string]} Entry
 * @typedef {ReturnType<typeof bufferOf>} Buffer
 */

/**
 * @param {import("./settings.js").Settings} settings
 * @param {import("./storage.js").Kept} kept
 */
export function bufferOf(settings, kept) {
  const start = PREFIX + settings.writeKey + ".";
  let characters = 0;
  /**
   * Names of entries, the oldest first, as of the last look: to list and sort thousands for each batch would be felt.
   *
   * @type {string[]}
   */
  let names = [];

  const buffer = {
    /** Entries at the last look, and those that came since. */
    queued: 0,
    delivered: 0,
    /** @type {Record<string, number>} */
    lost: {},
    /** Losses the collector does not know of. @type {Loss[]} */
    _untold: [],

    /**
     * Queue an encoded event. Says how many there are; nothing, and counts it, if there is no place.
     *
     * @param {string} text
     */
    _put(text) {
      if (text.length > EVENT_CHARACTERS) return buffer._lose("too_large");
      if (characters + text.length > QUEUE_CHARACTERS) return buffer._lose("queue_full");
      characters += text.length;
      kept._set(start + newId(), text);
      return ++buffer.queued;
    },

    /** @param {string} reason */
    _lose(reason, count = 1) {
      buffer.lost[reason] = (buffer.lost[reason] || 0) + count;
      const loss = { id: newId(), reason, count };
      settings.onLoss?.(loss);
      buffer._untold = buffer._untold.concat(loss); // whoever is sending the others keeps theirs
    },

    /**
     * The oldest entries that make a batch. They stay until they are settled.
     *
     * @param {number} events
     */
    _take(events) {
      names = names.filter(kept._get); // the others are settled, here or by another tab
      if (!names[events]) buffer.queued = (names = kept._names(start).sort()).length;
      let bytes = BATCH_BYTES;
      /** @type {Entry[]} */
      const taken = [];
      for (const name of names) {
        const text = /** @type {string} */ (kept._get(name));
        bytes -= new Blob([text]).size + 1;
        if (taken[0] && (taken.length >= events || bytes < 0)) break;
        taken.push([name, text]);
      }
      return taken;
    },

    /**
     * Let go of entries that need not be sent again; says how many of them nobody else has settled.
     *
     * @param {Entry[]} entries
     */
    _settle(entries) {
      let settled = 0;
      for (const [name, text] of entries)
        if (kept._get(name)) {
          kept._remove(name);
          characters -= text.length;
          buffer.queued--;
          settled++;
        }
      return settled;
    },
  };
  return buffer;
}
