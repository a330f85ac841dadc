"""Copy-paste calls for an event, from one of its examples: Python, JavaScript and curl.

Whatever stands in the example's values, a call is one call: texts are quoted for the language, and what a terminal or
an editor would not show as it is (control characters, marks that turn a line's direction) is written as an escape.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from polku_schemas.catalogue.wording import Code, Words
from polku_schemas.model import Event

USER_ID: Final = "user-1"

_WIDTH: Final = 88
"""Columns that a call fills before a dictionary is broken into lines."""

_Quote = Callable[[str], str]


class Calls(Struct, frozen=True):
    """The same event, sent in three ways."""

    python: str
    javascript: str
    curl: str


SETUP: Final = Calls(
    python='''\
import polku

polku.configure("dev", "http://127.0.0.1:8080")  # or set POLKU_WRITE_KEY and POLKU_ENDPOINT
''',
    javascript='''\
import { createClient } from "http://127.0.0.1:8080/polku.mjs";

const polku = createClient("dev", "http://127.0.0.1:8080");
polku.identify("user-1");  // left out for somebody who is not known
''',
    curl='''\
export POLKU_WRITE_KEY=dev POLKU_ENDPOINT=http://127.0.0.1:8080
''',
)  # fmt: skip
"""What is done once, before the calls."""


SETUP_NOTES: Final[tuple[Words, ...]] = (
    ("Python: the SDK, installed from a checkout of Polku. A program's normal exit delivers what is queued.",),
    (
        "JavaScript: the browser SDK, as a module that the collector serves. In a page with the script ",
        Code("/polku.js"),
        " of the collector the calls are the same, and nothing is imported.",
    ),
    ("curl: for trying, and for whoever writes a sender in another language. The write key is the user name.",),
)
"""What has to be known about each, in the order of `Calls`."""


def event_calls(event: Event) -> Calls:
    """The calls that send the first example of the event."""
    properties = dict(event.examples[0]) if event.examples else {}
    # The page and screen calls carry the name beside the properties.
    name = None if event.call == "track" else properties.pop(f"{event.call}_name", None)
    return Calls(
        python=_python(event, name, properties),
        javascript=_javascript(event, name, properties),
        curl=_curl(event, name, properties),
    )


def _python(event: Event, name: str | None, properties: Mapping[str, Any]) -> str:
    subject = event.name if event.call == "track" else name
    arguments = [] if subject is None else [_python_quoted(subject)]
    if properties:
        keyword = "properties=" if subject is None else ""
        arguments.append(keyword + _literal(properties, _python_quoted, {True: "True", False: "False", None: "None"}))
    arguments.append(f'user_id="{USER_ID}"')
    return f"import polku\n\npolku.{event.call}({', '.join(arguments)})\n"


def _javascript(event: Event, name: str | None, properties: Mapping[str, Any]) -> str:
    subject = event.name if event.call == "track" else name
    arguments = ["undefined" if subject is None else _json_quoted(subject)]
    if properties:
        arguments.append(_json(properties))
    return f"polku.{event.call}({', '.join(arguments)});\n"


def _curl(event: Event, name: str | None, properties: Mapping[str, Any]) -> str:
    item: dict[str, Any] = {"userId": USER_ID}
    if event.call == "track":
        item["event"] = event.name
    elif name is not None:
        item["name"] = name
    item["properties"] = properties
    # In single quotes a shell expands nothing, and the JSON has no raw control characters.
    body = shlex.quote(_json(item))
    where = f'"${{POLKU_ENDPOINT:-http://127.0.0.1:8080}}/v1/{event.call}"'
    return f'curl -u "${{POLKU_WRITE_KEY:-dev}}:" {where} -d {body}\n'


def _json(value: Any) -> str:
    return _literal(value, _json_quoted, {True: "true", False: "false", None: "null"})


def _literal(value: Any, quote: _Quote, words: Mapping[Any, str], indent: int = 0) -> str:
    """The value as a literal: on one line if it fits, else one member a line."""
    if isinstance(value, Mapping):
        opening, closing = "{", "}"
        parts = [f"{quote(str(key))}: " + _literal(item, quote, words, indent + 4) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        opening, closing = "[", "]"
        parts = [_literal(item, quote, words, indent + 4) for item in value]
    elif isinstance(value, bool) or value is None:
        return words[value]
    else:
        return quote(value) if isinstance(value, str) else json.dumps(value)
    line = f"{opening}{', '.join(parts)}{closing}"
    if not parts or (indent + len(line) <= _WIDTH and "\n" not in line and indent):
        return line
    margin = " " * (indent + 4)
    return f"{opening}\n{margin}" + f",\n{margin}".join(parts) + f"\n{' ' * indent}{closing}"


def _python_quoted(text: str) -> str:
    return _quoted(text, lambda point: f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}")


def _json_quoted(text: str) -> str:
    return _quoted(text, lambda point: json.dumps(chr(point))[1:-1])


def _quoted(text: str, escaped: Callable[[int], str]) -> str:
    """JSON's double quotes and escapes are also Python's and JavaScript's, except for what lies beyond U+FFFF."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(mark if mark.isprintable() else escaped(ord(mark)) for mark in quoted)
