"""Reads a mapping: a TOML file, or what flags say. Closed, in the words of the other mappings, every finding at once.

event = "order_completed"              # or {from = "event name"}
id = "order number"
user_id = "customer"
timestamp = {from = "date", cast = {to = "date-time", format = "%d.%m.%Y %H:%M", zone = "Europe/Helsinki"}}
[properties]                           # left out: all columns that have no other place
order_id = "order number"
revenue = {from = "total", cast = {to = "number", decimal = ","}}
currency = {value = "EUR"}
"""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from polku.errors import PolkuError
from polku.planned import CALLS
from polku.send.casts import CAST_TYPES, Cast
from polku.send.mapping import OBJECTS, TEXTS, Column, Constant, RowMapping, Value

OPTIONS = {
    "decimal": ("number", "integer"),
    "unit": ("date-time",),
    "zone": ("date-time",),
    "format": ("date-time",),
}
COLUMN_KEYS = ("from", "cast", "divide", "case", "default")
KEYS = ("call", "id", "timestamp", "cast", *TEXTS, *OBJECTS)


class MappingUnusable(PolkuError):
    """The text says everything that is wrong."""

    exit_code = 2


def read_mapping_file(file: Path) -> dict[str, Any]:
    """The file as it stands, for `mapping_from`."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingUnusable(f"the mapping {file} is not TOML: {error}") from error


def mapping_from(document: dict[str, Any], where: str = "the mapping") -> RowMapping:
    """The mapping that a document describes. Raises MappingUnusable with everything that is wrong in it."""
    reader = _Reader()
    mapping = reader.mapping(document)
    if reader.findings:
        raise MappingUnusable(f"{where} cannot be used:" + "".join(f"\n  {finding}" for finding in reader.findings))
    return mapping


class _Reader:
    def __init__(self) -> None:
        self.findings: list[str] = []

    def mapping(self, document: dict[str, Any]) -> RowMapping:
        given = self._members(document, "", KEYS)
        call = given.get("call", "track")
        if call not in CALLS:
            self._report("call", f"{call!r} is none of {', '.join(sorted(CALLS))}")
            call = "track"
        if call == "track" and "event" not in given:
            self._report("event", "a track call needs a name: `event`, --event or --event-column")
        # A name is the same for all rows, unless it says where it is; ids are columns.
        texts = {
            name: Constant(given[name])
            if name == "event" and isinstance(given[name], str)
            else self._value(given[name], name)
            for name in TEXTS
            if name in given
        }
        if not {"user_id", "anonymous_id"} & set(texts):
            self._report("user_id", "an event needs `user_id` or `anonymous_id`")
        timestamp = self._value(given["timestamp"], "timestamp") if "timestamp" in given else None
        if isinstance(timestamp, Constant) or (timestamp and timestamp.cast and timestamp.cast.to != "date-time"):
            self._report("timestamp", 'write a column, or `{from = …, cast = {to = "date-time", …}}`')
            timestamp = None
        objects = {name: self._object(given[name], name) for name in OBJECTS if name in given}
        rest = {"identify": "traits", "group": "traits", "alias": None}.get(call, "properties")
        casts = {
            name: self._cast(value, f"cast.{name}")
            for name, value in self._members(given.get("cast", {}), "cast").items()
        }
        return RowMapping(
            call=call,
            texts={name: value for name, value in texts.items() if value is not None},
            id=self._value(given["id"], "id") if "id" in given else None,
            timestamp=timestamp,
            objects=objects,
            rest=rest,
            casts={name: cast for name, cast in casts.items() if cast is not None},
        )

    def _object(self, value: Any, at: str) -> dict[str, Value]:
        found = {name: self._value(inner, f"{at}.{name}") for name, inner in self._members(value, at).items()}
        return {name: inner for name, inner in found.items() if inner is not None}

    def _value(self, value: Any, at: str) -> Value | None:
        if isinstance(value, str):
            return Column(value)
        if isinstance(value, dict) and "value" in value:
            constant = self._members(value, at, ("value",)).get("value")
            if isinstance(constant, str | int | float):
                return Constant(constant)
            self._report(f"{at}.value", "write a text, a number or a boolean")
            return None
        if not isinstance(value, dict) or "from" not in value:
            self._report(at, "write the name of a column, `{from = …}` or `{value = …}`")
            return None
        given = self._members(value, at, COLUMN_KEYS)
        name, divide, case = given["from"], given.get("divide"), given.get("case")
        if not isinstance(name, str):
            self._report(f"{at}.from", "write the name of a column")
            return None
        if divide is not None and (isinstance(divide, bool) or not isinstance(divide, int | float) or not divide > 0):
            self._report(f"{at}.divide", "write a number above 0")
            return None
        if case not in (None, "upper", "lower"):
            self._report(f"{at}.case", "write `upper` or `lower`")
            return None
        default = given.get("default")
        if not isinstance(default, str | int | float | None):
            self._report(f"{at}.default", "write a text, a number or a boolean")
            return None
        cast = self._cast(given["cast"], f"{at}.cast") if "cast" in given else None
        return Column(name, cast, divide, case, default)

    def _cast(self, value: Any, at: str) -> Cast | None:
        options: dict[str, Any] = (
            {"to": value} if isinstance(value, str) else dict(self._members(value, at, ("to", *OPTIONS)))
        )
        to = options.pop("to", None)
        if to not in CAST_TYPES:
            self._report(at, f"{to!r} is none of {', '.join(CAST_TYPES)}")
            return None
        for name in options:
            if to not in OPTIONS[name]:
                self._report(f"{at}.{name}", f"means nothing for {to}")
        decimal, unit = options.get("decimal", "."), options.get("unit")
        if decimal not in (".", ","):
            self._report(f"{at}.decimal", 'write "." or ","')
            return None
        if unit not in (None, "seconds", "milliseconds"):
            self._report(f"{at}.unit", "write `seconds` or `milliseconds`")
            return None
        zone = options.get("zone")
        try:
            return Cast(to, decimal, unit, None if zone is None else ZoneInfo(zone), options.get("format"))
        except (ValueError, OSError, TypeError, KeyError):
            self._report(f"{at}.zone", f"{zone!r} is no time zone such as `Europe/Helsinki`")
            return None

    def _members(self, value: Any, at: str, known: Iterable[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._report(at, "names with values are expected here")
            return {}
        allowed = set(value if known is None else known)
        for name in value:
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1)
                self._report(f"{at}.{name}".lstrip("."), "is not known here" + (f"; `{near[0]}`?" if near else ""))
        return {name: inner for name, inner in value.items() if name in allowed}

    def _report(self, at: str, message: str) -> None:
        self.findings.append(f"{at}: {message}")
