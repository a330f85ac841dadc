"""What goes with every event of a piece of work (a request, a job): who it is about, where they are, and more.

    with polku.scope(user_id="u-1", session_id="s-1", properties={"experiment": "b"}):
        polku.track("product_viewed", {"product_id": "sku-1"})   # needs no user_id
        polku.bind(group_id="acme")                              # until the scope ends

Held in a context variable: asyncio tasks and `asyncio.to_thread` inherit it by themselves, other threads with `carry`.
What is bound is never changed in place, so that a task or a thread which binds has its own from then on.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar, Token
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack
from uuid import UUID

import msgspec

from polku.event import Record, encodable
from polku.repair import Finding, agreed, identifier
from polku.report import Reporter, calling_place

P = ParamSpec("P")
R = TypeVar("R")


class Binding(TypedDict, total=False):
    """What can be bound; the arguments of `scope`, `bind` and `bind_request`."""

    user_id: str | int | UUID | None
    anonymous_id: str | int | UUID | None
    session_id: str | int | UUID | None
    group_id: str | int | UUID | None
    page: Mapping[str, Any] | None
    """`url`, `path`, `title`, `referrer`."""
    campaign: Mapping[str, Any] | None
    """`source`, `medium`, `name`, `term`, `content`."""
    user_agent: str | None
    locale: str | None
    consent: Collection[str] | None
    """What the person has agreed to, as in `context.consent`; an empty one is to nothing."""
    context: Mapping[str, Any] | None
    """Further members of the events' context."""
    properties: Mapping[str, Any] | None
    """Properties of `track`, `page` and `screen`."""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What is bound at one place, ready to go into events."""

    user_id: str | None = None
    anonymous_id: str | None = None
    visit: Mapping[str, Any] = {}
    """Members of an event's context that tell of the person: session, group, page, campaign, user agent, …"""
    context: Mapping[str, Any] = {}
    """Its other members."""
    properties: Mapping[str, Any] = {}
    whole: dict[str, Any] | None = None
    """`visit` and `context` as they go into an event; None if there is nothing."""


class RequestWide:
    """What `bind_request` said in the course of one request: one list, seen by all its tasks and threads."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        self.changes: list[dict[str, Any]] = []


class Held:
    """What the variable holds: something bound, and how many changes of its request are in it already."""

    __slots__ = ("_state", "request")

    def __init__(self, bound: Bound, request: RequestWide | None = None, seen: int = 0) -> None:
        self.request = request
        # One tuple, so that two threads never see the one with the number of the other.
        self._state = bound, seen

    def bound(self) -> Bound:
        """What is bound here now: later words win, those for the whole request among them."""
        return self.now()[0]

    def now(self) -> tuple[Bound, int]:
        """The same, and how many changes of the request are in it."""
        bound, seen = self._state
        if self.request is not None and seen < len(changes := self.request.changes):
            missing = changes[seen:]
            for change in missing:
                bound = applied(bound, change)
            self._state = bound, seen + len(missing)
        return self._state

    def changed(self, change: dict[str, Any]) -> "Held":
        """Another one with a change on top."""
        bound, seen = self.now()
        return Held(applied(bound, change), self.request, seen)


held: ContextVar[Held | None] = ContextVar("polku", default=None)
"""None where nothing is bound: a call asks this first, and does nothing more."""

_NOTHING = Bound()
_reporter = Reporter()

# Keyword of `bind` → member of an event's context.
_VISIT = {
    "session_id": "sessionId",
    "group_id": "groupId",
    "page": "page",
    "campaign": "campaign",
    "user_agent": "userAgent",
    "locale": "locale",
    "consent": "consent",
}
_KEYWORDS = frozenset(Binding.__annotations__)
_IDS = ("user_id", "anonymous_id", "session_id", "group_id")
_OBJECTS = ("page", "campaign", "context", "properties")


class Scope:
    """Binds while a `with` block runs. Made by `polku.scope`."""

    def __init__(self, change: dict[str, Any]) -> None:
        self._change = change
        self._tokens: list[Token[Held | None]] = []

    def __enter__(self) -> None:
        self._tokens.append(held.set((held.get() or Held(_NOTHING)).changed(self._change)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        restore(self._tokens.pop())


def scope(**given: Unpack[Binding]) -> Scope:
    """Bind for the events of a `with` block, over what is bound around it.

    `context` and `properties` are added to member by member, the others are replaced, None takes away. Another user or
    anonymous id than the one bound is another person: the other ids, the page and the campaign around are left behind.
    """
    return Scope(_change(given))


def bind(**given: Unpack[Binding]) -> None:
    """As `scope`, from here on: until the scope, the request, the task or the thread ends."""
    _bind(_change(given))


def bind_request(**given: Unpack[Binding]) -> None:
    """As `bind`, for the whole request that a middleware of `polku.middleware` serves, from whichever task or thread.

    For what runs aside and tells of the request, such as a dependency of FastAPI that is no coroutine.
    """
    around = held.get()
    if around is None or around.request is None:
        _bind(_change(given))
    else:
        around.request.changes.append(_change(given))


def unbind(*names: str) -> None:
    """Take away what was bound, by the keywords of `bind`; everything without a name."""
    if not names:
        around = held.get()
        if around is not None:
            held.set(Held(_NOTHING, around.request, around.now()[1]) if around.request is not None else None)
        return
    _bind(_change(dict.fromkeys(names)))


def bound() -> dict[str, Any]:
    """What is bound here, as the arguments of `scope`: to look at, or to give to another process with its task."""
    around = held.get()
    return {} if around is None else arguments(around.bound())


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs with what is bound here and now, in whichever thread and however often it is called.

    For executors and threads, which start with nothing bound: `executor.submit(polku.carry(work), item)`.
    """
    carried_state = held.get()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = held.set(carried_state)
        try:
            return function(*args, **kwargs)
        finally:
            restore(token)

    return carried


