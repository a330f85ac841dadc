"""Compiles a plan to msgspec types, so that an event is validated and decoded in one pass of C code.

The fast path is a bound `Decoder.decode` per event; everything it raises is settled by the slow path in
`check.py`, which says what is wrong or accepts with repairs.
"""

from __future__ import annotations

import datetime
import itertools
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Optional

import msgspec

from polku_schemas.check import Checker, Sorted
from polku_schemas.formats import string_pattern
from polku_schemas.model import Call, Event, Plan, Property, Rule
from polku_schemas.problems import Problem, ProblemCode
from polku_schemas.rules import first_match
from polku_schemas.tolerant import INT64_MAX, INT64_MIN, make_json_safe
from polku_schemas.values import number_bounds

MAX_EVENT_NAME: Final = 200
"""Characters of an event name that are looked at; longer ones are unknown without being read."""

BUILT_IN_CALLS: Final = ("identify", "group", "alias")
"""Calls that are events of their own, in every plan: their name is the call, and they have no properties."""

_BUILT_IN_VERSION: Final = "1.0"


class Checked(msgspec.Struct, frozen=True):
    """An object the slow path accepts: the planned values, the rest, and whether anything had to be
    replaced."""

    values: msgspec.Struct
    unplanned: dict[str, Any]
    """JSON-safe.

    In an object or list of objects of the plan, only the unplanned members, in the same shape.
    """
    repaired: bool


