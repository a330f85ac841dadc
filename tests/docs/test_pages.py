"""What the pages tell a reader to do works, in the order they tell it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import OWN_PAGES, QUERY_PAGES, ROOT, RUNNABLE, blocks_of
from tests.docs.reader import Reader, shows

_PAGES_WITH_STEPS = [page for page in OWN_PAGES if page.exists() and any(block.verb for block in blocks_of(page))]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


@pytest.mark.parametrize("page", _PAGES_WITH_STEPS, ids=lambda page: page.stem)
def test_a_page_can_be_followed_from_top_to_bottom(page: Path, reader: Reader) -> None:
    blocks = list(blocks_of(page))
    for tool in ("curl", "git"):
        if shutil.which(tool) is None and any(f"{tool} " in block.text for block in blocks):
            pytest.skip(f"the page uses {tool}, which is not installed")
    for block in blocks:
        reader.follow(block)


@pytest.mark.parametrize("page", [*OWN_PAGES, *QUERY_PAGES], ids=lambda page: page.stem)
def test_no_command_of_a_page_escapes_the_test(page: Path) -> None:
    """A block that a reader would run says what the test does with it; one that is not run says why."""
    for block in blocks_of(page):
        if block.language in RUNNABLE:
            assert block.verb, f"{block.place}: a {block.language} block without a comment"
        if block.verb == "not run":
            assert len(block.argument) > 10, f"{block.place}: no reason why it is not run"


def test_the_readme_has_the_two_commands_and_the_three_starts() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for wanted in ("make demo", "make test", "## Start as a developer", "## Start as an operator"):
        assert wanted in text
    assert "## Start as an analyst" in text


def test_lines_are_looked_for_in_order() -> None:
    assert shows("a 10:11:12 b\nnoise\nc xyz d\n", "a 00:00:00 b\nc … d\n")
    assert not shows("c\na\n", "a\nc\n")
    assert not shows("a\n", "a\nb\n")
