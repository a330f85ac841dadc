// Every line here is a right use of the generated module: it compiles without a word.
import { typed, type Client, type Currency, type EventName, type EventProperties, type OrderCompleted } from "./events.js";

declare const client: Client;
declare const coupon: string | undefined;
const analytics = typed(client);

const currency: Currency = "SEK";
const order: OrderCompleted = { order_id: "O-1", products: [{ product_id: "P-1" }], revenue: 12.5, coupon: null, currency };
analytics.track("order_completed", order);
analytics.track("order_completed", {
  order_id: "O-1",
  products: [{ product_id: "P-1", quantity: 2, price: null }],
  revenue: 12.5,
  coupon: null,
  note: coupon,
  rating: 3,
  gift: true,
  tags: ["new"],
  address: { city: "Turku" },
  delivered_at: new Date(),
  promised_on: "2026-01-31",
});
analytics.track("logged_out");
analytics.track("logged_out", {}, { anonymousId: "a" });
analytics.track("logged_out", undefined, { anonymousId: "a" });
analytics.page("Home");
analytics.page(undefined, { page_type: "home" });
analytics.screen("Main", { screen_name: "main" });
analytics.identify("u");
analytics.identify("u", { email: "a@b.c", birthday: "2000-01-31" });

const names: readonly EventName[] = ["order_completed", "page_viewed"];
function report<Name extends EventName>(name: Name, properties: EventProperties[Name]): void {
  console.log(name, properties, names);
}
report("order_completed", order);

// A client with types of its own keeps them.
const own = typed({
  track: (event: string, properties: object, options: { userId: string }): number => event.length,
  identify: () => undefined,
});
const length: number = own.track("logged_out", {}, { userId: "u" });
report("screen_viewed", { screen_name: String(length) });
