"""What an event's properties and traits come to when they are not plainly what the plan says."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct

from polku_schemas import Checked, CompiledEvent, CompiledPlan, Problem, ProblemCode
from polku_schemas.privacy import Protection

from ..batch import MAX_TEXT, MAX_URL, Page
from ..settings import Limits, Source
from .envelope import cut
from .protect import protected_extra
from .shape import Shape
from .wire import ODD, WireEvent

_EMPTY = b"{}"
_encode = msgspec.json.Encoder().encode


class Contents(Struct, frozen=True):
    """The outcome for one event."""

    values: Struct | None
    traits: Struct | None
    page: Page | None
    extra: str | None
    unplanned: bool
    warning: Problem | None


class ContentsReader:
    """Reads properties and traits by one compiled plan. What `protection` does not let be stored is not in `extra`."""

    def __init__(self, plan: CompiledPlan, limits: Limits, protection: Protection | None) -> None:
        self._plan, self._protection = plan, protection
        self._shape = Shape(limits.max_depth, limits.max_keys)
        built_in = plan.find("identify", None)
        assert built_in is not None  # noqa: S101  (every plan has the built-in calls)
        self._no_properties = built_in  # whatever comes is unplanned

    def read(
        self,
        event: WireEvent,
        planned: CompiledEvent | None,
        context_extra: dict[str, Any] | None,
        repaired: bool,
        source: Source,
    ) -> Contents | Problem:
        """Everything that is not the plain case: traits, unplanned members, repairs, page calls."""
        call, name = event.type or "", event.event
        raw = bytes(event.properties) if event.properties is not UNSET else _EMPTY
        if raw == b"null":
            raw = _EMPTY
        # What the plan knows is as deep as the plan says; anything else may come here.
        problem = self._shape.problem(raw, "$.properties", 1)
        if problem is not None:
            return problem
        if event.name is not None or event.category is not None:
            raw = _with_page_name(raw, call, event.name, event.category)
        extra: dict[str, Any] = {}
        properties = _decoded(planned or self._no_properties, raw)
        if isinstance(properties, Problem):
            return properties
        page: Page | None = None
        if properties.unplanned or planned is None:
            extra["properties"] = properties.unplanned
            if call == "page":
                page = _page_from(extra["properties"])
                if not extra["properties"]:
                    del extra["properties"]

        context_extra = dict(context_extra or {})
        traits_raw = bytes(event.traits) if event.traits is not UNSET else None
        if traits_raw is None and isinstance(context_extra.get("traits"), dict):
            traits_raw = _encode(context_extra.pop("traits"))
        traits: Checked | None = None
        if traits_raw is not None and traits_raw != b"null":
            problem = self._shape.problem(traits_raw, "$.traits", 1)
            if problem is not None:
                return problem
            # A group's traits describe the group: in the trait columns they would be taken for the person's.
            found = _decoded(self._no_properties if call == "group" else self._plan.traits, traits_raw)
            if isinstance(found, Problem):
                return found
            traits = found
            if found.unplanned:
                extra["traits"] = found.unplanned

        beside = [*extra.get("properties", ()), *(extra.get("traits", ()) if call != "group" else ())]
        path = "$.properties" if extra.get("properties") else "$.traits"
        warning: Problem | None = None
        if planned is None:
            message = f"the plan has no event {name or call!r}"
            if source.unplanned == "quarantine":
                return Problem(ProblemCode.UNKNOWN_EVENT, "$.event", message)
            warning = Problem(ProblemCode.UNKNOWN_EVENT, "$.event", f"{message}; kept in `extra`")
        elif beside:
            if source.unplanned == "quarantine":
                return Problem(ProblemCode.UNKNOWN_PROPERTY, path, f"not in the plan: {', '.join(beside)}")
            message = f"not in the plan, kept in `extra`: {', '.join(beside)}"
            warning = Problem(ProblemCode.UNKNOWN_PROPERTY, path, message)
        if repaired or properties.repaired or (traits is not None and traits.repaired):
            message = "text with half of a cut emoji (a lone surrogate) was stored with U+FFFD in its place"
            warning = Problem(ProblemCode.REPAIRED_TEXT, "$", message)
        if context_extra:
            extra["context"] = context_extra
        if self._protection is not None:
            extra = protected_extra(self._protection, extra) if extra else extra
            if self._protection.traits is not None and traits is not None and call != "group":
                self._protection.traits(traits.values)
        return Contents(
            values=properties.values if planned is not None else None,
            traits=traits.values if traits is not None and call != "group" else None,
            page=page,
            extra=_encode(extra).decode() if extra else None,
            unplanned=planned is None or bool(beside),
            warning=warning,
        )


def _decoded(planned: CompiledEvent, raw: bytes) -> Checked | Problem:
    """The fast path if the bytes are plainly what the plan says, else the one that explains and repairs."""
    try:
        return Checked(planned.decode(raw), {}, False)
    except ODD:
        return planned.check(raw)


def _with_page_name(raw: bytes, call: str, name: str | None, category: str | None) -> bytes:
    """`name` and `category` of a page or screen call as properties of the plan."""
    if call not in ("page", "screen") or not raw.lstrip().startswith(b"{"):
        return raw
    given = {f"{call}_name": name, f"{call}_category": category}
    head = _encode({key: value for key, value in given.items() if value is not None})
    rest = raw.lstrip()[1:].lstrip()
    return head[:-1] + (b"}" if rest.startswith(b"}") else b"," + rest)


def _page_from(properties: dict[str, Any]) -> Page:
    """Page calls repeat the page's address in their properties: it belongs to the page columns."""
    page = Page(
        **{
            name: cut(properties.pop(name), MAX_TEXT if name == "title" else MAX_URL)
            for name in Page.__struct_fields__
            if name in properties and isinstance(properties[name], str | None)
        }
    )
    page.search = None  # a part of the URL
    return page
