"""What a lake's events and quarantine say about a plan, counted: now (the window) and before (the baseline)."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from polku_analytics.contract.events import PAGE_MEMBERS, Sender
from polku_analytics.contract.observed import ObservedLake
from polku_analytics.contract.profile import MAX_DISTINCT, MAX_FIELDS, Profile
from polku_analytics.contract.proportions import Share
from polku_analytics.delta_types import literal, quoted
from polku_schemas import EXTRA_COLUMN, TRAIT_PREFIX, CompiledPlan, ProblemCode, Property

TRAITS: Final = "traits."
"""What the path of a trait begins with."""

OTHER: Final = "(other names)"

_JSON_TYPES: Final[Mapping[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "list",
    dict: "object",
    type(None): "null",
}


class Cell(NamedTuple):
    """One sender, now or before."""

    sender: Sender
    now: bool


class Occurred:
    """How often something came, from whom, and when."""

    __slots__ = ("cells", "first", "last", "quarantined")

    def __init__(self) -> None:
        self.cells: Counter[Cell] = Counter()
        self.quarantined = 0
        """How many of those of the window are in quarantine, because their source takes nothing unplanned."""
        self.first: datetime.datetime | None = None
        self.last: datetime.datetime | None = None

    def add(self, cell: Cell, first: datetime.datetime, last: datetime.datetime, count: int = 1) -> None:
        """Take in some that came between two moments."""
        self.cells[cell] += count
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)

    def count(self, *, now: bool = True) -> int:
        """How many came in the window, or before it."""
        return sum(count for cell, count in self.cells.items() if cell.now == now)


class Beside(Occurred):
    """An unplanned property: also what its values were."""

    __slots__ = ("column_type", "profile", "texts", "types")

    def __init__(self) -> None:
        super().__init__()
        self.column_type = ""
        """The type of its column, if it has one."""
        self.profile = Profile()
        self.types: dict[Cell, Counter[str]] = {}
        """JSON types of the values that have no column."""
        self.texts: dict[tuple[str | None, bool], Counter[str]] = {}
        """By source, now or before: how often each text came."""

    def take(self, value: Any, cell: Cell, moment: datetime.datetime) -> None:
        """Take in one value."""
        self.add(cell, moment, moment)
        self.types.setdefault(cell, Counter())[_JSON_TYPES[type(value)]] += 1
        self.profile.add(value)
        if isinstance(value, str):
            texts = self.texts.setdefault((cell.sender.source, cell.now), Counter())
            if value in texts or len(texts) < MAX_DISTINCT:
                texts[value] += 1


class Facts:
    """All that drift is decided from. Events and paths are named as the plan names them."""

    def __init__(self) -> None:
        self.events: dict[str, Counter[Cell]] = {}
        self.unplanned_events: dict[tuple[str, str], Occurred] = {}
        self.present: dict[tuple[str, str], dict[Cell, Share]] = {}
        """Event and planned path → how many of its events (objects, for what is inside lists) have a value."""
        self.beside: dict[tuple[str, str], Beside] = {}
        """Event and unplanned path."""
        self.sent: Counter[Cell] = Counter()
        """All events, refused ones too."""
        self.refused: Counter[tuple[str, Cell]] = Counter()
        """Rows of quarantine by code."""


def gather_facts(observed: ObservedLake, plan: CompiledPlan, window_start: datetime.date) -> Facts:
    """Count everything; days from `window_start` are now, those before it are before."""
    facts = Facts()
    gathering = _Gathering(observed, plan, window_start, facts)
    gathering.count_columns()
    gathering.read_extras()
    gathering.count_refused()
    return facts


def planned_paths(properties: Mapping[str, Property]) -> Iterator[tuple[str, Property]]:
    """Each property and, behind it, the fields of its objects: `products`, `products[*].price`."""
    for name, prop in properties.items():
        yield name, prop
        inner, mark = (prop, "") if prop.items is None else (prop.items, "[*]")
        for field in inner.fields.values():
            yield f"{name}{mark}.{field.name}", field


class _Column(NamedTuple):
    """A column, or a member of one: how the table says whether it is there."""

    path: str
    holder: str
    """The path of the column it is a member of; empty for a column."""
    type: str
    is_there: str
    """SQL: whether a row has a value."""
    counts: str
    """SQL: two aggregates, the values and those there could be."""


def _columns(name: str, kind: Any) -> Iterator[_Column]:
    path = TRAITS + name.removeprefix(TRAIT_PREFIX) if name.startswith(TRAIT_PREFIX) else name
    column = quoted(name)
    yield _Column(path, "", kind.id, f"{column} IS NOT NULL", f"count({column}), count(*)")
    if kind.id == "struct":
        for member, inner in kind.children:
            field = f"{column}.{quoted(member)}"
            yield _Column(
                f"{path}.{member}", path, inner.id, f"{field} IS NOT NULL", f"count({field}), count({column})"
            )
    elif kind.id == "list" and kind.children[0][1].id == "struct":
        for member, inner in kind.children[0][1].children:
            there = f"len(list_filter({column}, lambda item: item.{quoted(member)} IS NOT NULL))"
            counts = f"coalesce(sum({there}), 0)::BIGINT, coalesce(sum(len({column})), 0)::BIGINT"
            yield _Column(f"{path}[*].{member}", path, inner.id, f"{there} > 0", counts)


class _Gathering:
    """One reading of a lake."""

    def __init__(self, observed: ObservedLake, plan: CompiledPlan, start: datetime.date, facts: Facts) -> None:
        self.observed, self.plan, self.facts = observed, plan, facts
        self._start = start
        self._is_now = f"(event_date >= DATE {literal(str(start))})"
        self._traits = {TRAITS + path: prop for path, prop in planned_paths(plan.plan.traits)}
        self._paths: dict[str, dict[str, Property]] = {}
        self._names: Counter[str] = Counter()

    def count_columns(self) -> None:
        """One pass over the columns: who has which property how often."""
        columns = [column for name, kind in self.observed.columns.items() for column in _columns(name, kind)]
        counts = "".join(f", {column.counts}" for column in columns)
        found = self.observed.run(
            f"SELECT event_type, event_name, {_SENDER}, {self._is_now}, min(event_time), max(event_time), count(*)"
            f"{counts} FROM events WHERE {self.observed.within()} GROUP BY ALL ORDER BY ALL"
        )
        unplanned: set[tuple[str, str, _Column]] = set()
        for call, name, source, library, version, now, first, last, events, *numbers in found:
            cell = Cell(Sender(source, library, version), now)
            self.facts.sent[cell] += events
            event = self._event(call, name)
            if event is None:
                self.facts.unplanned_events.setdefault((call, name), Occurred()).add(cell, first, last, events)
                continue
            self.facts.events.setdefault(event, Counter())[cell] += events
            shares = dict(zip(columns, map(Share, numbers[::2], numbers[1::2]), strict=True))
            self._add_present(event, cell, shares, events, with_traits=call == "identify")
            paths = self._planned(event)
            unplanned |= {
                (call, name, column)
                for column, share in shares.items()
                if share.part and column.path not in paths and (not column.holder or column.holder in paths)
            }
        for call, name, column in sorted(unplanned):
            self._date_column(call, name, column)

    def read_extras(self) -> None:
        """Go through what has no column, row by row."""
        extras = (
            f"json_extract({EXTRA_COLUMN}, '$.properties')::VARCHAR, json_extract({EXTRA_COLUMN}, '$.traits')::VARCHAR"
        )
        structured = (name for name, kind in self.observed.columns.items() if kind.id in ("struct", "list"))
        whole = ", ".join(f"CASE WHEN {quoted(name)} IS NOT NULL THEN {literal(name)} END" for name in structured)
        rows = self.observed.stream(
            f"SELECT event_type, event_name, {_SENDER}, {self._is_now}, event_time, {extras}, [{whole}]::VARCHAR[] "
            f"FROM events WHERE {self.observed.within()} AND {EXTRA_COLUMN} IS NOT NULL "
            f"AND (json_exists({EXTRA_COLUMN}, '$.properties') OR json_exists({EXTRA_COLUMN}, '$.traits'))"
        )
        for batch in rows:
            for call, name, source, library, version, now, moment, properties, traits, in_column in _rows(batch):
                event = self._event(call, name)
                if event is not None:
                    cell = Cell(Sender(source, library, version), now)
                    members, of_person = _read(properties), _read(traits)
                    self._take(event, call, members, of_person, cell, moment)
                    self._add_late(event, members, in_column, cell)
                    if call == "identify":
                        held = [column.removeprefix(TRAIT_PREFIX) for column in in_column if column]
                        self._add_late(event, of_person, held, cell, prefix=TRAITS)

    def count_refused(self) -> None:
        """Count quarantine, and look into what is there only because nobody had planned it."""
        for refused in self.observed.refused():
            now = refused.received_at.date() >= self._start
            cell = Cell(refused.sender, now)
            self.facts.sent[cell] += 1
            self.facts.refused[refused.code, cell] += 1
            item = refused.item
            if item is None or refused.code not in (ProblemCode.UNKNOWN_EVENT, ProblemCode.UNKNOWN_PROPERTY):
                continue
            event = self._event(item.call, item.name)
            if event is None:
                occurred = self.facts.unplanned_events.setdefault((item.call, item.name), Occurred())
                occurred.add(cell, refused.received_at, refused.received_at)
                occurred.quarantined += now
            else:
                traits = _read(item.traits) if item.traits else {}
                self._take(event, item.call, _read(item.properties), traits, cell, refused.received_at)

    def _event(self, call: str, name: str) -> str | None:
        found = self.plan.find(call, name)
        return found.name if found else None

    def _planned(self, event: str) -> dict[str, Property]:
        """The paths that the plan gives an event, those of the traits included."""
        if event not in self._paths:
            planned = self.plan.plan.events.get(event)
            self._paths[event] = self._traits | dict(planned_paths(planned.properties if planned else {}))
        return self._paths[event]

    def _add_present(
        self, event: str, cell: Cell, shares: Mapping[_Column, Share], events: int, *, with_traits: bool
    ) -> None:
        by_path = {column.path: share for column, share in shares.items()}
        # All members of an object could be there as often as it is, those without a place in the column too.
        objects = {column.path.rpartition(".")[0]: share.of for column, share in shares.items() if column.holder}
        for path in self._planned(event):
            if with_traits or not path.startswith(TRAITS):
                is_inside = path.removeprefix(TRAITS).count(".") > 0
                share = by_path.get(path, Share(0, objects.get(path.rpartition(".")[0], 0) if is_inside else events))
                cells = self.facts.present.setdefault((event, path), {})
                cells[cell] = cells.get(cell, Share(0, 0)) + share

    def _date_column(self, call: str, name: str, column: _Column) -> None:
        """Say when and from whom a column came that the event does not have in the plan."""
        event = self._event(call, name)
        assert event is not None  # noqa: S101 - only planned events are looked into
        beside = self._beside(event, column.path)
        beside.column_type = column.type
        found = self.observed.run(
            f"SELECT {_SENDER}, {self._is_now}, min(event_time), max(event_time), count(*) FROM events "
            f"WHERE {self.observed.within()} AND event_type = {literal(call)} AND event_name = {literal(name)} "
            f"AND {column.is_there} GROUP BY ALL ORDER BY ALL"
        )
        for source, library, version, now, first, last, events in found:
            beside.add(Cell(Sender(source, library, version), now), first, last, events)

    def _take(
        self,
        event: str,
        call: str,
        properties: Mapping[str, Any],
        traits: Mapping[str, Any],
        cell: Cell,
        moment: datetime.datetime,
    ) -> None:
        paths = self._planned(event)
        found = [*_flat(properties, paths, PAGE_MEMBERS if call == "page" else frozenset())]
        if call != "group":  # a group's traits describe the group
            found += [(TRAITS + path, value) for path, value in _flat(traits, self.plan.plan.traits)]
        for path, value in found:
            if path not in paths:
                self._beside(event, path).take(value, cell, moment)

    def _add_late(
        self, event: str, members: Mapping[str, Any], held: Collection[str | None], cell: Cell, prefix: str = ""
    ) -> None:
        """Count what was unplanned when it came and is planned now: it is there, though not in its column.

        Of those that are `held`, the column has the rest.
        """
        for name, value in members.items():
            path = prefix + name
            prop = self._planned(event).get(path)
            if prop is None or value is None:
                continue
            is_held = name in held
            if not is_held:
                self._count_late(event, path, cell, Share(1, 0))
            inner, mark = (prop, "") if prop.items is None else (prop.items, "[*]")
            for item in value if isinstance(value, list) and mark else [value]:
                for field in inner.fields if isinstance(item, dict) else ():
                    is_there = item.get(field) is not None
                    self._count_late(event, f"{path}{mark}.{field}", cell, Share(is_there, not is_held))

    def _count_late(self, event: str, path: str, cell: Cell, late: Share) -> None:
        cells = self.facts.present.get((event, path))
        if cells is not None and cell in cells:
            cells[cell] += late

    def _beside(self, event: str, path: str) -> Beside:
        found = self.facts.beside.get((event, path))
        if found is None:
            self._names[event] += 1
            # So many names are values rather than names: one entry stands for those that are too many.
            path = path if self._names[event] <= MAX_FIELDS else OTHER
            found = self.facts.beside.setdefault((event, path), Beside())
        return found


_SENDER: Final = "source, library, library_version"


def _flat(
    members: Mapping[str, Any], paths: Mapping[str, Property], passed: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """Members by their path; those inside planned objects and lists of objects one by one."""
    for name, value in members.items():
        prop = paths.get(name)
        if prop is None and name in passed:
            continue
        if prop is not None and isinstance(value, dict) and prop.fields:
            yield from ((f"{name}.{inner}", member) for inner, member in value.items())
        elif prop is not None and isinstance(value, list) and prop.items is not None and prop.items.fields:
            for item in filter(lambda item: isinstance(item, dict), value):
                yield from ((f"{name}[*].{inner}", member) for inner, member in item.items())
        else:
            yield name, value


def _rows(batch: Any) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _read(document: str | bytes | None) -> dict[str, Any]:
    """The members of a JSON object; none of anything else."""
    try:
        members = msgspec.json.decode(document or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return members if isinstance(members, dict) else {}
