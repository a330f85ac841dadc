"""Names that look alike, names with two types, and aliases that lead nowhere or astray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from polku_schemas.columns import column_type
from polku_schemas.compile import snake_case
from polku_schemas.documents import Document
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.lint.places import Places
from polku_schemas.model import Event, Plan

MAX_ALIAS: Final = 256
"""Characters of an event name that the collector takes; an event with a longer one is refused before it is
looked up."""

_TYPO_LETTERS: Final = 6
"""Words from this length on are looked at for one wrong letter; shorter ones too often differ by one on purpose."""


_SHORT_WORD: Final = 3
"""Words up to this length keep their s: `ms`, `bus`."""


def type_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """A trait and a property of the same name have one type: what is joined on both must be comparable."""
    if places.traits is None:
        return
    for name, trait in plan.traits.items():
        prop = plan.properties.get(name)
        if prop is not None and column_type(prop) != column_type(trait):
            message = f"`{name}` has the type {trait.type} here and the type {prop.type} in properties.yaml"
            remedy = "Make the types the same, or rename the trait"
            yield places.traits.finding(FindingCode.TWO_TYPES, (name, "type"), message, remedy)


def alias_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """Names, aliases and the page and screen calls each lead to one event, whatever case they are written in."""
    owners: dict[str, str] = {name: name for name in plan.events}
    calls: dict[str, str] = {}
    for event in plan.events.values():
        document = places.events[event.name]
        if event.call != "track" and calls.setdefault(event.call, event.name) != event.name:
            other = places.events[calls[event.call]].file
            message, remedy = f"the call {event.call} already leads to {other}", "Keep it in one of the two"
            yield document.finding(FindingCode.DUPLICATE_NAME, ("call",), message, remedy)
        for alias in event.aliases:
            owner = owners.setdefault(alias, event.name)
            if owner != event.name:
                message = f"`{alias}` already leads to {places.events[owner].file}"
                yield _about_alias(document, FindingCode.DUPLICATE_NAME, alias, message, "Keep it in one of the two")
    # Names first: they are what another spelling is looked up as.
    spellings: dict[str, str] = {}
    for written, owner in owners.items():
        spellings.setdefault(snake_case(written), owner)
    for event in plan.events.values():
        own = replace(event, aliases=tuple(alias for alias in event.aliases if owners[alias] == event.name))
        yield from _misleading(own, places.events[event.name], spellings)


def similar_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """Two names among the properties, the traits or the events that one person would take for one."""
    groups: list[tuple[Document | None, Iterable[str]]] = [
        (places.properties, plan.properties),
        (places.traits, plan.traits),
    ]
    for document, names in groups:
        for first, second in similar_pairs(names):
            if document is not None:
                yield _similar(document, (second,), first, second)
    for first, second in similar_pairs(plan.events):
        yield _similar(places.events[second], ("name",), first, second)


def similar_pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of names that differ in a `_`, the order of their words, a plural, or one letter of a long word.

    Each name is told about its first look-alike only, in the order given.
    """
    seen: dict[str, list[str]] = {}
    for name in names:
        words = _words(name)
        same = ["".join(words), " ".join(sorted(words))]
        slips = [
            " ".join((*words[:index], rest, "*", *words[index + 1 :]))
            for index, word in enumerate(words)
            for rest in _without_one_letter(word)
        ]
        first = next((seen[key][0] for key in same if key in seen), None)
        if first is None:
            close = (other for key in slips for other in seen.get(key, ()))
            first = next((other for other in close if _one_slip(words, _words(other))), None)
        if first is not None:
            yield first, name
        for key in (*same, *slips):
            seen.setdefault(key, []).append(name)


def _misleading(event: Event, document: Document, spellings: Mapping[str, str]) -> Iterator[Finding]:
    for alias in event.aliases:
        other = spellings[snake_case(alias)]
        if alias == event.name:
            message = "the alias is the name itself"
            yield _about_alias(document, FindingCode.UNREACHABLE_ALIAS, alias, message, "Remove it")
        elif len(alias) > MAX_ALIAS:
            message = f"the alias has {len(alias)} characters: the collector refuses names of more than {MAX_ALIAS}"
            yield _about_alias(document, FindingCode.UNREACHABLE_ALIAS, alias, message, "Shorten or remove it")
        elif other != event.name:
            message = f"`{alias}` leads here, and written in another case to `{other}`"
            remedy = f"Remove it, or move it to `{other}`"
            yield _about_alias(document, FindingCode.AMBIGUOUS_ALIAS, alias, message, remedy)


def _about_alias(document: Document, code: FindingCode, alias: str, message: str, remedy: str) -> Finding:
    written = [str(word).strip() for word in document.value["aliases"]]
    return document.finding(code, ("aliases", written.index(alias)), message, remedy)


def _similar(document: Document, path: tuple[str, ...], first: str, second: str) -> Finding:
    message = f"`{second}` looks like `{first}`"
    remedy = "Keep one of them, or list both under `accept` in plan.yaml with the reason"
    return document.finding(FindingCode.SIMILAR_NAMES, path, message, remedy, (first, second))


def _words(name: str) -> list[str]:
    return [_singular(word) for word in name.split("_") if word]


def _singular(word: str) -> str:
    """What a word and its plural have in common: `box` and `boxes`, `size` and `sizes`, `company` and `companies`."""
    if len(word) <= _SHORT_WORD or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word.removesuffix("ies") + "y"
    return word.removesuffix("s").removesuffix("e")


def _without_one_letter(word: str) -> set[str]:
    """The long word and everything it becomes when it loses one letter: words one slip apart share one of these."""
    if len(word) < _TYPO_LETTERS:
        return set()
    return {word, *(word[:index] + word[index + 1 :] for index in range(len(word)))}


def _one_slip(words: list[str], others: list[str]) -> bool:
    """Whether two names differ in one long word, and there in one letter or two that changed places. Digits differ
    on purpose."""
    if len(words) != len(others):
        return False
    pairs = [(one, other) for one, other in zip(words, others, strict=True) if one != other]
    if len(pairs) != 1 or min(map(len, pairs[0])) < _TYPO_LETTERS:
        return False
    short, long = sorted(pairs[0], key=len)
    start = next((index for index, letter in enumerate(short) if letter != long[index]), len(short))
    rest, other = short[start:], long[start:]
    slip = rest[1:] == other[1:] or rest == other[1:] or rest[1::-1] + rest[2:] == other
    return slip and not any(letter.isdigit() for letter in rest[:1] + other[:1])
