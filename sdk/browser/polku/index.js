/**
 * Polku: track events from a page to a Polku (or Segment-compatible) collector.
 *
 *     import { createClient } from "https://events.example.com/polku.mjs";
 *
 *     const polku = createClient("write-key", "https://events.example.com");
 *     polku.track("product_viewed", { product_id: "sku-1", price: 79.9 });
 *
 * Calls return at once and never throw; delivery, retries and the report of what was lost go on behind them.
 */

export { createClient } from "./client.js";

/**
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./settings.js").Options} Options
 * @typedef {import("./client.js").CallOptions} CallOptions
 * @typedef {import("./client.js").Stats} Stats
 * @typedef {import("./event.js").Item} Item
 * @typedef {import("./buffer.js").Loss} Loss
 */
