"""Reads a mapping file: YAML, closed, every finding at once with its line.

events:
  product_viewed:                 # an event as it was sent, or "*"
    drop: [debug]
    rename: {prodId: product_id, "products[].sku": product_id}
    cast: {price: {to: number, decimal: ","}, "products[].quantity": integer}
    default: {currency: EUR}
    rename_event: product_seen
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as File
from typing import Any, get_args
from zoneinfo import ZoneInfo

from polku_schemas import Finding
from polku_schemas.documents import Document, MemberPath, read_file
from polku_schemas.finding_codes import FindingCode

from ..errors import SettingsError
from .casts import Cast, CastType
from .mapping import Mapping, Mended, Path, Step

_CAST_TYPES: tuple[str, ...] = get_args(CastType)
_OPTIONS = {
    "decimal": ("number", "integer"),
    "unit": ("date-time",),
    "zone": ("date-time",),
}


def read_mapping(file: File) -> Mapping:
    """Read a mapping file. Raises SettingsError with everything that is wrong in it."""
    findings: list[Finding] = []
    document = read_file(file.parent, file.name, findings)
    mapping = _Reader(document, findings).mapping() if document is not None else Mapping()
    if findings:
        raise SettingsError(f"the mapping {file} cannot be used:" + "".join(f"\n  {finding}" for finding in findings))
    return mapping


class _Reader:
    def __init__(self, document: Document, findings: list[Finding]) -> None:
        self._document, self._findings = document, findings

    def mapping(self) -> Mapping:
        top = self._members(self._document.value, (), {"events"})
        events = self._members(top.get("events", {}), ("events",))
        if not events:
            self._report(("events",), "it mends no event", "Give it `events:` with an event, or `*`")
        return Mapping({name: self._mended(value, ("events", name)) for name, value in events.items()})

    def _mended(self, value: Any, at: MemberPath) -> Mended:
        steps = self._members(value, at, set(Mended.__struct_fields__))
        if not steps:
            self._report(at, "nothing is to be done", f"Name one of {', '.join(Mended.__struct_fields__)}")
        name = steps.get("rename_event")
        if name is not None and not (isinstance(name, str) and name):
            self._report((*at, "rename_event"), "the new name is not a text", "Write the event's name in the plan")
        return Mended(
            drop=tuple(self._drops(steps.get("drop", []), (*at, "drop"))),
            rename=self._pairs(steps.get("rename", {}), (*at, "rename"), self._new_name),
            cast=self._pairs(steps.get("cast", {}), (*at, "cast"), self._cast, ends_in_list=True),
            default=self._pairs(steps.get("default", {}), (*at, "default"), self._default),
            rename_event=name,
        )

    def _drops(self, value: Any, at: MemberPath) -> list[Path]:
        if not isinstance(value, list):
            self._report(at, "it is not a list", "Write the names in brackets: `[debug, prev_page]`")
            return []
        paths = [self._path(text, (*at, index)) for index, text in enumerate(value)]
        return [path for path in paths if path]

    def _pairs(
        self, value: Any, at: MemberPath, read: Callable[[Any, MemberPath], Any], *, ends_in_list: bool = False
    ) -> tuple[tuple[Path, Any], ...]:
        pairs = [
            (self._path(text, (*at, text), ends_in_list=ends_in_list), read(inner, (*at, text)))
            for text, inner in self._members(value, at).items()
        ]
        return tuple((path, inner) for path, inner in pairs if path and inner is not None)

    def _path(self, text: Any, at: MemberPath, *, ends_in_list: bool = False) -> Path:
        if not isinstance(text, str):
            self._report(at, "it is not the name of a property", "Write a name, such as `products[].price`")
            return ()
        steps = tuple(Step(part.removesuffix("[]"), part.endswith("[]")) for part in text.split("."))
        if not all(step.name and not set(step.name) & set("[]") for step in steps):
            message = f"`{text}` is no path of names"
            self._report(at, message, "Write names with dots between them, and `[]` behind a list: `products[].price`")
            return ()
        if steps[-1].each and not ends_in_list:
            self._report(
                at, f"`{text}` ends in a list's items", "Leave out the last `[]`, or name a member of the items"
            )
            return ()
        return steps

    def _new_name(self, value: Any, at: MemberPath) -> str | None:
        if isinstance(value, str) and value and not set(value) & set(".[]"):
            return value
        self._report(at, "the new name is not a plain name", "A property stays where it is and only changes its name")
        return None

    def _cast(self, value: Any, at: MemberPath) -> Cast | None:
        known = {"to", *_OPTIONS}
        options: dict[str, Any] = {"to": value} if isinstance(value, str) else self._members(value, at, known)
        to: Any = options.pop("to", None)
        if to not in _CAST_TYPES:
            self._report(at, f"{to!r} is no type to cast to", f"Write one of {', '.join(_CAST_TYPES)}")
            return None
        for name in options:
            if to not in _OPTIONS[name]:
                self._report((*at, name), f"`{name}` means nothing for {to}", "Leave it out")
        decimal: Any = options.get("decimal", ".")
        unit, zone = options.get("unit"), options.get("zone")
        if decimal not in (".", ","):
            self._report((*at, "decimal"), "the decimal mark is neither a point nor a comma", 'Write `decimal: ","`')
        if unit not in (None, "seconds", "milliseconds"):
            self._report((*at, "unit"), f"{unit!r} is no unit", "Write `seconds` or `milliseconds`")
        return Cast(to, decimal, unit, None if zone is None else self._zone(zone, (*at, "zone")))

    def _zone(self, value: Any, at: MemberPath) -> ZoneInfo | None:
        try:
            return ZoneInfo(value)
        except (ValueError, OSError, TypeError, KeyError):
            self._report(at, f"{value!r} is no time zone", "Write a name such as `Europe/Helsinki`, or `UTC`")
            return None

    def _default(self, value: Any, at: MemberPath) -> Any:
        if isinstance(value, str | int | float):
            return value
        self._report(at, "a default is a text, a number or a boolean", "Write one, or leave the property out")
        return None

    def _members(self, value: Any, at: MemberPath, known: set[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._report(at, "names with a colon are expected here", "See the mapping reference in docs/replay.md")
            return {}
        for name in value:
            if known is not None and name not in known:
                self._report((*at, name), f"`{name}` is not known here", f"Write one of {', '.join(sorted(known))}")
        return {name: inner for name, inner in value.items() if known is None or name in known}

    def _report(self, at: MemberPath, message: str, remedy: str) -> None:
        self._findings.append(self._document.finding(FindingCode.WRONG_TYPE, at, message, remedy))
