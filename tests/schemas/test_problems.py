"""The codes are a closed, documented list that queries can rely on."""

import re
from pathlib import Path

from polku_schemas import DESCRIPTIONS, ProblemCode

CODES = """
not_an_object missing_type unknown_type missing_event_name unknown_event missing_id invalid_id invalid_time
missing_property wrong_type out_of_range too_long too_short pattern_mismatch not_in_enum unknown_property invalid_utf8
invalid_json too_deep too_large duplicate_id unconvertible
"""


def test_no_code_is_renamed_or_forgotten() -> None:
    assert set(CODES.split()) <= {str(code) for code in ProblemCode}


def test_every_code_is_explained_in_one_sentence() -> None:
    assert set(DESCRIPTIONS) == set(ProblemCode)
    assert all(re.fullmatch(r"[A-Z].*[^.]\.", text) for text in DESCRIPTIONS.values())


def test_the_docs_list_every_code_with_its_sentence() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")
    for code, text in DESCRIPTIONS.items():
        assert f"| `{code}` | {text} |" in page
