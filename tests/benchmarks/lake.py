"""Lake: from a journal that is already full to committed rows, beside DuckDB converting the same lines.

The journal is written with the collector's own validator and writer. The committer then runs as it does under the
supervisor, in a process of its own, duplicates looked for, every file and commit fsynced; its own log tells the times.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from polku_collector.batch import Block
from polku_collector.intake.judged import Arrival
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.journal.reader import StreamReader, open_streams
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake.gather import gathered
from polku_collector.lake.layout import layout_of
from polku_collector.planned import put_in_force, schemas_of
from polku_collector.settings import MIB, JournalSettings, Lake, Limits, Settings, Source
from polku_schemas import compile_plan

from .bodies import patched
from .figures import Figure, NotAsExpected
from .load import FIRST_IDS
from .processes import contents, wait_for_rows
from .shop import MIX, Shop

ONE_NAME = "product_viewed"
_BATCH = 500
_EVENTS_PER_SECOND = 40_000
_SHARE_OF_DUCKDB = 0.8

_COMMITTER = """
import sys, msgspec
from polku_collector.compose_committer import run
from polku_collector.settings import Settings
run(msgspec.json.decode(sys.argv[1], type=Settings))
"""
# Files of lines → Parquet files, as many side by side as there are threads: what DuckDB takes for it and no more.
_CONVERTER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import duckdb
jobs, threads = json.load(open(sys.argv[1])), int(sys.argv[2])
connection = duckdb.connect(config={"threads": threads})
connection.execute("SET enable_progress_bar = false")
connection.execute("SET TimeZone = 'UTC'")
def convert(job):
    rows = (
        f"SELECT {job['select']} FROM read_json('{job['lines']}', columns = {job['members']}, "
        "format = 'newline_delimited', compression = 'none', maximum_object_size = 67108864)"
    )
    connection.cursor().execute(
        f"COPY ({rows}) "
        f"TO '{job['target']}' (FORMAT parquet, COMPRESSION zstd)"
    ).fetchall()
with ThreadPoolExecutor(threads) as pool:
    started = time.perf_counter()
    list(pool.map(convert, jobs))
    print(time.perf_counter() - started)
"""
# What no committer can leave out, with the same libraries and as many threads: lines are read from the journal and
# checked, parsed, given keys, which are put in order, and written to synced files. No visits, devices, index on disk,
# counts, commits.
_LEAST = """
import os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
import numpy as np, pyarrow.parquet as pq
from polku_collector.engine import open_duckdb
from polku_collector.journal.reader import open_streams
from polku_collector.lake.gather import gathered, shared_out
from polku_collector.lake.reading import Reader, read_group
from polku_collector.settings import Lake
journal, target, threads, own = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), threading.local()
connection = open_duckdb(threads=1)
connection.execute("SET enable_progress_bar = false")

def convert(number, group, streams):
    if not hasattr(own, "reader"):
        own.reader = Reader(connection.cursor())
    rows, _ = read_group(own.reader, group, streams)
    np.sort(rows["_high"].to_numpy())
    path = f"{target}-{number}.parquet"
    pq.write_table(rows.drop_columns(["_high", "_low", "_digest", "_stream"]), path, compression="zstd")
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)

readers, after, number, before = {}, 0, 0, []
(stream,) = open_streams(journal, readers)
readers[stream].take_over()
with ThreadPoolExecutor(threads) as pool:
    started = time.perf_counter()
    while blocks := readers[stream].read(after, Lake().flush_bytes):
        after = blocks[-1].last_sequence
        groups = shared_out(gathered(blocks, {}), threads)
        work = [pool.submit(convert, number + place, group, [stream]) for place, group in enumerate(groups)]
        number += len(groups)
        wait(before)
        before = work
    for each in before:
        each.result()
    wait(before)
    print(time.perf_counter() - started)
"""


class _Prepared(Struct, frozen=True):
    """A full journal, and how large the events were as they were sent."""

    journal: Path
    events: int
    sent_bytes: int


def run(work: Path, seconds: float) -> list[Figure]:
    """The lake's figures for a mix of names and for one name."""
    figures: list[Figure] = []
    shop = Shop(seed=2)
    for name in (None, ONE_NAME):
        folder = work / f"lake-{name or 'mix'}"
        folder.mkdir()
        events = int(seconds * _EVENTS_PER_SECOND / (1 if name is None else 4))
        prepared = asyncio.run(prepare(folder, shop, events, name))
        converted, size = _convert(folder, prepared)  # first: the committer trims the journal
        needed = _program(_LEAST, str(prepared.journal), str(folder / "least"), str(os.cpu_count() or 1))
        committed = commit_seconds(folder, prepared)
        what = f"{len(MIX)} names" if name is None else "one name"
        figures += _figures(what, folder, prepared, committed, converted, size)
        figures.append(_beside_the_least(what, prepared, committed, converted, needed))
    return figures


def _beside_the_least(what: str, prepared: _Prepared, committed: float, converted: float, needed: float) -> Figure:
    return Figure(
        subject="lake",
        what=f"the same beside the least there is to do: read, check, parse, keys in order, write, sync; {what}",
        value=prepared.events / committed,
        unit="events/s",
        baseline=prepared.events / needed,
        baseline_what="that alone",
        note=f"that alone is {converted / needed:.2f} of DuckDB",
    )


