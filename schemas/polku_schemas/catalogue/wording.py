"""How the catalogue says what a plan means: types, constraints and rules in words, for HTML and Markdown alike.

What is said comes as `Words`: prose, and pieces of code or data in it. Whoever writes a page marks and escapes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from polku_schemas.amounts import counted
from polku_schemas.model import Comparison, Plan, Privacy, Property, Rule, RuleLiteral, Target


class Code(Struct, frozen=True):
    """A name, value or expression inside prose."""

    text: str


Words = tuple[str | Code, ...]
"""A sentence or a part of one. The texts come from a plan too, so they are not to be trusted as markup."""

PRIVACY_MEANING: Final[dict[Privacy, str]] = {
    "sensitive": "What a person would hide: the strictest class.",
    "personal": "Tells who the person is.",
    "pseudonymous": "Stands for a person or an order; tells who it is together with something else.",
    "none": "Says nothing about a person.",
}

_NOT_STORED: Final = {
    "drop": "Not stored: the collector drops the values.",
    "pseudonymise": "Stored as pseudonyms: a keyed hash in place of each text, nothing in place of other values.",
}


def privacy_meaning(plan: Plan, name: Privacy) -> str:
    """What a privacy class says about a person, and what becomes of its values if they are not stored as they come."""
    treatment = plan.privacy.get(name)
    return PRIVACY_MEANING[name] + (f" {_NOT_STORED[treatment]}" if treatment else "")


NO_LOG: Final[Words] = (
    "There is no change log, because no older plan was given: ",
    Code("--changes-since OLD"),
    " makes one, several times (the oldest first) one of several versions.",
)

ENUM_SHOWN: Final = 12
"""How many values of an enum are listed where there is little room; a list of currencies has 155."""

EXAMPLE_CHARACTERS: Final = 60

_FORMATS: Final = {
    "email": "an e-mail address",
    "uri": "a URI",
    "hostname": "a host name",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
}

_SETTING_FACTS: Final = {
    "page_path": "the path of the page",
    "channel": "the channel",
    "marketing_channel": "the marketing channel",
}
_PERSON_FACTS: Final = {
    "orders": "the number of orders",
    "revenue": "the revenue so far",
    "sessions": "the number of sessions",
    "touchpoints": "the number of touchpoints",
    "stage": "the present stage",
    "first_channel": "the first channel",
    "first_marketing_channel": "the first marketing channel",
    "account_id": "the account",
    "currency": "the currency of the latest order",
    "net_revenue": "the net revenue so far",
    "margin": "the margin so far",
    "lifetime_value": "the lifetime value",
    "recency_days": "the number of days since the last order",
    "frequency": "the number of days with an order",
    "monetary": "the net revenue of a day with an order",
    "r_score": "the score of recency",
    "f_score": "the score of frequency",
    "m_score": "the score of money",
    "rfm": "the scores of recency, frequency and money",
    "preferred_category": "the preferred category",
    "open_cart_value": "the value of the open cart",
    "satisfaction_band": "the band of the last survey answer",
    "contacts": "the number of contacts with service",
    "complaints": "the number of complaints",
    "open_complaints": "the number of complaints not settled",
}
"""What segments may ask; elsewhere these may be names of properties."""

_YES_NO: Final = {
    "first_order": ("it is the person's first order", "it is not the person's first order"),
    "repeat_order": ("the person has ordered before", "the person has not ordered before"),
    "known_person": ("the person is known by a user id", "the person is not known by a user id"),
}

_COMPARED: Final = {
    "=": " is ",
    "!=": " is not ",
    "<": " is below ",
    "<=": " is at most ",
    ">": " is above ",
    ">=": " is at least ",
}


def described(text: str) -> Words:
    """A text of the plan's author; what stands between backticks is code, as in the plan's own descriptions."""
    parts = re.split(r"`([^`\n]+)`", text)
    return tuple(Code(part) if index % 2 else part for index, part in enumerate(parts) if part)


def type_words(prop: Property) -> str:
    """The type: `string`, `list of numbers`, `list of objects`."""
    if prop.items is not None:
        return f"list of {prop.items.type}s"
    return prop.type


def constraint_words(prop: Property, enum_shown: int = ENUM_SHOWN) -> list[Words]:
    """What a value must be beyond its type, one entry each; `required` is left to the reader."""
    found: list[Words] = []
    if prop.enum:
        found.append(_one_of(prop.enum, enum_shown))
    if bounds := _range(prop.minimum, prop.maximum):
        found.append((bounds,))
    if bounds := _range(prop.min_length, prop.max_length):
        noun = "character" if prop.items is None else "item"
        lone = prop.min_length == 1 if prop.max_length is None else prop.max_length == 1
        found.append((f"{bounds} {noun}{'' if lone else 's'}",))
    if prop.format is not None:
        found.append((_FORMATS[prop.format],))
    if prop.pattern is not None:
        found.append(("matches ", Code(prop.pattern)))
    if prop.items is not None:
        found += [("each item: ", *words) for words in constraint_words(prop.items, enum_shown)]
    if prop.default is not None:
        found.append((Code(json_text(prop.default)), " is stored if it is absent"))
    if prop.nullable:
        found.append(("may be null",))
    return found


def rule_words(rules: Sequence[Rule]) -> list[tuple[str, Words]]:
    """What each rule says and when: a constant has no words, the last of several `otherwise`."""
    said: list[tuple[str, Words]] = []
    for index, rule in enumerate(rules):
        if rule.when:
            said.append((rule.then, ("if " if index == 0 else "else if ", *when_words(rule.when))))
        else:
            said.append((rule.then, ("otherwise",) if index else ()))
    return said


def when_words(when: Sequence[Comparison], *, of_person: bool = False) -> Words:
    """A condition in words: `contact_reason` is `quote` and `score` is at least `9`.

    `of_person`: it is a segment's, which asks about persons instead of events.
    """
    subjects = _PERSON_FACTS if of_person else _SETTING_FACTS
    words: list[str | Code] = []
    for comparison in when:
        words += [" and "] if words else []
        words += _comparison_words(comparison, subjects.get(comparison.name) or Code(comparison.name))
    return tuple(words)


def when_text(when: Sequence[Comparison]) -> str:
    """A condition as it may stand in the plan: what `parse_when` reads as the same condition."""
    return " and ".join(_comparison_text(comparison) for comparison in when)


def target_words(target: Target, plan: Plan) -> Words:
    """A target as a sentence, with the goal or funnel it is about as code."""
    per = f" per {target.period}"
    if target.measure == "conversion":
        return (
            f"{100 * target.value:g} % of those who begin the funnel ",
            Code(target.of),
            f" finish it, {per.strip()}",
        )
    if target.measure == "people":
        return (f"{_amount(target.value)} people reach the goal ", Code(target.of), per)
    if target.measure == "return_on_spend":
        return ("the goal ", Code(target.of), f" brings {target.value:g} times what was spent", per)
    if target.measure == "count":
        return ("the goal ", Code(target.of), f" is reached {_amount(target.value)} times", per)
    value = plan.goals[target.of].value
    what: Words = () if value is None else (" of ", Code(value))
    money = f" {target.currency}" if target.currency else ""
    return (f"{_amount(target.value)}{money}", *what, " from the goal ", Code(target.of), per)


def duration_words(seconds: int) -> str:
    """A window in the largest unit that says it in whole numbers."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return counted(seconds // size, unit)
    return counted(seconds, "second")


