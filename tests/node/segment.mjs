// Sends with Segment's server library through the generated module to the address given.
import { Analytics } from "@segment/analytics-node";
import { typed } from "./events.js";

const analytics = new Analytics({ writeKey: "k", host: process.argv[2], flushAt: 1, maxRetries: 0 });
const events = typed({
  track: (event, properties, who) => analytics.track({ event, properties, ...who }),
  identify: (userId, traits) => analytics.identify({ userId, traits }),
});
events.track(
  "order_completed",
  { order_id: "O-1", products: [{ product_id: "P-1" }], revenue: 12.5, coupon: null, delivered_at: new Date(0) },
  { userId: "u" },
);
await analytics.closeAndFlush({ timeout: 5000 });
