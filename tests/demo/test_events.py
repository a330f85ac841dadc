"""The events that the demo tracks with are those of the built-in plan, and the page shows how it makes them."""

import textwrap

import pytest
from click.testing import CliRunner

from polku_schemas.commands.generate import generate
from tests.docs.blocks import ROOT, blocks_of


def test_the_generated_file_is_what_the_built_in_plan_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """If not, the output names the command that writes it anew, from the root of the repository."""
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(generate, ["--python", "analytics/polku_demo/events.py", "--check"])
    assert result.exit_code == 0, result.output


def test_the_page_quotes_the_checkout_as_it_is() -> None:
    source = (ROOT / "analytics" / "polku_demo" / "webshop" / "checkout.py").read_text(encoding="utf-8")
    quoted = [block.text for block in blocks_of(ROOT / "docs" / "demo.md") if block.language == "python"]
    assert quoted
    assert all(textwrap.indent(text, "    ") in source for text in quoted)
