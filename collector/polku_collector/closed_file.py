"""What files of mappings share: every name in them is known, every finding has its line, casts are written alike."""

from __future__ import annotations

from typing import Any, ClassVar, get_args
from zoneinfo import ZoneInfo

from polku_schemas import Finding
from polku_schemas.documents import Document, MemberPath
from polku_schemas.finding_codes import FindingCode

from .casts import Cast, CastType

_CAST_TYPES: tuple[str, ...] = get_args(CastType)
OPTIONS = {
    "decimal": ("number", "integer"),
    "unit": ("date-time",),
    "zone": ("date-time",),
}


class ClosedReader:
    """Base of what reads one kind of file; collects findings instead of raising."""

    page: ClassVar[str]
    """Where the kind of file is explained."""

    def __init__(self, document: Document, findings: list[Finding]) -> None:
        self._document, self._findings = document, findings

    def members(self, value: Any, at: MemberPath, known: set[str] | None = None) -> dict[str, Any]:
        """The members of an object, without those that are not known; these are reported."""
        if not isinstance(value, dict):
            self.report(at, "names with a colon are expected here", f"See {self.page}")
            return {}
        for name in value:
            if known is not None and name not in known:
                self.report((*at, name), f"`{name}` is not known here", f"Write one of {', '.join(sorted(known))}")
        return {name: inner for name, inner in value.items() if known is None or name in known}

    def report(self, at: MemberPath, message: str, remedy: str) -> None:
        """Add a finding about the member at `at`."""
        self._findings.append(self._document.finding(FindingCode.WRONG_TYPE, at, message, remedy))

    def cast(self, value: Any, at: MemberPath) -> Cast | None:
        """How a value is turned into another type: a name, or `to` with its options."""
        known = {"to", *OPTIONS}
        options: dict[str, Any] = {"to": value} if isinstance(value, str) else self.members(value, at, known)
        to: Any = options.pop("to", None)
        if to not in _CAST_TYPES:
            self.report(at, f"{to!r} is no type to cast to", f"Write one of {', '.join(_CAST_TYPES)}")
            return None
        for name in options:
            if to not in OPTIONS[name]:
                self.report((*at, name), f"`{name}` means nothing for {to}", "Leave it out")
        decimal: Any = options.get("decimal", ".")
        unit, zone = options.get("unit"), options.get("zone")
        if decimal not in (".", ","):
            self.report((*at, "decimal"), "the decimal mark is neither a point nor a comma", 'Write `decimal: ","`')
        if unit not in (None, "seconds", "milliseconds"):
            self.report((*at, "unit"), f"{unit!r} is no unit", "Write `seconds` or `milliseconds`")
        return Cast(to, decimal, unit, None if zone is None else self._zone(zone, (*at, "zone")))

    def _zone(self, value: Any, at: MemberPath) -> ZoneInfo | None:
        try:
            return ZoneInfo(value)
        except (ValueError, OSError, TypeError, KeyError):
            self.report(at, f"{value!r} is no time zone", "Write a name such as `Europe/Helsinki`, or `UTC`")
            return None
