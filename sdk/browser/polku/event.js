/** The event record and its identifier. Pure except for clock and randomness. */

/**
 * One call as it goes on the wire. The order of its members is the order in the JSON text.
 *
 * @typedef {{type: string, event?: unknown, messageId?: unknown, timestamp?: unknown, userId?: unknown,
 *   anonymousId?: unknown, groupId?: unknown, previousId?: unknown, name?: unknown, category?: unknown,
 *   properties?: unknown, traits?: unknown, context?: object}} Item
 */

let last = 0;

/** Seconds since 1970. */
export const now = () => Date.now() / 1000;

/** A UUIDv7: 48 bits of Unix milliseconds, 12 that count on within one, 60 random ones. Later ones sort later. */
export function newId() {
  last = Math.max(last + 1, Date.now() * 4096);
  return crypto
    .getRandomValues(new Uint32Array(2))
    .reduce((text, random) => text + (2 ** 31 + (random >>> 2)).toString(16), "0" + last.toString(16))
    .replace(/(.{8})(.{4})(...)(.{4})/, "$1-$2-7$3-$4-");
}

/**
 * Seconds since an id of `newId` was made, to within a minute or so. The id is what the name ends with.
 *
 * @param {string} name
 */
export const ageOf = (name) => now() - /** @type {any} */ ("0x" + name.slice(-36, -28)) * 65.536;