def _figures(
    what: str, folder: Path, prepared: _Prepared, committed: float, converted: float, converted_bytes: int
) -> list[Figure]:
    held = contents(folder / "lake", "events")
    return [
        Figure(
            subject="lake",
            what=f"journal → committed table, {prepared.events:,} events, {what}",
            value=prepared.events / committed,
            unit="events/s",
            baseline=prepared.events / converted,
            baseline_what="DuckDB: the same files",
            target=prepared.events / converted * _SHARE_OF_DUCKDB,
            note=f"{held.files} files",
        ),
        Figure(
            subject="lake",
            what=f"stored size, {what}",
            value=held.size_bytes / prepared.events,
            unit="bytes/event",
            baseline=prepared.sent_bytes / prepared.events,
            baseline_what="JSON as sent",
            lower_is_better=True,
            note=f"DuckDB's files: {converted_bytes / prepared.events:.0f} bytes/event",
        ),
    ]


async def prepare(folder: Path, shop: Shop, events: int, name: str | None) -> _Prepared:
    """Events through validator and writer, as intake does it."""
    validator = Validator(compile_plan(shop.plan), Limits(), new_id=str)
    schemas = schemas_of(shop.plan)
    (folder / "journal").mkdir()
    put_in_force(folder / "journal", shop.plan)
    journal = StreamWriter(
        folder / "journal",
        max_bytes=16 * 1024 * MIB,
        segment_bytes=64 * MIB,
    )
    prepared = _Prepared(folder / "journal", 0, 0)
    source, first = Source(keys=["bench"], channel="web"), next(FIRST_IDS)
    count = sent_bytes = 0
    try:
        while count < events:
            size = min(_BATCH, events - count)
            raw = patched(shop.templates(1, size, name)[0], first + count)
            judged = validator.judge(parse_batch(raw), Arrival(datetime.now(UTC), None, "bench", source, raw))
            if judged.rejected or judged.warnings:
                raise NotAsExpected(f"not plainly accepted: {(judged.rejected + judged.warnings)[0]}")
            await journal.append(judged.lines, schemas, len(raw))
            count, sent_bytes = count + size, sent_bytes + len(raw)
    finally:
        journal.close()
    return msgspec.structs.replace(prepared, events=count, sent_bytes=sent_bytes)


def commit_seconds(folder: Path, prepared: _Prepared) -> float:
    """Seconds from the start of the first flush to the last commit."""
    settings = Settings(
        lake=Lake(uri=str(folder / "lake"), flush_seconds=1.0), journal=JournalSettings(directory=str(prepared.journal))
    )
    log = folder / "committer.log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", _COMMITTER, msgspec.json.encode(settings).decode()]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for_rows(folder / "lake", prepared.events, patience_seconds=60, alive=process, log=log)
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise NotAsExpected(f"the committer ended with {process.returncode}: {log.read_text()[-2_000:]}")
    finally:
        process.kill()
        process.wait()
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    begun = next(record["timestamp"] for record in records if record["event"] == "committing")
    flushes = [record for record in records if record["event"] == "committed"]
    if sum(flush["rows"] for flush in flushes) != prepared.events or any(flush["duplicates"] for flush in flushes):
        raise NotAsExpected(f"the committer counted other rows than were journalled: {flushes}")
    return (datetime.fromisoformat(flushes[-1]["timestamp"]) - datetime.fromisoformat(begun)).total_seconds()


def _convert(folder: Path, prepared: _Prepared) -> tuple[float, int]:
    """Seconds and bytes DuckDB takes for the same lines in the same groups, flush by flush, with as many threads."""
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps([job for flush in _flushes(prepared) for job in _jobs(folder, flush)]))
    seconds = _program(_CONVERTER, str(jobs), str(os.cpu_count() or 1))
    return seconds, sum(path.stat().st_size for path in folder.glob("converted-*.parquet"))


def _program(program: str, *arguments: str) -> float:
    """The seconds that a program of its own says it took."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAsExpected(f"the lines could not be converted: {done.stderr[-1_000:]}")
    return float(done.stdout)


def _flushes(prepared: _Prepared) -> Iterator[list[Block]]:
    """What the committer takes into one commit each."""
    readers: dict[str, StreamReader] = {}
    (name,) = open_streams(prepared.journal, readers)
    reader, after = readers[name], 0
    reader.take_over()
    while blocks := reader.read(after, Lake().flush_bytes):
        yield blocks
        after = blocks[-1].last_sequence


def _jobs(folder: Path, blocks: list[Block]) -> Iterator[dict[str, str]]:
    for group in gathered(blocks, {}):
        lines = folder / f"group-{blocks[0].first_sequence}-{group.name.replace('*', 'shared')}.ndjson"
        with lines.open("wb") as file:
            for parts in group.parts.values():
                file.writelines(part.text for part in parts)
        layout = layout_of(group)
        target = folder / f"converted-{lines.stem}.parquet"
        yield {"lines": str(lines), "target": str(target), "select": layout.select, "members": layout.members}
