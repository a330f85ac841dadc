"""The chaos harness: `python -m tests.chaos [--long] [--seed N] [--round N] [--scenario S]`, which `make chaos` calls.

Real collector processes on a local lake, or on a real S3-compatible server behind a proxy that makes faults. Load is
sent, processes are killed with SIGKILL (at random and at named points of the protocol), disks fill up, clocks jump.
Then everything is left in peace and drained, and the oracle compares what is in the tables with what was answered.

    plan.py       what happens in a round: drawn from its seed before anything starts
    director.py   makes it happen: the timeline of kills, faults and points
    proxy.py      faults between collectors and the store, and the moments of each request
    points.py     the named points of the protocol, on disk and in the store; `injected/` is their half in the collector
    world.py      the processes: collectors, the store
    ports.py      which ports they take
    load.py       sends batches, keeps the ledger of what was answered
    oracle.py     judges the tables by the ledger; `readers.py` has engines that share nothing with Polku
    upkeep.py     compacts and vacuums the lake before it is judged again, and says what is left over
    damage.py     rounds that damage a journal at rest instead
    report.py     counts kills, faults, events over all rounds

Everything random comes from the seed, which is printed: `--seed N --round N` plans the same round again. Its timing is
the machine's, so it may take several tries to see the same race.
"""
