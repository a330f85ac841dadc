"""Writes Markdown so that a text of a plan cannot become a mark, an element or the end of a table's cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from polku_schemas.catalogue.wording import Code, Words

_MARKS: Final = re.compile(
    r"""[\\`*\[\]<>&|~$]             # marks wherever they stand, those of tables and formulas included
      | (?<![^\W_])_ | _(?![^\W_])   # emphasis, except inside a name
      | ^(?:\#|[-+=](?=\s|$)|\d+(?=[.)](?:\s|$)))  # headings and lists, at the beginning
    """,
    re.VERBOSE,
)
_DIRECTION: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Invisible marks that turn the direction of what follows, beyond the text they stand in."""


def text(plain: str) -> str:
    """Prose on one line in which nothing is a mark."""
    return _MARKS.sub(_escaped, _on_one_line(plain))


def code(plain: str) -> str:
    """Code on one line."""
    line = _on_one_line(plain).strip()
    if "|" in line:
        # It would end the cell of a table even in code, and forges differ in how they read its escape.
        quoted = re.sub(r"[^\w ]|_", lambda mark: f"&#{ord(mark[0])};", line)
        return f"<code>{quoted}</code>"
    ticks = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}" if line else ""


def prose(words: Words) -> str:
    """Words with their code marked."""
    return "".join(code(word.text) if isinstance(word, Code) else text(word) for word in words)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def fenced(plain: str, language: str) -> str:
    """Code in lines of its own, as it is."""
    ticks = "`" * max(3, _longest_run(plain) + 1)
    return f"{ticks}{language}\n{plain.rstrip()}\n{ticks}"


def _on_one_line(plain: str) -> str:
    return _DIRECTION.sub(lambda mark: f"U+{ord(mark[0]):04X}", re.sub(r"\s+", " ", plain))


def _escaped(mark: re.Match[str]) -> str:
    # A backslash is easier to read; a pipe or dollar behind one is not left alone everywhere.
    return "".join(f"&#{ord(c)};" if c in "|$" or c.isdigit() else f"\\{c}" for c in mark[0])


def _longest_run(plain: str) -> int:
    return max(map(len, re.findall("`+", plain)), default=0)
