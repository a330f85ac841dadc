// Every statement under an @ts-expect-error is a wrong use: the compiler must refuse it, or it complains of the comment.
import { typed, type Client, type EventName, type OrderCompleted } from "./events.js";

declare const client: Client;
const analytics = typed(client);
const order: OrderCompleted = { order_id: "O-1", products: [], revenue: 1, coupon: null };
analytics.track("order_completed", order);

// @ts-expect-error a required property is missing
analytics.track("order_completed", { order_id: "O-1", products: [], revenue: 1 });
// @ts-expect-error the properties are missing
analytics.track("order_completed");
// @ts-expect-error a value that the enum has not
analytics.track("order_completed", { ...order, currency: "EURO" });
// @ts-expect-error a number that the enum has not
analytics.track("order_completed", { ...order, rating: 4 });
// @ts-expect-error an event that the plan has not
analytics.track("order_complete", order);
// @ts-expect-error a wrong type
analytics.track("order_completed", { ...order, order_id: 1 });
// @ts-expect-error null where the plan does not allow it
analytics.track("order_completed", { ...order, revenue: null });
// @ts-expect-error a property that the event has not
analytics.track("order_completed", { order_id: "O-1", products: [], revenue: 1, coupon: null, cupon: "x" });
// @ts-expect-error a property that an object in it has not
analytics.track("order_completed", { ...order, products: [{ product_id: "P-1", prize: 1 }] });
// @ts-expect-error a date is no moment: as a Date it would be written with a time
analytics.track("order_completed", { ...order, promised_on: new Date() });
// @ts-expect-error a property on an event without any
analytics.track("logged_out", { reason: "x" });
// @ts-expect-error a page is not tracked
analytics.track("page_viewed", {});
// @ts-expect-error the properties of another event
analytics.page("Home", { screen_name: "main" });
// @ts-expect-error a screen has a required property
analytics.screen("Main");
// @ts-expect-error a trait that nobody has
analytics.identify("u", { mail: "a@b.c" });
// @ts-expect-error a person needs a name
analytics.identify(undefined, {});
// @ts-expect-error events are read only
order.revenue = 2;
// @ts-expect-error lists are read only
order.products.push({ product_id: "P-1" });
// @ts-expect-error not a client
typed({ track: 1 });
// @ts-expect-error no name of an event
const name: EventName = "order_complete";
void name;

const strict = typed({
  track: (event: string, properties: object, options: { userId: string }) => event,
  identify: () => undefined,
});
// @ts-expect-error options that the client does not take
strict.track("logged_out", {}, { userId: 1 });
