"""Files of a plan in both notations: the same values, the line of each, and an outcome for whatever a file may hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_schemas.documents import Document, read_document
from polku_schemas.errors import Finding

texts = st.text(alphabet='ab {}[]:,"\\/\n\t\x00é\u2028😀', max_size=6)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


def read(folder: Path, text: str | bytes, ending: str = "yaml") -> tuple[Document | None, list[Finding]]:
    findings: list[Finding] = []
    (folder / f"a.{ending}").write_bytes(text if isinstance(text, bytes) else text.encode())
    document = read_document(folder, "a", findings)
    (folder / f"a.{ending}").unlink()
    return document, findings


def value_of(folder: Path, text: str | bytes, ending: str = "yaml") -> Any:
    document, findings = read(folder, text, ending)
    assert document is not None
    assert findings == []
    return document.value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@given(value=st.dictionaries(texts, values, max_size=4))
def test_json_is_read_as_the_standard_library_reads_it(folder: Path, value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        found = value_of(folder, text, "json")
        assert found == json.loads(text)
        assert repr(found) == repr(json.loads(text)), "1 is not 1.0, and True is not 1"


@given(data=st.binary(max_size=60), ending=st.sampled_from(["yaml", "json"]))
def test_no_bytes_are_a_crash(folder: Path, data: bytes, ending: str) -> None:
    document, findings = read(folder, data, ending)
    assert document is not None or findings
    json.dumps(document.value if document else None, allow_nan=False)


@given(text=st.text(alphabet="{}[]:,-&*!<>|#'\" \n\ta1.~\\u", max_size=40), ending=st.sampled_from(["yaml", "json"]))
def test_no_marks_are_a_crash(folder: Path, text: str, ending: str) -> None:
    document, findings = read(folder, text, ending)
    assert document is not None or findings
    assert all(finding.line is None or finding.line <= text.count("\n") + 1 for finding in findings)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_are_those_of_an_editor(folder: Path, line_end: str, mark: bytes) -> None:
    yaml = "# first\na: 1\nb:\n  - x\n  - {c: 'two\n    lines', d: 2}\n"
    document, _ = read(folder, mark + yaml.replace("\n", line_end).encode())
    assert document is not None
    assert [document.line(*path) for path in (("a",), ("b",), ("b", 0), ("b", 1), ("b", 1, "d"))] == [2, 3, 4, 5, 6]
    text = '{\n "a": 1,\n "b": [\n  "x",\n  {"c": "\\n",\n  "d": 2}]}'
    document, _ = read(folder, mark + text.replace("\n", line_end).encode(), "json")
    assert document is not None
    assert [document.line(*path) for path in (("a",), ("b",), ("b", 0), ("b", 1), ("b", 1, "d"))] == [2, 3, 4, 5, 6]


def test_what_is_not_there_has_the_line_of_what_is_around_it(folder: Path) -> None:
    document, _ = read(folder, "\na:\n  b: 1\n")
    assert document is not None
    assert (document.line("a", "x", "y"), document.line("x"), document.line()) == (2, 2, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Y", "Y"), ("true", True), ("False", False), ("TRUE", True),
        ("null", None), ("~", None), ("", None), ("'null'", "null"), ('"true"', "true"),
        ("1", 1), ("-7", -7), ("+7", 7), ("010", 10), ("0o10", 8), ("0x1F", 31), ("1_000", "1_000"), ("0b1", "0b1"),
        ("1.10", 1.1), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0), ("1.2.3", "1.2.3"), ("1:30", "1:30"), ("-", [None]),
        ("2026-01-31", "2026-01-31"), ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"), ("35-44", "35-44"),
        ("!!str 1.10", "1.10"), ("a # comment", "a"), ("a#b", "a#b"), ("https://x.example/", "https://x.example/"),
        ("<<", "<<"), ("=", "="), ("How?", "How?"),
        ("|\n two\n lines\n", "two\nlines\n"), (">-\n one\n line", "one line"),
    ],
)  # fmt: skip
def test_a_plain_scalar_is_what_yaml_1_2_says(folder: Path, text: str, value: Any) -> None:
    found = value_of(folder, f"a: {text}" if text != "-" else "a:\n -\n")["a"]
    assert (found, type(found)) == (value, type(value))


def test_a_number_is_remembered_as_it_was_written(folder: Path) -> None:
    for text, ending in (
        ("a: [1.10, 0x1F]\nb: '1.10'\nc: True", "yaml"),
        ('{"a": [1.10, 31], "b": "1.10", "c": true}', "json"),
    ):
        document, _ = read(folder, text, ending)
        assert document is not None
        assert document.written(("a", 0)) == "1.10"
        assert document.written(("b",)) is None
        assert str(document.written(("c",))).lower() == "true"


@pytest.mark.parametrize(
    ("text", "ending", "value"),
    [
        ('{"a": "\\ud83d\\ude00"}', "json", "😀"),
        ('{"a":\t"a\\/b\\t"}', "json", "a/b\t"),
        ('a: "\\U0001F600 \\/"', "yaml", "😀 /"),
        ("a: &x 😀\nb: *x", "yaml", "😀"),
    ],
)
def test_escapes_are_read(folder: Path, text: str, ending: str, value: str) -> None:
    assert value_of(folder, text, ending)["a"] == value


def test_anchors_are_read_like_what_they_stand_for(folder: Path) -> None:
    assert value_of(folder, "a: &x {b: [1]}\nc: *x\nd: [*x]") == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}]}


@pytest.mark.parametrize(
    ("text", "ending", "line", "code"),
    [
        ("a: 1\nb: [1, 2", "yaml", 2, "invalid_syntax"),
        ("a: b: c", "yaml", 1, "invalid_syntax"),
        ("a: @x", "yaml", 1, "invalid_syntax"),
        ("a: *x", "yaml", 1, "invalid_syntax"),
        ("a: 1\n---\nb: 2", "yaml", 2, "invalid_syntax"),
        ("a: 1\nb: \x07", "yaml", 2, "invalid_syntax"),
        ("äöü: äöü\nb: ä\x00\nc: 1\n", "yaml", 2, "invalid_syntax"),
        ('a: "\\ud83d\\ude00"', "yaml", 1, "invalid_syntax"),
        ("[" * 100_000, "yaml", 1, "invalid_syntax"),
        ("- " * 100_000, "yaml", 1, "invalid_syntax"),
        ("[" * 100_000, "json", None, "too_large"),
        ("[" * 50 + "]" * 50, "yaml", 1, "too_large"),
        ("[" * 50 + "]" * 50, "json", 1, "too_large"),
        ('{"a": 1,}', "json", 1, "invalid_syntax"),
        ("{'a': 1}", "json", 1, "invalid_syntax"),
        ('{"a": NaN}', "json", None, "invalid_syntax"),
        ('{"a": 1}\n{"b": 2}', "json", 2, "invalid_syntax"),
        ('{"a": "x\ty"}', "json", 1, "invalid_syntax"),
        ('{"a": 1} // why', "json", 1, "invalid_syntax"),
        (b"a: caf\xe9", "yaml", 1, "unreadable_file"),
        ("a: 1".encode("utf-16"), "yaml", None, "unreadable_file"),
        ("{}".encode("utf-16-le"), "json", 1, "invalid_syntax"),
    ],
)
def test_what_cannot_be_read_is_one_finding(
    folder: Path, text: str | bytes, ending: str, line: int | None, code: str
) -> None:
    document, findings = read(folder, text, ending)
    assert document is None
    assert [(finding.file, finding.line, finding.code) for finding in findings] == [(f"a.{ending}", line, code)]


@pytest.mark.parametrize(
    ("text", "ending", "code"),
    [
        ("a: 1\na: 2", "yaml", "duplicate_key"),
        ('{"a": 1,\n"a": 2}', "json", "duplicate_key"),
        ("a: 1\n[b]: 2", "yaml", "wrong_type"),
        ("a: 1\n<<: {b: 2}", "yaml", "merge_key"),
        ("a: 1\nb: !!int '2'", "yaml", "yaml_tag"),
        ("a: 1\nb: 1e999", "yaml", "invalid_number"),
        ("a: 1\nb: .nan", "yaml", "invalid_number"),
        ("a: 1\nb: 9223372036854775808", "yaml", "invalid_number"),
        ("a: 1\nb: " + "9" * 1_000_000, "yaml", "invalid_number"),
        ('{"a": 1,\n"b": -9223372036854775809}', "json", "invalid_number"),
        ('{"a": 1,\n"b": "\\ude00"}', "json", "invalid_syntax"),
    ],
)
def test_what_is_wrong_in_one_place_does_not_stop_the_reading(folder: Path, text: str, ending: str, code: str) -> None:
    document, findings = read(folder, text, ending)
    assert document is not None
    assert document.value["a"] == 1
    assert [(finding.line, finding.code) for finding in findings] == [(2, code)]


def test_a_folder_in_place_of_a_file_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    findings: list[Finding] = []
    assert read_document(tmp_path, "a", findings) is None
    assert [finding.code for finding in findings] == ["unreadable_file"]
