"""The sections about the business around the events, about what changed between versions, and about sending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from polku_schemas.amounts import counted
from polku_schemas.catalogue.calls import SETUP, SETUP_NOTES
from polku_schemas.catalogue.data import Catalogue
from polku_schemas.catalogue.entries import calls_markup
from polku_schemas.catalogue.markup import Markup, element, joined, spaced
from polku_schemas.catalogue.phrases import (
    Section,
    anchor,
    condition,
    described_prose,
    facts,
    link,
    links,
    name_of,
    property_anchors,
    prose,
)
from polku_schemas.catalogue.wording import Code, duration_words, target_words, when_words
from polku_schemas.compare import Difference, PlanDiff
from polku_schemas.model import Funnel, FunnelStep, Plan, Segment, Target


def goals(catalogue: Catalogue) -> Section | None:
    """What should happen."""
    plan = catalogue.plan
    if not plan.goals:
        return None
    cards = []
    for goal in plan.goals.values():
        targets = [target.name for target in plan.targets.values() if target.of == goal.name and _of_goal(target)]
        rows = [
            ("Reached by", links("event", goal.events)),
            (
                "If",
                spaced([prose(when_words(goal.when), property_anchors(plan)), condition(goal.when)])
                if goal.when
                else None,
            ),
            ("Value", joined("sum of ", link("property", goal.value)) if goal.value is not None else None),
            ("Targets", links("target", targets) if targets else None),
        ]
        cards.append(_card("goal", goal.name, goal.description, facts(rows)))
    return Section(
        name="goals",
        title="Goals",
        short="Goals",
        count=len(cards),
        intro=("What the business wants to happen. Reports, targets and stage rules take a goal by its name.",),
        content=_cards(cards),
    )


def funnels(catalogue: Catalogue) -> Section | None:
    """Ordered steps."""
    plan = catalogue.plan
    if not plan.funnels:
        return None
    cards = [
        _card("funnel", funnel.name, funnel.description, _steps(funnel, plan), _funnel_facts(funnel, plan))
        for funnel in plan.funnels.values()
    ]
    return Section(
        name="funnels",
        title="Funnels",
        short="Funnels",
        count=len(cards),
        intro=("Steps in their order, within a time that is counted from the first step.",),
        content=_cards(cards),
    )


def segments(catalogue: Catalogue) -> Section | None:
    """Groups of persons."""
    plan = catalogue.plan
    if not plan.segments:
        return None
    cards = [_segment(segment, plan) for segment in plan.segments.values()]
    return Section(
        name="segments",
        title="Segments and personas",
        short="Segments",
        count=len(cards),
        intro=("Groups of persons, by traits and by what they have done. A persona is a segment with a story.",),
        content=_cards(cards),
    )


def targets(catalogue: Catalogue) -> Section | None:
    """What should be reached."""
    plan = catalogue.plan
    if not plan.targets:
        return None
    cards = [
        _card("target", target.name, target.description, element("p", _target(target, plan), class_="measure"))
        for target in plan.targets.values()
    ]
    return Section(
        name="targets",
        title="Targets",
        short="Targets",
        count=len(cards),
        intro=("What should be reached in each period. Scorecards and the report say whether it was.",),
        content=_cards(cards),
    )


def dated_changes(catalogue: Catalogue) -> Section | None:
    """What happened when, by date."""
    if not catalogue.plan.changes:
        return None
    items = [
        element(
            "li",
            element("time", change.date.isoformat(), datetime=change.date.isoformat()),
            element("span", change.kind, class_="kind"),
            described_prose(change.description),
        )
        for change in sorted(catalogue.plan.changes, key=lambda change: (change.date, change.name))
    ]
    return Section(
        name="changes",
        title="Dated changes",
        short="Dated changes",
        count=len(items),
        intro=(
            "Things that may explain a bend in a curve: releases, campaigns, prices. ",
            Code("polku compare --change DATE"),
            " compares before and after.",
        ),
        content=element("ol", items, class_="dates"),
    )


def change_log(catalogue: Catalogue) -> Section | None:
    """What changed between versions of the plan, if older ones were given."""
    if not catalogue.history:
        return None
    return Section(
        name="log",
        title="Change log",
        short="Change log",
        count=len(catalogue.history),
        intro=(
            "What changed from version to version, the newest first. A change breaks if an event that was fine is "
            "refused, or stored with another meaning.",
        ),
        content=joined([_step(catalogue, diff) for diff in catalogue.history]),
    )


def sending() -> Section:
    """What is done once, before any call."""
    return Section(
        name="sending",
        title="Sending events",
        short="Sending",
        intro=(
            "Once, before the calls of the events. Without anything set they go to a collector on your own machine, "
            "started with ",
            Code("polku collector --dev"),
            ".",
        ),
        content=joined(
            calls_markup(SETUP, "the set-up"),
            element(
                "ul",
                [element("li", prose(note)) for note in SETUP_NOTES],
                class_="notes",
            ),
        ),
    )


def _of_goal(target: Target) -> bool:
    return target.measure != "conversion"


def _target(target: Target, plan: Plan) -> Markup:
    kind = "goal" if _of_goal(target) else "funnel"
    parts = [
        link(kind, word.text)
        if isinstance(word, Code) and word.text == target.of
        else prose((word,), property_anchors(plan))
        for word in target_words(target, plan)
    ]
    return joined(parts)


def _card(kind: str, name: str, text: str, *content: Markup | None) -> Markup:
    return element(
        "li",
        element("h3", name_of(name)),
        element("p", described_prose(text)),
        content,
        id=anchor(kind, name),
        class_=kind,
    )


def _cards(cards: Sequence[Markup]) -> Markup:
    return element("ul", cards, class_="cards")


def _steps(funnel: Funnel, plan: Plan) -> Markup:
    return element("ol", [element("li", _funnel_step(step, plan)) for step in funnel.steps], class_="steps")


def _funnel_step(step: FunnelStep, plan: Plan) -> Markup:
    where = (
        joined(" if ", spaced([prose(when_words(step.when), property_anchors(plan)), condition(step.when)]))
        if step.when
        else None
    )
    optional = element("span", " optional", class_="soft") if step.optional else None
    return joined(link("event", step.event), optional, where)


def _funnel_facts(funnel: Funnel, plan: Plan) -> Markup:
    targets = [target.name for target in plan.targets.values() if target.of == funnel.name and not _of_goal(target)]
    return facts(
        [
            ("Within", duration_words(funnel.window_seconds)),
            ("Counted in", "people" if funnel.unit == "person" else "sessions"),
            ("Targets", links("target", targets) if targets else None),
        ]
    )


def _segment(segment: Segment, plan: Plan) -> Markup:
    story = element("blockquote", segment.persona, dir="auto") if segment.persona else None
    who = spaced([prose(when_words(segment.when, of_person=True), property_anchors(plan)), condition(segment.when)])
    return _card("segment", segment.name, segment.description, story, facts([("Who", who)]))


def _step(catalogue: Catalogue, diff: PlanDiff) -> Markup:
    names = f"{diff.old_version} → {diff.new_version}"
    breaking = len(diff.breaking)
    summary = counted(len(diff.differences), "change") if diff.differences else "nothing changed"
    title = element(
        "h3",
        spaced(
            [
                names,
                element("span", summary, class_="count"),
                element("span", f"{breaking:,} breaking", class_="mark sensitive") if breaking else None,
            ]
        ),
    )
    prints = element(
        "p", element("code", diff.old_fingerprint), " → ", element("code", diff.new_fingerprint), class_="soft"
    )
    groups = [
        element("div", _group_title(catalogue, diff, event, subject), _differences(found), class_="changed")
        for (event, subject), found in groupby(
            diff.differences, key=lambda d: (d.event or "", "" if d.event else d.subject)
        )
    ]
    return element("div", title, prints, groups, class_="step")


def _group_title(catalogue: Catalogue, diff: PlanDiff, event: str, subject: str) -> Markup:
    if not event:
        return element("h4", {"plan": "The plan", "trait": "Traits", "journey": "The journey"}.get(subject, subject))
    versions = [f"{need.old} → {need.new}" for need in diff.versions if need.event == event and need.old != need.new]
    name = link("event", event) if event in catalogue.events else element("span", name_of(event), class_="name")
    return element("h4", spaced([name, element("span", versions, class_="count") if versions else None]))


def _differences(found: Iterable[Difference]) -> Markup:
    return element("ul", [element("li", _difference(one)) for one in found])


def _difference(one: Difference) -> Markup:
    if not one.breaking:
        return described_prose(one.message)
    return joined(
        element("span", "breaks", class_="mark sensitive"), " ", described_prose(one.message),
        ": ", described_prose(one.reason), ". Instead: ", described_prose(one.way_out), ".",
    )  # fmt: skip
