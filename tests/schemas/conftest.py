"""A small plan on disk that a test can break in one place."""

from collections.abc import Callable
from pathlib import Path

import pytest

SMALL_PLAN = {
    "plan.yaml": """\
name: small
version: "1.0"
description: One event.
stages: [interest, purchase]
channels: [web, store]
""",
    "properties.yaml": """\
amount:
  type: number
  description: What was paid.
  privacy: none
  minimum: 0
count:
  type: integer
  description: How many.
  privacy: none
""",
    "traits.yaml": """\
email:
  type: string
  description: E-mail address.
  privacy: personal
""",
    "events/paid.yaml": """\
name: paid
aliases: [Paid]
version: "1.0"
owner: shop
description: Somebody paid.
stage: purchase
touchpoint: till
properties:
  amount: {required: true}
  count: {}
examples:
  - {amount: 5}
""",
}

WritePlan = Callable[..., Path]


@pytest.fixture
def write_plan(tmp_path: Path) -> WritePlan:
    """Writes the small plan, with the given files put in place of its own (None: left out), and returns its folder."""

    def write(files: dict[str, str | None] | None = None) -> Path:
        folder = tmp_path / "plan"
        for name, text in {**SMALL_PLAN, **(files or {})}.items():
            if text is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        return folder

    return write
