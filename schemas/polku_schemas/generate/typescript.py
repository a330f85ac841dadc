"""Typed events as a TypeScript module: an interface for each event, and a wrapper that types any client's `track`.

The wrapper adds nothing at run time: it hands every call on. `types_only` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from polku_schemas.generate.literals import LINE, prose, quoted, tsdoc
from polku_schemas.generate.sentences import DO_NOT_EDIT, about_plan, about_property, about_shape, origin
from polku_schemas.generate.shapes import Enumeration, Field, Shape, Shapes, shapes_of
from polku_schemas.model import Plan

RESERVED: Final = frozenset(
    {"Date", "Promise", "Traits", "EventName", "EventProperties", "IsoDate", "IsoDateTime", "Uuid"}
    | {"Client", "TypedClient", "Rest", "OptionsOf"}
)
"""Names that no interface may have: those the module needs or TypeScript brings."""

_TYPES: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "date": "IsoDate",
    "date-time": "IsoDateTime",
    "uuid": "Uuid",
}

_ALIASES: Final = {
    "date": ("IsoDate", "string", 'A day: "2026-01-31".'),
    "date-time": ("IsoDateTime", "string | Date", 'A moment with a time zone: "2026-01-31T12:00:00Z", or a `Date`.'),
    "uuid": ("Uuid", "string", 'A UUID: "0190a5d8-3b1c-7c4e-9a56-0d8f3a6b2c11".'),
}


def typescript_source(plan: Plan, selected: Set[str] | None = None, *, types_only: bool = False) -> str:
    """The module: an interface for each selected event and the traits (None: all), what they use, and the wrapper."""
    shapes = shapes_of(plan, RESERVED, selected)
    lines = [
        f"// {origin(plan)}",
        f"// {DO_NOT_EDIT}",
        "/* eslint-disable */",
        "",
        *tsdoc("", about_plan(plan)),
        *_aliases(shapes),
        *(line for enumeration in shapes.enumerations for line in _enumeration(enumeration)),
        *(line for shape in shapes.with_fields() for line in _interface(shape)),
        *_event_properties(shapes),
        *([] if types_only else _wrapper(shapes)),
    ]
    return "\n".join(lines) + "\n"


def _aliases(shapes: Shapes) -> Iterator[str]:
    used = {field.value.type for shape in shapes.with_fields() for field in shape.fields}
    for kind, (name, type_, text) in _ALIASES.items():
        if kind in used:
            yield from ("", *tsdoc("", text), f"export type {name} = {type_};")


def _enumeration(enumeration: Enumeration) -> Iterator[str]:
    yield from ("", *tsdoc("", prose(enumeration.prop.description)))
    members = [quoted(value) for value in enumeration.prop.enum]
    whole = f"export type {enumeration.type_name} = {' | '.join(members)};"
    if len(whole) <= LINE:
        yield whole
    else:
        yield f"export type {enumeration.type_name} ="
        yield from (f"  | {member}" for member in members[:-1])
        yield f"  | {members[-1]};"


def _interface(shape: Shape) -> Iterator[str]:
    yield from ("", *tsdoc("", *about_shape(shape)))
    if not shape.fields:
        yield f"export type {shape.type_name} = Record<string, never>;"
        return
    yield f"export interface {shape.type_name} {{"
    for field in shape.fields:
        default = field.prop.default
        tags = () if default is None else (f"@defaultValue {quoted(default)}",)
        yield from tsdoc("  ", about_property(field.prop), tags=tags)
        yield f"  readonly {field.prop.name}{_type(field)};"
    yield "}"


def _type(field: Field) -> str:
    value = field.type_name or " | ".join(map(quoted, field.value.enum)) or _TYPES[field.value.type]
    if field.prop.items is not None:
        value = f"readonly ({value})[]" if " " in value else f"readonly {value}[]"
    if field.prop.required:
        return f": {value} | null" if field.prop.nullable else f": {value}"
    return f"?: {value} | null | undefined"


def _event_properties(shapes: Shapes) -> Iterator[str]:
    yield from ("", *tsdoc("", prose("The properties of each event of the plan, by the event's name")))
    yield "export interface EventProperties {"
    for shape in shapes.events:
        if shape.event is not None:
            yield f"  {shape.event.name}: {shape.type_name};"
    yield "}"
    yield from ("", *tsdoc("", prose("The name of an event")), "export type EventName = keyof EventProperties;")


_CLIENT: Final = """\

/**
 * What `typed` needs of a client: Segment's and RudderStack's browser libraries have it as it
 * is, others with a few lines around them. The types of `options` and of what a call returns
 * are the client's. A client without `page` or `screen` gets these as `track`.
 */
export interface Client {
  track(event: string, properties?: any, options?: any): any;
  identify(userId: string, traits?: any, options?: any): any;
  page?(name?: any, properties?: any, options?: any): any;
  screen?(name?: any, properties?: any, options?: any): any;
}

/** The arguments behind the first one: properties may be left out where none is required. */
export type Rest<Properties, Options> = {} extends Properties
  ? [properties?: Properties | undefined, options?: Options]
  : [properties: Properties, options?: Options];

/** What a client's `track` takes as options; anything, where its type does not say. */
export type OptionsOf<C extends Client> =
  Parameters<C["track"]>[2] extends undefined ? any : Parameters<C["track"]>[2];
"""


def _wrapper(shapes: Shapes) -> Iterator[str]:
    yield from _CLIENT.rstrip("\n").split("\n")
    others = [shape for shape in shapes.events if shape.kind != "track"]
    names = [quoted(shape.event.name) for shape in others if shape.event is not None]
    tracked = f"Exclude<EventName, {' | '.join(names)}>" if names else "EventName"
    yield from ("", "/** A client whose calls take what the plan allows, and nothing else. */")
    yield "export interface TypedClient<Options, Result> {"
    yield f"  track<Name extends {tracked}>("
    yield "    event: Name,"
    yield "    ...rest: Rest<EventProperties[Name], Options>"
    yield "  ): Result;"
    for shape in others:
        yield f"  {shape.kind}(name: string | undefined, ...rest: Rest<{shape.type_name}, Options>): Result;"
    if shapes.traits is not None:
        yield f"  identify(userId: string, ...rest: Rest<{shapes.traits.type_name}, Options>): Result;"
    yield "}"
    yield from ("", "/** The client with types. It sends what it is given; the collector checks the values. */")
    yield "export function typed<C extends Client>("
    yield "  client: C,"
    yield '): TypedClient<OptionsOf<C>, ReturnType<C["track"]>> {'
    yield "  return {"
    yield "    track: (event: string, ...rest: any[]) => client.track(event, ...rest),"
    for shape in others:
        event = quoted(shape.event.name if shape.event is not None else "")
        yield f"    {shape.kind}: (name: string | undefined, ...rest: any[]) =>"
        yield f"      client.{shape.kind} ? client.{shape.kind}(name, ...rest) : client.track({event}, ...rest),"
    if shapes.traits is not None:
        yield "    identify: (userId: string, ...rest: any[]) => client.identify(userId, ...rest),"
    yield "  };"
    yield "}"
