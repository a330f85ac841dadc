// The types of polku.mjs: keep it beside that file.

/**
 * One call as it goes on the wire. The order of its members is the order in the JSON text.
 */
export type Item = {
    type: string;
    event?: unknown;
    messageId?: unknown;
    timestamp?: unknown;
    userId?: unknown;
    anonymousId?: unknown;
    groupId?: unknown;
    previousId?: unknown;
    name?: unknown;
    category?: unknown;
    properties?: unknown;
    traits?: unknown;
    context?: object;
};

/**
 * Events that will not be delivered, as it is told.
 */
export type Loss = {
    id: string;
    reason: string;
    count: number;
};

/**
 * The settings of a client: one record, made when the client is.
 */
export type Options = {
    /**
     * Where batches are posted, below the endpoint. Another one where blockers know this.
     */
    path?: string | undefined;
    /**
     * What may be kept on the device: the anonymous id in a cookie of the
     * site (and all else in localStorage), everything in localStorage, or nothing at all.
     */
    storage?: "cookie" | "local" | "none" | undefined;
    /**
     * The domain of the cookie, as `example.com`; default: the host of the page.
     */
    cookieDomain?: string | undefined;
    /**
     * `"required"`: nothing is kept or sent before `consent()` is called. A
     * list: what has been consented to already. Default: consent is not asked for here.
     */
    consent?: "required" | string[] | undefined;
    /**
     * What a list of consent must hold for events to be kept and sent.
     */
    purpose?: string | undefined;
    /**
     * Whether pages are tracked by themselves, navigation inside a page included.
     */
    pages?: boolean | undefined;
    /**
     * Goes with every batch.
     */
    context?: Record<string, unknown> | undefined;
    /**
     * Changes an event, or drops it, before it is queued.
     */
    beforeSend?: ((item: Item) => Item | null | undefined) | undefined;
    /**
     * Is told of events that will not be delivered.
     */
    onLoss?: ((loss: Loss) => void) | undefined;
    /**
     * Is told of each answer, or
     * that there was none; the add-on `debug` sets it.
     */
    onAnswer?: ((status: number | undefined, body: any, events: string[]) => void) | undefined;
    /**
     * A batch is sent when its first event is this old.
     */
    batchAgeSeconds?: number | undefined;
};

/**
 * What every call takes beside its own arguments.
 */
export type CallOptions = {
    userId?: string | number | undefined;
    anonymousId?: string | number | undefined;
    /**
     * When it happened, with a time zone; default: now.
     */
    timestamp?: string | Date | undefined;
    /**
     * The id of the event, up to 128 characters; default: a UUIDv7.
     */
    messageId?: string | undefined;
    /**
     * Of a page or a screen.
     */
    category?: string | undefined;
    /**
     * Goes with this event only.
     */
    context?: object | undefined;
};

/**
 * Counts since the page was loaded.
 */
export type Stats = {
    /**
     * Waiting or being sent, other tabs' events included.
     */
    queued: number;
    /**
     * Acknowledged by the collector.
     */
    delivered: number;
    lost: Record<string, number>;
};

/**
 * Calls return the id of the event, undefined if it was dropped.
 */
export type Client = {
    /**
     * Something
     * happened.
     */
    track: (event: string, properties?: object, options?: CallOptions) => string | undefined;
    /**
     * Who
     * somebody is: later events are of this user, until `reset`.
     */
    identify: (userId: string | number, traits?: object, options?: CallOptions) => string | undefined;
    /**
     * A page was viewed.
     */
    page: (name?: string, properties?: object, options?: CallOptions) => string | undefined;
    /**
     * A screen of an
     * app was viewed.
     */
    screen: (name?: string, properties?: object, options?: CallOptions) => string | undefined;
    /**
     * Somebody belongs to
     * a company, a household, and so on.
     */
    group: (groupId: string, traits?: object, options?: CallOptions) => string | undefined;
    /**
     * An id continues
     * as another.
     */
    alias: (previousId: string, userId: string, options?: CallOptions) => string | undefined;
    /**
     * Somebody has logged out: the next events are of another anonymous id and session.
     */
    reset: () => void;
    /**
     * What has been consented to, as often as that changes. With the
     * purpose in the list events are kept and sent, also those that waited. Without it nothing is, and what was kept on
     * the device is removed.
     */
    consent: (purposes: string[]) => void;
    /**
     * Send what is queued, and say whether all was delivered.
     */
    flush: () => Promise<boolean>;
    /**
     * What became of the events so far; the record goes on counting.
     */
    stats: () => Stats;
    /**
     * What it goes by; add-ons set the hooks among them.
     */
    settings: Options;
};

/**
 * Make a client of one source of a collector.
 *
 * @param {string} writeKey
 * @param {string} endpoint Address of the collector, with a path prefix where it has one.
 * @param {Options} [options]
 * @returns {Client}
 */
export function createClient(writeKey: string, endpoint: string, options?: Options): Client;
