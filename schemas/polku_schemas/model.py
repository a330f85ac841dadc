"""What a tracking plan is, as frozen values: properties, events, rules and the journey.

Reading files is `plan.py`'s.
"""

from __future__ import annotations

import datetime
from typing import Any, Final, Literal

from msgspec import Struct

PropertyType = Literal["string", "integer", "number", "boolean", "date", "date-time", "uuid", "array", "object"]
"""The types a property may have; each has one column type (`columns.py`) and one decoder type
(`compile.py`)."""

Privacy = Literal["none", "pseudonymous", "personal", "sensitive"]
"""What a value says about a person: nothing, something behind a key, who they are, something they would
hide."""

ForbiddingPrivacy = Literal["personal", "sensitive"]
"""The classes that a plan may keep from being stored as they come. The others are what tables are made of."""

Treatment = Literal["drop", "pseudonymise"]
"""What a collector does with a value that is not stored as it comes: nothing is stored, or a keyed hash."""

StringFormat = Literal["email", "uri", "hostname", "ipv4", "ipv6"]
"""Formats a string may be given; each stands for one pattern (`formats.py`), so that all checkers agree on it."""

Call = Literal["track", "page", "screen", "identify", "group", "alias"]
"""The six calls of the wire. An event of a plan is sent with one of the first three."""

RuleLiteral = str | int | float | bool
"""A literal of the rule language."""

HISTORY_FACTS: Final = ("first_order", "repeat_order", "known_person")
"""What a stage or touchpoint rule may ask about the person's past; boolean columns of the same names in the models.

`first_order`: the event is an order and the person's first. `repeat_order`: the person has ordered before this event,
whatever it is. `known_person`: the person has a user id by then.
"""

SETTING_FACTS: Final = ("page_path", "channel", "marketing_channel")
"""Envelope columns that stage and touchpoint rules may ask about. All are strings."""

PERSON_FACTS: Final = {
    "orders": "integer",
    "revenue": "number",
    "sessions": "integer",
    "known_person": "boolean",
    "touchpoints": "integer",
    "stage": "string",
    "first_channel": "string",
    "first_marketing_channel": "string",
    "account_id": "string",
    "currency": "string",
    "net_revenue": "number",
    "margin": "number",
    "lifetime_value": "number",
    "recency_days": "number",
    "frequency": "integer",
    "monetary": "number",
    "r_score": "integer",
    "f_score": "integer",
    "m_score": "integer",
    "rfm": "string",
    "preferred_category": "string",
    "open_cart_value": "number",
    "satisfaction_band": "string",
    "contacts": "integer",
    "complaints": "integer",
    "open_complaints": "integer",
}
"""What a segment may ask about a person beside the traits (`trait_<name>`): columns of the table `profiles`."""


class Comparison(Struct, frozen=True):
    """`name op literal`.

    A bare fact is `name = true`. An absent value fulfils no comparison, as NULL does in SQL.
    """

    name: str
    op: Literal["=", "!=", "<", "<=", ">", ">=", "in", "like"]
    literal: RuleLiteral | tuple[RuleLiteral, ...]


class Rule(Struct, frozen=True):
    """`then` applies where every comparison of `when` holds; no comparison means always."""

    then: str
    when: tuple[Comparison, ...] = ()


