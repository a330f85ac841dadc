"""The lake looks after itself: compaction, copies from several nodes, retention, vacuum, status."""
