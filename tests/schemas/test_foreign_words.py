"""What people write who know other formats gets an exact answer, wherever they write it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polku_schemas.foreign_words import FORMATS, KEYS, TYPES, format_remedy, key_remedy, type_remedy
from polku_schemas.plan import read_plan
from tests.schemas.conftest import SMALL_PLAN

WritePlan = Callable[..., Path]

# Every keyword of JSON Schema 2020-12 and of the drafts that people still use.
JSON_SCHEMA = """
$schema $id $ref $defs $comment definitions type enum const multipleOf maximum exclusiveMaximum minimum
exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems maxContains minContains maxProperties
minProperties required dependentRequired dependencies allOf anyOf oneOf not if then else items prefixItems
additionalItems contains properties patternProperties additionalProperties propertyNames unevaluatedProperties
unevaluatedItems title description default deprecated readOnly writeOnly examples format contentEncoding
contentMediaType contentSchema
""".split()  # noqa: SIM905 - quoted words would not be easier to read
OURS = {
    *("type", "description", "privacy", "enum", "minimum", "maximum", "pattern", "format"),
    *("default", "examples", "items", "properties"),
}


@pytest.mark.parametrize("word", [word for word in JSON_SCHEMA if word not in OURS])
def test_every_word_of_json_schema_is_answered(write_plan: WritePlan, word: str) -> None:
    text = SMALL_PLAN["properties.yaml"].replace("  minimum: 0\n", f"  minimum: 0\n  {word}: x\n")
    findings = [one for one in read_plan(write_plan({"properties.yaml": text})).findings if one.severity == "error"]
    assert [(one.line, one.path.replace("['", ".").replace("']", "")) for one in findings] == [(6, f"amount.{word}")]
    assert not findings[0].remedy.startswith("Use one of"), findings[0]


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("minLength", 3, "Write `min_length`"),
        ("exclusiveMinimum", 0, "Write `minimum`, which is included here: for an integer `minimum: 1`"),
        ("exclusiveMaximum", 10, "Write `maximum`, which is included here: for an integer `maximum: 9`"),
        ("exclusiveMinimum", 0.5, "Write `minimum`, which is included here, with the next value"),
        ("descripton", "x", "Did you mean `description`?"),
        ("Minimum", 1, "Did you mean `minimum`?"),
        ("minlength", 1, "Did you mean `min_length`?"),
        ("required:true", None, "Put a space after the colon: `required: true`"),
        ("colour", 1, "Use one of description, minimum, min_length"),
    ],
)
def test_a_key_has_its_remedy(key: str, value: Any, remedy: str) -> None:
    assert key_remedy(key, value, ["description", "minimum", "min_length"]) == remedy


NULLABLE = "an optional property may be null, a required one with `nullable: true`"


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("float", "Write `type: number`"),
        ("INT", "Write `type: integer`"),
        ("timestamp", "Write `type: date-time`"),
        ("email", "Write `type: string` and `format: email`"),
        ("enum", "Write `type: string` and list the values in `enum`"),
        ("strnig", "Did you mean `string`?"),
        (["string", "null"], f"Write `type: string`; {NULLABLE}"),
        (["null", "float"], f"Write `type: number`; {NULLABLE}"),
        ({"type": "string"}, "Write the name of a type here and the rest beside it"),
        (3, None),
        ("colour", None),
    ],
)
def test_a_type_has_its_remedy(value: Any, remedy: str | None) -> None:
    assert type_remedy(value) == remedy


def test_several_types_are_several_properties() -> None:
    remedies = {type_remedy(value) for value in (["string", "integer"], ["string", "integer", "null"], "any")}
    assert len(remedies) == 1
    assert "several properties" in str(remedies)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("date-time", "Write `type: date-time` and no format"),
        ("url", "Write `format: uri`"),
        ("hostnam", "Did you mean `hostname`?"),
        ("regex", "Use one of email, uri, hostname, ipv4, ipv6, or write a `pattern`"),
    ],
)
def test_a_format_has_its_remedy(value: Any, remedy: str) -> None:
    assert format_remedy(value) == remedy


def test_no_word_of_ours_is_foreign() -> None:
    assert not OURS & set(KEYS)
    assert not {"string", "integer", "number", "boolean", "date", "date-time", "uuid", "array", "object"} & set(TYPES)
    assert not {"email", "uri", "hostname", "ipv4", "ipv6"} & set(FORMATS)
