"""The benchmark suite: `python -m tests.benchmarks [NAMES…] [--seconds S] [--json FILE]`, which `make bench` calls.

It prints one table; every figure stands beside a baseline measured in the same run, because a figure alone says as much
about the machine as about Polku. Ratios are for comparing machines and days, absolute figures for the machine at hand.

    analyses     the journeys' build; funnel, retention, sessions, paths beside chdb and SQL by hand (group `bench`)
    intake       HTTP → validation → fsync → 200 with one worker, against the same server answering a constant
    lake         journal → committed table, against DuckDB converting the same lines to Parquet files
    end-to-end   requests → rows visible in a fresh `DeltaTable`; through the real SDK; memory; a funnel over it
    freshness    from the receipt of each event to its row at a reader, while a steady load is on
    growth       a commit after very many others; a query before and after a compaction
    scale        a plan of 300 events, a start with a full journal, four collectors on one table
    hostile      a well-behaved client beside idle, slow, flooding and bombing ones
    peers        what one event costs a program with our SDK and with four others (group `bench`)
    track        what one `track()` costs its caller, against a bare `queue.put`
    validate     the plan's decoders against decoders written by hand and other validators

The collector, the load generator, the committer and the baseline server are real processes on loopback and a real
disk (`--folder`, else the folder for temporary files: in memory an fsync would cost nothing). What is measured is
checked: each answer must be the 200 that accepts every event, each row must arrive, quarantine must stay empty;
otherwise the subject prints no figure and the suite ends with 1. Nothing is asserted about time.

`--seconds` (default 20) is how long load is put on the whole way; all else is scaled from it.
"""
