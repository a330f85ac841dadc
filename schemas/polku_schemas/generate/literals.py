"""Plan text inside source text: quoted or commented so that nothing in it can end the quote, or mislead a reader.

What is written is the same on every version of Python: nothing here asks the Unicode database.
"""

from __future__ import annotations

import json
import re
import textwrap
from typing import Final

# Control characters, the line ends that only some tools see, marks that turn the direction of reading, surrogates.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_SPACES: Final = re.compile("[ \t\r\n\f\v\x85\xa0\u2028\u2029]+")
_RAW: Final = re.compile(r"[^\"\x00-\x1f\x7f-\x9f]*[^\"\\\x00-\x1f\x7f-\x9f]")
LINE: Final = 88
"""Characters of a line of prose; code is one line per property, so that a change of the plan is a change of a line."""


def quoted(value: str | int | float | bool | None) -> str:
    """A scalar as both Python and TypeScript write it, except for true, false and null, which are JSON's."""
    return _UNSEEN.sub(_escape, json.dumps(value, ensure_ascii=False))


def python_literal(value: str | int | float | bool | None) -> str:
    """A scalar as Python writes it; a raw string where that spares backslashes."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str) and "\\" in value and _RAW.fullmatch(value) and not _UNSEEN.search(value):
        return f'r"{value}"'
    return quoted(value)


def prose(*sentences: str) -> str:
    """Sentences on one line, each with its full stop, with everything unseen made visible."""
    texts = (_SPACES.sub(" ", sentence).strip() for sentence in sentences)
    return _UNSEEN.sub(_escape, " ".join(text if text[-1] in ".!?…" else f"{text}." for text in texts if text))


def docstring(indent: str, *paragraphs: str) -> list[str]:
    """The lines of a Python docstring."""
    if not any(paragraphs):
        return docstring(indent, "Not described.")
    safe = [text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for text in paragraphs if text]
    if len(safe) == 1 and len(indent) + len(safe[0]) + 6 <= LINE and not safe[0].endswith('"'):
        return [f'{indent}"""{safe[0]}"""']
    lines = commented(indent, f'"""{safe[0]}')
    for text in safe[1:]:
        lines += ["", *commented(indent, text)]
    return [*lines, f'{indent}"""']


def commented(mark: str, text: str) -> list[str]:
    """The lines of a comment that each begin with `mark`."""
    return textwrap.wrap(
        text, LINE, initial_indent=mark, subsequent_indent=mark, break_long_words=False, break_on_hyphens=False
    )


def tsdoc(indent: str, *paragraphs: str, tags: tuple[str, ...] = ()) -> list[str]:
    """The lines of a TSDoc comment; `tags` come last, a line each."""
    texts = [text.replace("*/", "*\\/") for text in paragraphs if text]
    ends = [tag.replace("*/", "*\\/") for tag in tags]
    if len(texts) == 1 and not ends and len(indent) + len(texts[0]) + 7 <= LINE and not texts[0].startswith("@"):
        return [f"{indent}/** {texts[0]} */"]
    mark = f"{indent} * "
    lines = [f"{indent}/**"]
    for number, text in enumerate(texts):
        lines += [mark.rstrip()] if number else []
        # An @ that begins a line would begin a tag.
        lines += [re.sub(r"\* @", r"* \\@", line) for line in commented(mark, text)]
    return [*lines, *(mark + end for end in ends), f"{indent} */"]


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
