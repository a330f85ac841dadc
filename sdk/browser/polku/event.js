/** The event record and its identifier. Pure except for clock and randomness. */

/**
 * One call as it goes on the wire. The order of its members is the order in the JSON text.
 *
 * @typedef {{type: string, event?: unknown, messageId?: unknown, timestamp?: unknown, userId?: unknown,
 *   anonymousId?: unknown, groupId?: unknown, previousId?: unknown, name?: unknown, category?: unknown,
 *   properties?: unknown, traits?: unknown, context?: object}} Item
 */

let last = 0;

/** A UUIDv7: 48 bits of Unix milliseconds, 12 that count on within one, 60 random ones. Later ones sort later. */
export function newId() {
  last = Math.max(last + 1, Date.now() * 4096);
  const [head, tail] = [...crypto.getRandomValues(new Uint32Array(2))].map((random) =>
    (2 ** 31 + (random >>> 2)).toString(16),
  );
  return ("0" + last.toString(16) + head + tail).replace(/(.{8})(.{4})(...)(.{4})/, "$1-$2-7$3-$4-");
}

/**
 * Seconds since an id of `newId` was made, to within a minute or so.
 *
 * @param {string} id
 */
export const ageOf = (id) => Date.now() / 1000 - +("0x" + id.slice(0, 8)) * 65.536;
