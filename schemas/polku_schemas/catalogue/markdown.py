"""The catalogue as Markdown, to be read in a forge beside the plan's files.

A text of the plan cannot break the page: what Markdown or HTML would read as marks is escaped, a cell of a table stays
on its line, and code is fenced by more backticks than it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from polku_schemas.catalogue.calls import SETUP, SETUP_NOTES, Calls
from polku_schemas.catalogue.data import (
    PRIVACY_ORDER,
    Catalogue,
    EventEntry,
    PropertyEntry,
    fields_of,
    short_column_type,
)
from polku_schemas.catalogue.wording import (
    NO_LOG,
    PRIVACY_MEANING,
    Code,
    Words,
    constraint_words,
    counted,
    described,
    duration_words,
    example_text,
    listed,
    rule_words,
    target_words,
    type_words,
    when_text,
    when_words,
)
from polku_schemas.compare import Difference
from polku_schemas.model import Comparison, Funnel, Goal, Property, Rule, Segment, Target

_MARKS: Final = re.compile(
    r"""[\\`*\[\]<>&|~$]                   # marks wherever they stand, those of tables and formulas included
      | (?<![^\W_])_ | _(?![^\W_])         # emphasis, except inside a name
      | ^(?:\#|[-+=](?=\s|$)|\d+(?=[.)](?:\s|$)))  # headings and lists, at the beginning
    """,
    re.VERBOSE,
)
_DIRECTION: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Invisible marks that turn the direction of what follows, beyond the text they stand in."""

_LANGUAGES: Final = (("python", "Python", "python"), ("javascript", "JavaScript", "js"), ("curl", "curl", "sh"))


def render_markdown(catalogue: Catalogue) -> str:
    """The whole text. The same catalogue gives the same bytes."""
    blocks = [block for section in _sections(catalogue) for block in section]
    return "\n\n".join(block.rstrip("\n") for block in blocks if block) + "\n"


def _sections(catalogue: Catalogue) -> Iterator[Iterator[str]]:
    yield _head(catalogue)
    yield _journey(catalogue)
    yield _touchpoints(catalogue)
    yield _events(catalogue)
    yield _dictionary("Properties", catalogue.properties.values())
    yield _dictionary("Traits", catalogue.traits.values())
    yield _privacy(catalogue)
    yield _business(catalogue)
    yield _history(catalogue)
    yield _sending()


def _head(catalogue: Catalogue) -> Iterator[str]:
    plan = catalogue.plan
    yield f"# {_text(catalogue.title)}"
    yield _text(plan.description)
    yield (
        f"{_text(plan.name)} {_text(plan.version)}, fingerprint {_code(plan.fingerprint)}: "
        f"{counted(len(plan.events), 'event')}, {counted(len(plan.properties), 'property', 'properties')}, "
        f"{counted(len(plan.traits), 'trait')}. Made by `polku plan docs`: a change belongs into the plan, not here."
    )


def _journey(catalogue: Catalogue) -> Iterator[str]:
    yield "## The journey"
    yield "The stages in their order, and the events that can place a person in one."
    rows = [
        (
            str(stage.number or ""),
            _text(stage.name or "no stage"),
            _joined(_link(name) for name in _names(stage.touchpoints)),
        )
        for stage in catalogue.stages
    ]
    yield _table(("", "Stage", "Events"), rows)


def _touchpoints(catalogue: Catalogue) -> Iterator[str]:
    yield "## Touchpoints"
    rows = [(_text(name), _joined(map(_link, events))) for name, events in catalogue.touchpoints.items()]
    yield _table(("Touchpoint", "Events"), rows)


def _events(catalogue: Catalogue) -> Iterator[str]:
    yield "## Events"
    for entry in catalogue.events.values():
        yield from _event(entry)


def _event(entry: EventEntry) -> Iterator[str]:
    event = entry.event
    # The word before the name keeps the anchors of events apart from those of all other headings.
    yield f"### Event {_text(event.name)}"
    yield _prose(described(event.description))
    facts = [
        ("Stage", _rules(event.stage, "no stage")),
        ("Touchpoint", _rules(event.touchpoint, "none")),
        ("Channel", _rules(event.channel, "that of the source")),
        ("Call", _code(event.call)),
        ("Also sent as", _joined(map(_code, event.aliases))),
        ("Owner", _text(event.owner)),
        ("Version", _text(event.version)),
        ("Privacy", _joined(map(_text, entry.privacy))),
        ("Used by", "; ".join(f"{use.kind} {_text(use.name)} ({_text(use.how)})" for use in entry.uses)),
    ]
    yield "\n".join(f"- {term}: {said}" for term, said in facts if said)
    if event.properties:
        example = event.examples[0] if event.examples else {}
        yield _table(
            ("Property", "Type", "Column type", "Meaning", "Privacy", "Example"),
            [_property_row(prop, example) for prop in event.properties.values()],
        )
    yield _calls(entry.calls)


def _property_row(prop: Property, example: Mapping[str, Any]) -> tuple[str, ...]:
    value = example.get(prop.name, prop.examples[0] if prop.examples else None)
    return (
        _code(prop.name) + (" **required**" if prop.required else ""),
        _type(prop),
        _code(short_column_type(prop)),
        _prose(described(prop.description)),
        _class(prop),
        "" if value is None else _code(example_text(value)),
    )


def _dictionary(title: str, entries: Iterable[PropertyEntry]) -> Iterator[str]:
    rows = [
        (
            _code(entry.prop.name),
            _type(entry.prop),
            f"{_code(entry.column)} {_text(entry.column_type)}" if entry.column else "none yet",
            _prose(described(entry.prop.description)),
            _class(entry.prop),
            _used(entry),
        )
        for entry in entries
    ]
    if rows:
        yield f"## {title}"
        yield _table(("Name", "Type", "Column", "Meaning", "Privacy", "Used by"), rows)


def _privacy(catalogue: Catalogue) -> Iterator[str]:
    yield "## Privacy"
    about_people = [("property", entry) for entry in catalogue.properties.values()]
    about_people += [("trait", entry) for entry in catalogue.traits.values()]
    for name in PRIVACY_ORDER[:-1]:
        rows = [
            (_code(entry.prop.name), kind, _code(entry.column) if entry.column else "none yet", _carried(kind, entry))
            for kind, entry in about_people
            if entry.prop.privacy == name
        ]
        yield f"### {name.capitalize()}"
        yield PRIVACY_MEANING[name]
        yield (
            _table(("Name", "Kind", "Column", "Carried by"), rows) if rows else "Nothing of this class is in the plan."
        )


def _business(catalogue: Catalogue) -> Iterator[str]:
    plan = catalogue.plan
    goals = [
        (*_named(goal), _joined(map(_link, goal.events)), _when(goal.when), _code(goal.value or ""))
        for goal in plan.goals.values()
    ]
    yield from _titled("Goals", ("Goal", "Meaning", "Reached by", "If", "Value"), goals)
    funnels = [
        (*_named(funnel), _steps(funnel), f"{duration_words(funnel.window_seconds)}, by {funnel.unit}")
        for funnel in plan.funnels.values()
    ]
    yield from _titled("Funnels", ("Funnel", "Meaning", "Steps", "Within"), funnels)
    segments = [
        (*_named(segment), _prose(when_words(segment.when, of_person=True)), _text(segment.persona or ""))
        for segment in plan.segments.values()
    ]
    yield from _titled("Segments and personas", ("Segment", "Meaning", "Who", "Persona"), segments)
    targets = [(*_named(target), _prose(target_words(target, plan))) for target in plan.targets.values()]
    yield from _titled("Targets", ("Target", "Meaning", "Measure"), targets)
    changes = [
        (change.date.isoformat(), change.kind, _prose(described(change.description)))
        for change in sorted(plan.changes, key=lambda change: (change.date, change.name))
    ]
    yield from _titled("Dated changes", ("Date", "Kind", "What"), changes)


def _named(item: Goal | Funnel | Segment | Target) -> tuple[str, str]:
    return _code(item.name), _prose(described(item.description))


def _steps(funnel: Funnel) -> str:
    steps = []
    for number, step in enumerate(funnel.steps, 1):
        optional = " (optional)" if step.optional else ""
        steps.append(f"{number}. {_link(step.event)}{optional}" + (f" if {_when(step.when)}" if step.when else ""))
    return "<br>".join(steps)


def _titled(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield f"## {title}"
        yield _table(heads, rows)


def _history(catalogue: Catalogue) -> Iterator[str]:
    if not catalogue.history:
        yield _prose(NO_LOG)
    for index, diff in enumerate(catalogue.history):
        if index == 0:
            yield "## Change log"
        yield f"### From {_text(diff.old_version)} to {_text(diff.new_version)}"
        yield "\n".join(map(_difference, diff.differences)) or "Nothing changed."


def _difference(one: Difference) -> str:
    where = {"plan": "plan", "trait": "traits", "journey": "journey"}.get(one.subject, "")
    line = f"- {_code(one.event or where)}: {_prose(described(one.message))}"
    if one.breaking:
        line += f" (**breaks**): {_prose(described(one.reason))}. Instead: {_prose(described(one.way_out))}"
    return line + "."


def _sending() -> Iterator[str]:
    yield "## Sending events"
    yield "Once, before the calls of the events:"
    yield _calls(SETUP)
    yield "\n".join(f"- {_prose(note)}" for note in SETUP_NOTES)


def _calls(calls: Calls) -> str:
    fences = [_fenced(getattr(calls, name), language) for name, _, language in _LANGUAGES]
    return "\n\n".join(["<details>\n<summary>Python, JavaScript, curl</summary>", *fences, "</details>"])


def _used(entry: PropertyEntry) -> str:
    parts = []
    if entry.events:
        parts.append(_joined(map(_link, entry.events)))
    if entry.within:
        parts.append("as a field of " + _joined(map(_code, entry.within)))
    parts += [f"{use.kind} {_text(use.name)} ({_text(use.how)})" for use in entry.uses]
    return "; ".join(parts)


def _carried(kind: str, entry: PropertyEntry) -> str:
    return "calls of `identify`" if kind == "trait" else _joined(map(_link, (*entry.events, *entry.events_within)))


def _names(touchpoints: Mapping[str, Sequence[str]]) -> list[str]:
    return sorted({name for names in touchpoints.values() for name in names})


def _type(prop: Property) -> str:
    words = [_prose(word) for word in constraint_words(prop)]
    if fields := fields_of(prop):
        words.append("with " + _prose(listed(fields)))
    return "<br>".join([_text(type_words(prop)), *words])


def _class(prop: Property) -> str:
    classes = {field.privacy for field in (prop, *fields_of(prop).values())} - {"none"}
    return _joined(f"**{name}**" for name in PRIVACY_ORDER if name in classes)


def _rules(of: Sequence[Rule], nothing: str) -> str:
    if not of:
        return nothing
    parts = []
    for rule, (then, words) in zip(of, rule_words(of), strict=True):
        source = f" ({_code(when_text(rule.when))})" if rule.when else ""
        parts.append(f"**{_text(then)}** {_prose(words)}".rstrip() + source)
    return "; ".join([*parts, *([f"{nothing} otherwise"] if of[-1].when else [])])


def _when(when: Sequence[Comparison]) -> str:
    return _prose(when_words(when)) if when else ""


def _link(event: str) -> str:
    return f"[{_text(event)}](#event-{event})"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(heads), _line(["---"] * len(heads)), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _prose(words: Words) -> str:
    return "".join(_code(word.text) if isinstance(word, Code) else _text(word) for word in words)


def _text(text: str) -> str:
    """Prose on one line in which nothing is a mark."""
    return _MARKS.sub(_escaped, _on_one_line(text))


def _code(text: str) -> str:
    """Code on one line."""
    text = _on_one_line(text).strip()
    if "|" in text:
        # It would end the cell of a table even in code, and forges differ in how they read its escape.
        quoted = re.sub(r"[^\w ]", lambda mark: f"&#{ord(mark[0])};", text)
        return f"<code>{quoted}</code>"
    ticks = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}" if text else ""


def _on_one_line(text: str) -> str:
    return _DIRECTION.sub(lambda mark: f"U+{ord(mark[0]):04X}", re.sub(r"\s+", " ", text))


def _escaped(mark: re.Match[str]) -> str:
    # A backslash is easier to read; a pipe or dollar behind one is not left alone everywhere.
    return "".join(f"&#{ord(c)};" if c in "|$" or c.isdigit() else f"\\{c}" for c in mark[0])


def _fenced(text: str, language: str) -> str:
    ticks = "`" * max(3, max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"
