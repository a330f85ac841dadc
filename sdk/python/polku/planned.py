"""What a collector with this plan would say of an event: the one door from the SDK to `polku_schemas`.

Only commands, tests and clients come here, and only when they were given a plan. So the import stands in the function:
who does not ask for a plan needs none of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from polku.errors import PolkuError
from polku.verdicts import Verdict

if TYPE_CHECKING:
    from polku_schemas import Checked, CompiledEvent, CompiledPlan

Unplanned = Literal["accept", "quarantine"]
"""What a source does with events and properties that the plan lacks."""

CALLS = frozenset(("track", "page", "screen", "identify", "group", "alias"))
MAX_ID = 1_024
MAX_EVENT_ID = 128
MAX_NAME = 256
"""Characters, as the collector bounds them."""


class PlanUnusable(PolkuError):
    """The plan cannot be read here: the text says what is wrong with it, or what to install."""

    exit_code = 2


class Judgement(msgspec.Struct, frozen=True):
    """Both are None for an event that is plainly accepted."""

    rejected: Verdict | None = None
    warning: Verdict | None = None


class JudgingPlan:
    """A compiled plan that judges whole items of the wire. The `plan` of a client, too."""

    def __init__(self, compiled: "CompiledPlan") -> None:
        self._compiled = compiled
        self.find = compiled.find

    def name_of(self, item: dict[str, Any]) -> str | None:
        """The planned event that an item is; None if the plan has none."""
        planned = self._compiled.find(item.get("type", ""), item.get("event"))
        return planned.name if planned is not None else None

    def types_of(self, call: str, name: str | None) -> dict[str, str]:
        """Type of each scalar property of an event, by the property's name; empty if the plan lacks the event."""
        planned = self._compiled.find(call, name)
        event = self._compiled.plan.events.get(planned.name) if planned is not None else None
        if event is None:
            return {}
        scalars = {prop.name: _cast_type(prop) for prop in event.properties.values()}
        return {name: kind for name, kind in scalars.items() if kind}

    def judge(self, item: dict[str, Any], unplanned: Unplanned, index: int = 0) -> Judgement:
        """What the collector would answer, as far as it depends on the item and the plan."""
        rejected = self._envelope(item)
        if rejected is not None:
            return Judgement(rejected=_at(rejected, index, item))
        call, name = item["type"], item.get("event")
        planned = self._compiled.find(call, name)
        verdict = self._contents(item, planned)
        warned: list[Verdict] = []
        if planned is None:
            warned.append(Verdict(0, "unknown_event", "$.event", f"the plan has no event {name or call!r}"))
        if isinstance(verdict, Verdict):
            return Judgement(rejected=_at(verdict, index, item))
        for path, checked in verdict:
            beside = [name for name in checked.unplanned if not (call == "page" and _is_of_page(name, checked))]
            if beside and planned is not None and not warned:
                listed = ", ".join(beside)
                warned.append(Verdict(0, "unknown_property", path, f"not in the plan: {listed}"))
        if warned and unplanned == "quarantine":
            return Judgement(rejected=_at(warned[0], index, item))
        if any(checked.repaired for _, checked in verdict):
            warned = [Verdict(0, "repaired_text", "$", "half of a cut emoji (a lone surrogate) is stored as U+FFFD")]
        return Judgement(warning=_at(warned[0], index, item) if warned else None)

    def _envelope(self, item: dict[str, Any]) -> Verdict | None:
        call, name = item.get("type"), item.get("event")
        if call is None:
            return Verdict(0, "missing_type", "$.type", "the item has no type")
        if call not in CALLS:
            return Verdict(0, "unknown_type", "$.type", f"{str(call)[:64]!r} is none of {', '.join(sorted(CALLS))}")
        if call == "track" and not name:
            return Verdict(0, "missing_event_name", "$.event", "a track call needs an event name")
        if name is not None and len(name) > MAX_NAME:
            return Verdict(0, "too_long", "$.event", f"{len(name)} characters, at most {MAX_NAME}")
        if len(item.get("messageId") or "") > MAX_EVENT_ID:
            text = f"{len(item['messageId'])} characters, at most {MAX_EVENT_ID}"
            return Verdict(0, "invalid_id", "$.messageId", text)
        for member in ("userId", "anonymousId"):
            if len(str(item.get(member) or "")) > MAX_ID:
                return Verdict(0, "invalid_id", f"$.{member}", f"more than {MAX_ID} characters")
        if not item.get("userId") and not item.get("anonymousId"):
            return Verdict(0, "missing_id", "$", "an event needs a userId or an anonymousId")
        return None

    def _contents(self, item: dict[str, Any], planned: "CompiledEvent | None") -> "list[tuple[str, Checked]] | Verdict":
        from polku_schemas import Problem

        call = item["type"]
        properties = dict(item.get("properties") or {})
        if call in ("page", "screen"):
            given = {f"{call}_{member}": item[member] for member in ("name", "category") if item.get(member)}
            properties = {**given, **properties}
        nothing = self._compiled.find("identify", None)
        assert nothing is not None  # noqa: S101  (every plan has the built-in calls)
        parts = [("$.properties", planned or nothing, properties)]
        traits = item.get("traits")
        if traits is None and isinstance(item.get("context"), dict):
            traits = item["context"].get("traits")
        if traits is not None:
            # A group's traits describe the group, not the person.
            parts.append(("$.traits", nothing if call == "group" else self._compiled.traits, traits))
        found = []
        for path, event, value in parts:
            checked = event.check(msgspec.json.encode(value))
            if isinstance(checked, Problem):
                return Verdict(0, str(checked.code), checked.path, checked.message)
            if not (call == "group" and path == "$.traits"):
                found.append((path, checked))
        return found


def objection(plan: Any, event: bytes) -> Verdict | None:
    """What the collector would say of an encoded event, by the compiled plan of a client, if anything."""
    judging = plan if isinstance(plan, JudgingPlan) else JudgingPlan(plan)
    judgement = judging.judge(msgspec.json.decode(event), "accept")
    return judgement.rejected or judgement.warning


def judging_plan(folder: Path) -> JudgingPlan:
    """Read and compile the plan of a folder. Raises PlanUnusable."""
    try:
        from polku_schemas import compile_plan, load_plan
        from polku_schemas.errors import SchemasError
    except ModuleNotFoundError as error:
        missing = {"yaml": "pyyaml"}.get(error.name or "", error.name)
        raise PlanUnusable(f"a plan is read with {missing}, which is not installed: pip install {missing}") from error
    try:
        return JudgingPlan(compile_plan(load_plan(folder)))
    except SchemasError as error:
        raise PlanUnusable(str(error)) from error


def _is_of_page(name: str, checked: "Checked") -> bool:
    """Page calls repeat the page's address in their properties: it has columns of its own."""
    return name in ("url", "path", "title", "referrer", "search") and isinstance(checked.unplanned[name], str | None)


def _at(verdict: Verdict, index: int, item: dict[str, Any]) -> Verdict:
    return msgspec.structs.replace(verdict, index=index, message_id=item.get("messageId"))


def _cast_type(prop: Any) -> str:
    """What a text of a file has to become for a property; empty for lists and objects."""
    return "" if prop.type in ("array", "object") else str(prop.type)
