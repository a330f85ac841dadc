"""Reads a webhook's mapping file: YAML, closed, every finding at once with its line.

id: $.id
events:
  order_completed:                       # the event's name, unless `event` says another
    when: {"header:X-Shopify-Topic": orders/create, "$.test": {not: true}}
    user_id: $.customer.id
    timestamp: $.created_at
    properties:
      order_id: {from: $.id, cast: string}
      currency: $.currency
      products: {each: $.line_items, properties: {product_id: "@.sku", quantity: "@.quantity"}}
"""

from __future__ import annotations

from pathlib import Path as File
from typing import Any, Final, Literal, get_args

from polku_schemas import Finding
from polku_schemas.documents import MemberPath, read_file
from polku_schemas.model import Call

from ..closed_file import ClosedReader
from ..errors import SettingsError
from .mapping import Condition, Constant, Entry, Found, Members, Scalar, Value, WebhookMapping
from .places import Place, looks_like_place, read_place

CALLS: Final[tuple[str, ...]] = get_args(Call)

MEMBERS: Final[dict[str, str]] = {
    "event": "event",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "group_id": "groupId",
    "previous_id": "previousId",
    "timestamp": "timestamp",
    "name": "name",
    "category": "category",
    "properties": "properties",
    "traits": "traits",
    "context": "context",
}
"""Keys of an entry, and the members of an event on the wire that they make."""

KEYS: Final = frozenset(("call", "id", "when", "each", *MEMBERS))

FOUND_KEYS: Final = ("from", "cast", "divide", "case", "default")
"""What can be said of a value beside where it is, in the order in which it is done."""

_OBJECTS: Final = frozenset(("properties", "traits", "context"))
_HOW: Final = "Write a path such as `$.order.lines[0].sku`, `@.sku` within `each`, or `header:NAME`"


def read_webhook_mapping(file: File) -> WebhookMapping:
    """Read a mapping file. Raises SettingsError with everything that is wrong in it."""
    findings: list[Finding] = []
    document = read_file(file.parent, file.name, findings)
    mapping = _Reader(document, findings).mapping() if document is not None else WebhookMapping(())
    if findings:
        raise SettingsError(f"the mapping {file} cannot be used:" + "".join(f"\n  {finding}" for finding in findings))
    return mapping


