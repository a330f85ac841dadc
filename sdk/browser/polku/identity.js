/** Whose events these are, and of which session: all tabs of a site go by the same. */

import { newId } from "./event.js";
import { PREFIX } from "./storage.js";

/** A session ends after so long without an event. */
const SESSION_MILLISECONDS = 1_800_000;

/** @param {import("./storage.js").Kept} kept */
export function identityOf(kept) {
  const identity = {
    /** The browser's id; one is made when there is none. */
    _anonymousId: () => kept._get(PREFIX + "a") || kept._setId(newId()),

    _userId: () => kept._get(PREFIX + "u"),

    /**
     * From here on events are of this user.
     *
     * @param {string} userId
     */
    _know: (userId) => kept._set(PREFIX + "u", userId),

    /** From here on events are of somebody not known yet. */
    _reset() {
      kept._remove(PREFIX + "u");
      kept._remove(PREFIX + "s");
      kept._setId(newId());
    },

    /** The session; another one after a gap, or when the clock has been set back by as much. */
    _sessionId() {
      const [known, then] = /** @type {any[]} */ (kept._get(PREFIX + "s")?.split(" ") || []);
      const now = Date.now();
      const id = Math.abs(now - then) < SESSION_MILLISECONDS ? known : newId();
      kept._set(PREFIX + "s", id + " " + now);
      return id;
    },
  };
  return identity;
}
