/**
 * Add-on: clicks and forms, by what stands in the page.
 *
 *     <a data-polku="cta_clicked" data-polku-element="see-the-collection">
 *     <form data-polku="form_submitted" data-polku-form_id="newsletter">
 *
 * Attributes are texts; `data-polku-properties` is JSON, for numbers. What was typed into a form is never looked at.
 */

/** @param {import("./client.js").Client} client */
export function clicks(client) {
  const listen = (/** @type {string} */ sign) =>
    document.addEventListener(
      sign,
      (event) => {
        const target = /** @type {Element} */ (event.target);
        /** @type {HTMLElement | null} */
        const element = target.closest && target.closest("[data-polku]");
        if (!element || (element.tagName == "FORM") != (sign == "submit")) return;
        /** @type {Record<string, unknown>} */
        const properties = {};
        for (const { name, value } of element.attributes) {
          const property = name.split("data-polku-")[1];
          if (property && property != "properties") properties[property] = value;
        }
        try {
          Object.assign(properties, JSON.parse(element.dataset.polkuProperties || "{}"));
        } catch {
          // The event goes without them, and its verdict tells.
        }
        client.track(element.dataset.polku || "", properties);
      },
      true,
    );
  listen("click");
  listen("submit");
}
