"""`polku plan drift`: where the events have moved away from the plan, and where they have changed.

Pure: facts in (`drift_facts.py`), findings out. docs/plan-from-data.md has the definitions.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from polku_analytics.contract.drift_facts import TRAITS, Beside, Cell, Facts, Occurred
from polku_analytics.contract.entries import type_in_words
from polku_analytics.contract.privacy import guess_privacy
from polku_analytics.contract.proportions import MIN_COUNT, Share, has_changed, is_comparable, is_no_chance
from polku_analytics.contract.shapes import personal_shape
from polku_schemas import Plan, snake_case

Section = Literal["unplanned", "unseen", "changed", "quarantine"]
SECTIONS: Final[tuple[Section, ...]] = ("unplanned", "unseen", "changed", "quarantine")

MIN_EFFECT: Final = 0.05
"""A share of nulls or of a type has changed if it has by so much."""

MIN_QUARANTINE_EFFECT: Final = 0.005
"""Refused events are few where all is well: a rate has changed if it has by so much."""

LISTED_VALUES: Final = 20
"""A text with so many different values before, or fewer, has values that one could list."""

MIN_NEW_VALUES: Final = 5
"""A value that was not there before is reported when it has come so often."""


class UnplannedEvent(Struct, frozen=True):
    """An event that the plan does not have."""

    event: str
    call: str
    events: int
    quarantined: int
    """How many of them are in quarantine, because their source takes nothing unplanned."""
    senders: dict[str, int]
    first: datetime.datetime
    last: datetime.datetime


class UnplannedProperty(Struct, frozen=True):
    """A property, a field or a trait that a planned event has only in its events."""

    event: str
    path: str
    values: int
    senders: dict[str, int]
    first: datetime.datetime
    last: datetime.datetime
    suggested_type: str


class Unseen(Struct, frozen=True):
    """Something planned that did not come in the window: an event (`path` is empty) or a property."""

    event: str
    path: str
    of: int
    """Events (objects, for the field of one) in which it could have been; 0 for an event."""
    before: int
    """How often it came in the baseline: what has stopped is worse than what never began."""


class Changed(Struct, frozen=True):
    """A share that is not what it was."""

    event: str
    path: str
    source: str | None
    release: str | None
    """Library and version; None: all of the source together."""
    what: str
    """`null`, a JSON type, or `value …`: one that is new."""
    before: Share
    now: Share
    compared_with: str
    """`itself` or `source`: a release too new to have a baseline is compared with its whole source."""


class QuarantineRate(Struct, frozen=True):
    """How many of a sender's events are refused for one reason."""

    source: str | None
    release: str | None
    code: str
    before: Share
    now: Share
    has_changed: bool


class Drift(Struct, frozen=True):
    """All findings."""

    plan: str
    version: str
    events: int
    """Events of the window, refused ones too."""
    baseline_events: int
    unplanned_events: list[UnplannedEvent]
    unplanned_properties: list[UnplannedProperty]
    unseen: list[Unseen]
    changed: list[Changed]
    quarantine: list[QuarantineRate]
    """Every rate of the window; those that have changed are findings."""

    @property
    def is_found(self) -> bool:
        """Whether there is any drift."""
        listed = (self.unplanned_events, self.unplanned_properties, self.unseen, self.changed)
        return any(listed) or any(rate.has_changed for rate in self.quarantine)


def find_drift(plan: Plan, facts: Facts, sections: Collection[Section] = SECTIONS) -> Drift:
    """Decide what of the facts is worth telling."""
    shares = _planned_and_types(facts) if "changed" in sections else []
    texts = list(_new_texts(facts)) if "changed" in sections else []
    rates = _rates(facts) if "quarantine" in sections else []
    groups = [group for *_, group in shares] + [group for _, group in rates]
    # Whatever is compared can be told by chance: the more there is, the surer each has to be.
    comparisons = len(texts) + sum(is_comparable(one.now, one.before) for group in groups for one in group)
    return Drift(
        plan=plan.name,
        version=plan.version,
        events=sum(count for cell, count in facts.sent.items() if cell.now),
        baseline_events=sum(count for cell, count in facts.sent.items() if not cell.now),
        unplanned_events=_unplanned_events(facts) if "unplanned" in sections else [],
        unplanned_properties=_unplanned_properties(facts) if "unplanned" in sections else [],
        unseen=_unseen(plan, facts) if "unseen" in sections else [],
        changed=_changed(shares, texts, comparisons),
        quarantine=_quarantine(rates, comparisons),
    )


