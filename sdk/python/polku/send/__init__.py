"""`polku send`: events from files to a collector, for imports and shell scripts. Nothing of the SDK imports it."""
