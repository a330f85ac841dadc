"""The outcome of `polku plan diff`: what passes, and as text, JSON, Markdown or GitHub's annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.commands.github import Level, annotation
from polku_schemas.compare import Difference, PlanDiff, TableDiff, VersionNeed, struct_members
from polku_schemas.documents import file_of, read_document

_MANY_EVENTS: Final = 3
"""From here on, the same change in so many events (one edit in the dictionary) is told once."""

_NAMED_EVENTS: Final = 12


class Outcome(Struct, frozen=True, kw_only=True):
    """What was compared, as it was named, and what was found."""

    old: str
    new: str
    plans: PlanDiff | None
    """None where a plan was compared with a table only."""
    lake: str = ""
    table: TableDiff | None = None
    breaking_fails: bool = False

    @property
    def passed(self) -> bool:
        """Whether the new plan may take the place of the old one."""
        plans, table = self.plans, self.table
        if table is not None and table.clashes:
            return False
        return plans is None or not (plans.unmet or plans.impossible or (self.breaking_fails and plans.breaking))

    @property
    def verdict(self) -> str:
        """One sentence."""
        clashes = len(self.table.clashes) if self.table is not None else 0
        parts = []
        if self.plans is not None:
            breaking, impossible, unmet = self.plans.breaking, self.plans.impossible, self.plans.unmet
            if not self.plans.differences and not unmet:
                parts.append("the plans do not differ")
            else:
                parts.append(_count(len(breaking), "breaking change") if breaking else "no breaking change")
            if impossible:
                parts.append(f"{len(impossible)} of them possible under no version")
            if unmet:
                parts.append(f"{_count(len(unmet), 'version')} too low")
            elif self.plans.differences:
                parts.append("the versions say enough")
        if self.table is not None:
            parts.append(_count(clashes, "column") + " cannot be" if clashes else "the table can take the plan")
        return ", ".join(parts)


def as_text(outcome: Outcome) -> str:
    """For people: by event, with what to do."""
    blocks: list[list[str]] = []
    if outcome.plans is not None:
        blocks += _plan_blocks(outcome.plans)
    if outcome.table is not None:
        blocks.append(
            [f"the table of events in {outcome.lake}", *(f"  {line}" for line in _table_lines(outcome.table))]
        )
    mark = _good("✓") if outcome.passed else _bad("✗")
    if outcome.passed and outcome.plans is not None and outcome.plans.breaking:
        mark = _bad("!")
    blocks.append([f"{mark} {outcome.verdict}"])
    return "\n\n".join("\n".join(block) for block in blocks)


def as_json(outcome: Outcome) -> str:
    """For programs."""
    whole: dict[str, Any] = {
        "passed": outcome.passed,
        "verdict": outcome.verdict,
        "old": outcome.old,
        "new": outcome.new,
    }
    if (plans := outcome.plans) is not None:
        members = msgspec.to_builtins(plans)
        for each, found in zip(members["differences"], plans.differences, strict=True):
            each["breaking"] = found.breaking
        for each, need in zip(members["versions"], plans.versions, strict=True):
            each["met"] = need.met
        whole["plans"] = members
    if outcome.table is not None:
        whole["table"] = {"lake": outcome.lake, **msgspec.to_builtins(outcome.table)}
    return msgspec.json.format(msgspec.json.encode(whole)).decode()


def as_markdown(outcome: Outcome) -> str:
    """For the comment under a pull request."""
    mark = "✅" if outcome.passed else "❌"
    if outcome.passed and outcome.plans is not None and outcome.plans.breaking:
        mark = "⚠️"
    blocks = [f"### {mark} Tracking plan: {outcome.verdict}"]
    if (plans := outcome.plans) is not None:
        blocks.append(f"`{outcome.old}` → `{outcome.new}`: {_plans_named(plans)}")
        if plans.unmet:
            blocks.append(
                "**Versions that are too low**\n\n" + "\n".join(f"- {line}" for line in _too_low(plans.unmet))
            )
        told = [(_where(found, events), found) for found, events in _gathered(plans.differences)]
        breaking = [(where, each.message, each.reason, each.way_out) for where, each in told if each.breaking]
        if breaking:
            blocks.append("**Breaking**\n\n" + _table(("where", "what", "why", "instead"), breaking))
        fine = [(where, each.message) for where, each in told if not each.breaking]
        if fine:
            summary = f"<summary>{_count(len(fine), 'compatible change')}</summary>"
            blocks.append(f"<details>{summary}\n\n{_table(('where', 'what'), fine)}\n\n</details>")
    if outcome.table is not None:
        lines = "\n".join(f"- {line}" for line in _table_lines(outcome.table))
        blocks.append(f"**The table of events in `{outcome.lake}`**\n\n{click.unstyle(lines)}")
    return "\n\n".join(blocks)


def as_github(outcome: Outcome) -> str:
    """For the log of a workflow: annotations at the lines of the new plan. GitHub shows ten of a level, so what is the
    same in many events is one, and compatible changes are none."""
    places = _Places(outcome.new)
    lines = []
    if (plans := outcome.plans) is not None:
        for found, events in _gathered(plans.breaking):
            needs = [plans.need_of(replace(found, event=event)) for event in events or (None,)]
            allowed = found.needs != "impossible" and not outcome.breaking_fails and all(need.met for need in needs)
            message = f"{_where(found, events)}: {found.message}: {found.reason}. Instead: {found.way_out}"
            level: Level = "warning" if allowed else "error"
            lines.append(annotation(level, found.kind, message, *places.of_difference(found, events)))
        many = len(plans.unmet) > _MANY_EVENTS
        for needs in [list(plans.unmet)] if many else [[need] for need in plans.unmet]:
            place = places.find("plan", "version") if many else places.of_version(needs[0])
            lines += [annotation("error", "version too low", line, *place) for line in _too_low(needs)]
    for clash in outcome.table.clashes if outcome.table is not None else ():
        lines.append(annotation("error", "column type", str(clash), *places.of_column(clash.column)))
    lines.append(annotation("notice", "tracking plan", outcome.verdict))
    return "\n".join(lines)


FORMATS: Final[dict[str, Callable[[Outcome], str]]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "markdown": as_markdown,
}


# Text -------------------------------------------------------------------------------------------------------------


def _plan_blocks(plans: PlanDiff) -> Iterator[list[str]]:
    needs = {need.event: need for need in plans.versions}
    lines: dict[tuple[str, ...], list[str]] = {(): []}
    for found, events in _gathered(plans.differences):
        lines.setdefault(events, []).extend(_difference_lines(found))
    whole = f"{_plans_named(plans)}  {_needed(needs[None])}" if None in needs else _plans_named(plans)
    yield [click.style(whole.rstrip(), bold=True), *lines.pop(())]
    for events in sorted(lines, key=lambda events: (len(events) == 1, events)):
        need = needs.get(events[0])
        if len(events) > 1:
            head = f"in {_listed(events)}"
        else:
            head = events[0] if need is None else f"{events[0]} {need.old} → {need.new}  {_needed(need)}"
        yield [click.style(head.rstrip(), bold=True), *lines[events]]
    others = [need for need in plans.unmet if need.event is not None and (need.event,) not in lines]
    if others:
        yield ["versions that are too low", *(f"  {_bad('✗')} {line}" for line in _too_low(others))]


def _difference_lines(found: Difference) -> list[str]:
    mark = _bad("✗") if found.breaking else _good("·" if found.needs == "none" else "✓")
    lines = [f"  {mark} {found.message}"]
    if found.breaking:
        lines += [f"      why: {found.reason}", f"      instead: {found.way_out}"]
    return lines


def _needed(need: VersionNeed) -> str:
    return "" if need.met else _bad(f"✗ needs {need.needed}")


def _table_lines(table: TableDiff) -> list[str]:
    lines = [f"{_bad('✗')} {clash}" for clash in table.clashes]
    lines += [f"{_good('✓')} `{name}` will be added, {kind}" for name, kind in table.added.items()]
    for name, (before, now) in table.widened.items():
        had, has = struct_members(before), struct_members(now)
        added = ", ".join(f"`{member}` {kind}" for member, kind in has.items() if member not in had)
        lines.append(f"{_good('✓')} `{name}` will have the new members {added}")
    if table.unused:
        lines.append(f"· no property of this plan fills {', '.join(f'`{name}`' for name in table.unused)}; they stay")
    return lines or [f"{_good('✓')} nothing to add"]


def _gathered(differences: Sequence[Difference]) -> list[tuple[Difference, tuple[str, ...]]]:
    """Each difference with the events that have it; the same in many events stands once, in place of the first."""
    events: dict[Difference, list[str]] = {}
    for found in differences:
        events.setdefault(replace(found, event=None), []).extend([found.event] if found.event else [])
    told: list[tuple[Difference, tuple[str, ...]]] = []
    for found, names in events.items():
        if len(names) < _MANY_EVENTS:
            told += [(found, (name,)) for name in names] or [(found, ())]
        else:
            told.append((found, tuple(names)))
    return told


def _where(found: Difference, events: Sequence[str]) -> str:
    return _listed(events) if events else found.subject


def _listed(events: Sequence[str]) -> str:
    if len(events) == 1:
        return f"{events[0]}"
    more = len(events) - _NAMED_EVENTS
    named = ", ".join(events[:_NAMED_EVENTS]) + (f" and {more} more" if more > 0 else "")
    return f"{len(events)} events: {named}"


def _too_low(needs: Iterable[VersionNeed]) -> list[str]:
    """What has which version and needs which, in one line for all that have and need the same."""
    same: dict[tuple[str, str], list[str]] = {}
    for need in needs:
        same.setdefault((need.new, need.needed), []).append(need.event or "the plan")
    return [f"{', '.join(owners)}: {new}, needs {needed}" for (new, needed), owners in same.items()]


def _plans_named(plans: PlanDiff) -> str:
    renamed = "" if plans.old_name == plans.new_name else f"{plans.new_name} "
    return f"{plans.old_name} {plans.old_version} → {renamed}{plans.new_version}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _good(text: str) -> str:
    return click.style(text, fg="green")


def _bad(text: str) -> str:
    return click.style(text, fg="red", bold=True)


# Markdown and GitHub ----------------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


Place = tuple[Path | None, int | None]
"""A file and a line of it; neither, if the new plan is no folder here."""


class _Places:
    """Where in the files of the new plan an annotation belongs."""

    def __init__(self, new: str) -> None:
        self._folder = Path(new) if Path(new).is_dir() else None

    def of_version(self, need: VersionNeed) -> Place:
        return self.find("plan" if need.event is None else f"events/{need.event}", "version")

    def of_difference(self, found: Difference, events: Sequence[str]) -> Place:
        name = found.name.partition(".")[0].removesuffix("[]")
        if len(events) == 1:
            return self.find(f"events/{events[0]}", *(("properties", name) if name else ()))
        if events:
            return self.find("properties", name)
        if found.subject == "trait":
            return self.find("traits", name)
        return self.find("plan", name)  # the journey has no breaking differences

    def of_column(self, column: str) -> Place:
        if column.startswith(TRAIT_PREFIX):
            return self.find("traits", column.removeprefix(TRAIT_PREFIX))
        return self.find("properties", column.rpartition(".")[2])

    def find(self, stem: str, *path: str) -> Place:
        """The line of a member, or the plan's own file where that of the member is gone."""
        if self._folder is None:
            return None, None
        document = read_document(self._folder, stem, [])
        if document is None:
            return self._folder / (file_of(self._folder, "plan", []) or "plan.yaml"), None
        return self._folder / document.file, document.line(*path)
