/**
 * The script tag: `window.polku` becomes a client, with the settings of the tag's attributes.
 *
 *     <script async src="https://events.example.com/polku.js" data-key="web-key"></script>
 *
 * What a page has to say before the script is there waits in the list `polku`, as functions that are given the client:
 *
 *     (window.polku ||= []).push((polku) => polku.track("product_viewed", { product_id: "sku-1" }));
 */

import { createClient } from "./client.js";

const { dataset, src } = /** @type {HTMLScriptElement} */ (document.currentScript);
// What is before the script's name is the collector, with the prefix of a path.
const client = /** @type {any} */ (
  createClient(/** @type {any} */ (dataset.key), src.replace(/.[^/]*$/, ""), JSON.parse(dataset.options || /** @type {any} */ (null)))
);

client.push = (/** @type {(client: import("./client.js").Client) => void} */ then) => then(client);
(/** @type {any} */ (window).polku || []).forEach(client.push);
/** @type {any} */ (window).polku = client;
