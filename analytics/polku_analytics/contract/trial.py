"""`polku plan test`: real events against a plan that is only proposed, and what would become of each.

The verdict is the collector's: the same compiled plan, the fast path for every event, the slow one to explain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct

from polku_analytics.contract.events import PAGE_MEMBERS, UNREADABLE, Batch, Sender
from polku_analytics.contract.observed import NameUse, ObservedLake, Refused
from polku_schemas import (
    CompiledEvent,
    CompiledPlan,
    Problem,
    ProblemCode,
    Property,
    compile_plan,
    table_columns,
)
from polku_schemas.column_types import widening
from polku_schemas.compile import BUILT_IN_CALLS
from polku_schemas.model import Plan
from polku_schemas.privacy import as_stored

_INDEX: Final = re.compile(r"\[\d+\]")


class Break(Struct, frozen=True):
    """Accepted events that the proposed plan would refuse, for one reason."""

    source: str | None
    event: str
    code: str
    path: str
    """As in a verdict, with `[*]` for any place in a list."""
    events: int
    releases: dict[str, int]
    """Library and version → how many of them it sent."""
    example: str
    """What was expected and what came; a personal or sensitive value is not shown."""


class EventTrial(Struct, frozen=True):
    """What would become of the events of one name."""

    event: str
    events: int
    would_break: int
    stays_unplanned: int
    becomes_unplanned: int
    """Planned so far; they would be kept, with what the plan does not know in `extra`."""
    becomes_planned: int


class QuarantineTrial(Struct, frozen=True):
    """What would become of refused events, if they were sent again or replayed."""

    source: str | None
    event: str | None
    code: str
    events: int
    would_pass: int
    unknown: int
    """The original is cut, or was refused for something that no plan decides."""


class Undecided(Struct, frozen=True):
    """A property that must be there but may be null: a column does not tell one from the other."""

    event: str
    path: str
    events: int
    """Events without a value; they are taken as having sent null."""


class Trial(Struct, frozen=True):
    """The result of a contract test."""

    plan: str
    version: str
    fingerprint: str
    events: int
    would_break: int
    by_event: list[EventTrial]
    breaks: list[Break]
    clashes: list[str]
    """What the table could never hold, whatever the events are: the collector would not start with this plan."""
    nothing_seen: list[str]
    """Events of the plan that did not occur, so that nothing is proven for them."""
    undecided: list[Undecided]
    strict_sources: list[str]
    """Sources that quarantine what is unplanned; there an unplanned event counts as one that would break."""
    quarantine: list[QuarantineTrial]

    @property
    def passes(self) -> bool:
        """Whether nothing would break."""
        return not self.would_break and not self.clashes


def try_plan(plan: Plan, observed: ObservedLake, strict: Collection[str] = ()) -> Trial:
    """Validate all events of a lake's period, and its quarantine, with a plan."""
    uses = observed.uses()
    trying = Trying(plan, {*strict, *observed.strict_sources()})
    for batch in observed.batches(uses, trying.nulls):
        trying.take(batch)
    for refused in observed.refused():
        trying.take_refused(refused)
    return trying.result(_clashes(plan, observed), _undecided(trying.plan, uses, observed.columns))


