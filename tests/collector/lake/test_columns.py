"""Rows out equal rows in: what intake accepts becomes a row with the same values, or a quarantine row that says why."""

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polku_collector.batch import CONTEXT_PLACES, Block, Line, QuarantineLine
from polku_collector.errors import LakeError
from polku_collector.intake.judged import Arrival
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.journal.block import decode_block, decode_head, encode_block
from polku_collector.journal.writer import encoded_runs
from polku_collector.lake import columns, gather, reading
from polku_collector.lake.columns import ColumnsStep, Keys, Repeats, Written
from polku_collector.lake.enrich import UserAgents
from polku_collector.lake.gather import files_a_day, gathered, shared_out
from polku_collector.lake.reading import conflicting
from polku_collector.planned import schemas_of
from polku_collector.settings import Limits, Source
from polku_schemas import builtin_plan_path, compile_plan, load_plan

NOW = datetime(2026, 11, 22, 12, 0, 0, 654321, tzinfo=UTC)
PLAN = load_plan(builtin_plan_path())
VALIDATOR = Validator(compile_plan(PLAN), Limits(), new_id=lambda: "made")
PAST = Source(keys=["k"], historical=True)
AGENTS = UserAgents()


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> ColumnsStep:
    return ColumnsStep(tmp_path_factory.mktemp("scratch"), AGENTS.table, threads=1)


def test_what_does_not_fit_into_memory_takes_its_share_of_the_disk_and_no_more(tmp_path: Path) -> None:
    bounded = ColumnsStep(tmp_path, AGENTS.table, threads=1, spill_max_bytes=1 << 20)._connection
    bounded.execute("SET memory_limit = '50MiB'")
    bounded.execute("CREATE TEMP TABLE numbers AS SELECT range AS n FROM range(1_000_000)")
    with pytest.raises(duckdb.OutOfMemoryException, match="max_temp_directory_size"):
        bounded.execute("CREATE TEMP TABLE texts AS SELECT md5(n::VARCHAR) AS text FROM numbers, range(3)")
    # And each that writes for the tables is told how much that is.
    made = re.compile(r"\bColumnsStep\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*spill_max_bytes=")
    for name in ("compose_committer.py", "compose_replay.py"):
        assert made.search((Path(columns.__file__).parents[1] / name).read_text()), name


def nothing_repeats(keys: Keys, streams: list[str]) -> Repeats:
    none = np.zeros(len(keys.high), np.bool_)
    return Repeats(none, none)


def judged(items: Sequence[Any], source: Source = PAST) -> list[Line | QuarantineLine]:
    body = json.dumps({"batch": items}).encode()
    return VALIDATOR.judge(parse_batch(body), Arrival(NOW, None, "web", source, body)).lines


def block(lines: list[Line | QuarantineLine], stream: str = "s1", first: int = 1) -> Block:
    data = memoryview(b"".join(encode_block(stream, first, encoded_runs(lines, first))))
    head = decode_head(data)
    found, text = decode_block(stream, head, data)
    return Block(stream, head.first_sequence, head.last_sequence, found, text, schemas_of(PLAN))


def rows(written: Written, which: str = "events") -> list[dict[str, Any]]:
    """All rows of the files; columns that a file lacks are missing."""
    found: list[dict[str, Any]] = []
    for file in getattr(written, which):
        found += pq.ParquetFile(file.path).read().to_pylist()
    return sorted(found, key=lambda row: (row["stream"], row["sequence"]))


def held(written: Written) -> list[dict[str, Any]]:
    """All rows of `events` with the values they have."""
    return [{name: value for name, value in row.items() if value is not None} for row in rows(written)]


def track(name: str, properties: dict[str, Any], number: int = 0, **fields: Any) -> dict[str, Any]:
    item = {"type": "track", "event": name, "userId": "u", "messageId": f"m{number}", "properties": properties}
    return item | fields


