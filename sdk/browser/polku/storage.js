/**
 * What is kept: texts in localStorage, and the anonymous id in a cookie of the site too (`polku_id`, which the collector
 * renews). What may not go there, or finds no place, lives in memory as long as the page.
 */

/** Browsers keep no cookie for longer: 400 days. */
const COOKIE_SECONDS = 34_560_000;
/** What is kept is named so. */
export const PREFIX = "polku.";

/** @typedef {ReturnType<typeof keptOf>} Kept */

/** @param {import("./settings.js").Settings} settings */
export function keptOf(settings) {
  /** @type {Record<string, string>} */
  const memory = {};
  /** @type {Storage | undefined} */
  let storage;

  /**
   * @param {string} value
   * @param {number} seconds
   */
  const setCookie = (value, seconds) => {
    if (storage && settings.storage == "cookie")
      // An empty domain is none: the host of the page.
      document.cookie = `polku_id=${value};path=/;samesite=lax;max-age=${seconds};domain=${settings.cookieDomain}${
        isSecureContext ? ";secure" : ""
      }`;
  };

  const kept = {
    /** Whether all tabs of the site see what is kept. */
    _isShared: () => storage,

    /** From here on the device may be read and written. What is in memory goes there. */
    _open() {
      try {
        if (settings.storage != "none") storage = localStorage;
      } catch {
        // It stays undefined.
      }
      for (const name in memory) kept._set(name, memory[name]);
      const cookie = settings.storage == "cookie" && (" " + document.cookie).split(" polku_id=")[1]?.split(";")[0];
      const id = cookie || kept._get(PREFIX + "a");
      if (id) kept._setId(id);
    },

    /**
     * Keep the anonymous id, where it lasts longest.
     *
     * @param {string} id
     */
    _setId(id) {
      kept._set(PREFIX + "a", id);
      setCookie(id, COOKIE_SECONDS);
      return id;
    },

    /** @param {string} name */
    _get: (name) => storage?.getItem(name) || memory[name],

    /**
     * @param {string} name
     * @param {string} text
     */
    _set(name, text) {
      try {
        // In one step: a removal before it would be seen by another tab, which would then make a value of its own.
        /** @type {Storage} */ (storage).setItem(name, text);
        delete memory[name];
      } catch {
        // There is no such storage, or it is full.
        kept._remove(name);
        memory[name] = text;
      }
    },

    /** @param {string} name */
    _remove(name) {
      delete memory[name];
      storage?.removeItem(name);
    },

    /**
     * By `ownKeys`, since `Object.keys` asks the storage about each name and takes twice as long. A symbol is no name.
     *
     * @param {string} start
     * @returns {string[]}
     */
    _names: (start) =>
      /** @type {any[]} */ ([memory, storage || memory].flatMap(Reflect.ownKeys)).filter((name) => name.startsWith?.(start)),

    /** Remove what this page and earlier ones have kept, and keep no more. */
    _clear() {
      kept._open();
      kept._names(PREFIX).forEach(kept._remove);
      setCookie("", 0);
      storage = undefined;
    },
  };
  return kept;
}
