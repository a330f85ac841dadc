// The libraries that shops use today, with their own types, behind the generated module.
import { RudderAnalytics } from "@rudderstack/analytics-js";
import { AnalyticsBrowser } from "@segment/analytics-next";
import { Analytics } from "@segment/analytics-node";
import { typed } from "./events.js";

const order = { order_id: "O-1", products: [{ product_id: "P-1" }], revenue: 1, coupon: null };

const segment = typed(AnalyticsBrowser.load({ writeKey: "k" }));
await segment.track("order_completed", order);
await segment.track("logged_out", {}, { integrations: { All: false } });
await segment.page("Home", { page_type: "home" });
// @ts-expect-error not what Segment takes as options
await segment.track("logged_out", {}, 5);

const rudder = typed(new RudderAnalytics());
rudder.track("order_completed", order, { anonymousId: "a" });
rudder.page("Home", { page_type: "home" });
rudder.identify("u", { email: "a@b.c" });

const node = new Analytics({ writeKey: "k" });
const server = typed({
  track: (event, properties, who: { userId: string }) => node.track({ event, properties, ...who }),
  identify: (userId, traits) => node.identify({ userId, traits }),
});
server.track("order_completed", order, { userId: "u" });

interface PostHogLike {
  capture(event: string, properties?: Record<string, unknown>): unknown;
  identify(id: string, properties?: Record<string, unknown>): void;
}
declare const posthog: PostHogLike;
const hog = typed({
  track: (event, properties) => posthog.capture(event, properties),
  identify: (userId, traits) => posthog.identify(userId, traits),
});
hog.track("order_completed", order);
hog.page("Home", { page_type: "home" });
