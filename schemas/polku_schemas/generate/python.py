"""Typed events as a Python module: classes on the bases of `polku.typed`, which check themselves when they are made."""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from polku_schemas.formats import FORMATS, string_pattern
from polku_schemas.generate.literals import LINE, docstring, prose, python_literal, quoted
from polku_schemas.generate.sentences import DO_NOT_EDIT, about_plan, about_property, about_shape, origin
from polku_schemas.generate.shapes import Enumeration, Field, Kind, Shape, Shapes, shapes_of
from polku_schemas.model import Plan, Property

RESERVED: Final = frozenset({"Annotated", "Literal", "UUID", "Traits", "EventName", "None", "True", "False"})
"""Names that no class may have: those the module needs, and words of Python that look like class names."""

BASES: Final[dict[Kind, str]] = {
    "object": "Object",
    "track": "Event",
    "page": "PageEvent",
    "screen": "ScreenEvent",
    "traits": "Traits",
}
"""The classes of `polku.typed` by what is generated."""

TYPES: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "date": "date",
    "date-time": "datetime",
    "uuid": "UUID",
}


def python_source(plan: Plan, selected: Set[str] | None = None) -> str:
    """The module: a class for each selected event and for the traits (None: all), and what they use."""
    shapes = shapes_of(plan, RESERVED, selected)
    module = Module(shapes)
    body = [line for shape in shapes.with_fields() for line in _class(module, shape)]
    intro = prose(
        "Make an event and give it to `polku.track`: values that the plan does not allow raise `polku.InvalidValue`"
    )
    return module.text(intro, body)


