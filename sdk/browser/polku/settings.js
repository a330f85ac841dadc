/**
 * The settings of a client: one record, made when the client is.
 *
 * @typedef {object} Options
 * @property {string} [path] Where batches are posted, below the endpoint. Another one where blockers know this.
 * @property {"cookie" | "local" | "none"} [storage] What may be kept on the device: the anonymous id in a cookie of the
 *   site (and all else in localStorage), everything in localStorage, or nothing at all.
 * @property {string} [cookieDomain] The domain of the cookie, as `example.com`; default: the host of the page.
 * @property {"required" | string[]} [consent] `"required"`: nothing is kept or sent before `consent()` is called. A
 *   list: what has been consented to already. Default: consent is not asked for here.
 * @property {string} [purpose] What a list of consent must hold for events to be kept and sent.
 * @property {boolean} [pages] Whether pages are tracked by themselves, navigation inside a page included.
 * @property {Record<string, unknown>} [context] Goes with every batch.
 * @property {(item: Item) => Item | null | undefined} [beforeSend] Changes an event, or drops it, before it is queued.
 * @property {(loss: Loss) => void} [onLoss] Is told of events that will not be delivered.
 * @property {(status: number | undefined, body: any, events: string[]) => void} [onAnswer] Is told of each answer, or
 *   that there was none; the add-on `debug` sets it.
 * @property {number} [batchAgeSeconds] A batch is sent when its first event is this old.
 *
 * @typedef {typeof DEFAULTS & Omit<Options, keyof typeof DEFAULTS> & {writeKey: string, endpoint: string,
 *   _isAllowed?: boolean}} Settings `_isAllowed`: whether events may be kept and sent; undefined while that is not decided.
 * @typedef {import("./event.js").Item} Item
 * @typedef {import("./buffer.js").Loss} Loss
 */

/** What a client goes by where it was given nothing else. */
export const DEFAULTS = {
  storage: /** @type {"cookie" | "local" | "none"} */ ("cookie"),
  path: "/v1/batch",
  purpose: "analytics",
  pages: true,
  beforeSend: (/** @type {Item} */ item) => /** @type {Item | null | undefined} */ (item),
  batchAgeSeconds: 1,
  cookieDomain: "",
};