def test_one_event_name_with_user_agents_stays_one_row_an_event(step: ColumnsStep) -> None:
    """A table of distinct user agents is joined; a row twice in it would multiply the events."""
    items = [
        track("product_viewed", {"product_id": "p"}, number, context={"userAgent": "Mozilla/5.0 (X11; Linux x86_64)"})
        for number in range(1500)
    ]
    written = step.write([block(judged(items))], nothing_repeats)
    assert (written.rows_in, written.event_rows, len(written.events)) == (1500, 1500, 1)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("absent", [1, 10_000, 10**9])  # read each alone, some, or all side by side
def test_rows_are_the_same_however_lines_are_shared_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, absent: int
) -> None:
    items = [
        track(
            name,
            properties,
            number,
            timestamp=(NOW - timedelta(days=number % 2)).isoformat(),
            context={"page": {"url": f"https://shop.example/p/{number % 7}"}, "userAgent": f"agent {number % 5}"},
        )
        for number, (name, properties) in enumerate(
            [("product_viewed", {"product_id": "p"})] * 1200
            + [("product_added", {"product_id": "p", "quantity": 2})] * 900
            + [("cart_viewed", {})] * 300
        )
    ]
    flush = [block(judged(items[:1500]), "s1"), block(judged(items[1500:]), "s2")]
    expected = held(ColumnsStep(tmp_path / "plain", AGENTS.table, threads=1).write(flush, nothing_repeats))
    monkeypatch.setattr(gather, "PART_LINES", 100)
    monkeypatch.setattr(gather, "FILE_ROWS", 200)
    monkeypatch.setattr(columns, "gathered", partial(gathered, absent=absent))
    written = ColumnsStep(tmp_path / "shared-out", AGENTS.table, threads=threads).write(flush, nothing_repeats)
    assert held(written) == expected and len(expected) == len(items)
    assert 2 * min(threads, 2) <= len(written.events) <= 2 * threads, "one of each of two days by each worker"


@pytest.mark.parametrize(
    ("rows", "days", "files"),
    [(0, 1, 1), (19_999, 1, 1), (39_999, 1, 1), (60_000, 1, 3), (60_000, 2, 1), (10**6, 1, 4)],
)
def test_files_of_a_flush_are_large_and_no_more_than_there_are_workers(rows: int, days: int, files: int) -> None:
    assert files_a_day(rows, days, 4) == files


def test_a_file_has_no_column_that_only_earlier_flushes_needed(tmp_path: Path) -> None:
    step = ColumnsStep(tmp_path, AGENTS.table, threads=1)
    context = {"page": {"url": "https://shop.example/?utm_source=n"}, "userAgent": "curl/8", "locale": "fi"}
    rich = [track("product_added", {"product_id": "p", "quantity": 2}, context=context)]
    bare = [track("product_added", {"product_id": "p"})]

    def names(items: Sequence[Any]) -> list[list[str]]:
        return [pq.read_schema(file.path).names for file in step.write([block(judged(items))], nothing_repeats).events]

    first, now, again = names(bare), names(rich), names(bare)
    assert first == again
    assert {"quantity", "locale", "browser", "utm_source", "marketing_channel"} <= {*now[0]} - {*first[0]}


def test_a_name_with_many_lines_is_read_alone_and_the_others_side_by_side() -> None:
    items = [track("page_viewed", {}, number) for number in range(400)]
    items += [track("product_viewed", {"product_id": "p"}, number) for number in range(30)]
    items += [track("cart_viewed", {}, number) for number in range(30)]
    flush = [block(judged(items))]
    apart, together = gathered(flush, {}, absent=1_000), gathered(flush, {})
    assert [(group.name, group.lines) for group in apart] == [("page_viewed", 400), (gather.SHARED, 60)]
    assert [(group.name, group.lines) for group in together] == [(gather.SHARED, 460)]
    pieces = [part.lines for part in shared_out(gathered(flush, {}), 4)]
    assert pieces == [460], "too few lines to be cut"


