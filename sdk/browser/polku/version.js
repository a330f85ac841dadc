/** The one version of all parts of Polku, as the SDK names it to collectors (`context.library.version`). */
export const VERSION = "0.3.0";
