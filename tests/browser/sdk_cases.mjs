// The cases that all SDKs share (tests/contract/sdk), with the browser SDK under Node: prints what it makes of them.

import { readFileSync } from "node:fs";

const listeners = {};
const sent = [];
Object.assign(globalThis, {
  addEventListener: (name, then) => (listeners[name] = then),
  navigator: { userAgent: "Node", language: "en" },
  location: { href: "https://shop.example/", pathname: "/", search: "" },
  document: { referrer: "", title: "Shop", cookie: "", hidden: false },
  fetch: async (url, request) => {
    sent.push({ url, body: JSON.parse(request.body) });
    return new Response('{"success":true,"accepted":1,"rejected":[]}');
  },
});

const { decide } = await import("../../sdk/browser/polku/retry.js");
const { createClient } = await import("../../sdk/browser/polku/client.js");
const { newId } = await import("../../sdk/browser/polku/event.js");
const cases = (name) => JSON.parse(readFileSync(new URL(`../contract/sdk/${name}.json`, import.meta.url), "utf8"));

const NOON = Date.UTC(2026, 2, 1, 12);
const answers = cases("answers").map((one) =>
  [0, 0.999].map((jitter) => {
    const answer = { _status: one.status ?? undefined, _retryAfter: one.retry_after };
    const { attempt = 1, events = 10 } = one;
    const decision = decide(answer, attempt, events, NOON, jitter);
    if (decision._seconds !== undefined) return { then: "wait", seconds: decision._seconds };
    // The event that is no JSON is found by halving.
    if (decision == "split") return { then: one.status == 400 ? "prune" : "split" };
    return decision == "delivered" ? { then: decision } : { then: "give_up", reason: decision };
  }),
);

const OPTIONS = { user_id: "userId", anonymous_id: "anonymousId", message_id: "messageId" };
const calls = [];
for (const { call, args, kwargs } of cases("calls")) {
  const client = createClient("write-key", "https://events.example.com", { storage: "none", pages: false });
  const named = Object.fromEntries(Object.entries(kwargs).map(([name, value]) => [OPTIONS[name] ?? name, value]));
  const first = call === "screen" ? [...args, undefined] : args; // its properties may be left out
  const returned = client[call](...first, { ...named, timestamp: "2026-03-01T12:30:00.123456Z" });
  await client.flush();
  calls.push({ returned, item: sent.at(-1).body.batch[0] });
}

const client = createClient("a key+", "https://events.example.com", { storage: "none", pages: false, queueEvents: 1 });
const circular = {};
circular.self = circular;
const odd = [
  client.track("odd", circular),
  client.track("odd", { big: 1n }),
  client.track("odd", { text: "x".repeat(30_001) }),
  client.track("odd", { nan: NaN, call() {}, kept: 1 }),
];
await client.flush();
const ids = Array.from({ length: 1000 }, newId);

console.log(JSON.stringify({ answers, calls, request: sent[0], odd, last: sent.at(-1), lost: client.stats().lost, ids }));
