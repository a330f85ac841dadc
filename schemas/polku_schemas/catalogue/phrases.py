"""The small pieces of the page: names, prose, links, marks of privacy, rules, and the frame of a section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from polku_schemas.catalogue.markup import Markup, element, joined, spaced
from polku_schemas.catalogue.uses import Use
from polku_schemas.catalogue.wording import PRIVACY_MEANING, Code, Words, described, rule_words, when_text
from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.model import Comparison, Plan, Privacy, Rule

Anchors = Mapping[str, str]
"""Name in a text → id on the page."""

_MANY: Final = 12
"""Links that stand in a row; more are folded away."""


class Section(Struct, frozen=True, kw_only=True):
    """A part of the page, with its place in the navigation."""

    name: str
    title: str
    short: str
    intro: Words
    content: Markup
    count: int | None = None

    def markup(self) -> Markup:
        """The section as it stands on the page."""
        return element(
            "section",
            element("h2", self.title, id=f"{self.name}-title"),
            element("p", prose(self.intro), class_="intro"),
            self.content,
            id=self.name,
            class_=self.name,
            aria_labelledby=f"{self.name}-title",
        )


def anchor(kind: str, name: str) -> str:
    """The id of a thing on the page; what a deep link names after its `#`."""
    return f"{kind}-{name}"


def property_anchors(plan: Plan) -> Anchors:
    """The properties by their names, and the traits by those of their columns."""
    traits = {TRAIT_PREFIX + name: anchor("trait", name) for name in plan.traits}
    return {name: anchor("property", name) for name in plan.properties} | traits


def name_of(name: str) -> Markup:
    """A name that may break after each `_`, so that long ones fit where there is little room."""
    first, *rest = name.split("_")
    return joined(first, [joined("_", element("wbr"), part) for part in rest])


def prose(words: Words, anchors: Anchors = MappingProxyType({})) -> Markup:
    """Words with their code marked; a name in `anchors` leads to what is named."""
    parts: list[Markup] = []
    for word in words:
        if not isinstance(word, Code):
            parts.append(joined(word))
        elif word.text in anchors:
            parts.append(element("a", element("code", name_of(word.text)), href=f"#{anchors[word.text]}"))
        else:
            parts.append(element("code", word.text))
    return joined(parts)


def described_prose(text: str, anchors: Anchors = MappingProxyType({})) -> Markup:
    """A description from the plan, kept apart from the direction of what stands around it."""
    return element("span", prose(described(text), anchors), class_="text")


def link(kind: str, name: str) -> Markup:
    """A link to a thing of the plan."""
    return element("a", name_of(name), href="#" + anchor(kind, name), class_="name")


def links(kind: str, names: Sequence[str]) -> Markup:
    """Links in a row, folded if they are many."""
    row = element("ul", spaced(element("li", link(kind, name)) for name in names), class_="links")
    if len(names) <= _MANY:
        return row
    return element("details", element("summary", f"{len(names):,} {kind}s"), row, class_="fold")


def privacy_mark(privacy: Privacy) -> Markup | None:
    """A mark on what is about a person; none on the rest."""
    if privacy == "none":
        return None
    return element("span", privacy, class_=f"mark {privacy}", title=PRIVACY_MEANING[privacy])


def stage_mark(stages: Sequence[str], stage: str) -> Markup:
    """A stage's number in its colour."""
    number = stages.index(stage) + 1
    return element("span", str(number), class_=f"dot {stage_class(number)}", title=stage)


def stage_class(number: int) -> str:
    """The class that gives a stage its colour; there are seven, and later stages share the last."""
    return f"stage-{min(number, 7)}"


def rules(of: Sequence[Rule], nothing: str, anchors: Anchors) -> Markup:
    """What is decided and when, in words and as the plan has it."""
    if not of:
        return element("span", nothing, class_="soft")
    if not of[0].when:
        return element("b", name_of(of[0].then))
    items = [
        element("li", spaced([element("b", name_of(then)), prose(words, anchors), condition(rule.when)]))
        for rule, (then, words) in zip(of, rule_words(of), strict=True)
    ]
    return element("ul", items, None if not of[-1].when else element("li", f"{nothing} otherwise"), class_="rules")


def condition(when: Sequence[Comparison]) -> Markup | None:
    """A condition as it stands in the plan."""
    return element("code", when_text(when), class_="when") if when else None


def uses_list(uses: Sequence[Use]) -> Markup:
    """Where a thing is used, one line each."""
    items = [
        element("li", spaced([element("span", use.kind, class_="kind"), link(use.kind, use.name), use.how]))
        for use in uses
    ]
    return element("ul", items, class_="uses")


def facts(rows: Sequence[tuple[str, Markup | str | None]]) -> Markup:
    """Terms and what is said of each; terms without anything are left out."""
    pairs = [
        element("div", element("dt", term), element("dd", said), class_="address" if term == "Link" else None)
        for term, said in rows
        if said is not None
    ]
    return element("dl", pairs, class_="facts")
