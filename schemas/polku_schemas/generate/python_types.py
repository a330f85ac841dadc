"""The types alone as a Python module: a `TypedDict` for each event, for any client that takes a dictionary."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from polku_schemas.generate.literals import commented, docstring, prose, python_literal
from polku_schemas.generate.python import RESERVED, Module, filled
from polku_schemas.generate.sentences import about_property, about_shape
from polku_schemas.generate.shapes import Field, Shape, Shapes, shapes_of
from polku_schemas.model import Plan

_AS_TEXT_TOO: Final = ("date", "date-time", "uuid")
"""Types that have no JSON of their own: not every client writes them, so text is taken as well."""


def python_types_source(plan: Plan, selected: Set[str] | None = None) -> str:
    """The module: it needs nothing but Python, and checks nothing when it runs."""
    shapes = shapes_of(plan, RESERVED | {"TypedDict", "NotRequired"}, selected)
    module = Module(shapes)
    body = [*_event_name(module, shapes), *(line for shape in shapes.with_fields() for line in _class(module, shape))]
    intro = prose("Types alone: give one of these dictionaries to the `track` of your client, under the event's name")
    return module.text(intro, body)


def _event_name(module: Module, shapes: Shapes) -> Iterator[str]:
    if shapes.events:
        yield from ("", f"EventName = {module.name('Literal')}[")
        yield from filled("    ", [f"{python_literal(shape.event.name)}," for shape in shapes.events if shape.event])
        yield "]"
        yield from docstring("", prose("Every event of the plan"))


def _class(module: Module, shape: Shape) -> Iterator[str]:
    yield from ("", "", f"class {shape.type_name}({module.name('TypedDict')}):")
    yield from docstring("    ", *about_shape(shape))
    if shape.fields:
        yield ""
    for field in shape.fields:
        yield from commented("    # ", about_property(field.prop))
        yield f"    {field.prop.name}: {_annotation(module, field)}"


def _annotation(module: Module, field: Field) -> str:
    value = module.base_type(field)
    if field.value.type in _AS_TEXT_TOO:
        value = f"{value} | {module.name('str')}"
    if field.prop.items is not None:
        value = f"{module.name('list')}[{value}]"
    if field.prop.required:
        return f"{value} | None" if field.prop.nullable else value
    return f"{module.name('NotRequired')}[{value} | None]"
