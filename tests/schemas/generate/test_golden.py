"""What is generated, to be read: the files in golden/, which a reviewer of a change to the generator looks at.

`UPDATE_GOLDEN=1 pytest tests/schemas/generate/test_golden.py` writes them anew.
"""

import os
from pathlib import Path

import pytest

from polku_schemas.generate import python_source, python_types_source, typescript_source
from tests.schemas.generate.world import SHOP

GOLDEN = Path(__file__).parent / "golden"
GENERATED = {
    "events.py": python_source(SHOP),
    "event_types.py": python_types_source(SHOP),
    "events.ts": typescript_source(SHOP),
    "event_types.ts": typescript_source(SHOP, types_only=True),
}


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_what_was_reviewed(name: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(GENERATED[name], encoding="utf-8")
    assert (GOLDEN / name).read_text(encoding="utf-8") == GENERATED[name]


def test_no_other_file_stands_there() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(GENERATED)
