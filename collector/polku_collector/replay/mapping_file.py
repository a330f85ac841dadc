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
from typing import Any

from polku_schemas import Finding
from polku_schemas.documents import MemberPath, read_file

from ..closed_file import ClosedReader
from ..errors import SettingsError
from .mapping import Mapping, Mended, Path, Step


def read_mapping(file: File) -> Mapping:
    """Read a mapping file. Raises SettingsError with everything that is wrong in it."""
    findings: list[Finding] = []
    document = read_file(file.parent, file.name, findings)
    mapping = _Reader(document, findings).mapping() if document is not None else Mapping()
    if findings:
        raise SettingsError(f"the mapping {file} cannot be used:" + "".join(f"\n  {finding}" for finding in findings))
    return mapping


class _Reader(ClosedReader):
    page = "the mapping reference in docs/replay.md"

    def mapping(self) -> Mapping:
        top = self.members(self._document.value, (), {"events"})
        events = self.members(top.get("events", {}), ("events",))
        if not events:
            self.report(("events",), "it mends no event", "Give it `events:` with an event, or `*`")
        return Mapping({name: self._mended(value, ("events", name)) for name, value in events.items()})

    def _mended(self, value: Any, at: MemberPath) -> Mended:
        steps = self.members(value, at, set(Mended.__struct_fields__))
        if not steps:
            self.report(at, "nothing is to be done", f"Name one of {', '.join(Mended.__struct_fields__)}")
        name = steps.get("rename_event")
        if name is not None and not (isinstance(name, str) and name):
            self.report((*at, "rename_event"), "the new name is not a text", "Write the event's name in the plan")
        return Mended(
            drop=tuple(self._drops(steps.get("drop", []), (*at, "drop"))),
            rename=self._pairs(steps.get("rename", {}), (*at, "rename"), self._new_name),
            cast=self._pairs(steps.get("cast", {}), (*at, "cast"), self.cast, ends_in_list=True),
            default=self._pairs(steps.get("default", {}), (*at, "default"), self._default),
            rename_event=name,
        )

    def _drops(self, value: Any, at: MemberPath) -> list[Path]:
        if not isinstance(value, list):
            self.report(at, "it is not a list", "Write the names in brackets: `[debug, prev_page]`")
            return []
        paths = [self._path(text, (*at, index)) for index, text in enumerate(value)]
        return [path for path in paths if path]

    def _pairs(
        self, value: Any, at: MemberPath, read: Callable[[Any, MemberPath], Any], *, ends_in_list: bool = False
    ) -> tuple[tuple[Path, Any], ...]:
        pairs = [
            (self._path(text, (*at, text), ends_in_list=ends_in_list), read(inner, (*at, text)))
            for text, inner in self.members(value, at).items()
        ]
        return tuple((path, inner) for path, inner in pairs if path and inner is not None)

    def _path(self, text: Any, at: MemberPath, *, ends_in_list: bool = False) -> Path:
        if not isinstance(text, str):
            self.report(at, "it is not the name of a property", "Write a name, such as `products[].price`")
            return ()
        steps = tuple(Step(part.removesuffix("[]"), part.endswith("[]")) for part in text.split("."))
        if not all(step.name and not set(step.name) & set("[]") for step in steps):
            message = f"`{text}` is no path of names"
            self.report(at, message, "Write names with dots between them, and `[]` behind a list: `products[].price`")
            return ()
        if steps[-1].each and not ends_in_list:
            self.report(
                at, f"`{text}` ends in a list's items", "Leave out the last `[]`, or name a member of the items"
            )
            return ()
        return steps

    def _new_name(self, value: Any, at: MemberPath) -> str | None:
        if isinstance(value, str) and value and not set(value) & set(".[]"):
            return value
        self.report(at, "the new name is not a plain name", "A property stays where it is and only changes its name")
        return None

    def _default(self, value: Any, at: MemberPath) -> Any:
        if isinstance(value, str | int | float):
            return value
        self.report(at, "a default is a text, a number or a boolean", "Write one, or leave the property out")
        return None
