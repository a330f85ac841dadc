"""The anonymous id in a cookie that the collector sets: browsers drop one that a script has set after seven days.

Only with consent, only for pages of origins that the source names, and only as seen from the same site. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from ..settings import IdCookie, Source
from .wire import Body, WireEvent

# What a cookie carries without quoting. An id of other characters is not put into one.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


def may_have_cookie(headers: Mapping[bytes, bytes], source: Source) -> bool:
    """Whether a request is a browser's, from a page whose origin the source names. A page cannot forge its origin."""
    return headers.get(b"origin", b"").decode("latin-1") in source.cors


def id_cookie(settings: IdCookie, body: Body, cookies: bytes, new_id: Callable[[], str]) -> bytes | None:
    """What to answer as Set-Cookie, or None. Events with consent and without an `anonymousId` get the cookie's.

    The last event that says something of consent decides. An id that an event brings is the browser's word, and goes
    over the one in the cookie: after a logout it is a new one.
    """
    held = _held(settings.name, cookies)
    identity: str | None = held
    allowed: bool | None = None
    for event in _events(body):
        consent = event.context.consent if event.context else None
        if consent is None and body.context is not None:
            consent = body.context.consent
        if consent is None:
            continue
        allowed = settings.consent in consent
        if not allowed:
            continue
        if event.anonymous_id in (None, ""):
            identity = identity or new_id()
            event.anonymous_id = identity
        else:
            identity = str(event.anonymous_id)
    if allowed and identity is not None and _ID.fullmatch(identity):
        return _cookie(settings, identity, settings.max_age_days * 86_400)
    if allowed is False and held is not None:
        return _cookie(settings, "", 0)
    return None


def _events(body: Body) -> Iterator[WireEvent]:
    if body.events is not None:
        yield from body.events
    for item in body.items or ():
        if item.event is not None:
            yield item.event


def _held(name: str, cookies: bytes) -> str | None:
    for pair in cookies.decode("latin-1").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name and _ID.fullmatch(value):
            return value
    return None


def _cookie(settings: IdCookie, value: str, seconds: int) -> bytes:
    parts = [f"{settings.name}={value}", "Path=/", f"Max-Age={seconds}", "SameSite=Lax"]
    if settings.domain is not None:
        parts.append(f"Domain={settings.domain}")
    if settings.secure:
        parts.append("Secure")
    if settings.http_only:
        parts.append("HttpOnly")
    return "; ".join(parts).encode("latin-1")
