"""What people write who know JSON Schema or a programming language, and what to write here instead.

The format is closed: nothing of this is read. It only makes the remedies of findings exact.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final, get_args

from polku_schemas.compile import snake_case
from polku_schemas.model import PropertyType, StringFormat

_ONE_TYPE: Final = "Give the property one type; what has several becomes several properties (`amount`, `amount_text`)"
_BY_NAME: Final = "Put the property into properties.yaml and use it by its name"
_SOURCE: Final = "Leave it out: whether a source may send unplanned properties stands in the collector's settings"
_DESCRIBE: Final = "Say it in `description`"
_NO_SUCH: Final = "Leave it out: nothing here checks it"

KEYS: Final[dict[str, str]] = {
    "minLength": "Write `min_length`",
    "maxLength": "Write `max_length`",
    "minItems": "Write `min_length`: it counts the items of an array",
    "maxItems": "Write `max_length`: it counts the items of an array",
    "const": "Write `enum` with the one value",
    "enums": "Write `enum`",
    "allowedValues": "Write `enum`",
    "values": "Write `enum`",
    "anyOf": _ONE_TYPE,
    "oneOf": _ONE_TYPE,
    "allOf": "Write all constraints side by side",
    "not": "Write what is allowed: `enum`, `pattern` or bounds",
    "if": "Describe it as two events",
    "then": "Describe it as two events",
    "else": "Describe it as two events",
    "$ref": _BY_NAME,
    "$defs": _BY_NAME,
    "definitions": _BY_NAME,
    "$id": "Leave it out: the name of the file says what it is",
    "$schema": "Leave it out: the format has no dialects",
    "$comment": "Write a YAML comment, or `description`",
    "additionalProperties": _SOURCE,
    "unevaluatedProperties": _SOURCE,
    "patternProperties": "Name the properties one by one",
    "propertyNames": "Name the properties one by one",
    "minProperties": "Mark the properties that must be there with `required: true`",
    "maxProperties": _NO_SUCH,
    "dependentRequired": "Describe it as two events",
    "dependencies": "Describe it as two events",
    "exclusiveMinimum": "Write `minimum`, which is included here, with the next value",
    "exclusiveMaximum": "Write `maximum`, which is included here, with the next value",
    "min": "Write `minimum` for a number, `min_length` for a string or an array",
    "max": "Write `maximum` for a number, `max_length` for a string or an array",
    "multipleOf": "Leave it out, or use an integer of the smaller unit (`price_cents`)",
    "uniqueItems": _NO_SUCH,
    **dict.fromkeys(("contains", "minContains", "maxContains", "unevaluatedItems", "contentSchema"), _NO_SUCH),
    "prefixItems": "Use an object with named properties",
    "additionalItems": _NO_SUCH,
    "title": "Write `description`",
    "displayName": _DESCRIBE,
    "deprecated": f"{_DESCRIBE}; `polku plan diff` says what taking it out would break",
    "readOnly": _DESCRIBE,
    "writeOnly": _DESCRIBE,
    "unit": f"{_DESCRIBE}, or in the name (`duration_seconds`)",
    "example": "Write `examples`, a list",
    "optional": "Leave it out: what is not `required: true` is optional",
    "required": "Write `required: true` at each property that must be there: `properties: {price: {required: true}}`",
    "pii": "Write `privacy: personal`",
    "sensitive": "Write `privacy: sensitive`",
    "contentEncoding": _NO_SUCH,
    "contentMediaType": _NO_SUCH,
    "regex": "Write `pattern`",
    "category": f"{_DESCRIBE}; where an event stands in the journey say `stage` and `touchpoint`",
    "tags": f"{_DESCRIBE}; where an event stands in the journey say `stage` and `touchpoint`",
    "name": "Leave it out: the key is the name",
    "owner": "Write it at the event: it is the event that somebody answers for",
}
"""A key from elsewhere → what to do about it here."""

TYPES: Final[dict[str, str]] = {
    **dict.fromkeys(("float", "double", "decimal", "real", "numeric", "float64"), "number"),
    **dict.fromkeys(("int", "long", "bigint", "int32", "int64", "whole", "count"), "integer"),
    **dict.fromkeys(("bool", "flag"), "boolean"),
    **dict.fromkeys(("str", "text", "varchar", "char", "enum", "url", "uri", "email"), "string"),
    **dict.fromkeys(("timestamp", "datetime", "date_time", "date-time-utc", "timestamptz"), "date-time"),
    **dict.fromkeys(("list", "tuple", "set", "sequence"), "array"),
    **dict.fromkeys(("map", "dict", "struct", "record", "json", "hash"), "object"),
    **dict.fromkeys(("guid", "uuid4"), "uuid"),
}
"""The name of a type elsewhere → the type here."""

_BESIDE_TYPE: Final = {
    "enum": " and list the values in `enum`",
    "url": " and `format: uri`",
    "uri": " and `format: uri`",
    "email": " and `format: email`",
}

_OTHER_TYPES: Final = {
    "null": "Name the type the value has when it is there; an optional property may be null anyway",
    "time": "Write `type: date-time`, or `type: string` with a pattern for a time of day",
    "any": _ONE_TYPE,
}

FORMATS: Final[dict[str, str]] = {
    "date-time": "Write `type: date-time` and no format",
    "date": "Write `type: date` and no format",
    "uuid": "Write `type: uuid` and no format",
    **dict.fromkeys(("url", "uri-reference", "iri"), "Write `format: uri`"),
    **dict.fromkeys(("e-mail", "idn-email", "mail"), "Write `format: email`"),
    **dict.fromkeys(("ip", "ip-address", "ip4"), "Write `format: ipv4` or `format: ipv6`"),
    **dict.fromkeys(("host-name", "idn-hostname", "domain"), "Write `format: hostname`"),
    **dict.fromkeys(("int32", "int64"), "Write `type: integer` and no format"),
    **dict.fromkeys(("float", "double"), "Write `type: number` and no format"),
}
"""A format of JSON Schema or OpenAPI → what to do about it here."""


def key_remedy(key: str, value: Any, known: Iterable[str]) -> str:
    """What to write instead of a key that the format does not have here, where `known` are those it has."""
    known = list(dict.fromkeys(known))
    if ":" in key and value is None:
        name, _, rest = key.partition(":")
        return f"Put a space after the colon: `{name}: {rest}`"
    if key in ("exclusiveMinimum", "exclusiveMaximum") and type(value) is int:
        bound = f"`minimum: {value + 1}`" if key == "exclusiveMinimum" else f"`maximum: {value - 1}`"
        return f"Write `{key[9:].lower()}`, which is included here: for an integer {bound}"
    if key in KEYS and key not in known:
        return KEYS[key]
    close = difflib.get_close_matches(snake_case(key), known, n=1, cutoff=0.75)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Use one of {', '.join(known)}" if known else "Remove it: nothing may stand here"


def type_remedy(value: Any) -> str | None:
    """What to write instead of a type that the format does not have; None where nothing exact is known."""
    if isinstance(value, list):
        types = [member for member in value if member not in ("null", None)]
        if len(types) == 1 and len(types) < len(value):
            kind = TYPES.get(str(types[0]), types[0])
            return f"Write `type: {kind}`; an optional property may be null, a required one with `nullable: true`"
        return _ONE_TYPE
    if isinstance(value, dict):
        return "Write the name of a type here and the rest beside it"
    word = str(value).lower()
    if word in TYPES:
        return f"Write `type: {TYPES[word]}`{_BESIDE_TYPE.get(word, '')}"
    return _OTHER_TYPES.get(word) or _close(value, get_args(PropertyType))


def format_remedy(value: Any) -> str | None:
    """What to write instead of a format that there is not; None where nothing exact is known."""
    known = get_args(StringFormat)
    exact = FORMATS.get(str(value).lower()) or _close(value, known)
    return exact or f"Use one of {', '.join(known)}, or write a `pattern`"


def nearest(word: Any, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.75)
    return close[0] if close else None


def _close(value: Any, known: Iterable[str]) -> str | None:
    close = nearest(value, known)
    return None if close is None else f"Did you mean `{close}`?"
