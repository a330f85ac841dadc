/** Add-on: how far down each page was seen: the event `page_scrolled` with `scroll_share` from 0 to 1, when it is left. */

/** @param {import("./client.js").Client} client */
export function scroll(client) {
  let deepest = 0;
  let { href, pathname } = location;
  const look = () => {
    const { scrollHeight } = document.documentElement;
    deepest = Math.max(deepest, Math.min(1, (scrollY + innerHeight) / scrollHeight));
  };
  const tell = () => {
    if (deepest) client.track("page_scrolled", { scroll_share: +deepest.toFixed(2) }, { context: { page: { url: href, path: pathname } } });
    deepest = 0;
  };
  addEventListener("scroll", () => {
    if (location.pathname != pathname) {
      tell();
      ({ href, pathname } = location);
    }
    look();
  }, { passive: true });
  look();
  addEventListener("pagehide", tell, true);
  document.addEventListener("visibilitychange", () => document.hidden && tell(), true);
}
