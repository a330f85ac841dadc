"""The small closed language of `when`: `<name> <op> <literal>` or a fact, joined by `and`.

It is read once, when the plan is loaded, and then means the same twice: as a Python test at intake and as SQL
text in the models. Both treat an absent value as SQL treats NULL: it fulfils no comparison, not even `!=`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, cast

from polku_schemas.model import Comparison, Rule, RuleLiteral

Kind = Literal["string", "integer", "number", "boolean"]
"""What a name in a rule holds, and so which literals may stand beside it."""

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<op><=|>=|!=|=|<|>)
      | (?P<punctuation>[(),\[\]])
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    )""",
    re.VERBOSE,
)
_ORDERINGS: Final = ("<", "<=", ">", ">=")
_OPERATORS: Final = ("=", "!=", *_ORDERINGS, "in", "like")
_TESTS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class RuleError(ValueError):
    """A `when` that cannot be read; the text says what was expected."""


def parse_when(text: str, kinds: Mapping[str, Kind]) -> tuple[Comparison, ...]:
    """Read a `when`.

    `kinds` says which names it may use and what each holds. RuleError says what is wrong.
    """
    tokens = _tokens(text)
    comparisons = []
    while True:
        comparisons.append(_comparison(tokens, kinds))
        if not tokens:
            return tuple(comparisons)
        word = tokens.pop(0)
        if word != ("word", "and"):
            raise RuleError(f"expected `and`, found `{word[1]}`")


def holds(when: Sequence[Comparison], value_of: Callable[[str], Any]) -> bool:
    """Whether every comparison holds; `value_of` gives the value of a name, or None where it is absent."""
    for comparison in when:
        value = value_of(comparison.name)
        if value is None:
            return False
        if comparison.op == "in":
            if value not in cast("tuple[RuleLiteral, ...]", comparison.literal):
                return False
        elif comparison.op == "like":
            if like_pattern(cast("str", comparison.literal)).fullmatch(value) is None:
                return False
        elif not _TESTS[comparison.op](value, comparison.literal):
            return False
    return True


def first_match(rules: Sequence[Rule], value_of: Callable[[str], Any]) -> str | None:
    """What the first rule that holds says; None where none does."""
    for rule in rules:
        if holds(rule.when, value_of):
            return rule.then
    return None


def when_sql(when: Sequence[Comparison], alias: str = "", columns: Mapping[str, str] | None = None) -> str:
    """The SQL condition that is true exactly where `holds` is.

    `alias` qualifies the columns; `columns` renames them.
    """
    prefix = f"{alias}." if alias else ""
    renamed = columns or {}
    terms = [_comparison_sql(prefix + renamed.get(c.name, c.name), c) for c in when]
    return " AND ".join(terms) if terms else "TRUE"


def sql_literal(value: RuleLiteral) -> str:
    """A literal as every engine reads it alike: doubled quotes in text, an exponent on what is a double."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int):
        return str(value)
    text = repr(value)
    return text if "e" in text else text + "e0"


def like_pattern(like: str) -> re.Pattern[str]:
    """SQL's LIKE without an escape character, as a regular expression: `%` is any text, `_` any one
    character."""
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in like), re.DOTALL)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    position = 0
    rest = text.rstrip()
    while position < len(rest):
        match = _TOKEN.match(rest, position)
        if match is None or match.lastgroup is None:
            raise RuleError(f"cannot read `{rest[position:].strip()}`")
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    if not tokens:
        raise RuleError("it is empty")
    return tokens


def _comparison(tokens: list[tuple[str, str]], kinds: Mapping[str, Kind]) -> Comparison:
    form, name = tokens.pop(0) if tokens else ("end", "the end")
    if form != "word":
        raise RuleError(f"expected a name, found `{name}`")
    if name not in kinds:
        raise RuleError(f"unknown name `{name}`; known here: {', '.join(sorted(kinds)) or 'none'}")
    kind = kinds[name]
    if not tokens or tokens[0] == ("word", "and"):
        if kind != "boolean":
            raise RuleError(f"`{name}` is a {kind}: compare it with something")
        return Comparison(name, "=", True)
    op = tokens.pop(0)[1]
    if op not in _OPERATORS:
        raise RuleError(f"expected one of {' '.join(_OPERATORS)} after `{name}`, found `{op}`")
    if op in _ORDERINGS and kind not in ("integer", "number"):
        raise RuleError(f"`{op}` orders numbers, and `{name}` is a {kind}")
    if op == "like" and kind != "string":
        raise RuleError(f"`like` is for strings, and `{name}` is a {kind}")
    literal = _list(tokens, name, kind) if op == "in" else _literal(tokens, name, kind)
    return Comparison(name, cast("Any", op), literal)


def _list(tokens: list[tuple[str, str]], name: str, kind: Kind) -> tuple[RuleLiteral, ...]:
    closing = {"(": ")", "[": "]"}.get(tokens.pop(0)[1] if tokens else "")
    if closing is None:
        raise RuleError(f"expected a list in brackets after `{name} in`")
    literals = [_literal(tokens, name, kind)]
    while tokens and tokens[0][1] == ",":
        tokens.pop(0)
        literals.append(_literal(tokens, name, kind))
    if not tokens or tokens.pop(0)[1] != closing:
        raise RuleError(f"the list after `{name} in` is not closed with `{closing}`")
    return tuple(literals)


def _literal(tokens: list[tuple[str, str]], name: str, kind: Kind) -> RuleLiteral:
    form, text = tokens.pop(0) if tokens else ("end", "the end")
    value: RuleLiteral | None = None
    if form == "string" and kind == "string":
        value = text[1:-1].replace(text[0] * 2, text[0])
    elif form == "number" and kind == "integer" and re.fullmatch(r"-?\d{1,19}", text):
        value = int(text)
    elif form == "number" and kind == "number" and math.isfinite(float(text)):
        value = float(text)
    elif form == "word" and kind == "boolean" and text in ("true", "false"):
        value = text == "true"
    if value is None:
        forms = {
            "string": "a text in quotes",
            "integer": "a whole number",
            "number": "a number",
            "boolean": "true or false",
        }
        raise RuleError(f"`{name}` is a {kind}: expected {forms[kind]}, found `{text}`")
    return value


def _comparison_sql(column: str, comparison: Comparison) -> str:
    literal = comparison.literal
    if isinstance(literal, tuple):
        return f"{column} IN ({', '.join(sql_literal(item) for item in literal)})"
    if literal is True and comparison.op == "=":
        return column
    op = {"!=": "<>", "like": "LIKE"}.get(comparison.op, comparison.op)
    return f"{column} {op} {sql_literal(literal)}"
