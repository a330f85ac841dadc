"""Programs that other programs load, in processes that those fork."""
