"""The durable log between intake and lake: append-only segments of checksummed blocks, one stream per worker life."""
