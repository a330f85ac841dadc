"""The catalogue as Markdown, to be read in a forge beside the plan's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from polku_schemas.amounts import counted
from polku_schemas.catalogue.calls import SETUP, SETUP_NOTES, Calls
from polku_schemas.catalogue.data import (
    PRIVACY_ORDER,
    Catalogue,
    EventEntry,
    PropertyEntry,
    fields_of,
    short_column_type,
)
from polku_schemas.catalogue.marks import code, fenced, prose, table, text
from polku_schemas.catalogue.wording import (
    NO_LOG,
    constraint_words,
    described,
    duration_words,
    example_text,
    listed,
    privacy_meaning,
    rule_words,
    target_words,
    type_words,
    when_text,
    when_words,
)
from polku_schemas.compare import Difference
from polku_schemas.model import Comparison, Funnel, Goal, Property, Rule, Segment, Target

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
    yield f"# {text(catalogue.title)}"
    yield text(plan.description)
    yield (
        f"{text(plan.name)} {text(plan.version)}, fingerprint {code(plan.fingerprint)}: "
        f"{counted(len(plan.events), 'event')}, {counted(len(plan.properties), 'property', 'properties')}, "
        f"{counted(len(plan.traits), 'trait')}. Made by `polku plan docs`: a change belongs into the plan, not here."
    )


def _journey(catalogue: Catalogue) -> Iterator[str]:
    yield "## The journey"
    yield "The stages in their order, and the events that can place a person in one."
    rows = [
        (
            str(stage.number or ""),
            text(stage.name or "no stage"),
            _joined(_link(name) for name in _names(stage.touchpoints)),
        )
        for stage in catalogue.stages
    ]
    yield table(("", "Stage", "Events"), rows)


def _touchpoints(catalogue: Catalogue) -> Iterator[str]:
    yield "## Touchpoints"
    rows = [(text(name), _joined(map(_link, events))) for name, events in catalogue.touchpoints.items()]
    yield table(("Touchpoint", "Events"), rows)


def _events(catalogue: Catalogue) -> Iterator[str]:
    yield "## Events"
    for entry in catalogue.events.values():
        yield from _event(entry)


def _event(entry: EventEntry) -> Iterator[str]:
    event = entry.event
    # The word before the name keeps the anchors of events apart from those of all other headings.
    yield f"### Event {text(event.name)}"
    yield prose(described(event.description))
    facts = [
        ("Stage", _rules(event.stage, "no stage")),
        ("Touchpoint", _rules(event.touchpoint, "none")),
        ("Channel", _rules(event.channel, "that of the source")),
        ("Call", code(event.call)),
        ("Also sent as", _joined(map(code, event.aliases))),
        ("Owner", text(event.owner)),
        ("Version", text(event.version)),
        ("Privacy", _joined(map(text, entry.privacy))),
        ("Used by", "; ".join(f"{use.kind} {text(use.name)} ({text(use.how)})" for use in entry.uses)),
    ]
    yield "\n".join(f"- {term}: {said}" for term, said in facts if said)
    if event.properties:
        example = event.examples[0] if event.examples else {}
        yield table(
            ("Property", "Type", "Column type", "Meaning", "Privacy", "Example"),
            [_property_row(prop, example) for prop in event.properties.values()],
        )
    yield _calls(entry.calls)


def _property_row(prop: Property, example: Mapping[str, Any]) -> tuple[str, ...]:
    value = example.get(prop.name, prop.examples[0] if prop.examples else None)
    return (
        code(prop.name) + (" **required**" if prop.required else ""),
        _type(prop),
        code(short_column_type(prop)),
        prose(described(prop.description)),
        _class(prop),
        "" if value is None else code(example_text(value)),
    )


def _dictionary(title: str, entries: Iterable[PropertyEntry]) -> Iterator[str]:
    rows = [
        (
            code(entry.prop.name),
            _type(entry.prop),
            f"{code(entry.column)} {text(entry.column_type)}" if entry.column else "none yet",
            prose(described(entry.prop.description)),
            _class(entry.prop),
            _used(entry),
        )
        for entry in entries
    ]
    if rows:
        yield f"## {title}"
        yield table(("Name", "Type", "Column", "Meaning", "Privacy", "Used by"), rows)


def _privacy(catalogue: Catalogue) -> Iterator[str]:
    yield "## Privacy"
    about_people = [("property", entry) for entry in catalogue.properties.values()]
    about_people += [("trait", entry) for entry in catalogue.traits.values()]
    for name in PRIVACY_ORDER[:-1]:
        rows = [
            (code(entry.prop.name), kind, code(entry.column) if entry.column else "none yet", _carried(kind, entry))
            for kind, entry in about_people
            if entry.prop.privacy == name
        ]
        yield f"### {name.capitalize()}"
        yield privacy_meaning(catalogue.plan, name)
        yield (
            table(("Name", "Kind", "Column", "Carried by"), rows) if rows else "Nothing of this class is in the plan."
        )


def _business(catalogue: Catalogue) -> Iterator[str]:
    plan = catalogue.plan
    goals = [
        (*_named(goal), _joined(map(_link, goal.events)), _when(goal.when), code(goal.value or ""))
        for goal in plan.goals.values()
    ]
    yield from _titled("Goals", ("Goal", "Meaning", "Reached by", "If", "Value"), goals)
    funnels = [
        (*_named(funnel), _steps(funnel), f"{duration_words(funnel.window_seconds)}, by {funnel.unit}")
        for funnel in plan.funnels.values()
    ]
    yield from _titled("Funnels", ("Funnel", "Meaning", "Steps", "Within"), funnels)
    segments = [
        (*_named(segment), prose(when_words(segment.when, of_person=True)), text(segment.persona or ""))
        for segment in plan.segments.values()
    ]
    yield from _titled("Segments and personas", ("Segment", "Meaning", "Who", "Persona"), segments)
    targets = [(*_named(target), prose(target_words(target, plan))) for target in plan.targets.values()]
    yield from _titled("Targets", ("Target", "Meaning", "Measure"), targets)
    changes = [
        (change.date.isoformat(), change.kind, prose(described(change.description)))
        for change in sorted(plan.changes, key=lambda change: (change.date, change.name))
    ]
    yield from _titled("Dated changes", ("Date", "Kind", "What"), changes)


def _named(item: Goal | Funnel | Segment | Target) -> tuple[str, str]:
    return code(item.name), prose(described(item.description))


def _steps(funnel: Funnel) -> str:
    steps = []
    for number, step in enumerate(funnel.steps, 1):
        optional = " (optional)" if step.optional else ""
        steps.append(f"{number}. {_link(step.event)}{optional}" + (f" if {_when(step.when)}" if step.when else ""))
    return "<br>".join(steps)


def _titled(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield f"## {title}"
        yield table(heads, rows)


def _history(catalogue: Catalogue) -> Iterator[str]:
    if not catalogue.history:
        yield prose(NO_LOG)
    for index, diff in enumerate(catalogue.history):
        if index == 0:
            yield "## Change log"
        yield f"### From {text(diff.old_version)} to {text(diff.new_version)}"
        yield "\n".join(map(_difference, diff.differences)) or "Nothing changed."


def _difference(one: Difference) -> str:
    where = {"plan": "plan", "trait": "traits", "journey": "journey"}.get(one.subject, "")
    line = f"- {code(one.event or where)}: {prose(described(one.message))}"
    if one.breaking:
        line += f" (**breaks**): {prose(described(one.reason))}. Instead: {prose(described(one.way_out))}"
    return line + "."


def _sending() -> Iterator[str]:
    yield "## Sending events"
    yield "Once, before the calls of the events:"
    yield _calls(SETUP)
    yield "\n".join(f"- {prose(note)}" for note in SETUP_NOTES)


def _calls(calls: Calls) -> str:
    fences = [fenced(getattr(calls, name), language) for name, _, language in _LANGUAGES]
    return "\n\n".join(["<details>\n<summary>Python, JavaScript, curl</summary>", *fences, "</details>"])


def _used(entry: PropertyEntry) -> str:
    parts = []
    if entry.events:
        parts.append(_joined(map(_link, entry.events)))
    if entry.within:
        parts.append("as a field of " + _joined(map(code, entry.within)))
    parts += [f"{use.kind} {text(use.name)} ({text(use.how)})" for use in entry.uses]
    return "; ".join(parts)


def _carried(kind: str, entry: PropertyEntry) -> str:
    return "calls of `identify`" if kind == "trait" else _joined(map(_link, (*entry.events, *entry.events_within)))


def _names(touchpoints: Mapping[str, Sequence[str]]) -> list[str]:
    return sorted({name for names in touchpoints.values() for name in names})


def _type(prop: Property) -> str:
    words = [prose(word) for word in constraint_words(prop)]
    if fields := fields_of(prop):
        words.append("with " + prose(listed(fields)))
    return "<br>".join([text(type_words(prop)), *words])


def _class(prop: Property) -> str:
    classes = {field.privacy for field in (prop, *fields_of(prop).values())} - {"none"}
    return _joined(f"**{name}**" for name in PRIVACY_ORDER if name in classes)


def _rules(of: Sequence[Rule], nothing: str) -> str:
    if not of:
        return nothing
    parts = []
    for rule, (then, words) in zip(of, rule_words(of), strict=True):
        source = f" ({code(when_text(rule.when))})" if rule.when else ""
        parts.append(f"**{text(then)}** {prose(words)}".rstrip() + source)
    return "; ".join([*parts, *([f"{nothing} otherwise"] if of[-1].when else [])])


def _when(when: Sequence[Comparison]) -> str:
    return prose(when_words(when)) if when else ""


def _link(event: str) -> str:
    return f"[{text(event)}](#event-{event})"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
