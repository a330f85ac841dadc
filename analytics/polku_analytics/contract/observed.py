"""The events of a lake as the documents their senders sent: columns and `extra` put together again, in DuckDB.

Only the columns that an event name uses are read, and rows stream through in batches, so that memory does not grow
with the events. What a column cannot say: whether a null was sent or nothing was.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import duckdb
import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from polku_analytics.contract.events import (
    BATCH_EVENTS,
    EMPTY,
    UNREADABLE,
    Batch,
    Item,
    NotAnEvent,
    Sender,
    merged,
    read_item,
)
from polku_analytics.delta_types import duckdb_type_of_neutral, literal, quoted
from polku_analytics.errors import LakeError
from polku_analytics.lake import EVENT_DATE, Lake, attach, open_duckdb
from polku_analytics.period import Period
from polku_schemas import ENVELOPE_COLUMNS, EXTRA_COLUMN, TRAIT_PREFIX, ProblemCode
from polku_schemas.column_types import neutral_type

_EXPECTED: Final = {
    "events": {
        name: duckdb_type_of_neutral(kind) for name, kind in (ENVELOPE_COLUMNS | {EXTRA_COLUMN: "string"}).items()
    },
    "quarantine": dict.fromkeys(("context", "library", "library_version", "original"), "VARCHAR"),
}
"""Columns that are read even where the table does not have them (yet): they are null then."""

OWN_EVENTS_A_FILE: Final = 50
"""A name with so many events for each file is read by itself, with its own columns.

