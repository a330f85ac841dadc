"""Which parts of a Python regular expression other languages read differently, or not at all.

A plan's patterns are checked by Python at intake. Browsers, and validators written in Rust, take the same text from
generated code and exported schemas: what they cannot read should be a decision, not a surprise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple


class Note(NamedTuple):
    """One construct: what is different about it, and what to write instead."""

    message: str
    remedy: str


_SIMPLER: Final = "Write it without, or accept the difference"

# In the order in which they are tried at each place of the pattern; the first two only keep the others away from
# escaped characters and from the inside of brackets.
_CONSTRUCTS: Final[tuple[tuple[str, str, Note | None], ...]] = (
    (
        "backreference",
        r"\\[1-9]|\(\?P=\w+\)",
        Note("a backreference is unknown to Rust", _SIMPLER),
    ),
    (
        "end",
        r"\\[AZ]",
        Note(r"\A and \Z are unknown to JavaScript, and \Z means something else in Rust", "Write ^ and $"),
    ),
    ("escape", r"\\.", None),
    ("brackets", r"\[\^?\]?(?:\\.|[^\]\\])*\]", None),
    ("lookbehind", r"\(\?<[=!]", Note("a lookbehind is unknown to Rust", _SIMPLER)),
    ("lookahead", r"\(\?[=!]", Note("a lookahead is unknown to Rust", _SIMPLER)),
    ("atomic", r"\(\?>", Note("an atomic group is unknown to JavaScript and Rust", "Use a plain group")),
    ("condition", r"\(\?\(", Note("a condition is unknown to JavaScript and Rust", "Write both cases out with |")),
    ("comment", r"\(\?#", Note("a comment is unknown to JavaScript and Rust", "Say it in `description`")),
    ("named", r"\(\?P<", Note("a named group is written differently in JavaScript", "Use a plain group")),
    (
        "flags",
        r"\(\?[aiLmsux-]+[:)]",
        Note("flags inside a pattern are unknown to JavaScript", "Write both cases, such as [Aa]"),
    ),
    (
        "possessive",
        r"(?:[*+?]|\{\d*,?\d*\})\+",
        Note("a possessive quantifier is unknown to JavaScript and Rust", "Remove the second +"),
    ),
)

_SCANNER: Final = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern, _ in _CONSTRUCTS), re.DOTALL)
_NOTES: Final = {name: note for name, _, note in _CONSTRUCTS}


def dialect_notes(pattern: str) -> Iterator[Note]:
    """A note for each kind of construct in the pattern that Python, JavaScript and Rust do not read alike."""
    found = dict.fromkeys(match.lastgroup for match in _SCANNER.finditer(pattern))
    for name in found:
        note = _NOTES[name] if name else None
        if note is not None:
            yield note
