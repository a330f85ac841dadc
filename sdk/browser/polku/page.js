/** Where an event happened: the page, what led to it, and the campaign in its address. */

let address = "";
let referrer = "";

/** Look where the page is; true if that has changed. */
function moved() {
  const url = location.href.split("#")[0];
  if (url == address) return;
  // What led to a page that a script has gone to is the page before it.
  referrer = address || document.referrer;
  return (address = url);
}

/** The parts of an event's context that the page decides. */
export function pageContext() {
  moved();
  /** @type {Record<string, string>} */
  const campaign = {};
  for (const [name, value] of new URLSearchParams(location.search)) {
    const member = name.split("utm_")[1];
    if (member) campaign[member == "campaign" ? "name" : member] = value;
  }
  return { page: { url: address, path: location.pathname, title: document.title, referrer }, campaign };
}

/**
 * Call `then` now, and after each navigation inside the page that has led to another address.
 *
 * @param {() => void} then
 */
export function watchPages(then) {
  const look = () => moved() && then();
  for (const name of /** @type {const} */ (["pushState", "replaceState"])) {
    const original = history[name];
    history[name] = (...given) => {
      original.apply(history, given);
      look();
    };
  }
  addEventListener("popstate", look);
  then();
}
