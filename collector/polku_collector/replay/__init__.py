"""Replay: judge quarantined events again and move those that pass to `events`, each exactly once."""