Opening one more file costs about as much as reading so many events with the columns of all the small names.
"""

Nulls = Callable[[str, str], Collection[str]]
"""Call and name → the paths (`coupon`, `products.price`) whose nulls are written out instead of left away."""


class NameUse(Struct, frozen=True):
    """How one event name uses the table in the period."""

    call: str
    name: str
    events: int
    columns: dict[str, int]
    """Columns of the plan with the number of events that have a value there; those without are left out."""
    extras: int
    """Events that have something in `extra`."""
    first: datetime.datetime
    last: datetime.datetime

    @property
    def key(self) -> tuple[str, str]:
        """Call and name."""
        return self.call, self.name


class Refused(Struct, frozen=True):
    """One row of `quarantine`: why it is there, and its event as far as it can be read."""

    code: str
    path: str
    sender: Sender
    received_at: datetime.datetime
    call: str | None
    name: str | None
    item: Item | None
    """None where the original is cut or was never JSON."""


class ObservedLake:
    """The events and refused events of some days of a lake."""

    def __init__(self, lake: Lake, period: Period, sources: Collection[str] = ()) -> None:
        """All sources if none is named. LakeError if there is no lake, or no table of events in it."""
        self.lake, self.period, self.sources = lake, period, tuple(sources)
        self.connection = open_duckdb()
        events = lake.snapshot("events", period)
        attach(self.connection, lake, events, _EXPECTED["events"])
        self.files = len(events.files)
        self.has_quarantine = "quarantine" in lake.tables()
        if self.has_quarantine:
            attach(self.connection, lake, lake.snapshot("quarantine"), _EXPECTED["quarantine"])
        view = self.connection.table("events")
        self.columns = {
            name: kind
            for name, kind in zip(view.columns, view.types, strict=True)
            if name not in ENVELOPE_COLUMNS and name != EXTRA_COLUMN
        }

    def uses(self) -> list[NameUse]:
        """Every event name of the period, by call and name."""
        counted = "".join(f", count({quoted(name)})" for name in self.columns)
        found = self.run(
            f"SELECT event_type, event_name, min(event_time), max(event_time), count(*), "
            f"count({EXTRA_COLUMN}){counted} "
            f"FROM events WHERE {self.within()} GROUP BY ALL ORDER BY ALL"
        )
        return [
            NameUse(call, name, events, _used(self.columns, counts), extras, first, last)
            for call, name, first, last, events, extras, *counts in found
        ]

    def batches(self, uses: Collection[NameUse], nulls: Nulls = lambda call, name: ()) -> Iterator[Batch]:
        """The events of some names, name by name. Quarantined ones are not among them."""
        for together in _read_together(uses, OWN_EVENTS_A_FILE * self.files):
            yield from self._batches_of(together, nulls)

    def all_batches(self) -> Iterator[Batch]:
        """The events of all names, and those that strict sources sent to quarantine because nobody had planned them."""
        yield from self.batches(self.uses())
        yield from self._unplanned_in_quarantine()

    def refused(self) -> Iterator[Refused]:
        """The rows of `quarantine`, of the days on which they were received."""
        if not self.has_quarantine:
            return
        columns = "code, path, source, library, library_version, received_at, event_type, event_name, original"
        for rows in self.stream(f"SELECT {columns} FROM quarantine WHERE {self.within('received_date')}"):
            for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                yield _refused(*row)

    def _unplanned_in_quarantine(self) -> Iterator[Batch]:
        for refused in self.refused():
            item = refused.item
            if item is not None and refused.code in (ProblemCode.UNKNOWN_EVENT, ProblemCode.UNKNOWN_PROPERTY):
                yield Batch(item.call, item.name, [item.properties], [item.traits], [refused.sender], [True])

    def strict_sources(self) -> set[str]:
        """The sources that have sent something unplanned to quarantine in the period."""
        if not self.has_quarantine:
            return set()
        strict = f"code IN ({literal(ProblemCode.UNKNOWN_EVENT)}, {literal(ProblemCode.UNKNOWN_PROPERTY)})"
        found = self.run(f"SELECT DISTINCT source FROM quarantine WHERE {self.within('received_date')} AND {strict}")
        return {source for (source,) in found}

    def table_columns(self) -> dict[str, str]:
        """All columns of `events` with their neutral types."""
        fields = msgspec.json.decode(self.lake.delta("events").schema().to_json())["fields"]
        return {field["name"]: neutral_type(field["type"]) for field in fields}

    def newest_day(self) -> datetime.date | None:
        """The day of the newest event; of all sources it is that of the whole lake, and no file is opened."""
        if self.sources:
            ((newest,),) = self.run(f"SELECT max({EVENT_DATE}) FROM events WHERE {self.within()}")
            return cast("datetime.date | None", newest)
        days = [file.partition.get(EVENT_DATE) for file in self.lake.snapshot("events").files]
        return max((datetime.date.fromisoformat(day[:10]) for day in days if day), default=None)

    def source_names(self) -> list[str]:
        """The sources that have events in the period."""
        return [
            source for (source,) in self.run("SELECT DISTINCT source FROM events WHERE source IS NOT NULL ORDER BY 1")
        ]

    def within(self, column: str = EVENT_DATE) -> str:
        """The SQL that keeps what belongs to the period and the sources."""
        since, until = self.period.since, self.period.until
        bounds = [f"{column} >= DATE {literal(str(since))}"] if since else []
        bounds += [f"{column} < DATE {literal(str(until))}"] if until else []
        bounds += [f"source IN ({', '.join(map(literal, self.sources))})"] if self.sources else []
        return " AND ".join(bounds) or "true"

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        try:
            return list(self.connection.execute(sql).fetchall())
        except duckdb.Error as error:
            raise LakeError(f"the events of {self.lake.uri} cannot be read: {str(error).splitlines()[0]}") from error

    def stream(self, sql: str) -> Iterator[Any]:
        """The record batches of a large result; a cursor each, because a connection has one open result."""
        try:
            # Not `execute`: Arrow output of its result holds all rows in memory at once.
            yield from self.connection.cursor().sql(sql).to_arrow_reader(BATCH_EVENTS)
        except (duckdb.Error, OSError) as error:
            raise LakeError(f"the events of {self.lake.uri} cannot be read: {str(error).splitlines()[0]}") from error

    def _batches_of(self, uses: Sequence[NameUse], nulls: Nulls) -> Iterator[Batch]:
        kept: dict[str, list[NameUse]] = {}
        for use in uses:
            for path in nulls(use.call, use.name):
                kept.setdefault(path, []).append(use)
        in_use = {*kept}.union(*(use.columns for use in uses))
        columns = {name: kind for name, kind in self.columns.items() if name in in_use}
        documents = _documents(columns, {path: _is_one_of(names) for path, names in kept.items()}, _extras(uses))
        sql = (
            f"SELECT event_type, event_name, {documents}, source, library, library_version, coalesce(unplanned, false) "
            f"FROM events WHERE {self.within()} AND {_is_one_of(uses)}"
        )
        senders = _Senders()
        for rows in self.stream(sql):
            calls, names, properties, rests, traits, *sender, unplanned = (
                column.to_pylist() for column in rows.columns
            )
            if rows.column(3).null_count < len(rests):
                properties = [
                    document if rest is None else merged(document, msgspec.json.decode(rest))
                    for document, rest in zip(properties, rests, strict=True)
                ]
            whole = Batch(
                *uses[0].key, properties, traits, [*map(senders.__getitem__, zip(*sender, strict=True))], unplanned
            )
            yield from [whole] if len(uses) == 1 else _by_name(whole, calls, names)


def _read_together(uses: Collection[NameUse], own_events: int) -> list[list[NameUse]]:
    """Every large name by itself, the small ones at once."""
    own = [[use] for use in uses if use.events >= own_events]
    shared = [use for use in uses if use.events < own_events]
    return [shared, *own] if shared else own


def _by_name(whole: Batch, calls: list[str], names: list[str]) -> Iterator[Batch]:
    places: dict[tuple[str, str], list[int]] = {}
    for index, key in enumerate(zip(calls, names, strict=True)):
        places.setdefault(key, []).append(index)
    for (call, name), indexes in places.items():
        yield Batch(
            call,
            name,
            [whole.properties[index] for index in indexes],
            [whole.traits[index] for index in indexes],
            [whole.senders[index] for index in indexes],
            [whole.unplanned[index] for index in indexes],
        )


def _is_one_of(uses: Collection[NameUse]) -> str:
    """The SQL that is true for events of these names."""
    by_call: dict[str, list[str]] = {}
    for use in uses:
        by_call.setdefault(use.call, []).append(literal(use.name))
    either = (f"(event_type = {literal(call)} AND event_name IN ({', '.join(n)}))" for call, n in by_call.items())
    return f"({' OR '.join(either)})"


def _extras(uses: Collection[NameUse]) -> bool:
    return any(use.extras for use in uses)


class _Senders(dict[tuple[Any, ...], Sender]):
    """One value for each sender: there are few of them and many events."""

    def __missing__(self, key: tuple[Any, ...]) -> Sender:
        return self.setdefault(key, Sender(*key))


def _used(columns: Collection[str], counts: Collection[int]) -> dict[str, int]:
    return {name: count for name, count in zip(columns, counts, strict=True) if count}


# SQL that writes JSON -----------------------------------------------------------------------------------------------


def _documents(columns: Mapping[str, Any], nulls: Mapping[str, str], extras: bool) -> str:
    """Three columns of bytes: the properties, what has to be merged into them, the traits."""
    properties = {name: kind for name, kind in columns.items() if not name.startswith(TRAIT_PREFIX)}
    traits = {name.removeprefix(TRAIT_PREFIX): name for name in columns if name.startswith(TRAIT_PREFIX)}
    members = [_member(name, quoted(name), kind, name, nulls) for name, kind in properties.items()]
    trait_members = [_member(name, quoted(column), columns[column], "", {}) for name, column in traits.items()]
    rest = "NULL"
    if extras:
        beside = f"json_extract({EXTRA_COLUMN}, '$.properties')"
        structured = [name for name, kind in properties.items() if kind.id in ("struct", "list")]
        # The unplanned members of a planned object or list stand in `extra` under its name: they are merged, not added.
        clash = " OR ".join(
            f"({quoted(name)} IS NOT NULL AND json_exists({EXTRA_COLUMN}, {literal(f'$.properties.{name}')}))"
            for name in structured
        )
        rest = f"CASE WHEN {clash} THEN {beside}::VARCHAR END" if clash else "NULL"
        members.append(_inner(f"CASE WHEN ({clash}) IS NOT TRUE THEN {beside} END" if clash else beside))
        # A group's traits describe the group.
        trait_members.append(
            _inner(f"CASE WHEN event_type <> 'group' THEN json_extract({EXTRA_COLUMN}, '$.traits') END")
        )
    body = f"nullif(concat_ws(',', {', '.join(trait_members)}), '')" if trait_members else "NULL"
    return f"encode({_object_of(members)}), encode({rest}), encode('{{' || {body} || '}}')"


def _inner(document: str) -> str:
    """The members of a JSON object without its braces; NULL where there are none."""
    return f"nullif((({document})::VARCHAR)[2:-2], '')"


def _object_of(members: list[str]) -> str:
    return f"'{{' || concat_ws(',', {', '.join(members)}) || '}}'" if members else "'{}'"


def _member(name: str, sql: str, kind: Any, path: str, nulls: Mapping[str, str]) -> str:
    """`"name":value`, or NULL, which `concat_ws` passes over, where there is no value."""
    key = literal(msgspec.json.encode(name).decode() + ":")
    value = _value(sql, kind, path, nulls, 0)
    if path in nulls:
        value = f"coalesce({value}, CASE WHEN {nulls[path]} THEN 'null' END)"
    return f"{key} || {value}"


def _value(sql: str, kind: Any, path: str, nulls: Mapping[str, str], depth: int) -> str:
    """The JSON text of a value; NULL where it is null."""
    match kind.id:
        case "struct":
            members = [
                _member(name, f"{sql}.{quoted(name)}", child, f"{path}.{name}", nulls) for name, child in kind.children
            ]
            return f"CASE WHEN {sql} IS NOT NULL THEN {_object_of(members)} END"
        case "list":
            item = f"v{depth}"
            text = _value(item, kind.children[0][1], path, nulls, depth + 1)
            return f"'[' || array_to_string(list_transform({sql}, lambda {item}: coalesce({text}, 'null')), ',') || ']'"
        case "timestamp with time zone":
            return f"strftime({sql}, '\"%Y-%m-%dT%H:%M:%S.%fZ\"')"
        case "date":
            return f"'\"' || {sql}::VARCHAR || '\"'"
        case "double":
            return f"CASE WHEN isfinite({sql}) THEN to_json({sql})::VARCHAR END"
        case "bigint" | "boolean":
            return f"{sql}::VARCHAR"
        case _:
            return f"to_json({sql})::VARCHAR"


# Quarantine ---------------------------------------------------------------------------------------------------------


class _StoredLine(Struct):
    """An accepted event that the lake refused later: its original is the journal's line."""

    event_type: str
    event_name: str
    p: Raw | UnsetType = UNSET
    t: Raw | UnsetType = UNSET
    extra: str | None = None
    library: str | None = None
    library_version: str | None = None