class CompiledEvent:
    """One event (or the traits record) ready to decode. `decode` is the fast path, `check` the slow one."""

    __slots__ = (
        "_checker",
        "_names",
        "_rules",
        "call",
        "channel",
        "channel_rules",
        "decode",
        "name",
        "struct",
        "version",
    )

    name: str
    version: str
    call: Call
    struct: type[msgspec.Struct]
    """The type of the values: frozen, keyword-only. Absent optional fields have their default, which is written
    when they are encoded, or are None and left out."""
    decode: Callable[[bytes | bytearray | memoryview | msgspec.Raw], msgspec.Struct]
    """Bytes of a JSON object → values, date-times in UTC.

    Raises MsgspecError, ValueError (bad UTF-8 is one) or RecursionError on anything that is not exactly as
    planned, unknown keys included.
    """
    channel: str | None
    """The channel, where the plan names one for every event of this name."""
    channel_rules: bool
    """Whether the channel depends on the values: then ask `channel_of`."""

    def __init__(self, event: Event, root: str) -> None:
        self.name = event.name
        self.version = event.version
        self.call = event.call
        self.struct = _struct(_class_name(event.name), event.properties)
        self.decode = msgspec.json.Decoder(self.struct).decode
        self._names = frozenset(event.properties)
        self._checker = Checker(event.properties, root)
        self._rules: tuple[Rule, ...] = event.channel
        self.channel_rules = bool(event.channel) and bool(event.channel[0].when)
        self.channel = event.channel[0].then if event.channel and not self.channel_rules else None

    def check(self, raw: bytes | bytearray | memoryview | msgspec.Raw) -> Checked | Problem:
        """Say what is wrong with a JSON object, or accept it with what the fast path is too strict for.

        Never raises.
        """
        raw = bytes(raw)
        try:
            return self._beside(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            document = self._checker.read(raw)
        if isinstance(document, Problem):
            return document
        if document.unplanned and document.strict:
            # Of members that are objects, the unplanned members may be all that the fast path minded.
            try:
                values = msgspec.convert(document.planned, self.struct)
                return Checked(values, document.unplanned, document.repaired)
            except msgspec.ValidationError:
                pass
        checked = self._checker.check(document)
        return checked if isinstance(checked, Problem) else self._typed(checked)

    def _beside(self, raw: bytes) -> Checked:
        """The common case of the slow path, in C: all as planned, but for members of the object that the plan lacks."""
        planned = _decode_members(raw)
        names = self._names
        unplanned = {name: planned.pop(name) for name in [name for name in planned if name not in names]}
        return Checked(msgspec.convert(planned, self.struct), unplanned, make_json_safe(unplanned))

    def channel_of(self, values: msgspec.Struct) -> str | None:
        """The channel the plan gives these values, or None where it leaves that to the source."""
        if not self.channel_rules:
            return self.channel
        return first_match(self._rules, lambda name: getattr(values, name))

    def _typed(self, checked: Sorted) -> Checked | Problem:
        try:
            values = msgspec.convert(checked.values, self.struct)
        except msgspec.ValidationError as error:  # pragma: no cover - a test holds that the two paths agree
            return Problem(ProblemCode.WRONG_TYPE, "$", str(error))
        return Checked(values, checked.unplanned, checked.repaired)

    def __repr__(self) -> str:
        return f"CompiledEvent({self.name!r}, version={self.version!r})"


class CompiledPlan:
    """A plan ready for the hot path.

    `find` is a dictionary look-up; `traits` decodes the traits of any call.
    """

    __slots__ = ("_by_call", "_tracked", "plan", "traits")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._tracked: dict[str, CompiledEvent] = {}
        self._by_call: dict[str, CompiledEvent] = {}
        for call in BUILT_IN_CALLS:
            self._by_call[call] = CompiledEvent(_built_in(call), "$.properties")
        for event in plan.events.values():
            compiled = CompiledEvent(event, "$.properties")
            for name in (event.name, *event.aliases):
                self._tracked[name] = compiled
            if event.call != "track":
                self._by_call[event.call] = compiled
        self.traits = CompiledEvent(_traits(plan), "$.traits")

    def find(self, call: str, name: str | None) -> CompiledEvent | None:
        """The event that a call of the wire means, or None.

        Only `track` looks at the name: exactly, then in snake case.
        """
        if call != "track":
            return self._by_call.get(call)
        if name is None:
            return None
        found = self._tracked.get(name)
        if found is None and len(name) <= MAX_EVENT_NAME:
            found = self._tracked.get(snake_case(name))
        return found


def compile_plan(plan: Plan) -> CompiledPlan:
    """Build the decoders of every event of the plan, once, at start."""
    return CompiledPlan(plan)


def snake_case(name: str) -> str:
    """`Order Completed`, `orderCompleted` and `order-completed` → `order_completed`."""
    spaced = _CASE_CHANGE.sub("_", name.strip())
    return _NOT_A_WORD.sub("_", spaced).strip("_").lower()


_decode_members: Final = msgspec.json.Decoder(dict[str, Any]).decode

_CASE_CHANGE: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_A_WORD: Final = re.compile(r"[^A-Za-z0-9]+")


def _built_in(call: Call) -> Event:
    return Event(
        name=call,
        version=_BUILT_IN_VERSION,
        owner="polku",
        description="",
        stage=(),
        touchpoint=(),
        call=call,
    )


def _traits(plan: Plan) -> Event:
    return msgspec.structs.replace(_built_in("identify"), name="traits", properties=plan.traits)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _struct(class_name: str, properties: Mapping[str, Property]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for name, prop in properties.items():
        annotation = _annotation(prop, class_name + _class_name(name))
        if prop.required:
            fields.append((name, annotation))
        elif prop.default is not None:
            fields.append((name, annotation, _written_default(prop, annotation)))
        else:
            fields.append((name, Optional[annotation], None))  # noqa: UP045 - the type is a value here
    to_utc = _to_utc(properties)
    return msgspec.defstruct(
        class_name,
        fields,
        module="polku_schemas.generated",
        namespace={"__post_init__": to_utc} if to_utc else None,
        kw_only=True,
        frozen=True,
        omit_defaults=True,
        forbid_unknown_fields=True,
        gc=False,  # values form trees: nothing for the cycle collector to find
    )


def _written_default(prop: Property, annotation: Any) -> Any:
    """The default of the plan as that of a field: msgspec leaves out a default value, but not what a factory made.

    The factory is a C function that always gives the same value: there is no cheaper one.
    """
    value = msgspec.convert(prop.default, annotation)
    if isinstance(value, datetime.datetime):
        value = value.astimezone(datetime.UTC)
    return msgspec.field(default_factory=itertools.repeat(value).__next__)


def _to_utc(properties: Mapping[str, Property]) -> Callable[[Any], None] | None:
    """Brings date-times to UTC as they are decoded; None where there are none, so that other types do not pay for it.

    Written out name by name, as `dataclasses` does it: a loop with `getattr` takes twice as long. A time in UTC, as
    most clients send it, has this very `UTC` object and costs a comparison.
    """
    lines = []
    for name, prop in properties.items():
        if prop.type == "date-time":
            there = "" if prop.required and not prop.nullable else f"values.{name} is not None and "
            lines.append(f"        if {there}(moment := values.{name}).tzinfo is not UTC:")
            lines.append(f"            force_setattr(values, {name!r}, moment.astimezone(UTC))")
        elif prop.items is not None and prop.items.type == "date-time":
            lines.append(f"        if values.{name} is not None:")
            lines.append(f"            values.{name}[:] = [moment.astimezone(UTC) for moment in values.{name}]")
    if not lines:
        return None
    source = "\n".join(
        (
            "def post_init(values):",
            "    try:",
            *lines,
            "    except OverflowError:",  # which msgspec would let through
            "        raise ValueError('a date-time is outside the years 1 to 9999 in UTC') from None",
        )
    )
    scope: dict[str, Any] = {"UTC": datetime.UTC, "force_setattr": msgspec.structs.force_setattr}
    exec(source, scope)  # noqa: S102 - the reader of plans lets no name through that is not an identifier
    post_init: Callable[[Any], None] = scope["post_init"]
    return post_init


def _annotation(prop: Property, class_name: str) -> Any:
    """The decoder type of a property: constraints as msgspec metadata, which checks them in C."""
    base: Any
    meta: dict[str, Any] = {}
    if prop.enum:
        base = Literal[prop.enum]
    elif prop.type == "integer":
        base = int
        meta = {
            "ge": INT64_MIN if prop.minimum is None else prop.minimum,
            "le": INT64_MAX if prop.maximum is None else prop.maximum,
        }
    elif prop.type == "number":
        base = float
        minimum, maximum = number_bounds(prop)
        meta = {"ge": minimum, "le": maximum}
    elif prop.type == "date-time":
        base = datetime.datetime
        meta = {"tz": True}
    elif prop.type in ("string", "array"):
        base = str if prop.items is None else list.__class_getitem__(_annotation(prop.items, class_name))
        meta = {"min_length": prop.min_length, "max_length": prop.max_length, "pattern": string_pattern(prop)}
    elif prop.type == "object":
        base = _struct(class_name, prop.fields)
    else:
        base = {"boolean": bool, "date": datetime.date, "uuid": uuid.UUID}[prop.type]
    constraints = {key: value for key, value in meta.items() if value is not None}
    annotation = Annotated[base, msgspec.Meta(**constraints)] if constraints else base
    return Optional[annotation] if prop.nullable else annotation  # noqa: UP045 - the type is a value here
