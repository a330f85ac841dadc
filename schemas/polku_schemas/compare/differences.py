"""What can differ between two plans and what each difference asks of the version: one table, and values made from it.

`docs/plan-versions.md` shows the table; a test holds the two equal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

Needs = Literal["none", "minor", "major", "impossible"]
"""What makes a change right: no new version, the next minor, the next major, or no version number at all."""

Subject = Literal["plan", "event", "property", "trait", "journey"]


class DifferenceKind(StrEnum):
    """Stable codes. They are added, never renamed: scripts over `--format json` rely on them."""

    PLAN_RENAMED = "plan_renamed"
    STAGES_CHANGED = "stages_changed"
    CHANNELS_CHANGED = "channels_changed"
    RESERVED_CHANGED = "reserved_changed"
    TREATMENT_CHANGED = "treatment_changed"
    IDENTITY_CHANGED = "identity_changed"
    EVENT_ADDED = "event_added"
    EVENT_REMOVED = "event_removed"
    EVENT_RENAMED = "event_renamed"
    ALIAS_ADDED = "alias_added"
    ALIAS_REMOVED = "alias_removed"
    ALIAS_MOVED = "alias_moved"
    CALL_ADDED = "call_added"
    CALL_REMOVED = "call_removed"
    STAGE_CHANGED = "stage_changed"
    TOUCHPOINT_CHANGED = "touchpoint_changed"
    CHANNEL_CHANGED = "channel_changed"
    PROPERTY_ADDED = "property_added"
    REQUIRED_PROPERTY_ADDED = "required_property_added"
    PROPERTY_REMOVED = "property_removed"
    TYPE_CHANGED = "type_changed"
    TYPE_TIGHTENED = "type_tightened"
    TYPE_LOOSENED = "type_loosened"
    BECAME_REQUIRED = "became_required"
    BECAME_OPTIONAL = "became_optional"
    NULL_REFUSED = "null_refused"
    NULL_ALLOWED = "null_allowed"
    CONSTRAINT_TIGHTENED = "constraint_tightened"
    CONSTRAINT_LOOSENED = "constraint_loosened"
    CONSTRAINT_REPLACED = "constraint_replaced"
    ENUM_INTRODUCED = "enum_introduced"
    ENUM_DROPPED = "enum_dropped"
    ENUM_VALUE_ADDED = "enum_value_added"
    ENUM_VALUE_REMOVED = "enum_value_removed"
    DEFAULT_ADDED = "default_added"
    DEFAULT_CHANGED = "default_changed"
    DEFAULT_REMOVED = "default_removed"
    PRIVACY_STRICTER = "privacy_stricter"
    PRIVACY_LOOSER = "privacy_looser"
    JOURNEY_ADDED = "journey_added"
    JOURNEY_REMOVED = "journey_removed"
    JOURNEY_CHANGED = "journey_changed"
    WORDING_CHANGED = "wording_changed"


class Classification(Struct, frozen=True):
    """What a kind of difference needs, why, and the way out. Compatible ones have neither reason nor way out."""

    needs: Needs
    reason: str = ""
    way_out: str = ""


_KEEP_OPTIONAL: Final = "leave it optional, with a `default` where the table shall never be empty"

CLASSIFICATIONS: Final[dict[DifferenceKind, Classification]] = {
    DifferenceKind.PLAN_RENAMED: Classification("none"),
    DifferenceKind.STAGES_CHANGED: Classification("minor"),
    DifferenceKind.CHANNELS_CHANGED: Classification("minor"),
    DifferenceKind.RESERVED_CHANGED: Classification("none"),
    DifferenceKind.IDENTITY_CHANGED: Classification("minor"),
    DifferenceKind.TREATMENT_CHANGED: Classification("minor"),
    DifferenceKind.EVENT_ADDED: Classification("minor"),
    DifferenceKind.EVENT_REMOVED: Classification(
        "major",
        "who still sends it sends something unplanned: its properties go to `extra`, or the event to quarantine",
        "keep it until nobody sends it, or make its name an alias of the event that takes its place",
    ),
    DifferenceKind.EVENT_RENAMED: Classification(
        "major",
        "it is still taken, but new rows have the new name: what asks for the old one finds only the past",
        "keep the name and make the new one an alias of it",
    ),
    DifferenceKind.ALIAS_ADDED: Classification("minor"),
    DifferenceKind.ALIAS_REMOVED: Classification(
        "major",
        "who sends this name sends something unplanned from now on",
        "keep the alias: it costs nothing",
    ),
    DifferenceKind.ALIAS_MOVED: Classification(
        "major",
        "what is sent under this name is judged and stored as another event from now on",
        "leave the alias where it is and give the other event a new one",
    ),
    DifferenceKind.CALL_ADDED: Classification("minor"),
    DifferenceKind.CALL_REMOVED: Classification(
        "major",
        "these calls are not this event any more: they become another event, or are unplanned",
        "keep `call` as it is and add a second event",
    ),
    DifferenceKind.STAGE_CHANGED: Classification("minor"),
    DifferenceKind.TOUCHPOINT_CHANGED: Classification("minor"),
    DifferenceKind.CHANNEL_CHANGED: Classification("minor"),
    DifferenceKind.PROPERTY_ADDED: Classification("minor"),
    DifferenceKind.REQUIRED_PROPERTY_ADDED: Classification(
        "major", "who sends the event as before is refused: the property is missing", _KEEP_OPTIONAL
    ),
    DifferenceKind.PROPERTY_REMOVED: Classification(
        "major",
        "who still sends it sends something unplanned: it goes to `extra`, or the event to quarantine; "
        "the column stays and gets no more values",
        "keep it, optional, until nobody sends it",
    ),
    DifferenceKind.TYPE_CHANGED: Classification(
        "impossible",
        "a column's type is for life: the values cannot stand in the column that is there",
        "give the new type a new property name and keep this one, optional, until nobody sends it",
    ),
    DifferenceKind.TYPE_TIGHTENED: Classification(
        "major", "texts that are no UUID are refused", "add a new property of the new type"
    ),
    DifferenceKind.TYPE_LOOSENED: Classification("minor"),
    DifferenceKind.BECAME_REQUIRED: Classification(
        "major", "who leaves it out, as was allowed, is refused", _KEEP_OPTIONAL
    ),
    DifferenceKind.BECAME_OPTIONAL: Classification("minor"),
    DifferenceKind.NULL_REFUSED: Classification(
        "major", "who sends null, as was allowed, is refused", "keep `nullable: true`"
    ),
    DifferenceKind.NULL_ALLOWED: Classification("minor"),
    DifferenceKind.CONSTRAINT_TIGHTENED: Classification(
        "major",
        "values that were allowed are refused",
        "keep the constraint as it was, or add a new property with the tighter one",
    ),
    DifferenceKind.CONSTRAINT_LOOSENED: Classification("minor"),
    DifferenceKind.CONSTRAINT_REPLACED: Classification(
        "major",
        "nobody can decide whether all texts that fitted the old one fit the new one",
        "keep the old one, drop it, or add a new property with the new one",
    ),
    DifferenceKind.ENUM_INTRODUCED: Classification(
        "major",
        "values that were allowed and are not listed are refused",
        "list them without `enum` in the description, or add a new property with the enum",
    ),
    DifferenceKind.ENUM_DROPPED: Classification("minor"),
    DifferenceKind.ENUM_VALUE_ADDED: Classification("minor"),
    DifferenceKind.ENUM_VALUE_REMOVED: Classification(
        "major", "who still sends the value is refused", "keep the value until nobody sends it"
    ),
    DifferenceKind.DEFAULT_ADDED: Classification("minor"),
    DifferenceKind.DEFAULT_CHANGED: Classification(
        "major",
        "the same event is stored with another value: who left it out meant the old one",
        "keep the default, and let those who mean something else send it",
    ),
    DifferenceKind.DEFAULT_REMOVED: Classification(
        "major", "events that were stored with the default are stored with nothing", "keep the default"
    ),
    DifferenceKind.PRIVACY_STRICTER: Classification("minor"),
    DifferenceKind.PRIVACY_LOOSER: Classification("minor"),
    DifferenceKind.JOURNEY_ADDED: Classification("minor"),
    DifferenceKind.JOURNEY_REMOVED: Classification("minor"),
    DifferenceKind.JOURNEY_CHANGED: Classification("minor"),
    DifferenceKind.WORDING_CHANGED: Classification("none"),
}
"""Every kind with what follows from it. A kind has one answer: where the answer depends, there are two kinds."""


class Difference(Struct, frozen=True, kw_only=True):
    """One thing that differs between two plans, and what it means for those who send and those who read."""

    kind: DifferenceKind
    subject: Subject
    event: str | None = None
    """None for the plan, traits and the journey. An event that was renamed or removed has its old name."""
    name: str = ""
    """The property (`products.price` for a field, `tags[]` for the items of a list), the trait, `goals.order` …"""
    needs: Needs
    message: str
    """What changed, with the old and the new value; also what a compatible change does to rows and reports."""
    reason: str = ""
    """Why it breaks; empty if it does not."""
    way_out: str = ""
    """What to do instead; empty if it does not break."""

    @property
    def breaking(self) -> bool:
        """Whether an event that was fine is refused, or stored with another meaning."""
        return self.needs in ("major", "impossible")


def difference(
    kind: DifferenceKind, subject: Subject, message: str, event: str | None = None, name: str = ""
) -> Difference:
    """A difference of a kind, with what the table says of it."""
    known = CLASSIFICATIONS[kind]
    return Difference(
        kind=kind,
        subject=subject,
        event=event,
        name=name,
        needs=known.needs,
        message=message,
        reason=known.reason,
        way_out=known.way_out,
    )
