"""Webhooks of other systems: what they send becomes events, as a mapping file says."""