def begin_request(given: Binding) -> Held:
    """What a request begins with: what is bound around it, with what it says itself."""
    around = held.get()
    return Held(_NOTHING if around is None else around.bound(), RequestWide()).changed(_change(given))


def fill(record: Record, around: Held) -> None:
    """Put what is bound into a call. What the call says itself goes first."""
    here = around.bound()
    bound_properties = here.properties
    if bound_properties and record.type in _WITH_PROPERTIES:
        record.properties = _over(bound_properties, record.properties)
    if _is_of_another(record, here):
        members: Mapping[str, Any] | None = here.context
    else:
        members = here.whole
        if record.user_id is None or record.user_id == "":
            record.user_id = here.user_id
        if record.anonymous_id is None or record.anonymous_id == "":
            record.anonymous_id = here.anonymous_id
    if members:
        record.context = _over(members, record.context)


def applied(before: Bound, change: Mapping[str, Any]) -> Bound:
    """What is bound after a change. Pure."""
    if any(_differs(change.get(name), getattr(before, name)) for name in ("user_id", "anonymous_id")):
        before = Bound(context=before.context, properties=before.properties)
    visit = {**before.visit, **{_VISIT[name]: value for name, value in change.items() if name in _VISIT}}
    visit = {name: value for name, value in visit.items() if value is not None}
    context = _merged(before.context, change.get("context", {}))
    return Bound(
        user_id=change.get("user_id", before.user_id),
        anonymous_id=change.get("anonymous_id", before.anonymous_id),
        visit=visit,
        context=context,
        properties=_merged(before.properties, change.get("properties", {})),
        whole={**context, **visit} or None,
    )


def arguments(here: Bound) -> dict[str, Any]:
    """The arguments of `scope` that bind the same."""
    given = {
        "user_id": here.user_id,
        "anonymous_id": here.anonymous_id,
        **{name: here.visit.get(member) for name, member in _VISIT.items()},
        "context": dict(here.context),
        "properties": dict(here.properties),
    }
    return {name: value for name, value in given.items() if value not in (None, {})}


def restore(token: Token[Held | None]) -> None:
    """Undo a `held.set`, if it was here that it was done: a generator may be closed by another task."""
    with contextlib.suppress(ValueError):
        held.reset(token)


def _bind(change: dict[str, Any]) -> None:
    held.set((held.get() or Held(_NOTHING)).changed(change))


_WITH_PROPERTIES = frozenset({"track", "page", "screen"})
# The encoder writes these as it would have written them in the typed event.
_KEPT = (Decimal, datetime, date, time, timedelta, UUID, bytes, bytearray)


def _change(given: Mapping[str, object]) -> dict[str, Any]:
    """What was given, in the form it is kept in; what is of a wrong type is left out with a warning."""
    findings: list[Finding] = []
    change: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _KEYWORDS:
            raise TypeError(f"{name!r} cannot be bound: {', '.join(sorted(_KEYWORDS))} can")
        if value is None:
            change[name] = None
        elif name in _OBJECTS:
            try:
                change[name] = {**value}  # type: ignore[dict-item]  # tried
            except Exception:
                findings.append(Finding(name, f"is a {type(value).__name__}, not an object: left out"))
        elif name in _IDS:
            # Left out would mean the person around: nobody is better than somebody else.
            change[name] = value if type(value) is str and value else identifier(value, name, findings)
        elif name == "consent":
            change[name] = agreed(value, name, findings)
        elif isinstance(value, str):
            change[name] = value or None
        else:
            findings.append(Finding(name, f"is a {type(value).__name__}, not a string: left out"))
    context = change.get("context") or {}
    said = {name: context.pop(member) for name, member in _VISIT.items() if member in context}
    if said:  # in the words of the wire
        change = {**_change(said), **change}
    if findings:
        file, line = calling_place()
        _reporter.once((file, line), f"{file}:{line}: bound: {'; '.join(map(str, findings))}")
    return change


def _merged(before: Mapping[str, Any], added: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {} if added is None else {**before, **added} if added else before


def _over(members: Mapping[str, Any], given: Any) -> Any:
    """Bound members with those of the call over them; what is no object is left for others to judge."""
    if given is None:
        return dict(members)
    if type(given) is dict:
        return {**members, **given}
    if isinstance(given, msgspec.Struct):  # a typed event
        try:
            given = msgspec.to_builtins(given, builtin_types=_KEPT, enc_hook=encodable)
        except Exception:
            return given
    return {**members, **given} if isinstance(given, Mapping) else given


def _is_of_another(record: Record, here: Bound) -> bool:
    """Whether a call names another person than the one bound: nothing of that person may go with it."""
    return _differs(record.user_id, here.user_id) or _differs(record.anonymous_id, here.anonymous_id)


def _differs(given: Any, known: str | None) -> bool:
    if known is None or given is None:
        return False
    if type(given) is not str:
        return identifier(given, "", []) != known
    return given != known and given != ""