class Property(Struct, frozen=True, kw_only=True):
    """One property (or trait, or field of an object) with the constraints in force where it stands."""

    name: str
    type: PropertyType
    description: str
    privacy: Privacy = "none"
    required: bool = False
    nullable: bool = False
    """A required property that may be null. An optional one always may: null is then the same as absent."""
    enum: tuple[str | int, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    min_length: int | None = None
    """Characters of a string, items of an array."""
    max_length: int | None = None
    format: StringFormat | None = None
    pattern: str | None = None
    """A Python regular expression that must be found somewhere in the string: anchor it to match the
    whole."""
    items: Property | None = None
    """What an array holds: scalars or objects."""
    fields: dict[str, Property] = {}
    """The fields of an object, in order; scalars only."""
    default: str | int | float | bool | None = None
    """What is stored where an optional property is absent or null; scalars only, as the plan's files write them."""
    examples: tuple[Any, ...] = ()


class Event(Struct, frozen=True, kw_only=True):
    """One event of the plan and its place in the journey."""

    name: str
    version: str
    owner: str
    description: str
    stage: tuple[Rule, ...]
    """First match wins; a constant is one rule without `when`; empty says the event places nobody in a
    stage."""
    touchpoint: tuple[Rule, ...]
    channel: tuple[Rule, ...] = ()
    """Empty: the channel is that of the source."""
    call: Call = "track"
    aliases: tuple[str, ...] = ()
    properties: dict[str, Property] = {}
    examples: tuple[dict[str, Any], ...] = ()


class Goal(Struct, frozen=True, kw_only=True):
    """Something the business wants to happen: one of `events`, where `when` holds.

    `value` names the property to sum.
    """

    name: str
    description: str
    events: tuple[str, ...]
    when: tuple[Comparison, ...] = ()
    value: str | None = None


class Segment(Struct, frozen=True, kw_only=True):
    """A named group of persons (a persona, if it has a story): those for whom all of `when` holds."""

    name: str
    description: str
    when: tuple[Comparison, ...]
    persona: str | None = None


class FunnelStep(Struct, frozen=True, kw_only=True):
    """A step: an event, where `when` holds. An optional step is shown but does not hold anybody back."""

    event: str
    when: tuple[Comparison, ...] = ()
    optional: bool = False


class Funnel(Struct, frozen=True, kw_only=True):
    """Ordered steps that one unit takes within the window, counted from the first step."""

    name: str
    description: str
    steps: tuple[FunnelStep, ...]
    window_seconds: int
    unit: Literal["person", "session"] = "person"


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What should be reached: the measure `measure` of the goal or funnel `of`, per period."""

    name: str
    description: str
    measure: Literal["count", "people", "value", "conversion", "return_on_spend"]
    of: str
    value: float
    """A number, an amount of money for `value`, a share between 0 and 1 for `conversion`, for `return_on_spend` how
    many times what was spent comes back."""
    period: Literal["day", "week", "month", "quarter", "year"]
    currency: str | None = None
    """That of an amount of money; None for whatever the events are in."""


class Change(Struct, frozen=True, kw_only=True):
    """Something dated that may explain a bend in a curve: a release, a campaign, a price change."""

    name: str
    date: datetime.date
    kind: Literal["release", "campaign", "price", "assortment", "other"]
    description: str


ReferenceType = Literal["string", "integer", "number", "boolean", "date", "date-time"]
"""The types a column of a reference table may have."""


class ReferenceColumn(Struct, frozen=True, kw_only=True):
    """One column of a reference table."""

    type: ReferenceType
    description: str
    required: bool = False
    """Every row has a value in it."""


class ReferenceTable(Struct, frozen=True, kw_only=True):
    """A table that the business keeps itself, with one row for each value of `keys`."""

    name: str
    description: str
    keys: tuple[str, ...]
    columns: dict[str, ReferenceColumn]


class Plan(Struct, frozen=True, kw_only=True):
    """A whole, checked tracking plan. Two plans with the same content have the same fingerprint."""

    name: str
    version: str
    description: str
    stages: tuple[str, ...]
    channels: tuple[str, ...]
    reserved: tuple[str, ...] = ()
    """Names that no event, property or trait may have, beside those the tables need themselves."""
    privacy: dict[Privacy, Treatment] = {}
    """What is done with the values of a class of ForbiddingPrivacy; a class that is not named is stored as it comes."""
    join_by: tuple[str, ...] = ()
    """Traits of which an equal value says that two ids are one person; two user ids only with `join_users`."""
    join_users: bool = False
    properties: dict[str, Property]
    traits: dict[str, Property]
    events: dict[str, Event]
    goals: dict[str, Goal] = {}
    segments: dict[str, Segment] = {}
    funnels: dict[str, Funnel] = {}
    targets: dict[str, Target] = {}
    changes: tuple[Change, ...] = ()
    reference: dict[str, ReferenceTable] = {}
    fingerprint: str = ""