class _Reader(ClosedReader):
    page = "docs/webhooks.md"

    def mapping(self) -> WebhookMapping:
        top = self.members(self._document.value, (), {"id", "events"})
        events = self.members(top.get("events", {}), ("events",))
        if not events:
            self.report(("events",), "it makes no event", "Give it `events:` with the name of an event of your plan")
        # One that cannot be read is reported once, not again as missing in each entry.
        common = (self._id(top["id"], ("id",), each=False) or ()) if "id" in top else None
        return WebhookMapping(
            tuple(self._entry(name, value, ("events", name), common) for name, value in events.items())
        )

    def _entry(
        self, name: Any, value: Any, at: MemberPath, common: tuple[Place, ...] | Literal["body"] | None
    ) -> Entry:
        given = self.members(value, at, set(KEYS))
        call = given.get("call", "track")
        if call not in CALLS:
            self.report((*at, "call"), f"{call!r} is no call", f"Write one of {', '.join(CALLS)}")
        each = self._place(given["each"], (*at, "each"), each=False) if "each" in given else None
        within = "each" in given
        identity = self._id(given["id"], (*at, "id"), each=within) if "id" in given else common
        if identity is None and "id" not in given:
            self.report(
                at,
                "no `id`: a delivery that is sent again would be a second event",
                "Write `id:` with the path of what is unique in a delivery, or `id: body` if nothing in it is",
            )
        members = [
            (
                wire,
                self._members_of(given[key], (*at, key), within)
                if key in _OBJECTS
                else self._value(given[key], (*at, key), within),
            )
            for key, wire in MEMBERS.items()
            if key in given
        ]
        if call == "track" and "event" not in given:
            members.append(("event", Constant(str(name))))
        return Entry(
            name=str(name),
            call=str(call),
            members=tuple((wire, inner) for wire, inner in members if inner is not None),
            id=identity if identity is not None else (),
            when=self._conditions(given.get("when", {}), (*at, "when"), within),
            each=each,
        )

    def _id(self, value: Any, at: MemberPath, *, each: bool) -> tuple[Place, ...] | Literal["body"] | None:
        if value == "body":
            return "body"
        places = [self._place(part, at, each=each) for part in (value if isinstance(value, list) else [value])]
        found = tuple(place for place in places if place is not None)
        if not places:
            self.report(at, "the list is empty", _HOW)
        return found or None

    def _conditions(self, value: Any, at: MemberPath, each: bool) -> tuple[Condition, ...]:
        conditions = []
        for text, wanted in self.members(value, at).items():
            place = self._place(text, (*at, text), each=each)
            negated = isinstance(wanted, dict)
            if negated:
                inner = self.members(wanted, (*at, text), {"not"})
                if "not" not in inner:
                    self.report((*at, text), "there is nothing to compare with", "Write a value, a list, or `{not: …}`")
                wanted = inner.get("not")
            values = wanted if isinstance(wanted, list) else [wanted]
            if not values or not all(isinstance(one, Scalar) for one in values):
                message = "a value is compared with texts, numbers, booleans and null"
                self.report((*at, text), message, "Write one, or a list of them")
            elif place is not None:
                conditions.append(Condition(place, tuple(values), negated))
        return tuple(conditions)

    def _value(self, value: Any, at: MemberPath, each: bool) -> Value | None:
        if isinstance(value, str) and looks_like_place(value):
            place = self._place(value, at, each=each)
            return None if place is None else Found(place)
        if isinstance(value, Scalar) and value is not None:
            return Constant(value)
        if not isinstance(value, dict):
            self.report(at, "a list or null is no value", _HOW)
            return None
        if "value" in value:
            constant = self.members(value, at, {"value"}).get("value")
            if isinstance(constant, Scalar):
                return Constant(constant)
            self.report((*at, "value"), "it is not a text, a number or a boolean", "Write one")
            return None
        if "properties" in value:
            given = self.members(value, at, {"each", "properties"})
            place = self._place(given["each"], (*at, "each"), each=each) if "each" in given else None
            inner = self._members_of(given["properties"], (*at, "properties"), each or "each" in given)
            return Members(inner.members, place) if isinstance(inner, Members) else None
        return self._found(value, at, each)

    def _found(self, value: dict[str, Any], at: MemberPath, each: bool) -> Found | None:
        given = self.members(value, at, set(FOUND_KEYS))
        if "from" not in given:
            self.report(at, "it does not say where the value is", "Write `from:` with a path, or `properties:`")
            return None
        place = self._place(given["from"], (*at, "from"), each=each)
        cast = self.cast(given["cast"], (*at, "cast")) if "cast" in given else None
        divide, case, default = given.get("divide"), given.get("case"), given.get("default")
        if divide is not None and (isinstance(divide, bool) or not isinstance(divide, int | float) or not divide > 0):
            self.report((*at, "divide"), "it is no number above 0", "Write `divide: 100` for an amount in hundredths")
            return None
        if case not in (None, "upper", "lower"):
            self.report((*at, "case"), f"{case!r} is none of upper and lower", "Write one of them")
            return None
        if not isinstance(default, Scalar):
            self.report((*at, "default"), "a default is a text, a number or a boolean", "Write one, or leave it out")
            return None
        return None if place is None else Found(place, cast, divide, case, default)

    def _members_of(self, value: Any, at: MemberPath, each: bool) -> Value | None:
        """An object member by member; or the path of one."""
        if isinstance(value, str):
            place = self._place(value, at, each=each)
            return None if place is None else Found(place)
        found = [(str(name), self._value(inner, (*at, name), each)) for name, inner in self.members(value, at).items()]
        return Members(tuple((name, inner) for name, inner in found if inner is not None))

    def _place(self, text: Any, at: MemberPath, *, each: bool) -> Place | None:
        place = read_place(text) if isinstance(text, str) else None
        if place is None:
            self.report(at, f"`{text}` is no path", _HOW)
        elif place.root == "item" and not each:
            self.report(
                at, f"`{text}` speaks of an item, and no list is gone through here", "Write `$`, or add `each:`"
            )
            return None
        return place