class _Extra(Struct):
    properties: dict[str, Any] = {}
    traits: dict[str, Any] = {}


_STORED_LINE_CODES: Final = (ProblemCode.DUPLICATE_ID, ProblemCode.UNCONVERTIBLE)


def _refused(
    code: str,
    path: str,
    source: str | None,
    library: str | None,
    version: str | None,
    received_at: datetime.datetime,
    call: str | None,
    name: str | None,
    original: str | None,
) -> Refused:
    item = None
    if original is not None:
        try:
            item = _stored(original) if code in _STORED_LINE_CODES else read_item(original)
        except (NotAnEvent, *UNREADABLE):
            item = None
    if item is not None:
        library, version = library or item.library, version or item.library_version
    sender = Sender(source, library, version)
    return Refused(code, path, sender, received_at, call, name, item)


def _stored(original: str) -> Item:
    line = msgspec.json.decode(original, type=_StoredLine)
    extra = msgspec.json.decode(line.extra or "{}", type=_Extra)
    traits = None if line.t is UNSET else bytes(line.t)
    if extra.traits and line.event_type != "group":
        traits = merged(traits or EMPTY, extra.traits)
    properties = merged(EMPTY if line.p is UNSET else bytes(line.p), extra.properties)
    return Item(line.event_type, line.event_name, properties, traits, line.library, line.library_version)
