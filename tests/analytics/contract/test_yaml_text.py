"""What is written as YAML reads back as the same value, and what people have written stays as it is."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.contract.yaml_text import comment, flow, insert_members, replace_value, sentence
from polku_schemas.documents import read_document

texts = st.text(max_size=20) | st.sampled_from(
    [
        "null",
        "Null",
        "True",
        "Yes",
        "no",
        "1e5",
        "0x1",
        "2026-01-31",
        "a: b",
        "- a",
        "#x",
        "a #b",
        "'",
        '"',
        "\\",
        "~",
        "",
        " a",
        "é",
        "x\u0085y",
    ]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def read(tmp_path: Path, text: str) -> Any:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    findings: list[Any] = []
    document = read_document(tmp_path, "x", findings)
    assert not findings, (findings, text)
    assert document is not None
    return document.value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml")


@given(value=values, text=texts)
@settings(max_examples=300)
def test_a_value_reads_back_as_itself(folder: Path, value: Any, text: str) -> None:
    found = read(folder, f"key: {flow(value)}  {comment(text)}\nother: {sentence(text)}\n")
    assert found == {"key": value, "other": text}
    assert [type(one) for one in _leaves(found["key"])] == [type(one) for one in _leaves(value)]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def test_what_needs_no_quotes_has_none() -> None:
    value = {"order_id": "O-1", "price": 53.9, "city": "São Paulo", "at": "2026-01-31", "code": "12", "no": None}
    assert flow(value) == '{order_id: O-1, price: 53.9, city: São Paulo, at: "2026-01-31", code: "12", "no": null}'
    assert sentence("Key of it, such as `a`.") == "Key of it, such as `a`."
    assert sentence("A: b") == '"A: b"'


def test_a_comment_stays_on_its_line() -> None:
    assert comment("a\nb: c\u2028d") == "# a b: c d"


EVENT = """\
# Ours.
name: paid
version: "1.2"  # see the log
properties:
  order_id: {required: true}   # the key
  lines:
    description: >
      Many

      lines.

examples:
- {order_id: O-1}
"""


def test_members_go_behind_those_that_are_there() -> None:
    assert insert_members(EVENT, ["properties"], [("size", "{}  # new")]) == EVENT.replace(
        "      lines.\n", "      lines.\n  size: {}  # new\n"
    )


def test_members_find_their_place_deep_inside() -> None:
    text = "a:\n    type: array\n    items:\n        properties:\n            x: {}\nb: {}\n"
    assert insert_members(text, ["a", "items", "properties"], [("y", "{}")]) == text.replace(
        "            x: {}\n", "            x: {}\n            y: {}\n"
    )


@pytest.mark.parametrize("text", ["properties: {a: {}}\n", "name: x\n", "properties:\n", "properties: *anchor\n"])
def test_what_is_not_one_member_a_line_is_left_to_people(text: str) -> None:
    assert insert_members(text, ["properties"], [("y", "{}")]) is None


def test_a_value_is_replaced_where_it_stands() -> None:
    assert replace_value(EVENT, "version", '"1.3"') == EVENT.replace('"1.2"', '"1.3"')
    assert replace_value("a: 1\n", "version", "2") is None
