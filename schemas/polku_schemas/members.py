"""Takes the members of a mapping one by one, with the type each must have, and finds what is left over.

The loader's modules describe a file by taking what may stand in it; what is wrong becomes a finding with its
place, and reading goes on, so that all findings of a plan come at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from polku_schemas.compile import snake_case
from polku_schemas.documents import Document, MemberPath
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import key_remedy, nearest

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names of events, properties, traits, goals …: they become columns, files and words in SQL."""

VERSION: Final = re.compile(r"(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})")
"""`major.minor` without leading zeros, so that 1.1 and 1.01 cannot both be there."""

_DIGITS: Final = re.compile(r"-?[\d_,]*\d(?:\.\d+)?")
"""A text that was meant as a number."""

_SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""

Remedy = Callable[[Any], str | None]
"""Says what to write instead of a wrong value, where that is known exactly."""


class Members:
    """A mapping of a document, being read.

    `leftover` must be called when all known members have been taken.
    """

    def __init__(self, document: Document, path: MemberPath, findings: list[Finding], value: Any = None) -> None:
        self.document = document
        self.path = path
        self.findings = findings
        self._rest: dict[str, Any] = {}
        self._known: list[str] = []
        value = document.value if not path and value is None else value
        if value is None:
            return
        if isinstance(value, dict):
            self._rest = dict(value)
        else:
            remedy = "Write one `key: value` a line"
            self.report(FindingCode.WRONG_TYPE, (), f"expected keys and values, found {_kind(value)}", remedy)

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def peek(self, key: str) -> Any:
        """Whatever stands there, and stays to be taken; None where nothing does."""
        return self._rest.get(key)

    def report(
        self, code: FindingCode, path: MemberPath, message: str, remedy: str, names: tuple[str, ...] = ()
    ) -> None:
        """Add a finding about a member of this mapping."""
        self.findings.append(self.document.finding(code, (*self.path, *path), message, remedy, names))

    def text(self, key: str, *, required: bool = True) -> str:
        """A text that is not empty, or "" where it is missing (a finding if `required`)."""
        value = self._take(key, str, "a text", required=required)
        if isinstance(value, str):
            if value.strip():
                return value.strip()
            self.report(FindingCode.MISSING_KEY, (key,), f"`{key}` is empty", "Write something or leave it out")
        return ""

    def name(self, key: str) -> str:
        """A text that can be a name, or "" where it is missing or cannot be one: a finding either way."""
        name = self.text(key)
        return name if name and self.check_name(name, (key,)) else ""

    def version(self, key: str = "version") -> str:
        """A version such as 1.0, or "" where it is missing or no version: a finding either way."""
        version = self.text(key)
        if not version or VERSION.fullmatch(version):
            return version
        numbers = re.findall(r"\d+", version)
        proposed = ".".join(str(int(number[:6])) for number in (*numbers, "0", "0")[:2]) if numbers else "1.0"
        message = f"the version `{version}` is not major.minor"
        self.report(FindingCode.INVALID_VERSION, (key,), message, f'Write {key}: "{proposed}", in quotes')
        return ""

    def one_of(self, key: str, values: Sequence[str], default: str | None = None, remedy: Remedy | None = None) -> str:
        """One of `values`, `default` where it is missing, or "" where it is neither.

        Without a default the member is required. `remedy` knows what to write instead of words from elsewhere.
        """
        self._known.append(key)
        value = self._rest.pop(key, None)
        if value is None:
            if default is None:
                self._missing(key, f"one of {', '.join(values)}")
            return default or ""
        if isinstance(value, str) and value in values:
            return value
        close = nearest(value, values) if isinstance(value, str) else None
        proposed = (remedy(value) if remedy else None) or (f"Did you mean `{close}`?" if close else None)
        listed = f"Use one of {', '.join(values)}"
        self.report(FindingCode.UNKNOWN_VALUE, (key,), f"`{key}` is {self._shown(key, value)}", proposed or listed)
        return ""

    def flag(self, key: str) -> bool:
        """True or false; false where it is missing."""
        return bool(self._take(key, bool, "true or false", required=False))

    def count(self, key: str) -> int | None:
        """A whole number from 0, or None where it is missing."""
        value = self._take(key, int, "a whole number", required=False)
        if value is not None and value < 0:
            self.report(FindingCode.WRONG_TYPE, (key,), f"`{key}` is below 0", "Use a whole number from 0")
            return None
        return value if value is None else int(value)

    def number(self, key: str, *, required: bool = False) -> int | float | None:
        """A number, or None where it is missing."""
        value = self._take(key, (int, float), "a number", required=required)
        return value if isinstance(value, (int, float)) else None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts; empty where it is missing."""
        return tuple(self._texts(key, required=required))

    def names(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts that can be names; those that cannot are findings and left out."""
        words = self._texts(key, required=required)
        return tuple(word for word, index in words.items() if self.check_name(word, (key, index)))

    def items(self, key: str, *, required: bool = False) -> list[Any]:
        """A list; empty where it is missing."""
        value = self._take(key, list, "a list", required=required)
        if value == [] and required:
            self.report(FindingCode.MISSING_KEY, (key,), f"`{key}` is empty", "List at least one")
        return value if isinstance(value, list) else []

    def raw(self, key: str) -> Any:
        """Whatever stands there; None where nothing does."""
        self._known.append(key)
        return self._rest.pop(key, None)

    def mapping(self, key: str, *, required: bool = False) -> Members:
        """The members of a member; an empty mapping where it is missing."""
        value = self._take(key, dict, "keys and values", required=required)
        return Members(self.document, (*self.path, key), self.findings, {} if value is None else value)

    def named(self) -> Iterator[tuple[str, Members]]:
        """Every member, as name and mapping, where the keys are names the plan's author chose."""
        for name in list(self._rest):
            value = self._rest.pop(name)
            if self.check_name(name, (name,)):
                path = (*self.path, name)
                yield name, Members(self.document, path, self.findings, {} if value is None else value)

    def check_name(self, name: str, path: MemberPath) -> bool:
        """Whether a text can be a name; a finding about the member at `path` if it cannot."""
        proposed = snake_case(name)
        if NAME.fullmatch(name) and name == proposed:
            return True
        if NAME.fullmatch(proposed):
            remedy = f"Write `{proposed}`"
        else:
            remedy = "Use lower-case letters, digits and _, starting with a letter, 63 characters at most"
        self.report(FindingCode.INVALID_NAME, path, f"`{name}` is not a name in snake_case", remedy)
        return False

    def misplaced(self, key: str, message: str, remedy: str) -> None:
        """Take a member that belongs elsewhere: a finding if it is here."""
        if self._rest.pop(key, None) is not None:
            self.report(FindingCode.MISPLACED_KEY, (key,), message, remedy)

    def drop(self) -> None:
        """Leave the rest unread, where a finding has already said why it cannot be understood."""
        self._rest.clear()

    def leftover(self) -> None:
        """Report the members nobody took."""
        for key, value in self._rest.items():
            remedy = key_remedy(key, value, self._known)
            self.report(FindingCode.UNKNOWN_KEY, (key,), f"`{key}` is not a key of the format here", remedy)

    def _texts(self, key: str, *, required: bool) -> dict[str, int]:
        """The texts of a list, each with its index."""
        texts: dict[str, int] = {}
        for index, value in enumerate(self.items(key, required=required)):
            if not isinstance(value, str) or not value.strip():
                message = f"{self._shown(key, value, index)} is not a text"
                self.report(FindingCode.WRONG_TYPE, (key, index), message, "Put it in quotes")
            elif value.strip() in texts:
                message = f"`{value.strip()}` stands here twice"
                self.report(FindingCode.REPEATED_VALUE, (key, index), message, "Keep one of them")
            else:
                texts[value.strip()] = index
        return texts

    def _take(self, key: str, types: Any, expected: str, *, required: bool) -> Any:
        self._known.append(key)
        value = self._rest.pop(key, None)
        if value is None:
            if required:
                self._missing(key, expected)
            return None
        if isinstance(value, types) and (types is bool or not isinstance(value, bool)):
            return value
        self.report(
            FindingCode.WRONG_TYPE,
            (key,),
            f"`{key}` is {self._shown(key, value)}, not {expected}",
            self._type_remedy(key, value, types, expected),
        )
        return None

    def _type_remedy(self, key: str, value: Any, types: Any, expected: str) -> str:
        written = self.document.written((*self.path, key))
        if types is str and written is not None:
            return f'Put it in quotes: {key}: "{written}"'
        if types is bool and key == "required" and isinstance(value, list):
            return key_remedy(key, value, ())
        if types is list and isinstance(value, str):
            return f"Write a list: {key}: [{value}]"
        if types in (int, (int, float)) and isinstance(value, str) and _DIGITS.fullmatch(value):
            return f"Write it without quotes and separators: {key}: {value.replace('_', '').replace(',', '')}"
        return f"Write {expected}"

    def _missing(self, key: str, expected: str) -> None:
        self.report(FindingCode.MISSING_KEY, (key,), f"`{key}` is missing", f"Add `{key}:` with {expected}")

    def _shown(self, key: str, value: Any, *index: int) -> str:
        """A value as a message names it: a number as it was written, a text in backticks, the rest by its kind."""
        written = self.document.written((*self.path, key, *index))
        if isinstance(value, bool):
            return f"the boolean {written}"
        if isinstance(value, (int, float)):
            return f"the number {written}"
        if isinstance(value, str):
            line = " ".join(value.split())
            return f"`{line[:_SHOWN]}…`" if len(line) > _SHOWN else f"`{line}`"
        return _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return "a text" if isinstance(value, str) else "a number or boolean"
