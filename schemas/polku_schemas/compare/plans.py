"""Two plans side by side: every difference, and which version numbers say enough about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from polku_schemas.columns import TRAIT_PREFIX, trait_columns
from polku_schemas.compare.differences import Difference, DifferenceKind, Needs, difference
from polku_schemas.compare.events import event_differences
from polku_schemas.compare.properties import Place, property_differences
from polku_schemas.model import ForbiddingPrivacy, Plan

_JOURNEY: Final = {"goals": "goal", "segments": "segment", "funnels": "funnel", "targets": "target"}
_WORDS_ONLY: Final = ("description", "persona")
"""Members of a journey file's entries that change no number."""


class VersionNeed(Struct, frozen=True, kw_only=True):
    """What version an event (or the plan) has, and the smallest that says enough about its changes."""

    event: str | None
    """None: the plan itself, which answers for events added and removed, for traits and for the journey."""
    old: str
    new: str
    needed: str

    @property
    def met(self) -> bool:
        """Whether the new version is enough."""
        return _numbers(self.new) >= _numbers(self.needed)


class PlanDiff(Struct, frozen=True, kw_only=True):
    """How a new plan differs from an old one."""

    old_name: str
    old_version: str
    old_fingerprint: str
    new_name: str
    new_version: str
    new_fingerprint: str
    differences: tuple[Difference, ...]
    """In the order: plan, events by name, traits, journey."""
    versions: tuple[VersionNeed, ...]
    """The plan's, then those of the events that are in both plans; only where something changed."""

    @property
    def breaking(self) -> tuple[Difference, ...]:
        """The differences that break something, with or without their version number."""
        return tuple(found for found in self.differences if found.breaking)

    @property
    def impossible(self) -> tuple[Difference, ...]:
        """The differences that no version number makes right."""
        return tuple(found for found in self.differences if found.needs == "impossible")

    @property
    def unmet(self) -> tuple[VersionNeed, ...]:
        """The versions that say too little, or went backwards."""
        return tuple(need for need in self.versions if not need.met)

    def need_of(self, found: Difference) -> VersionNeed:
        """The version that answers for a difference: the event's, or the plan's where it is not in both plans."""
        by_event = {need.event: need for need in self.versions}
        return by_event.get(found.event) or by_event[None]


def compare(old: Plan, new: Plan) -> PlanDiff:
    """Find every difference between two plans, and the version each event and the plan itself need."""
    differences = (
        *_plan_differences(old, new),
        *event_differences(old, new),
        *_trait_differences(old, new),
        *_journey_differences(old, new),
    )
    return PlanDiff(
        old_name=old.name,
        old_version=old.version,
        old_fingerprint=old.fingerprint,
        new_name=new.name,
        new_version=new.version,
        new_fingerprint=new.fingerprint,
        differences=differences,
        versions=tuple(_versions(old, new, differences)),
    )


def _plan_differences(old: Plan, new: Plan) -> Iterator[Difference]:
    if old.name != new.name:
        yield difference(DifferenceKind.PLAN_RENAMED, "plan", f"the plan is called `{new.name}`, was `{old.name}`")
    if old.description != new.description:
        yield difference(DifferenceKind.WORDING_CHANGED, "plan", "the plan has another description")
    for key, kind in (
        ("stages", DifferenceKind.STAGES_CHANGED),
        ("channels", DifferenceKind.CHANNELS_CHANGED),
        ("reserved", DifferenceKind.RESERVED_CHANGED),
    ):
        before, now = getattr(old, key), getattr(new, key)
        if before != now:
            message = f"{key}: {', '.join(now) or 'none'}; was {', '.join(before) or 'none'}"
            yield difference(kind, "plan", message, name=key)
    joining = [(*plan.join_by, *(("users too",) if plan.join_users else ())) for plan in (old, new)]
    if joining[0] != joining[1]:
        was, becomes = (", ".join(names) or "none" for names in joining)
        message = f"identity: {becomes}; was {was}. It also counts for the past"
        yield difference(DifferenceKind.IDENTITY_CHANGED, "plan", message, name="identity")
    for privacy_class in get_args(ForbiddingPrivacy):
        was, becomes = (plan.privacy.get(privacy_class, "store") for plan in (old, new))
        if was != becomes:
            message = f"privacy.{privacy_class}: {becomes}; was {was}. What is stored already stays as it is"
            yield difference(DifferenceKind.TREATMENT_CHANGED, "plan", message, name=f"privacy.{privacy_class}")


def _trait_differences(old: Plan, new: Plan) -> Iterator[Difference]:
    columns = {name.removeprefix(TRAIT_PREFIX): kind for name, kind in trait_columns(old).items()}
    yield from property_differences(old.traits, new.traits, Place("trait", None, columns))


def _journey_differences(old: Plan, new: Plan) -> Iterator[Difference]:
    for key, word in _JOURNEY.items():
        before: Mapping[str, Struct] = getattr(old, key)
        now: Mapping[str, Struct] = getattr(new, key)
        for name in sorted(before.keys() | now.keys()):
            label = f"{key}.{name}"
            if name not in before:
                message = f"the {word} `{name}` is new"
                yield difference(DifferenceKind.JOURNEY_ADDED, "journey", message, name=label)
            elif name not in now:
                message = f"the {word} `{name}` is gone: nobody can ask for it any more"
                yield difference(DifferenceKind.JOURNEY_REMOVED, "journey", message, name=label)
            else:
                yield from _entry(before[name], now[name], f"the {word} `{name}`", label)
    if old.changes != new.changes:
        message = "the dated changes are others"
        yield difference(DifferenceKind.WORDING_CHANGED, "journey", message, name="changes")


def _entry(old: Struct, new: Struct, who: str, label: str) -> Iterator[Difference]:
    before, now = msgspec.to_builtins(old), msgspec.to_builtins(new)
    changed = [key for key in now if before[key] != now[key]]
    counted = [key for key in changed if key not in _WORDS_ONLY]
    if counted:
        parts = "; ".join(f"{key} {_shown(now[key])}, was {_shown(before[key])}" for key in counted)
        message = f"{who} has {parts}; counts for the past too"
        yield difference(DifferenceKind.JOURNEY_CHANGED, "journey", message, name=label)
    elif changed:
        message = f"{who} has another {' and '.join(changed)}"
        yield difference(DifferenceKind.WORDING_CHANGED, "journey", message, name=label)


def _versions(old: Plan, new: Plan, differences: Sequence[Difference]) -> Iterator[VersionNeed]:
    in_both = old.events.keys() & new.events.keys()
    if differences or old.version != new.version:
        whole = _most(_plan_need(found, in_both) for found in differences)
        yield VersionNeed(event=None, old=old.version, new=new.version, needed=_next(old.version, whole))
    for name in sorted(in_both):
        before, now = old.events[name].version, new.events[name].version
        own = [found.needs for found in differences if found.event == name]
        if own or before != now:
            yield VersionNeed(event=name, old=before, new=now, needed=_next(before, _most(own)))


def _most(needs: Iterable[Needs]) -> Needs:
    return max(needs, key=get_args(Needs).index, default="none")


def _plan_need(found: Difference, in_both: set[str]) -> Needs:
    """What a difference asks of the plan's version: less, where the event's own version says how much it is."""
    if found.event in in_both and found.needs != "none":
        return "minor"
    return found.needs


def _next(version: str, needs: Needs) -> str:
    major, minor = _numbers(version)
    if needs == "none":
        return version
    return f"{major}.{minor + 1}" if needs == "minor" else f"{major + 1}.0"


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()