def _unplanned_events(facts: Facts) -> list[UnplannedEvent]:
    found = [
        UnplannedEvent(name, call, seen.count(), seen.quarantined, _senders(seen), seen.first, seen.last)
        for (call, name), seen in facts.unplanned_events.items()
        if seen.count() and seen.first and seen.last
    ]
    return sorted(found, key=lambda event: (-event.events, event.event))


def _unplanned_properties(facts: Facts) -> list[UnplannedProperty]:
    found = [
        UnplannedProperty(event, path, seen.count(), _senders(seen), seen.first, seen.last, _suggested_type(seen))
        for (event, path), seen in facts.beside.items()
        if seen.count() and seen.first and seen.last
    ]
    return sorted(found, key=lambda found: (found.event, -found.values, found.path))


def _senders(seen: Occurred) -> dict[str, int]:
    """Source with release → how many of those of the window, most first."""
    counts: Counter[str] = Counter()
    for cell, count in seen.cells.items():
        if cell.now:
            counts[f"{cell.sender.source} {cell.sender.release}"] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


_COLUMN_TYPES: Final = {
    "varchar": "string",
    "bigint": "integer",
    "double": "number",
    "boolean": "boolean",
    "date": "date",
    "timestamp with time zone": "date-time",
    "list": "array",
    "struct": "object",
}


def _suggested_type(seen: Beside) -> str:
    """The type of the column if there is one: another is not possible. Else what infer would say."""
    return _COLUMN_TYPES.get(seen.column_type) or type_in_words(seen.profile)


# Planned, but not there ---------------------------------------------------------------------------------------------


def _unseen(plan: Plan, facts: Facts) -> list[Unseen]:
    found = []
    for name in plan.events:
        counts = facts.events.get(name, Counter())
        if not any(cell.now for cell in counts):
            found.append(Unseen(name, "", 0, counts.total()))
    totals: dict[tuple[str, str], dict[bool, Share]] = {}
    for (event, path), cells in facts.present.items():
        # The fields of an object are the same in every event that has it: they are looked at once.
        key = ("" if "." in path.removeprefix(TRAITS) else event, path)
        for cell, share in cells.items():
            sums = totals.setdefault(key, {True: Share(0, 0), False: Share(0, 0)})
            sums[cell.now] += share
    found += [
        Unseen(event, path, sums[True].of, sums[False].part)
        for (event, path), sums in totals.items()
        if not sums[True].part and sums[True].of >= MIN_COUNT
    ]
    return sorted(found, key=lambda unseen: (bool(unseen.path), -unseen.before, unseen.event, unseen.path))


# Shares that have changed -------------------------------------------------------------------------------------------


class _Comparison(Struct, frozen=True):
    """A share of a release, or of a whole source, beside the one it is compared with."""

    source: str | None
    release: str | None
    now: Share
    before: Share
    compared_with: str

    def has_changed(self, min_effect: float, comparisons: int) -> bool:
        """Whether that is more than chance."""
        return has_changed(self.now, self.before, min_effect=min_effect, comparisons=comparisons)


_Sums = dict[tuple[str | None, str | None, bool], Share]
"""By source, release (None: all of the source) and whether now: the share."""


def _summed(cells: Mapping[Cell, Share]) -> _Sums:
    sums: _Sums = {}
    for cell, share in cells.items():
        for release in (cell.sender.release, None):
            key = (cell.sender.source, release, cell.now)
            sums[key] = sums.get(key, Share(0, 0)) + share
    return sums


def _compared(sums: _Sums) -> Iterator[_Comparison]:
    """Each release with itself before, or with its source where it is too new; then each source as a whole."""
    nothing = Share(0, 0)
    by_release = sorted(sums, key=lambda key: (str(key[0]), key[1] is None, str(key[1])))
    for source, release, now in by_release:
        if now:
            before, compared_with = sums.get((source, release, False), nothing), "itself"
            if before.of < MIN_COUNT and release is not None:
                before, compared_with = sums.get((source, None, False), nothing), "source"
            yield _Comparison(source, release, sums[source, release, True], before, compared_with)


