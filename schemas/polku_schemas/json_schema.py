"""The plan's events as JSON Schema documents (draft 2020-12), for gateways, forms and validators that are not ours.

The schema says all of the contract that JSON Schema can say; `docs/plan-validation.md` lists where a validator still
decides otherwise, and a test holds that it does so nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from polku_schemas.formats import FORMATS
from polku_schemas.model import Event, Property
from polku_schemas.tolerant import INT64_MAX, INT64_MIN
from polku_schemas.values import number_bounds

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TYPES: Final = {"date": "string", "date-time": "string", "uuid": "string"}
"""Types of the plan that JSON Schema knows as formats of a string; the others have their own name there."""


def event_schema(event: Event) -> dict[str, Any]:
    """The JSON Schema of the `properties` of one event."""
    schema = {
        "$schema": DIALECT,
        "$id": f"urn:polku:{event.name}:{event.version}",
        "title": event.name,
        "description": event.description,
        **_object(event.properties),
    }
    return schema | ({"examples": list(event.examples)} if event.examples else {})


def _object(properties: Mapping[str, Property]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _member(prop) for name, prop in properties.items()},
    }
    required = [name for name, prop in properties.items() if prop.required]
    return schema | ({"required": required} if required else {})


def _member(prop: Property) -> dict[str, Any]:
    """A property where it stands in an object: optional ones may be null, which means absent."""
    schema = _value(prop)
    if prop.nullable or not prop.required:
        schema["type"] = [schema["type"], "null"]
        if prop.enum:
            schema["enum"] = [*prop.enum, None]
    if prop.default is not None:
        schema["default"] = prop.default
    if prop.examples:
        schema["examples"] = list(prop.examples)
    return schema


def _value(prop: Property) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES.get(prop.type, prop.type)}
    if prop.description:
        schema["description"] = prop.description
    if prop.type in _TYPES:
        schema["format"] = prop.type
    if prop.items is not None:
        schema |= _given(minItems=prop.min_length, maxItems=prop.max_length, items=_value(prop.items))
    elif prop.type == "object":
        schema |= _object(prop.fields)
    elif prop.enum:
        schema["enum"] = list(prop.enum)
    elif prop.type == "string":
        schema |= _given(minLength=prop.min_length, maxLength=prop.max_length, pattern=prop.pattern)
        if prop.format is not None:
            # The format for people and generators; the expression for validators, so that all agree on what it means.
            schema |= {"format": prop.format, "allOf": [{"pattern": FORMATS[prop.format].ecma_pattern}]}
    elif prop.type == "integer":
        schema["minimum"] = INT64_MIN if prop.minimum is None else prop.minimum
        schema["maximum"] = INT64_MAX if prop.maximum is None else prop.maximum
    elif prop.type == "number":
        for keyword, bound in zip(("minimum", "maximum"), number_bounds(prop), strict=True):
            if bound is not None:
                given = getattr(prop, keyword)
                schema[keyword] = given if given == bound else bound  # 0 rather than 0.0
    return schema


def _given(**keywords: Any) -> dict[str, Any]:
    return {keyword: value for keyword, value in keywords.items() if value is not None}
