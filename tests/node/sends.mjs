// Runs the generated module in front of a client that records, and prints what the client was given, as JSON.
import { typed } from "./events.js";

const calls = [];
const record =
  (method) =>
  (...args) => {
    calls.push([method, ...args]);
    return `${method} done`;
  };

const whole = typed({ track: record("track"), page: record("page"), screen: record("screen"), identify: record("identify") });
const returned = whole.track(
  "order_completed",
  { order_id: "O-1", products: [{ product_id: "P-1" }], revenue: 12.5, coupon: null, delivered_at: new Date(0) },
  { anonymousId: "a" },
);
whole.track("logged_out");
whole.page("Home", { page_type: "home" });
whole.screen("Main", { screen_name: "main" });
whole.identify("u", { email: "a@b.c" });

const small = typed({ track: record("track"), identify: record("identify") });
small.page("Home", { page_type: "cart" }, { anonymousId: "a" });
small.screen("Main", { screen_name: "main" });

// A client that is a class finds itself.
class Counting {
  count = 0;
  track() {
    this.count += 1;
  }
  identify() {}
}
const counting = new Counting();
typed(counting).track("logged_out");

console.log(JSON.stringify({ calls, returned, count: counting.count }));
