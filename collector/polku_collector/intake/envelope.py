"""The members around an event's properties, as they are stored: call and name, ids, context. Or what is wrong there."""

from __future__ import annotations

import math

from polku_schemas import Problem, ProblemCode

from ..batch import MAX_ID, MAX_NAME, MAX_TEXT, Context, Page

CALLS = frozenset(("track", "page", "screen", "identify", "group", "alias"))
"""What `type` may be."""


def call_problem(call: str | None, name: str | None) -> Problem | None:
    """What is wrong with the type of an event, or with its name."""
    if call is None:
        return Problem(ProblemCode.MISSING_TYPE, "$.type", "the item has no type")
    if call not in CALLS:
        return Problem(ProblemCode.UNKNOWN_TYPE, "$.type", f"{call[:64]!r} is none of {', '.join(sorted(CALLS))}")
    if call == "track" and not name:
        return Problem(ProblemCode.MISSING_EVENT_NAME, "$.event", "a track call needs an event name")
    if name is not None and len(name) > MAX_NAME:
        return Problem(ProblemCode.TOO_LONG, "$.event", f"{len(name)} characters, at most {MAX_NAME}")
    return None


def id_of(value: object, path: str) -> str | Problem | None:
    """Ids are text; numbers become text; empty means none."""
    if value is None:
        return None
    if type(value) is not str:
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        value = str(value)
    if len(value) > MAX_ID:
        return Problem(ProblemCode.INVALID_ID, path, f"{len(value)} characters, at most {MAX_ID}")
    return value or None


def settle(context: Context) -> Problem | None:
    """Make of a context what is stored of it, in place. Its channel becomes a column of the line."""
    context.ip = None  # whatever it is: an address is not stored
    context.channel = None
    page = context.page
    if page is not None:
        page.search = None
    if type(context.session_id) is not str:
        session_id = id_of(context.session_id, "$.context.sessionId")
        if isinstance(session_id, Problem):
            return session_id
        context.session_id = session_id
    elif not context.session_id:
        context.session_id = None
    return None


def merged(outer: Context, own: Context) -> Context:
    """A new context: the item's own members over the batch's, also within the page."""
    context = Context()
    for name in Context.__struct_fields__:
        around, inner = getattr(outer, name), getattr(own, name)
        if inner is None:
            setattr(context, name, around)
        elif around is None or not isinstance(inner, Page):
            setattr(context, name, inner)
        else:
            both = ((getattr(inner, field), getattr(around, field)) for field in Page.__struct_fields__)
            context.page = Page(*(mine or theirs for mine, theirs in both))
    return context


def cut(text: str | None, most: int = MAX_TEXT) -> str | None:
    """Texts of the context are cut, not refused: they describe the event and do not make it."""
    return text if text is None or len(text) <= most else text[:most]
