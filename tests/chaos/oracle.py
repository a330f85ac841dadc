"""Judges the tables by the ledger: every acknowledged event exactly once, nothing else, and every reader sees it so.

Positions (stream, sequence) are the journal's: the same one in two rows is a block that was committed twice. Before
compaction an id may be in `events` as often as there are collectors that it was sent to, since each knows only what
came in through it; after it once, but for copies of days that are no neighbours. An event that is refused is a row of
`quarantine` each time it is sent.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import msgspec
from deltalake import DeltaTable
from msgspec import Struct

from .load import Ledger, is_invalid, price_of, text_of, user_of
from .readers import COLUMNS, Reader
from .upkeep import left_over, live, look_after

_SHOWN = 5


class Verdict(Struct):
    """What the oracle found."""

    wrong: list[str]
    rows: int = 0
    quarantined: int = 0
    duplicates: int = 0
    """copies that were answered with 200 and are no rows"""
    orphans: int = 0
    """files that belong to no table any more, all of which a vacuum takes"""


def judge_to_the_end(
    lake: Path,
    uri: str,
    environment: Mapping[str, str],
    ledger: Ledger,
    readers: dict[str, Reader],
    unfinished: Callable[[], list[str]] = list,
) -> Verdict:
    """What is wrong with a lake that nobody uses any more: as it is, and again after compaction and a full vacuum.

    `uri` and `environment`: how a collector reaches it. `unfinished`: the uploads that were begun and not ended.
    """
    verdict = judge(lake, ledger, readers)
    if not DeltaTable.is_deltatable(str(lake / "events")):
        return verdict
    afterwards = look_after(uri, environment)
    afterwards += judge(lake, ledger, readers, compacted=True).wrong
    left = Verdict([])
    _report(left, "objects that a full vacuum leaves and no table needs", left_over(lake))
    _report(left, "uploads that were never finished and that a full vacuum leaves", unfinished())
    verdict.wrong += [f"after compaction and vacuum: {sentence}" for sentence in [*afterwards, *left.wrong]]
    return verdict


def judge(lake: Path, ledger: Ledger, readers: dict[str, Reader], *, compacted: bool = False) -> Verdict:
    """What is wrong with the tables of a lake. `compacted`: `polku lake compact` has run, and nobody wrote since."""
    verdict = Verdict([] if compacted else list(ledger.wrong))
    events = _rows(lake / "events", (*COLUMNS["events"], "event_date"))
    quarantine = _rows(lake / "quarantine", COLUMNS["quarantine"])
    verdict.rows, verdict.quarantined = len(events), len(quarantine)
    _judge_events(ledger, Counter(row["event_id"] for row in events), verdict)
    if compacted:
        _judge_copies(events, verdict)
    _judge_quarantine(ledger, Counter(row["event_id"] for row in quarantine), verdict)
    _judge_content(events, verdict)
    positions = Counter((row["stream"], row["sequence"]) for row in [*events, *quarantine])
    _report(verdict, "stored twice, by position", [place for place, count in positions.items() if count > 1])
    for table, rows in (("events", events), ("quarantine", quarantine)):
        _judge_files(lake / table, verdict)
        _judge_readers(lake / table, rows, readers, verdict)
    return verdict


def _judge_readers(table: Path, rows: list[dict[str, Any]], readers: dict[str, Reader], verdict: Verdict) -> None:
    """Every reader sees the same rows."""
    expected = _in_order(tuple(row[name] for name in COLUMNS[table.name]) for row in rows)
    for name, read in readers.items():
        try:
            found = _in_order(read(table))
        except Exception as error:
            verdict.wrong.append(f"{name} cannot read {table.name}: {error}")
            continue
        if found != expected:
            verdict.wrong.append(
                f"{name} reads {len(found)} rows of {table.name}, not the {len(expected)} that are there"
            )


def _in_order(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """By what they look like: values may be missing, and None is not less than anything."""
    return sorted(rows, key=repr)


def _judge_events(ledger: Ledger, found: Counter[str], verdict: Verdict) -> None:
    lost, too_many, copies = [], [], 0
    for event_id in {*ledger.answered, *ledger.unanswered, *found}:
        if is_invalid(event_id):
            if found[event_id]:
                verdict.wrong.append(f"{event_id} breaks its schema and is in events")
            continue
        nodes = {*ledger.answered.get(event_id, ()), *ledger.unanswered.get(event_id, ())}
        if found[event_id] > len(nodes):
            too_many.append((event_id, found[event_id], sorted(nodes)))
        if event_id in ledger.answered:
            if not found[event_id]:
                lost.append(event_id)
            copies += max(0, ledger.answered[event_id].total() - found[event_id])
    verdict.duplicates = copies
    _report(verdict, "acknowledged and not in events", lost)
    _report(verdict, "more than once in events (id, rows, collectors it went to)", too_many)


def _judge_copies(events: list[dict[str, Any]], verdict: Verdict) -> None:
    """Compaction compares a day with itself, the day before and the day after."""
    days: dict[str, list[date]] = {}
    for row in events:
        days.setdefault(row["event_id"], []).append(date.fromisoformat(str(row["event_date"])))
    near = [
        (event_id, len(found), *map(str, found))
        for event_id, found in ((event_id, sorted(found)) for event_id, found in days.items())
        if any(second - first <= timedelta(days=1) for first, second in itertools.pairwise(found))
    ]
    _report(verdict, "more than once in events, which compaction should have seen (id, rows, their days)", near)


def _judge_quarantine(ledger: Ledger, found: Counter[str], verdict: Verdict) -> None:
    lost, too_many = [], []
    for event_id in {*ledger.answered, *ledger.unanswered, *found}:
        answered = ledger.answered.get(event_id, Counter()).total() if is_invalid(event_id) else 0
        unanswered = ledger.unanswered.get(event_id, Counter()).total() if is_invalid(event_id) else 0
        if found[event_id] < answered:
            lost.append((event_id, found[event_id], answered))
        if found[event_id] > answered + unanswered:
            too_many.append((event_id, found[event_id], answered + unanswered))
    _report(verdict, "acknowledged and not in quarantine (id, rows, sent)", lost)
    _report(verdict, "too often in quarantine (id, rows, sent)", too_many)


def _judge_content(events: list[dict[str, Any]], verdict: Verdict) -> None:
    other = []
    for row in events:
        event_id = row["event_id"]
        wanted = {"user_id": user_of(event_id)}
        match row["event_name"]:
            case "products_searched":
                wanted["query"] = text_of(event_id)
            case "product_viewed":
                wanted |= {"product_id": text_of(event_id), "price": price_of(event_id)}  # type: ignore[dict-item]
            case _ if text_of(event_id) not in (row["extra"] or ""):
                other.append((event_id, "extra", row["extra"]))
        other += [(event_id, name, row[name]) for name, value in wanted.items() if row[name] != value]
    _report(verdict, "not what was sent (id, column, value)", other)


def _judge_files(table: Path, verdict: Verdict) -> None:
    """Every file of the table exists in its size; every other file is one that a vacuum takes."""
    if not DeltaTable.is_deltatable(str(table)):
        return
    handle = DeltaTable(str(table))
    sizes: dict[str, Any] = {str(row["path"]): row["size_bytes"] for row in live(table)}
    missing = [name for name, size in sizes.items() if not _has_size(table / name, size)]
    _report(verdict, f"files of {table.name} that are missing or cut", missing)
    there = {
        str(path.relative_to(table))
        for path in table.rglob("*")
        if path.is_file() and "_delta_log" not in path.parts and not path.name.startswith(".localbucket-")
    }
    orphans = there - set(sizes)
    taken = set(handle.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True))
    taken |= _removed_later(table)
    _report(verdict, f"files beside {table.name} that no vacuum takes", sorted(orphans - taken))
    _report(verdict, f"files of {table.name} that a vacuum would take", sorted(set(sizes) & taken))
    verdict.orphans += len(orphans)


def _removed_later(table: Path) -> set[str]:
    """What a clock that had stepped ahead removed from the table: a vacuum takes it once that time has come."""
    removed = set()
    for commit in (table / "_delta_log").glob("*.json"):
        for line in commit.read_bytes().splitlines():
            remove = msgspec.json.decode(line).get("remove")
            if remove is not None and remove["deletionTimestamp"] > time.time() * 1000:
                removed.add(unquote(remove["path"]))
    return removed


def _has_size(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _rows(table: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    if not DeltaTable.is_deltatable(str(table)):
        return []
    dataset = DeltaTable(str(table)).to_pyarrow_dataset()
    have = [name if name in dataset.schema.names else f"NULL AS {name}" for name in columns]
    found = duckdb.connect().register("rows", dataset).sql(f"SELECT {', '.join(have)} FROM rows").to_arrow_table()
    return list(found.to_pylist())


def _report(verdict: Verdict, what: str, found: list[Any]) -> None:
    if found:
        verdict.wrong.append(f"{len(found)} {what}: {', '.join(map(str, sorted(found)[:_SHOWN]))}")