_Shares = list[tuple[str, str, str, list[_Comparison]]]
"""Event, path, what it is a share of (`null` or a type), and by whom it was sent."""


def _planned_and_types(facts: Facts) -> _Shares:
    """The nulls of what is planned, the types of what is not."""
    compared: _Shares = []
    for (event, path), cells in facts.present.items():
        nulls = {cell: Share(share.of - share.part, share.of) for cell, share in cells.items()}
        compared.append((event, path, "null", list(_compared(_summed(nulls)))))
    for (event, path), seen in facts.beside.items():
        for kind in sorted({kind for types in seen.types.values() for kind in types}):
            shares = {cell: Share(types[kind], types.total()) for cell, types in seen.types.items()}
            # What one type gains the others lose: the gain is told.
            gains = [found for found in _compared(_summed(shares)) if found.now.share > found.before.share]
            compared.append((event, path, kind, gains))
    return compared


def _changed(shares: _Shares, texts: Sequence[Changed], comparisons: int) -> list[Changed]:
    changed = [
        Changed(event, path, found.source, found.release, what, found.before, found.now, found.compared_with)
        for event, path, what, group in shares
        for found in _told(group, MIN_EFFECT, comparisons)
    ]
    changed += [
        new for new in texts if new.now.part >= MIN_NEW_VALUES and is_no_chance(new.now, new.before, comparisons)
    ]
    return sorted(
        changed, key=lambda found: (found.event, found.path, str(found.source), found.what, found.release or "")
    )


def _told(group: Sequence[_Comparison], min_effect: float, comparisons: int) -> list[_Comparison]:
    """Those that have changed; a whole source only where none of its releases has."""
    found = [one for one in group if one.has_changed(min_effect, comparisons)]
    released = {one.source for one in found if one.release is not None}
    return [one for one in found if one.release is not None or one.source not in released]


def _new_texts(facts: Facts) -> Iterator[Changed]:
    """Texts of the window that did not come before, where there were few different ones."""
    for (event, path), seen in facts.beside.items():
        # The name by which infer would draft it; that of the object around it says something too.
        name, is_trait = snake_case(path.removeprefix(TRAITS)), path.startswith(TRAITS)
        is_private = guess_privacy(name, seen.profile, is_trait=is_trait).privacy in ("personal", "sensitive")
        for source, now in sorted(seen.texts, key=str):
            before = seen.texts.get((source, False), Counter())
            if not now or before.total() < MIN_COUNT or len(before) > LISTED_VALUES:
                continue
            current = seen.texts[source, now]
            for value, count in sorted(current.items()):
                if value not in before:
                    shown = "(personal)" if is_private or personal_shape(value) else value
                    shares = Share(0, before.total()), Share(count, current.total())
                    yield Changed(event, path, source, None, f"value {shown}", *shares, "source")


# Quarantine ---------------------------------------------------------------------------------------------------------


def _rates(facts: Facts) -> list[tuple[str, list[_Comparison]]]:
    """Each code with its share of what each sender sent."""
    sent = _summed({cell: Share(0, count) for cell, count in facts.sent.items()})
    nameless = {(cell.sender.source, cell.sender.release) for cell in facts.sent if not cell.sender.library}
    rates = []
    for code in sorted({code for code, _ in facts.refused}):
        sums = _summed({cell: Share(facts.refused[code, cell], count) for cell, count in facts.sent.items()})
        # A refused event may be too broken to say which library sent it: it is one of its source's.
        for source, release in nameless:
            for now in (True, False):
                part = sums.get((source, release, now), Share(0, 0)).part
                sums[source, release, now] = Share(part, sent.get((source, None, now), Share(0, 0)).of)
        rates.append((code, list(_compared(sums))))
    return rates


def _quarantine(rates: Sequence[tuple[str, list[_Comparison]]], comparisons: int) -> list[QuarantineRate]:
    told_rates = []
    for code, group in rates:
        told = _told(group, MIN_QUARANTINE_EFFECT, comparisons)
        for one in group:
            if one in told or (one.now.part and one.release is not None):
                rate = QuarantineRate(one.source, one.release, code, one.before, one.now, one in told)
                told_rates.append(rate)
    return sorted(told_rates, key=lambda rate: (not rate.has_changed, -rate.now.share, str(rate.source), rate.code))
