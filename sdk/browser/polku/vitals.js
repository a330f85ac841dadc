/**
 * Add-on: how fast the page was for who opened it, as the plan's `page_performance_measured`: TTFB, load, LCP, INP and CLS,
 * told once, when the page is hidden for the first time.
 */

/** @param {import("./client.js").Client} client */
export function vitals(client) {
  let lcp = 0;
  let cls = 0;
  let told = false;
  /** Layout shifts count together while they are close to each other: the worst such window is CLS. */
  let windowSum = 0;
  let windowStart = 0;
  let windowEnd = 0;
  /** The longest of each interaction. @type {Record<string, number>} */
  const interactions = {};

  const observe = (/** @type {string} */ type, /** @type {(entry: any) => void} */ then, more = {}) => {
    try {
      new PerformanceObserver((list) => list.getEntries().forEach(then)).observe({ type, buffered: true, ...more });
    } catch {
      // This browser does not measure it.
    }
  };
  observe("largest-contentful-paint", (entry) => (lcp = entry.startTime));
  observe("layout-shift", (entry) => {
    if (entry.hadRecentInput) return;
    const at = entry.startTime;
    if (at - windowEnd > 1000 || at - windowStart > 5000) [windowSum, windowStart] = [0, at];
    windowEnd = at;
    windowSum += entry.value;
    cls = Math.max(cls, windowSum);
  });
  observe("event", ({ interactionId: id, duration }) => {
    if (id) interactions[id] = Math.max(interactions[id] || 0, duration);
  }, { durationThreshold: 16 });

  const tell = () => {
    const [load] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
    if (told || !load || !load.loadEventEnd) return;
    told = true;
    // The worst of up to fifty, the second worst of up to a hundred, and so on: as INP is defined.
    const sorted = Object.values(interactions).sort((a, b) => b - a);
    const inp = sorted[Math.floor(sorted.length / 50)];
    const whole = (/** @type {number | undefined} */ value) => (value ? Math.round(value) : undefined);
    client.track("page_performance_measured", {
      load_ms: Math.round(load.loadEventEnd),
      ttfb_ms: whole(load.responseStart),
      lcp_ms: whole(lcp),
      inp_ms: whole(inp),
      cls: +cls.toFixed(4),
    });
  };
  addEventListener("pagehide", tell, true);
  document.addEventListener("visibilitychange", () => document.hidden && tell(), true);
}