def test_a_journal_of_an_older_version_gives_the_same_rows(step: ColumnsStep) -> None:
    """Format 1 had the columns of `context` beside it."""
    context = {
        "page": {"url": "https://x.example/a?utm_source=n", "title": "A", "referrer": ""},
        "campaign": {"name": "c", "source": "s", "medium": "email", "term": "t", "content": "k"},
        "library": {"name": "l", "version": "1"},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "locale": "fi",
        "timezone": "Europe/Helsinki",
        "sessionId": "s1",
        "consent": ["analytics"],
    }
    lines = judged([track("product_viewed", {"product_id": "p"}, 1, context=context), track("cart_viewed", {}, 2)])
    new = block(lines)
    parts, runs = [], []
    for run in new.runs:
        flat = b""
        for line in bytes(new.lines[run.offset : run.offset + run.length]).splitlines():
            document = json.loads(line)
            inside = document.pop("context", {})
            for name, place in CONTEXT_PLACES.items():
                value: Any = inside
                for step_in in place:
                    value = (value or {}).get(step_in)
                if value:
                    document[name] = value
            flat += msgspec.json.encode(document) + b"\n"
        runs.append(msgspec.structs.replace(run, offset=sum(map(len, parts)), length=len(flat)))
        parts.append(flat)
    old = msgspec.structs.replace(new, format=1, runs=runs, lines=memoryview(b"".join(parts)))
    found = rows(step.write([new], nothing_repeats))
    assert rows(step.write([old], nothing_repeats)) == found
    assert {row["event_name"]: row.get("utm_medium") for row in found} == {
        "product_viewed": "email",
        "cart_viewed": None,
    }
    mixed = step.write([old, msgspec.structs.replace(new, stream="s2")], nothing_repeats)
    assert (mixed.rows_in, mixed.event_rows) == (4, 4)


def test_every_day_has_its_file_with_the_day_inside(step: ColumnsStep) -> None:
    items = [
        track("product_viewed", {"product_id": "p"}, number, timestamp=(NOW - timedelta(days=number)).isoformat())
        for number in range(40)
    ]
    written = step.write([block(judged(items))], nothing_repeats)
    assert len(written.events) == 40
    for file in written.events:
        (day,) = set(pq.ParquetFile(file.path).read(columns=["event_date"])["event_date"].to_pylist())
        assert file.partition == str(day)
        assert file.key.startswith(f"event_date={day}/")


def test_statistics_hold_no_persons_and_round_times_outwards(step: ColumnsStep) -> None:
    written = step.write([block(judged([track("product_viewed", {"product_id": "p"})]))], nothing_repeats)
    statistics = json.loads(written.events[0].statistics)
    assert set(statistics["minValues"]) <= {"event_id", "event_name", "event_time", "received_at"}
    assert statistics["minValues"]["received_at"] == "2026-11-22T12:00:00.654Z"
    assert statistics["maxValues"]["received_at"] == "2026-11-22T12:00:00.655Z"
    assert statistics["numRecords"] == 1


def test_duplicates_are_dropped_and_conflicts_are_quarantined_with_their_line(step: ColumnsStep) -> None:
    items = [track("product_viewed", {"product_id": f"p{number}"}, number) for number in range(4)]

    def repeats(keys: Keys, streams: list[str]) -> Repeats:
        return Repeats(keys.sequence == 2, keys.sequence == 3)

    written = step.write([block(judged(items))], repeats)
    assert [row["sequence"] for row in rows(written)] == [1, 4]
    (refused,) = rows(written, "quarantine")
    assert (refused["sequence"], refused["code"], refused["path"]) == (3, "duplicate_id", "$.messageId")
    assert json.loads(refused["original"])["p"]["product_id"] == "p2"
    assert (written.duplicates, written.rows_in) == (1, 4)


