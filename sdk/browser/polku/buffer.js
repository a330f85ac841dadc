/**
 * The bounded queue: every event is an entry of what is kept, which all tabs of a site share. Whoever sends next sends
 * what is there, whoever queued it. Also the count of what became of events.
 */

import { ageOf, newId } from "./event.js";
import { GIVE_UP_AFTER_SECONDS } from "./retry.js";
import { PREFIX } from "./storage.js";

/** A batch has so many events at most … */
export const BATCH_EVENTS = 200;
/** … and so many bytes, so that a page that goes away can still send it (browsers allow 64 KiB). */
const BATCH_BYTES = 60_000;
/** Characters that this page queues at most; more than localStorage takes go to memory. */
const QUEUE_CHARACTERS = 10_000_000;
/** A longer event, in characters, is dropped. */
const EVENT_CHARACTERS = 30_000;
/** To have listed more, a batch or so, is enough for one task. */
const MANY_EVENTS = 200;

/**
 * @typedef {{id: string, reason: string, count: number}} Loss Events that will not be delivered, as it is told.
 * @typedef {[name: string, text: string]} Entry An event, or a loss, as JSON.
 * @typedef {ReturnType<typeof bufferOf>} Buffer
 */

/**
 * @param {import("./settings.js").Settings} settings
 * @param {import("./storage.js").Kept} kept
 */
export function bufferOf(settings, kept) {
  const start = PREFIX + settings.writeKey + ".";
  const lossStart = PREFIX + settings.writeKey + "!";
  let characters = 0;
  /**
   * Names of events as of the last look, and those that came since: to list thousands for each batch would be felt.
   *
   * @type {Set<string>}
   */
  let names = new Set();
  /** Of losses, what earlier pages left, once that has been looked at, and those since. @type {Set<string> | undefined} */
  let losses;
  /** Losses that may still grow, by reason: they have not been sent. @type {Record<string, Loss>} */
  let growing = {};

  const buffer = {
    /** Events at the last look, and those that came since. */
    get queued() {
      return names.size;
    },
    delivered: 0,
    /** @type {Record<string, number>} */
    lost: {},

    /**
     * Queue an encoded event. Says how many there are; nothing, and counts it, if there is no place.
     *
     * @param {string} text
     */
    _put(text) {
      const length = text.length;
      if (length > EVENT_CHARACTERS) return buffer._lose("too_large");
      if (characters + length > QUEUE_CHARACTERS) return buffer._lose("queue_full");
      characters += length;
      const name = start + newId();
      kept._set(name, text);
      return names.add(name).size;
    },

    /**
     * Count what is lost. It is kept beside the events, so that the collector is told, be it by a later page.
     *
     * @param {string} reason
     */
    _lose(reason, count = 1) {
      buffer.lost[reason] = (buffer.lost[reason] || 0) + count;
      const loss = (growing[reason] ||= { id: newId(), reason, count: 0 });
      loss.count += count;
      kept._set(lossStart + loss.id, JSON.stringify(loss));
      losses?.add(lossStart + loss.id);
      settings.onLoss?.({ ...loss, count });
    },

    /**
     * See what there is, whoever has queued or removed it. True if that is so much that putting it in order and reading
     * it in the same task would be felt; and so would listing it once more for losses, which then wait for another look.
     */
    _look() {
      names = new Set(kept._names(start));
      if (names.size > MANY_EVENTS) return true;
      losses ||= new Set(kept._names(lossStart));
      if (!names.size) characters = 0;
    },

    /**
     * The oldest entries that make a batch. They stay until they are settled.
     *
     * @param {number} most
     */
    _take(most) {
      // What is in order already, which all but the first are, is sorted at almost no cost.
      names = new Set([...names].sort());
      /** @type {Entry[]} */
      const taken = [];
      let bytes = BATCH_BYTES;
      for (const name of names) {
        const text = kept._get(name);
        if (!text) names.delete(name); // settled by another tab
        else if (ageOf(name) > GIVE_UP_AFTER_SECONDS) buffer._lose("expired", buffer._settle([[name, text]]));
        else {
          bytes -= new TextEncoder().encode(text).length + 1;
          if (taken[most - 1] || (taken[0] && bytes < 0)) break;
          taken.push([name, text]);
        }
      }
      return taken;
    },

    /** The losses nobody has been told of: they do not grow any more. */
    _losses() {
      growing = {};
      const told = [...(losses || [])].map((name) => [name, kept._get(name)]);
      return /** @type {Entry[]} */ (told.filter((entry) => entry[1]));
    },

    /**
     * Let go of events that need not be sent again; says how many of them nobody else has settled.
     *
     * @param {Entry[]} entries
     */
    _settle(entries) {
      let settled = 0;
      for (const [name, text] of entries) {
        names.delete(name);
        if (kept._get(name)) {
          kept._remove(name);
          characters -= text.length;
          settled++;
        }
      }
      return settled;
    },
  };
  return buffer;
}
