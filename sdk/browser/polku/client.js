/** The calls a page tracks with. Each stamps, encodes and queues one event, and returns. */

import { BATCH_EVENTS, bufferOf } from "./buffer.js";
import { newId } from "./event.js";
import { USER, reset, sign } from "./identity.js";
import { pageContext, watchPages } from "./page.js";
import { DEFAULTS } from "./settings.js";
import { keptOf } from "./storage.js";
import { VERSION } from "./version.js";
import { workerOf } from "./worker.js";

/**
 * What every call takes beside its own arguments.
 *
 * @typedef {object} CallOptions
 * @property {string | number} [userId]
 * @property {string | number} [anonymousId]
 * @property {Date | string} [timestamp] When it happened, with a time zone; default: now.
 * @property {string} [messageId] The id of the event, up to 128 characters; default: a UUIDv7.
 * @property {string} [category] Of a page or a screen.
 * @property {object} [context] Goes with this event only.
 *
 * @typedef {object} Stats Counts since the page was loaded.
 * @property {number} queued Waiting or being sent, other tabs' events included.
 * @property {number} delivered Acknowledged by the collector.
 * @property {Record<string, number>} lost
 *
 * @typedef {(a?: any, b?: any, options?: CallOptions) => string | undefined} Call
 *
 * @typedef {object} Client Calls return the id of the event, undefined if it was dropped.
 * @property {(event: string, properties?: object, options?: CallOptions) => string | undefined} track Something
 *   happened.
 * @property {(userId: string | number, traits?: object, options?: CallOptions) => string | undefined} identify Who
 *   somebody is: later events are of this user, until `reset`.
 * @property {(name?: string, properties?: object, options?: CallOptions) => string | undefined} page A page was viewed.
 * @property {(name?: string, properties?: object, options?: CallOptions) => string | undefined} screen A screen of an
 *   app was viewed.
 * @property {(groupId: string, traits?: object, options?: CallOptions) => string | undefined} group Somebody belongs to
 *   a company, a household, and so on.
 * @property {(previousId: string, userId: string, options?: CallOptions) => string | undefined} alias An id continues
 *   as another.
 * @property {() => void} reset Somebody has logged out: the next events are of another anonymous id and session.
 * @property {(purposes: string[]) => void} consent What has been consented to, as often as that changes. With the
 *   purpose in the list events are kept and sent, also those that waited. Without it nothing is, and what was kept on
 *   the device is removed.
 * @property {() => Promise<boolean>} flush Send what is queued, and say whether all was delivered.
 * @property {() => Stats} stats What became of the events so far; the record goes on counting.
 * @property {import("./settings.js").Options} settings What it goes by; add-ons set the hooks among them.
 */

/** Each call, and the members of the item that its arguments become; the second is `properties` where none is named. */
const CALLS =
  "identify userId traits,page name,track event,screen name,group groupId traits,alias previousId userId";

/**
 * Make a client of one source of a collector.
 *
 * @param {string} writeKey
 * @param {string} endpoint Address of the collector, with a path prefix where it has one.
 * @param {import("./settings.js").Options} [options]
 * @returns {Client}
 */
export function createClient(writeKey, endpoint, options) {
  const { language: locale, userAgent, doNotTrack, globalPrivacyControl } = /** @type {any} */ (navigator);
  const library = { name: "polku-browser", version: VERSION };
  const context = { library, userAgent, locale, ...options?.context };
  /** @type {import("./settings.js").Settings} */
  const settings = { ...DEFAULTS, writeKey, endpoint, ...options, context };
  const kept = keptOf(settings);
  const buffer = bufferOf(settings, kept);
  const worker = workerOf(settings, buffer, kept);
  /** Calls that wait for a decision, a thousand at most. @type {string[]} */
  let held = [];

  /** @param {boolean} decision */
  function allow(decision) {
    settings._isAllowed = decision;
    if (decision) {
      kept._open();
      for (const text of held) queue(JSON.parse(text));
      worker._schedule(0);
    } else {
      kept._clear();
      buffer._look();
    }
    held = [];
  }

  /** @param {import("./event.js").Item} item */
  function queue(item) {
    sign(item, kept, settings);
    const changed = settings.beforeSend(item);
    const queued = changed && buffer._put(JSON.stringify(changed));
    if (queued) {
      worker._schedule(queued < BATCH_EVENTS && settings.batchAgeSeconds);
      return item.messageId;
    }
  }

  /**
   * @param {string} type
   * @param {any} given
   */
  function call(type, given) {
    try {
      if (type == "identify") kept._set(USER, given.userId);
      const item = {
        type,
        messageId: newId(),
        timestamp: new Date(),
        ...given,
        context: { ...pageContext(), ...given.context },
      };
      if (settings._isAllowed) return queue(item);
      // As a text: the page may change its objects meanwhile.
      settings._isAllowed ?? held[999] ?? held.push(JSON.stringify(item));
    } catch {
      buffer._lose("unserialisable");
    }
  }

  const client = /** @type {any} */ ({
    settings,
    reset: () => reset(kept),
    consent(/** @type {string[]} */ purposes) {
      // A list also of a single word: within a text another word could be found, and no call throws.
      allow((settings.consent = [purposes].flat()).includes(settings.purpose));
    },
    async flush() {
      while (settings._isAllowed && (await worker._run()));
      return !buffer.queued;
    },
    stats: () => buffer,
  });
  for (const words of CALLS.split(",")) {
    const [type, first, second = "properties"] = words.split(" ");
    client[type] = (/** @type {unknown} */ a, /** @type {unknown} */ b, /** @type {object} */ rest) =>
      call(type, { ...rest, [first]: a, [second]: b });
  }

  if (!settings.consent) allow(!(doNotTrack > 0 || globalPrivacyControl));
  else if (/** @type {any} */ (settings.consent).flat) client.consent(settings.consent);
  // A page that is left while it is seen becomes hidden after its `pagehide`; one that is hidden already has only that.
  for (const sign of ["pagehide", "visibilitychange", "online"])
    addEventListener(sign, () => (document.hidden ? worker._deliver(true) : worker._back()));
  if (settings.pages) watchPages(client.page);
  return client;
}