def test_a_line_that_does_not_convert_is_found_and_the_others_go_on(step: ColumnsStep) -> None:
    lines = judged(
        [track("product_viewed", {"product_id": f"p{number}", "price": 1.0}, number) for number in range(50)]
    )
    broken = lines[17]
    assert isinstance(broken, Line)
    broken.p = {"product_id": "p17", "price": "not a number"}  # as no intake of ours would write it
    written = step.write([block(lines)], nothing_repeats)
    assert (written.event_rows, written.quarantine_rows, written.unconvertible) == (49, 1, 1)
    (refused,) = rows(written, "quarantine")
    assert (refused["code"], refused["event_id"], refused["received_at"]) == ("unconvertible", "m17", NOW)
    assert json.loads(refused["original"])["p"]["price"] == "not a number"
    assert (
        refused["message"]
        == 'Invalid Input Error: JSON transform error: Failed to cast value to numerical: "not a number"'
    )


def test_a_reader_keeps_the_memory_of_small_flushes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = ColumnsStep(tmp_path, AGENTS.table, threads=1)
    flush = [block(judged([track("cart_viewed", {}, number)]), f"s{number}") for number in range(3)]

    def kept() -> int:
        reader = step._readers.get()
        step._readers.put(reader)
        return sum(os.fstat(descriptor).st_size for descriptor in reader._files)

    step.write(flush, nothing_repeats)
    assert kept() == sum(len(part.lines) for part in flush)
    monkeypatch.setattr(reading, "KEPT_BYTES", 100)
    step.write(flush, nothing_repeats)
    assert kept() == 0
    assert step.write(flush, nothing_repeats).event_rows == 3


def test_lines_that_no_header_describes_stop_the_flush(step: ColumnsStep) -> None:
    lines = judged([track("product_viewed", {"product_id": "p"})])
    described = block(lines)
    schemas = msgspec.structs.replace(described.schemas, events={})
    with pytest.raises(LakeError, match="does not describe"):
        step.write([msgspec.structs.replace(described, schemas=schemas)], nothing_repeats)


def test_two_streams_and_two_plans_in_one_flush(step: ColumnsStep) -> None:
    first = block(judged([track("product_viewed", {"product_id": "p"}, 1)]), "s1")
    second = block(judged([track("product_viewed", {"product_id": "p"}, 2)]), "s2")
    other = msgspec.structs.replace(second.schemas, plan_fingerprint="other")
    written = step.write([first, msgspec.structs.replace(second, schemas=other)], nothing_repeats)
    assert [(row["stream"], row["event_id"]) for row in rows(written)] == [("s1", "m1"), ("s2", "m2")]


texts = st.text(max_size=20) | st.sampled_from(
    ["\x00", "a\x00b", "\u2028", "\ud83d\ude00", "NaN", "null", '"', "\\", "\n"]
)
integers = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)
times = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))
offsets = times.flatmap(
    lambda time: st.integers(-14 * 60, 14 * 60).map(lambda minutes: time.astimezone(_zone(minutes)).isoformat())
)


def _zone(minutes: int) -> Any:
    from datetime import timezone

    return timezone(timedelta(minutes=minutes))


json_values = st.recursive(
    st.none() | st.booleans() | integers | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": texts,
    "integer": integers,
    "number": numbers,
    "boolean": st.booleans(),
    "date": st.dates().map(str),
    "date-time": offsets,
    "uuid": st.uuids().map(str),
}


