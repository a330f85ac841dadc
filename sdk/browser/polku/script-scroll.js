/** The script tag of the add-on: it waits for the client, or finds it. */

import { scroll } from "./scroll.js";

/** @type {any} */
const page = window;
(page.polku = page.polku || []).push(scroll);
