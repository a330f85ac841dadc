"""The code blocks of a page, and what a reader cannot see: the comment before each that says how a test treats it.

<!-- run -->                    bash: run it, it ends with 0; python: run it in the page's interpreter
<!-- run: exit 2 -->            bash: it ends with this code
<!-- run: until it shows -->    bash: run it again until the output after it is right
<!-- run: background NAME -->   bash: start it, go on when it is ready
<!-- file: NAME -->             the block is this file
<!-- output -->                 the block before printed these lines, in this order; … stands for anything
<!-- output: NAME -->           the background command NAME did, sooner or later
<!-- not run: REASON -->        nothing is done with it
<!-- stop: NAME -->             on its own: Ctrl-C for a background command, which must end with 0
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
QUERY_PAGES = sorted((ROOT / "docs" / "query").glob("*.md"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *QUERY_PAGES])
OWN_PAGES = [ROOT / "README.md"] + [
    ROOT / "docs" / f"{name}.md"
    for name in (
        *("architecture", "contributing", "changelog", "glossary"),
        *("plan-format", "plan-validation", "plan-from-data"),
        *("operations", "wire-format", "guarantees"),
        *("plan", "plan-versions", "plan-generate", "plan-catalogue", "replay", "iceberg", "webhooks"),
        *("sdk-python", "sdk-browser"),
    )
]

# Languages whose blocks a reader would run or save; a block in one of them must say what a test does with it.
RUNNABLE = {"bash", "sh", "console", "python", "toml", "html", "js", "ts"}

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w+-]*)\s*$")
_DIRECTIVE = re.compile(r"^ *<!-- (?P<verb>run|file|output|not run|stop)(?:: (?P<argument>[^>]*?))? -->\s*$")


class Block(NamedTuple):
    """One step of a page. `verb` is empty for a block without a comment; `language` for a stop."""

    page: Path
    line: int
    language: str
    verb: str
    argument: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The steps of a page, in order."""
    verb = argument = ""
    inside: list[str] | None = None
    language, started, indent = "", 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is not None:
            if fence and not fence["language"]:
                text = "".join(f"{part.removeprefix(indent)}\n" for part in inside)
                yield Block(page, started, language, verb, argument, text)
                inside, verb, argument = None, "", ""
            else:
                inside.append(line)
        elif fence:
            inside, language, started, indent = [], fence["language"], number, fence["indent"]
        elif directive := _DIRECTIVE.match(line):
            verb, argument = directive["verb"], (directive["argument"] or "").strip()
            if verb == "stop":
                yield Block(page, number, "", verb, argument, "")
                verb = argument = ""
        elif line.strip():
            verb = argument = ""
    assert inside is None, f"{page.name}: the block of line {started} does not end"


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```\s*?$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def tables_of(page: Path) -> dict[str, dict[str, list[str]]]:
    """The tables of a page by the heading above them: first cell (without backticks) → all cells."""
    tables: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in prose_of(page).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        elif line.startswith("| ") and not set(line) <= set("|-: "):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            tables.setdefault(heading, {})[cells[0].strip("`")] = cells
    return tables