def documents(properties: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Documents near what the plan says: most are accepted, some are not."""
    known = {name: _value(prop) | st.none() for name, prop in properties.items()}
    required = {name: _value(prop) for name, prop in properties.items() if prop.required}
    optional = {name: strategy for name, strategy in known.items() if name not in required}
    unplanned = st.dictionaries(st.sampled_from(["colour", "größe", "a b"]), json_values, max_size=2)
    return st.builds(lambda a, b: b | a, st.fixed_dictionaries(required, optional=optional), unplanned)


def _value(prop: Any) -> st.SearchStrategy[Any]:
    if prop.enum:
        return st.sampled_from(prop.enum)
    if prop.items is not None:
        return st.lists(_value(prop.items), max_size=3)
    if prop.type == "object":
        required = {name: _value(field) for name, field in prop.fields.items() if field.required}
        optional = {name: _value(field) for name, field in prop.fields.items() if not field.required}
        return st.fixed_dictionaries(required, optional=optional)
    return VALUES[prop.type]


NAMES = (
    "order_completed",
    "order_delivered",
    "survey_answered",
    "product_viewed",
    "search_results_viewed",
    "product_added",
)
events = st.sampled_from([PLAN.events[name] for name in NAMES]).flatmap(
    lambda event: documents(event.properties).map(lambda document: (event.name, document))
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(events, min_size=1, max_size=12))
def test_every_document_that_intake_accepts_becomes_the_row_it_says(
    step: ColumnsStep, documents: list[tuple[str, dict[str, Any]]]
) -> None:
    lines = judged([track(name, document, number) for number, (name, document) in enumerate(documents)])
    written = step.write([block(lines)], nothing_repeats)
    assert written.unconvertible == 0
    stored = {row["event_id"]: row for row in rows(written)}
    accepted = [line for line in lines if isinstance(line, Line)]
    assert len(stored) == len(accepted)
    for line in accepted:
        for name in line.p.__struct_fields__:
            said, kept = getattr(line.p, name), stored[line.event_id].get(name)
            assert _same(said, kept), (name, said, kept)
        if line.extra:
            assert json.loads(stored[line.event_id]["extra"]) == json.loads(line.extra)


def _same(said: Any, kept: Any) -> bool:
    if isinstance(said, msgspec.Struct):
        return kept is not None and all(_same(getattr(said, name), kept[name]) for name in said.__struct_fields__)
    if isinstance(said, list):
        return kept is not None and len(said) == len(kept) and all(map(_same, said, kept))
    if isinstance(said, float):
        return kept is not None and (said == kept or math.isclose(said, kept, rel_tol=1e-15))
    if said is None or isinstance(said, str | int | bool | datetime):
        return bool(said == kept)
    return str(said) == str(kept)  # dates, uuids


def test_of_an_id_used_again_the_line_itself_is_kept_whatever_its_stream_and_block(step: ColumnsStep) -> None:
    lines = [
        judged([track("product_viewed", {"product_id": f"{stream}{number}"}, number) for number in range(6)])
        for stream in "ab"
    ]
    flush = [block(lines[0][:3], "a"), block(lines[0][3:], "a", 4), block(lines[1], "b")]

    def repeats(keys: Keys, streams: list[str]) -> Repeats:
        none = np.zeros(len(keys.high), np.bool_)
        position = {("a", 5), ("b", 2)}
        again = [(streams[s], int(n)) in position for s, n in zip(keys.stream, keys.sequence, strict=True)]
        return Repeats(none, np.array(again))

    written = step.write(flush, repeats)
    refused = rows(written, "quarantine")
    assert [(row["stream"], row["sequence"]) for row in refused] == [("a", 5), ("b", 2)]
    for row in refused:
        (said,) = [
            bytes(line)
            for part in flush
            if part.stream == row["stream"]
            for line in bytes(part.lines).splitlines()
            if json.loads(line)["sequence"] == row["sequence"]
        ]
        assert row["original"].encode() == said
    assert written.event_rows == 10


def test_a_client_that_uses_thousands_of_ids_again_is_looked_through_once() -> None:
    class Watched(set[int]):
        looked = 0

        def __iter__(self) -> Iterator[int]:
            for number in super().__iter__():
                self.looked += 1
                yield number

    lines = judged([track("cart_viewed", {}, number) for number in range(4)])
    flush = [block(lines, first=first) for first in range(1, 400, 4)]
    again = Watched({2, *range(201, 401)})
    assert [line.sequence for _, line in conflicting(flush, {"s1": again})] == [2, *range(201, 401)]
    assert again.looked == len(again)


def test_a_property_may_have_the_name_of_something_that_only_the_lake_looks_at(step: ColumnsStep) -> None:
    """`user_agent` and `digest` of a line have no columns: a plan may have properties of these names."""
    lines = judged([track("product_viewed", {"product_id": "p"}, 1, context={"userAgent": "curl/8"})])
    (line,) = lines
    assert isinstance(line, Line)
    line.p = {"product_id": "p", "user_agent": "mine", "digest": "d", "key": "k", "high": 1.5}
    made = block(lines)
    properties = {**made.schemas.events["product_viewed"], **dict.fromkeys(("user_agent", "digest", "key"), "string")}
    events = {**made.schemas.events, "product_viewed": {**properties, "high": "double"}}
    schemas = msgspec.structs.replace(made.schemas, events=events)
    (row,) = rows(step.write([msgspec.structs.replace(made, schemas=schemas)], nothing_repeats))
    assert (row["user_agent"], row["digest"], row["key"], row["high"]) == ("mine", "d", "k", 1.5)
    assert row["browser"] == "curl"


def test_a_page_says_its_own_path_and_else_its_address_does(step: ColumnsStep) -> None:
    pages = [{"url": "https://shop.example/a?x", "path": "/own"}, {"url": "https://shop.example/a?x"}, {"path": "/b"}]
    items = [track("cart_viewed", {}, number, context={"page": page}) for number, page in enumerate(pages)]
    assert [row.get("page_path") for row in rows(step.write([block(judged(items))], nothing_repeats))] == [
        *("/own", "/a", "/b")
    ]
    (row,) = rows(step.write([block(judged(items[2:]))], nothing_repeats))
    assert row["page_path"] == "/b", "also where no line has an address"


def test_paths_alone_and_paths_of_visits_get_into_one_file(step: ColumnsStep) -> None:
    """Lines that are read apart, as those of two plans, are written together."""
    pages = [{"path": "/b"}, {"url": "https://shop.example/a"}]
    apart, other = (
        block(judged([track("cart_viewed", {}, 1, context={"page": page})]), page.get("path", "url")) for page in pages
    )
    schemas = msgspec.structs.replace(other.schemas, plan_fingerprint="other")
    written = step.write([apart, msgspec.structs.replace(other, schemas=schemas)], nothing_repeats)
    assert [row["page_path"] for row in rows(written)] == ["/b", "/a"]
    assert len(written.events) == 1


def test_a_file_holds_no_text_of_rows_that_are_in_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Erasing a person rewrites the files of their rows: in no other may their address stand, in no dictionary."""
    monkeypatch.setattr(gather, "PART_LINES", 3)
    monkeypatch.setattr(gather, "FILE_ROWS", 1)
    items = [
        track(
            "cart_viewed",
            {},
            number,
            timestamp=(NOW - timedelta(days=number % 2)).isoformat(),
            context={"page": {"url": f"https://shop.example/?mail=anna{number}"}, "userAgent": f"agent {number}"},
        )
        for number in range(12)
    ]
    flush = [block(judged(items[:4]), "s1"), block(judged(items[4:8]), "s2"), block(judged(items[8:]), "s3")]
    written = ColumnsStep(tmp_path, AGENTS.table, threads=2).write(flush, nothing_repeats)
    assert len(written.events) > 2
    for file in written.events:
        for column in pq.read_table(file.path, read_dictionary=["page_url", "stream"]).columns:
            for chunk in column.chunks if str(column.type).startswith("dictionary") else ():
                assert {*chunk.dictionary.to_pylist()} == {*chunk.to_pylist()}


def test_times_are_stored_as_moments(step: ColumnsStep) -> None:
    (file,) = step.write([block(judged([track("cart_viewed", {}), {"type": "none"}]))], nothing_repeats).events
    schema = pq.read_schema(file.path)
    assert {str(schema.field(name).type) for name in ("event_time", "received_at")} == {"timestamp[us, tz=UTC]"}
    lines = judged([{"type": "none"}])
    (file,) = step.write([block(lines)], nothing_repeats).quarantine
    assert str(pq.read_schema(file.path).field("received_at").type) == "timestamp[us, tz=UTC]"
