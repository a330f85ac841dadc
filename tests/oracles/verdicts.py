"""Two verdicts on the same bytes: the compiled event's, and that of a JSON Schema validator, which shares no code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec
import orjson

from polku_schemas import Checked, CompiledEvent, Event, Problem, Property, event_schema

ROOT = "$.properties"
DECLARED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the fast path may raise; UnicodeDecodeError is a ValueError."""


class Objection(NamedTuple):
    """What one side has against a document that the other accepts."""

    raw: bytes
    reason: str
    """The keyword of the schema where the validator objects ("json": it is none), the code where Polku does."""
    prop: Property | None = None
    """The property that the value is of; None where it is the whole document."""
    value: Any = None
    of_format: bool = False
    """Whether it is a format's own expression that does not match."""


class Twin:
    """An event with some properties, compiled and as a JSON Schema."""

    def __init__(self, properties: dict[str, Property]) -> None:
        event = Event(
            name="tried", version="1.0", owner="", description="", stage=(), touchpoint=(), properties=properties
        )
        self.properties = properties
        self.compiled = CompiledEvent(event, ROOT)
        # Formats are asserted too: so our expressions meet readers that others wrote from the standards.
        self._validator = jsonschema_rs.validator_for(event_schema(event), validate_formats=True)

    def polku(self, raw: bytes) -> tuple[Checked | Problem, bool]:
        """Polku's verdict, and whether the fast path gave it. Fails where the two paths are not one."""
        checked = self.compiled.check(raw)
        try:
            values = self.compiled.decode(raw)
        except DECLARED:
            return checked, False
        assert checked == Checked(values, {}, False), "the fast path took what the slow one refuses or sees otherwise"
        return checked, True

    def accepts(self, raw: bytes) -> bool:
        """The verdict of `orjson` and `jsonschema-rs`."""
        try:
            return self._validator.is_valid(orjson.loads(raw))
        except orjson.JSONDecodeError:
            return False

    def objections(self, raw: bytes, checked: Checked | Problem) -> Iterator[Objection]:
        """Whatever is said against a document by one side alone: all of it by the validator, the first by Polku."""
        if isinstance(checked, Problem):
            place = checked.path.removeprefix(ROOT)
            path = [int(index) if index else name for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", place)]
            yield Objection(
                raw,
                checked.code.value,
                self._property(path),
                _at(orjson.loads(raw), path),
                of_format=checked.code == "pattern_mismatch" and not checked.expected.startswith("a match of "),
            )
            return
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:
            yield Objection(raw, "json")
            return
        for error in self._validator.iter_errors(document):
            path = error.instance_path
            of_format = "allOf" in error.schema_path
            yield Objection(raw, error.kind.name, self._property(path), _at(document, path), of_format)

    def _property(self, path: list[str | int]) -> Property | None:
        found: Property | None = None
        fields = self.properties
        for part in path:
            found = fields[part] if isinstance(part, str) else found and found.items
            fields = found.fields if found is not None else {}
        return found


def _at(document: Any, path: list[str | int]) -> Any:
    for part in path:
        try:
            document = document[part]
        except KeyError:  # a required member that is absent
            return None
    return document
