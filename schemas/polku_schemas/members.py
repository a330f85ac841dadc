"""Takes the members of a mapping one by one, with the type each must have, and finds what is left over.

The loader's modules describe a file by taking what may stand in it; what is wrong becomes a finding with its
line, and reading goes on, so that all findings of a plan come at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from polku_schemas.documents import Document, MemberPath
from polku_schemas.errors import Finding

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names of events, properties, traits, goals …: they become columns, files and words in SQL."""


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
            self.report((), "expected keys and values here", "Write one `key: value` a line")

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def report(self, path: MemberPath, message: str, remedy: str) -> None:
        """Add a finding about a member of this mapping."""
        self.findings.append(self.document.finding((*self.path, *path), message, remedy))

    def text(self, key: str, *, required: bool = True) -> str:
        """A text that is not empty, or "" where it is missing (a finding if `required`)."""
        value = self._take(key, str, "a text", required=required)
        if isinstance(value, str):
            if value.strip():
                return value.strip()
            self.report((key,), f"`{key}` is empty", "Write something or leave it out")
        return ""

    def one_of(self, key: str, values: Sequence[str], default: str | None = None) -> str:
        """One of `values`. Without a default the member is required; a wrong one counts as the first."""
        value = self._take(key, str, "a text", required=default is None)
        if value in values:
            return str(value)
        if value is not None:
            self.report((key,), f"`{key}` is `{value}`", f"Use one of {', '.join(values)}")
        return default if default is not None else values[0]

    def flag(self, key: str) -> bool:
        """True or false; false where it is missing."""
        return bool(self._take(key, bool, "true or false", required=False))

    def count(self, key: str) -> int | None:
        """A whole number from 0, or None where it is missing."""
        value = self._take(key, int, "a whole number", required=False)
        if value is not None and value < 0:
            self.report((key,), f"`{key}` is below 0", "Use a whole number from 0")
            return None
        return value if value is None else int(value)

    def number(self, key: str, *, required: bool = False) -> int | float | None:
        """A number, or None where it is missing."""
        value = self._take(key, (int, float), "a number", required=required)
        return value if isinstance(value, (int, float)) else None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts; empty where it is missing."""
        texts = []
        for index, value in enumerate(self.items(key, required=required)):
            if isinstance(value, str) and value.strip():
                texts.append(value.strip())
            else:
                self.report((key, index), f"an item of `{key}` is not a text", "Put it in quotes")
        if len(set(texts)) != len(texts):
            self.report((key,), f"`{key}` names something twice", "Keep one of them")
        return tuple(dict.fromkeys(texts))

    def items(self, key: str, *, required: bool = False) -> list[Any]:
        """A list; empty where it is missing."""
        value = self._take(key, list, "a list", required=required)
        if value == [] and required:
            self.report((key,), f"`{key}` is empty", "List at least one")
        return value if isinstance(value, list) else []

    def raw(self, key: str) -> Any:
        """Whatever stands there; None where nothing does."""
        return self._take(key, object, "something", required=False)

    def mapping(self, key: str, *, required: bool = False) -> Members:
        """The members of a member; an empty mapping where it is missing."""
        value = self._take(key, dict, "keys and values", required=required)
        return Members(self.document, (*self.path, key), self.findings, {} if value is None else value)

    def named(self) -> Iterator[tuple[str, Members]]:
        """Every member, as name and mapping, where the keys are names the plan's author chose."""
        for name in list(self._rest):
            value = self._rest.pop(name)
            if NAME.fullmatch(name) is None:
                remedy = "Use lower-case letters, digits and _, starting with a letter, 63 characters at most"
                self.report((name,), f"`{name}` cannot be a name", remedy)
                continue
            yield (
                name,
                Members(self.document, (*self.path, name), self.findings, {} if value is None else value),
            )

    def leftover(self) -> None:
        """Report the members nobody took."""
        for key in self._rest:
            self.report((key,), f"`{key}` is not known here", f"Use one of {', '.join(self._known)}")

    def _take(self, key: str, types: Any, expected: str, *, required: bool) -> Any:
        self._known.append(key)
        value = self._rest.pop(key, None)
        if value is None:
            if required:
                self.report((), f"`{key}` is missing", f"Add `{key}:` with {expected}")
            return None
        wrong_bool = isinstance(value, bool) and types not in (bool, object)
        if not isinstance(value, types) or wrong_bool:
            hint = "Put it in quotes" if types is str else f"Write {expected}"
            self.report((key,), f"`{key}` is not {expected}", hint)
            return None
        return value
