"""Plain values and the place of each: what the readers of YAML and of JSON fill in alike."""

from __future__ import annotations

import math
import re
import sys
from typing import Final

from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.tolerant import INT64_MAX, INT64_MIN

MemberPath = tuple[str | int, ...]
"""Keys and indexes from the top of a file down to a member."""

_MAX_DEPTH: Final = 20
"""Deeper than any plan, and a bound for an anchor that contains itself."""

_MAX_VALUES: Final = 500_000
"""More than any plan has in one file, and a bound for anchors that hold each other many times over."""

_MAX_DIGITS: Final = 40
"""Longer integers are outside 64 bits whatever they are; converting a million digits would take minutes."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class TooLargeError(Exception):
    """Ends the reading of a file that is nested too deep or holds too much."""


class Located:
    """The places of one file's values while it is read."""

    def __init__(self, file: str, findings: list[Finding]) -> None:
        self.file = file
        self.findings = findings
        self.lines: dict[MemberPath, int] = {}
        self.written: dict[MemberPath, str] = {}
        """What is no text, as it was written: `1.10` is not the number 1.1 to whoever meant a version."""
        self._values = 0

    def place(self, path: MemberPath, line: int) -> None:
        """Remember where a value stands, unless its key has said so already."""
        self.lines.setdefault(path, line)
        self._values += 1
        if len(path) > _MAX_DEPTH or self._values > _MAX_VALUES:
            remedy = "Remove anchors that contain themselves or each other, or split the file"
            if len(path) > _MAX_DEPTH:
                message = f"this is nested deeper than {_MAX_DEPTH} levels"
            else:
                message = f"the file holds more than {_MAX_VALUES:,} values"
            self.report(FindingCode.TOO_LARGE, path[:1], line, message, remedy)
            raise TooLargeError

    def number(self, text: str, path: MemberPath, line: int) -> int | float:
        """The number in a text that is one. One that cannot be stored is a finding, and the nearest that can."""
        self.written[path] = text
        if _INTEGER.fullmatch(text):
            value = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) <= _MAX_DIGITS else INT64_MAX + 1
            if INT64_MIN <= value <= INT64_MAX:
                return value
            shown = text if len(text) <= _MAX_DIGITS else text[:_MAX_DIGITS] + "…"
            self.report(
                FindingCode.INVALID_NUMBER,
                path,
                line,
                f"`{shown}` is outside 64 bits",
                "Leave a bound out: 64 bits are always checked. Put what is no quantity in quotes",
            )
            return INT64_MIN if text.startswith("-") else INT64_MAX
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if math.isfinite(number):
            return number
        remedy = "Write a finite number, or leave a bound out"
        self.report(FindingCode.INVALID_NUMBER, path, line, f"`{text}` is not a finite number", remedy)
        return 0.0 if math.isnan(number) else math.copysign(sys.float_info.max, number)

    def report(self, code: FindingCode, path: MemberPath, line: int | None, message: str, remedy: str) -> None:
        """Add a finding about this file."""
        finding = Finding(file=self.file, line=line, path=path_text(path), code=code, message=message, remedy=remedy)
        self.findings.append(finding)


def is_integer(text: str) -> bool:
    """Whether YAML 1.2 reads the plain text as an integer."""
    return _INTEGER.fullmatch(text) is not None


def is_float(text: str) -> bool:
    """Whether YAML 1.2 reads the plain text as a number with a fraction or exponent, infinite ones included."""
    return _FLOAT.fullmatch(text) is not None


def path_text(path: MemberPath) -> str:
    """`properties.price.minimum`, `examples[0].price`; a key that is no plain word stands in brackets and quotes."""
    parts = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif re.fullmatch(r"[^\W\d][\w-]*", part):
            parts.append(f".{part}")
        else:
            parts.append(f"[{part!r}]")
    return "".join(parts).removeprefix(".")
