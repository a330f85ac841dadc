"""Typed events as a Python module: classes on the bases of `polku.typed`, which check themselves when they are made."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Final

from polku_schemas.generate.literals import LINE, docstring, prose, python_literal
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

    def name(self, name: str) -> str:
        """The name by which something imported or built in is spoken of."""
        self._used.add(name)
        return f"_{name}" if name in self._hidden else name

    def text(self, intro: str, body: list[str]) -> str:
        """The whole module around what is in it."""
        enumerations = [line for enumeration in self.shapes.enumerations for line in self._enumeration(enumeration)]
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
        return "\n".join([*head, *enumerations, *body]) + "\n"

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
        if len(whole) <= LINE:
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
    value = _checked(module, field.value, module.base_type(field), private and prop.items is None)
    if prop.items is not None:
        bounds = {"min_length": prop.min_length, "max_length": prop.max_length, "private": private or None}
        value = _with(module, f"{module.name('list')}[{value}]", "items", bounds)
    if prop.required:
        return f"{value} | None" if prop.nullable else value
    if prop.default is None:
        return f"{value} | None = None"
    return f"{value} | None = {module.name('typed')}.default({python_literal(prop.default)})"


def _checked(module: Module, prop: Property, base: str, private: bool) -> str:
    """The type of a value with what the plan demands of it."""
    demands: dict[str, Any] = {"private": private or None}
    if prop.enum or prop.type in ("boolean", "date", "uuid", "object"):
        return _with(module, base, "private", {}) if private else base
    if prop.type == "string":
        demands = {"min_length": prop.min_length, "max_length": prop.max_length, "pattern": prop.pattern, **demands}
        return _with(module, base, "text", demands)
    if prop.type == "date-time":
        return _with(module, base, "moment", demands, always=True)
    bounds = {"minimum": prop.minimum, "maximum": prop.maximum, **demands}
    return _with(module, base, prop.type, bounds, always=True)


def _with(module: Module, base: str, check: str, demands: dict[str, Any], *, always: bool = False) -> str:
    given = [f"{name}={python_literal(value)}" for name, value in demands.items() if value is not None]
    if not given and not always and check != "private":
        return base
    return f"{module.name('Annotated')}[{base}, {module.name('typed')}.{check}({', '.join(given)})]"
