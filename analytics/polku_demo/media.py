"""A made-up streaming service: people choose, watch, rate and subscribe.

    told = Media(viewers=600, seed=1)
    for call in told.calls: ...

Planted: paying fails in one browser (`BROKEN_BROWSER`), on `QUIET_DAY` the service is down for most of the day, and
some households share a tablet on which nobody logs out.
"""

from datetime import date, timedelta
from typing import Final

from msgspec import Struct

from polku.typed import Event
from polku_demo import events
from polku_demo.calls import Call, by_time
from polku_demo.planted import BROWSERS, DAYS, LAST_DAY, USER_AGENTS, deal_anew
from polku_demo.webshop.diary import DAY, HOUR, Diary
from polku_demo.webshop.draw import Draw

SOURCES: Final = {"site": "web", "billing": "server"}

FIRST_DAY: Final = LAST_DAY - timedelta(days=DAYS - 1)
_QUIET: Final = 50
QUIET_DAY: Final[date] = FIRST_DAY + timedelta(days=_QUIET)
"""Nine of ten visits of this day did not come about."""
BROKEN_BROWSER: Final = "Safari"

_SITE: Final = "https://media.example"
_FAILED: Final = (0.03, 0.7)
"""Share of the payments that fail, in the other browsers and in the broken one."""
_PAID: Final = (0.8, 0.15)
"""Share of the payments that lead to a subscription, without and after a failure."""


class _Visit(Struct):
    """What will happen in one visit."""

    viewer: int
    number: int
    day: int
    browser: str
    pays: bool
    failed: bool = False
    paid: bool = False


class Media:
    """Twelve weeks: `calls` in the order of time, and what is known of them."""

    def __init__(self, viewers: int = 600, seed: int = 1, *, shuffled: bool = False) -> None:
        diary = Diary(FIRST_DAY, DAYS)
        visits: list[_Visit] = []
        for viewer in range(viewers):
            visits += _visits(Draw(seed, f"media-{viewer}"), viewer, quiet=not shuffled)
        if shuffled:
            _shuffle(Draw(seed, "media-twin"), visits)
        self.shared_devices = 0
        for visit in visits:
            _tell(diary, seed, visit, shared=_shares(visit.viewer) and not shuffled)
        if not shuffled:
            seen = {visit.viewer for visit in visits}
            self.shared_devices = sum(
                _shares(viewer) and {viewer, viewer + 1} <= seen for viewer in range(0, viewers, 2)
            )
        self.viewers = len({visit.viewer for visit in visits})
        self.subscriptions = sum(visit.paid for visit in visits)
        self.calls: list[Call] = sorted(diary.calls, key=by_time)


def _shares(viewer: int) -> bool:
    """Every tenth pair of viewers has one tablet."""
    return viewer // 2 % 10 == 0


def _visits(draw: Draw, viewer: int, *, quiet: bool) -> list[_Visit]:
    found = []
    for number in range(draw.whole(2, 12)):
        day, browser = draw.whole(0, DAYS - 1), draw.weighted(BROWSERS)
        if draw.chance(0.9) and quiet and day == _QUIET:
            continue
        visit = _Visit(viewer, number, day, browser, draw.chance(0.25))
        if visit.pays:
            visit.failed = draw.chance(_FAILED[browser == BROKEN_BROWSER])
            visit.paid = draw.chance(_PAID[visit.failed])
        found.append(visit)
    return found


def _shuffle(draw: Draw, visits: list[_Visit]) -> None:
    """Browsers, and failures among payments, in another order: neither explains anything any more."""
    browsers, payments = [visit.browser for visit in visits], [visit for visit in visits if visit.pays]
    failures = [visit.failed for visit in payments]
    deal_anew(draw, browsers)
    deal_anew(draw, failures)
    for visit, browser in zip(visits, browsers, strict=True):
        visit.browser = browser
    for visit, failed in zip(payments, failures, strict=True):
        visit.failed = failed


def _tell(diary: Diary, seed: int, visit: _Visit, *, shared: bool) -> None:
    draw = Draw(seed, f"media-visit-{visit.viewer}-{visit.number}")
    device = f"pair-{visit.viewer // 2}" if shared else f"viewer-{visit.viewer}"
    user_id, anonymous_id = f"viewer-{visit.viewer:05d}", f"media-{seed}-{device}"
    at = visit.day * DAY + draw.between(8 * HOUR, 22 * HOUR)
    base = {"sessionId": draw.id(), "userAgent": USER_AGENTS[visit.browser]}
    context = {**base, "page": {"url": f"{_SITE}/", "path": "/", "title": "Tonight"}}
    home = events.PageViewed(page_name="Tonight", page_type="home")
    diary.add(
        Call("site", "page", draw.id(), diary.moment(at), "Tonight", None, anonymous_id, values=home, context=context)
    )

    def track(seconds: float, event: Event, source: str = "site") -> None:
        device_id = anonymous_id if source == "site" else None
        diary.track(source, draw.id(), at + seconds, event, user_id, device_id, base)

    track(10, events.LoggedIn(method="password"))
    film, length = f"film-{draw.whole(1, 40):02d}", 5400
    track(60, events.PlaybackStarted(content_id=film, content_type="video", length_seconds=length))
    watched = draw.whole(1, 6)
    for part in range(1, watched + 1):
        progressed = events.PlaybackProgressed(content_id=film, playback_seconds=900 * part, content_type="video")
        track(60 + 900 * part, progressed)
    ended = 60 + 900 * watched
    if watched == 6:
        track(ended + 5, events.PlaybackCompleted(content_id=film, content_type="video", length_seconds=length))
        if draw.chance(0.3):
            track(ended + 20, events.ContentRated(content_id=film, rating=draw.whole(1, 5)))
    if not visit.pays:
        return
    track(ended + 60, events.CheckoutStarted(currency="EUR"))
    track(ended + 90, events.PaymentInfoEntered(payment_method="card"))
    if visit.failed:
        track(ended + 95, events.PaymentFailed(failure_code="page_error", payment_method="card"))
    if visit.paid:
        started = events.SubscriptionStarted(
            subscription_id=f"sub-{visit.viewer}-{visit.number}", value=9.9, currency="EUR", billing_period="month"
        )
        track(ended + 120, started)
