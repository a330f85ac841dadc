"""The one version of all parts of Polku, as the SDK names it to collectors (`context.library.version`)."""

__version__ = "0.3.0"