class Module:
    """One module being written: which names it imports, and under which other name where a property has theirs.

    Inside a class, a property called `date` hides the type `date` from the properties after it.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._hidden = {field.prop.name for shape in shapes.with_fields() for field in shape.fields}
        self._used: set[str] = set()
        self._patterns: dict[str, tuple[str, str]] = {}
        """Private name → a long pattern and what it stands for, in words."""

    def name(self, name: str) -> str:
        """The name by which something imported or built in is spoken of."""
        self._used.add(name)
        return f"_{name}" if name in self._hidden else name

    def pattern(self, wanted: str, pattern: str, expected: str) -> str:
        """The name of a pattern that is too long for the line of a property: `wanted`, if no other has it."""
        while self._patterns.setdefault(wanted, (pattern, expected)) != (pattern, expected):
            wanted += "_"
        return wanted

    def text(self, intro: str, body: list[str]) -> str:
        """The whole module around what is in it."""
        enumerations = [line for enumeration in self.shapes.enumerations for line in self._enumeration(enumeration)]
        patterns = [line for name in sorted(self._patterns) for line in self._pattern(name)]
        known: dict[str, list[str]] = {
            "datetime": [name for name in ("date", "datetime") if name in self._used],
            "typing": [name for name in ("Annotated", "Literal", "NotRequired", "TypedDict") if name in self._used],
            "uuid": [name for name in ("UUID",) if name in self._used],
        }
        standard = [line for source, names in known.items() for line in self._imports(source, names)]
        polku = self._imports("polku", [name for name in ("typed",) if name in self._used])
        built_in = sorted(self._used & self._hidden & {"bool", "float", "int", "list", "str"})
        plan = self.shapes.plan
        head = [
            f"# {origin(plan)}",
            f"# {DO_NOT_EDIT}",
            "# fmt: off",
            "# ruff: noqa",
            *docstring("", about_plan(plan), intro),
            "",
            *standard,
            *([""] if standard and polku else []),
            *polku,
            *([""] if built_in else []),
            *(f"_{name} = {name}" for name in built_in),
        ]
        return "\n".join([*head, *enumerations, *patterns, *body]) + "\n"

    def _pattern(self, name: str) -> Iterator[str]:
        pattern, expected = self._patterns[name]
        yield from ("", f"{name} = {self.name('typed')}.text(", "    pattern=(")
        size = LINE - 12
        for start in range(0, len(pattern), size):
            yield f"        {python_literal(pattern[start : start + size])}"
        yield from ("    ),", f"    expected={python_literal(expected)},", ")")

    def _imports(self, source: str, names: list[str]) -> list[str]:
        """As import sorters want them: what gets another name stands on a line of its own."""
        plain = [name for name in names if name not in self._hidden]
        renamed = [f"from {source} import {name} as _{name}" for name in names if name in self._hidden]
        return [*renamed, *([f"from {source} import {', '.join(plain)}"] if plain else [])]

    def _enumeration(self, enumeration: Enumeration) -> Iterator[str]:
        yield ""
        members = [python_literal(value) for value in enumeration.prop.enum]
        start = f"{enumeration.type_name} = {self.name('Literal')}["
        whole = f"{start}{', '.join(members)}]"
        if len(whole) <= LINE or len(members) == 1:
            yield whole
        else:
            yield start
            yield from filled("    ", [f"{member}," for member in members])
            yield "]"
        yield from docstring("", prose(enumeration.prop.description))

    def base_type(self, field: Field) -> str:
        """The type of a value, or of one item of a list."""
        if field.type_name:
            return field.type_name
        if field.value.enum:
            return f"{self.name('Literal')}[{', '.join(map(python_literal, field.value.enum))}]"
        return self.name(TYPES[field.value.type])


def filled(indent: str, words: list[str]) -> Iterator[str]:
    """Words on as many lines as they need."""
    line = ""
    for word in words:
        if line and len(indent) + len(line) + 1 + len(word) > LINE:
            yield indent + line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield indent + line


def _class(module: Module, shape: Shape) -> Iterator[str]:
    base = f"{module.name('typed')}.{BASES[shape.kind]}"
    arguments = base if shape.event is None else f"{base}, name={python_literal(shape.event.name)}"
    yield from ("", "", f"class {shape.type_name}({arguments}):")
    yield from docstring("    ", *about_shape(shape))
    if shape.fields:
        yield ""
    for field in shape.fields:
        yield f"    {field.prop.name}: {_annotation(module, field)}"
        yield from docstring("    ", about_property(field.prop))


def _annotation(module: Module, field: Field) -> str:
    prop = field.prop
    private = prop.privacy in ("personal", "sensitive")
    base = module.base_type(field)
    value = _with(module, base, _demands(module, field.value, private=private and prop.items is None))
    if prop.items is not None:
        lengths = _call(
            module, "items", min_length=prop.min_length, max_length=prop.max_length, private=private or None
        )
        value = _with(module, f"{module.name('list')}[{value}]", [lengths] if "=" in lengths else [])
    if prop.required:
        return f"{value} | None" if prop.nullable else value
    if prop.default is None:
        return f"{value} | None = None"
    return f"{value} | None = {module.name('typed')}.default({_default(module, prop)})"


def _demands(module: Module, prop: Property, *, private: bool) -> list[str]:
    """What the plan demands of a value beside its type, as calls of `polku.typed`."""
    kept_back = private or None
    if prop.type in ("integer", "number") and not prop.enum:
        return [_call(module, prop.type, minimum=prop.minimum, maximum=prop.maximum, private=kept_back)]
    if prop.type == "date-time":
        return [_call(module, "moment", private=kept_back)]
    if prop.type != "string" or prop.enum:
        return [_call(module, "private")] if private else []
    lengths = {"min_length": prop.min_length, "max_length": prop.max_length}
    if prop.format is None:
        text = _call(module, "text", **lengths, pattern=prop.pattern, private=kept_back)
        return [text] if "=" in text else []
    wanted, expected = f"_{prop.format.upper()}", FORMATS[prop.format].expected
    if prop.pattern is not None:
        # A string has one pattern for msgspec, and so one sentence.
        wanted, expected = f"_{prop.name.upper()}{wanted}", f"{expected}, with a match of {prop.pattern}"
    text = _call(module, "text", **lengths, private=kept_back)
    named = module.pattern(wanted, string_pattern(prop) or "", expected)
    return [text, named] if "=" in text else [named]


def _call(module: Module, function: str, **arguments: Any) -> str:
    given = [f"{name}={python_literal(value)}" for name, value in arguments.items() if value is not None]
    return f"{module.name('typed')}.{function}({', '.join(given)})"


def _with(module: Module, base: str, demands: list[str]) -> str:
    return f"{module.name('Annotated')}[{', '.join([base, *demands])}]" if demands else base


def _default(module: Module, prop: Property) -> str:
    """The default as a value of the property's type; the plan writes days, moments and UUIDs as text."""
    if prop.type in ("date", "date-time", "uuid"):
        type_name = TYPES[prop.type]
        value: Any = msgspec.convert(prop.default, {"date": date, "datetime": datetime, "UUID": UUID}[type_name])
        if prop.type == "uuid":
            return f"{module.name(type_name)}({quoted(str(value))})"
        return f"{module.name(type_name)}.fromisoformat({quoted(value.isoformat())})"
    return python_literal(float(prop.default) if prop.type == "number" and prop.default is not None else prop.default)