def listed(names: Iterable[str]) -> Words:
    """Names as code, with commas between them."""
    words: list[str | Code] = []
    for name in names:
        words += [", ", Code(name)] if words else [Code(name)]
    return tuple(words)


def json_text(value: object) -> str:
    """A value of the plan as JSON on one line; a text without its quotes would be ambiguous."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def example_text(value: object) -> str:
    """A value as JSON, cut where it would fill a table; the calls have examples whole."""
    text = json_text(value)
    return text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,}"


def _one_of(values: Sequence[str | int], shown: int) -> Words:
    # One more name takes no more room than the note that it is missing.
    texts = [str(value) for value in values[: shown if len(values) > shown + 1 else None]]
    rest = len(values) - len(texts)
    return ("one of ", *listed(texts), *((f" and {rest:,} more",) if rest else ()))


def _range(low: float | None, high: float | None) -> str:
    if low is not None and low == high:
        return f"exactly {_number(low)}"
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    if low is not None:
        return f"at least {_number(low)}"
    return "" if high is None else f"at most {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else repr(value)


def _comparison_words(comparison: Comparison, subject: str | Code) -> Words:
    name, literal = comparison.name, comparison.literal
    if name in _YES_NO:
        is_so = (comparison.op == "=") == literal
        return (_YES_NO[name][0 if is_so else 1],)
    if isinstance(literal, tuple):
        return (subject, " is one of ", *listed(_plain(item) for item in literal))
    if comparison.op == "like":
        return (subject, *_like_words(str(literal)))
    return (subject, _COMPARED[comparison.op], Code(_plain(literal)))


def _like_words(pattern: str) -> Words:
    core = pattern.strip("%")
    if "%" in core or "_" in core or not core:
        return (" looks like ", Code(pattern), " (", Code("%"), ": any text, ", Code("_"), ": any character)")
    starts, ends = pattern.endswith("%"), pattern.startswith("%")
    verb = {(True, True): "contains", (True, False): "begins with", (False, True): "ends with"}.get(
        (starts, ends), "is"
    )
    return (f" {verb} ", Code(core))


def _plain(literal: RuleLiteral) -> str:
    return literal if isinstance(literal, str) else _literal_text(literal)


def _comparison_text(comparison: Comparison) -> str:
    literal = comparison.literal
    if literal is True and comparison.op == "=":
        return comparison.name
    if isinstance(literal, tuple):
        return f"{comparison.name} in ({', '.join(_literal_text(item) for item in literal)})"
    return f"{comparison.name} {comparison.op} {_literal_text(literal)}"


def _literal_text(literal: RuleLiteral) -> str:
    if isinstance(literal, str):
        return "'" + literal.replace("'", "''") + "'"
    if isinstance(literal, float) and literal.is_integer() and abs(literal) < 1e15:
        return str(int(literal))  # as people write it; beside a number it is read as one
    return repr(literal).lower() if isinstance(literal, bool) else repr(literal)
