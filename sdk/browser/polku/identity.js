/** Whose events these are, and of which session: all tabs of a site go by the same. */

import { newId, now } from "./event.js";
import { PREFIX } from "./storage.js";

/** A session ends after so long without an event. */
const SESSION_SECONDS = 1_800;

/** The user is kept under this name. */
export const USER = PREFIX + "u";

/**
 * Say in an item whose event it is.
 *
 * @param {import("./event.js").Item} item
 * @param {import("./storage.js").Kept} kept
 * @param {import("./settings.js").Settings} settings
 */
export function sign(item, kept, settings) {
  item.userId ||= kept._get(USER);
  item.anonymousId ||= kept._get(PREFIX + "a") || kept._setId(newId());
  const [known, then] = /** @type {any[]} */ (("" + kept._get(PREFIX + "s")).split(" "));
  // Another session after a gap, or when the clock has been set back by as much.
  const gap = Math.abs(now() - then);
  const sessionId = gap < SESSION_SECONDS ? known : newId();
  // Read at each event, for another tab may have written it. To write is dear: once a second.
  if (!(gap < 1)) kept._set(PREFIX + "s", sessionId + " " + now());
  item.context = { sessionId, consent: settings.consent, ...item.context };
}

/**
 * From here on events are of somebody not known yet.
 *
 * @param {import("./storage.js").Kept} kept
 */
export function reset(kept) {
  kept._remove(USER);
  kept._remove(PREFIX + "s");
  kept._setId(newId());
}
