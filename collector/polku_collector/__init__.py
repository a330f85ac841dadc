"""The collector: HTTP in, durable journal, Delta tables out.

An event goes left to right through three folders that never import each other:

    intake/    a request becomes validated lines, or a verdict for what is wrong with them
    journal/   lines become durable blocks in append-only segments; an answer is sent only after their fsync
    lake/      blocks become Parquet files and one fenced Delta commit; the journal is trimmed behind it

`compose_intake` and `compose_committer` draw every arrow between them, one for each kind of process; `supervisor`
starts the processes; `cli` reads the command line.
The values that travel are in `batch`, the settings in `settings`, what can go wrong in `errors`.
"""