class Trying:
    """A trial in progress: give it batches, then ask for the result."""

    def __init__(self, plan: Plan, strict: Collection[str] = ()) -> None:
        self.plan = compile_plan(as_stored(plan))  # what is in the lake has been through the plan's `privacy`
        self._strict = frozenset(strict)
        self._events: dict[str, Counter[str]] = {}
        self._breaks: dict[tuple[str | None, str, str, str], Counter[str]] = {}
        self._examples: dict[tuple[str | None, str, str, str], str] = {}
        self._quarantine: dict[tuple[str | None, str | None, str], Counter[str]] = {}

    def nulls(self, call: str, name: str) -> Collection[str]:
        """What `ObservedLake.batches` has to write out as null: properties that are required and may be null."""
        planned = self.plan.find(call, name)
        event = self.plan.plan.events.get(planned.name) if planned else None
        return [] if event is None else list(_required_nulls(event.properties))

    def take(self, batch: Batch) -> None:
        """Validate the events of a batch."""
        planned = self.plan.find(batch.call, batch.name)
        counts = self._events.setdefault(planned.name if planned else batch.name, Counter())
        counts["events"] += len(batch)
        # Everything that is plainly as planned is settled here, in C; only the rest is looked at again.
        odd = _odd(planned, batch.properties) if planned else set(range(len(batch)))
        odd |= _odd(self.plan.traits, batch.traits) if batch.call != "group" else set()
        counts["becomes_planned"] += sum(batch.unplanned) - sum(batch.unplanned[index] for index in odd)
        for index in odd:
            found = self._look(planned, batch.name, batch.properties[index], self._traits(batch, index))
            sender, was_unplanned = batch.senders[index], batch.unplanned[index]
            if isinstance(found, _Unplanned):
                if sender.source not in self._strict:
                    counts["stays_unplanned" if was_unplanned else "becomes_unplanned"] += 1
                    continue
                found = found.problem
            if found is None:
                counts["becomes_planned"] += was_unplanned
            else:
                counts["would_break"] += 1
                self._add_break(sender, planned.name if planned else batch.name, found)

    def take_refused(self, refused: Refused) -> None:
        """Validate the original of a row of `quarantine`."""
        item = refused.item
        planned = self.plan.find(item.call, item.name) if item else None
        event = planned.name if planned else refused.name
        counts = self._quarantine.setdefault((refused.sender.source, event, refused.code), Counter())
        counts["events"] += 1
        if item is None or not _is_the_plans(refused):
            counts["unknown"] += 1
            return
        found = self._look(planned, item.name, item.properties, item.traits if item.call != "group" else None)
        strict = refused.sender.source in self._strict
        counts["would_pass"] += found is None or (isinstance(found, _Unplanned) and not strict)

    def result(self, clashes: list[str] | None = None, undecided: list[Undecided] | None = None) -> Trial:
        """What has come out so far."""
        by_event = [
            EventTrial(name, *(counts[key] for key in _COUNTS)) for name, counts in sorted(self._events.items())
        ]
        breaks = [
            Break(*key, releases.total(), dict(releases.most_common()), self._examples[key])
            for key, releases in self._breaks.items()
        ]
        plan = self.plan.plan
        return Trial(
            plan=plan.name,
            version=plan.version,
            fingerprint=plan.fingerprint,
            events=sum(event.events for event in by_event),
            would_break=sum(event.would_break for event in by_event),
            by_event=by_event,
            breaks=sorted(breaks, key=lambda found: (-found.events, str(found.source), found.event, found.path)),
            clashes=clashes or [],
            nothing_seen=[name for name in plan.events if name not in self._events],
            undecided=undecided or [],
            strict_sources=sorted(self._strict),
            quarantine=[
                QuarantineTrial(*key, counts["events"], counts["would_pass"], counts["unknown"])
                for key, counts in sorted(self._quarantine.items(), key=lambda item: [str(part) for part in item[0]])
            ],
        )

    def _look(
        self, planned: CompiledEvent | None, name: str, properties: bytes, traits: bytes | None
    ) -> Problem | _Unplanned | None:
        """The slow path: a problem, something unplanned, or nothing to say."""
        unplanned: list[str] = []
        place = ""
        for path, compiled, document in (
            ("$.properties", planned, properties),
            ("$.traits", self.plan.traits, traits),
        ):
            if compiled is None or document is None:
                continue
            checked = compiled.check(document)
            if isinstance(checked, Problem):
                return checked
            passed = PAGE_MEMBERS if compiled.call == "page" else ()
            beside = [name for name in checked.unplanned if name not in passed]
            place = place or (path if beside else "")
            unplanned += beside
        if planned is None:
            return _Unplanned(Problem(ProblemCode.UNKNOWN_EVENT, "$.event", f"the plan has no event {name!r}"))
        if unplanned:
            message = f"not in the plan: {', '.join(unplanned)}"
            return _Unplanned(Problem(ProblemCode.UNKNOWN_PROPERTY, place, message))
        return None

    def _traits(self, batch: Batch, index: int) -> bytes | None:
        return batch.traits[index] if batch.call != "group" else None

    def _add_break(self, sender: Sender, event: str, problem: Problem) -> None:
        key = (sender.source, event, str(problem.code), _INDEX.sub("[*]", problem.path))
        self._breaks.setdefault(key, Counter())[sender.release] += 1
        # The first in the alphabet, not the first that came: rows have no order.
        self._examples[key] = min(self._examples.get(key, problem.message), problem.message)


class _Unplanned(Struct, frozen=True):
    """Accepted, but not as the plan says; `problem` is what a strict source would be told."""

    problem: Problem


_COUNTS: Final = ("events", "would_break", "stays_unplanned", "becomes_unplanned", "becomes_planned")


def _odd(compiled: CompiledEvent, documents: Sequence[bytes | None]) -> set[int]:
    """The places of the documents that the fast path does not take."""
    decode = compiled.decode
    odd = set()
    for index, document in enumerate(documents):
        if document is not None:
            try:
                decode(document)
            except UNREADABLE:
                odd.add(index)
    return odd


def _is_the_plans(refused: Refused) -> bool:
    """Whether a plan decided that this was refused; the limits, the ids and the times of the envelope are others'."""
    if refused.code in (ProblemCode.TOO_LARGE, ProblemCode.UNCONVERTIBLE):
        return False
    return refused.code == ProblemCode.UNKNOWN_EVENT or refused.path.startswith(("$.properties", "$.traits"))


def _required_nulls(properties: dict[str, Property], prefix: str = "") -> Iterable[str]:
    for name, prop in properties.items():
        if prop.required and prop.nullable:
            yield prefix + name
        inner = prop.items if prop.items is not None else prop
        yield from _required_nulls(inner.fields, f"{prefix}{name}.")


def _undecided(plan: CompiledPlan, uses: Iterable[NameUse], columns: Collection[str]) -> list[Undecided]:
    """Top-level properties only: inside lists nobody has counted."""
    found = []
    for use in uses:
        planned = plan.find(use.call, use.name)
        if planned is None or planned.call in BUILT_IN_CALLS:
            continue
        for path in _required_nulls(plan.plan.events[planned.name].properties):
            missing = use.events - use.columns.get(path, 0)
            if path in columns and missing:
                found.append(Undecided(planned.name, path, missing))
    return found


def _clashes(plan: Plan, observed: ObservedLake) -> list[str]:
    return [str(clash) for clash in widening(observed.table_columns(), table_columns(plan)).clashes]
