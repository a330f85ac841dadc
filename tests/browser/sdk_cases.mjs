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
    const answer = [one.status ?? undefined, one.retry_after];
    const { attempt = 1, events = 10 } = one;
    const decision = decide(answer, attempt, events, NOON, jitter);
    if (Array.isArray(decision)) return { then: "wait", seconds: decision[0] };
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

// Conversations, answer by answer. The clock is in our hand: what the SDK waits for is passed at once, and exactly.
const { setTimeout, clearTimeout, fetch } = globalThis;
const { now, random } = { now: Date.now, random: Math.random };
let clock = now();
let timers = [];
Date.now = () => clock;
Math.random = () => 0.999;
globalThis.setTimeout = (run, milliseconds) => timers.push({ run, at: clock + milliseconds }) && timers.at(-1);
globalThis.clearTimeout = (timer) => (timers = timers.filter((one) => one != timer));
const deliveries = [];
for (const { rounds, answers: script = [], forever } of cases("deliveries")) {
  const requests = [];
  const left = [...script];
  globalThis.fetch = async (url, request) => {
    const { status, retry_after: retryAfter, body, rejected = [] } = forever ?? left.shift() ?? { status: 200 };
    requests.push({ at: clock / 1000, body: JSON.parse(request.body) });
    if (status == null) throw new TypeError("no connection");
    const verdicts = rejected.map((index) => ({ index, code: "wrong_type", path: "$", message: "no" }));
    const headers = retryAfter ? { "Retry-After": retryAfter } : {};
    return new Response(body ?? JSON.stringify({ success: true, accepted: 0, rejected: verdicts }), { status, headers });
  };
  timers = [];
  const client = createClient("write-key", "https://events.example.com", { storage: "none", pages: false });
  const tracked = [];
  for (const number of rounds) {
    for (let n = 0; n < number; n++) tracked.push(client.track("x", { same: 1 }, { userId: "u" }));
    await client.flush();
    while (client.stats().queued) {
      const next = timers.sort((one, other) => one.at - other.at).shift();
      clock = Math.max(clock, next.at);
      await next.run();
    }
  }
  const { delivered, lost } = client.stats();
  // Of those without end only the last is told: there are thousands.
  deliveries.push({ requests: forever ? requests.slice(-1) : requests, delivered, lost, tracked });
}
Object.assign(globalThis, { setTimeout, clearTimeout, fetch });
Object.assign(Date, { now });
Object.assign(Math, { random });

console.log(JSON.stringify({ deliveries, answers, calls, request: sent[0], odd, last: sent.at(-1), lost: client.stats().lost, ids }));
