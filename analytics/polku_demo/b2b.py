"""A made-up software house that sells to companies: from the first page over a call to the contract.

    told = B2b(companies=400, seed=1)
    for call in told.calls: ...

Nine touchpoints: the site is found, looked at, "book a call" is clicked, the form is sent, a mail confirms, sales
calls, a mail follows, the contract is signed, feedback is asked for. Planted: from `LANDING_DAY` on a better landing
page leads more visits to the form, and in one browser (`BROKEN_BROWSER`) the form mostly ends in an error.
"""

from datetime import date, timedelta
from typing import Final

from msgspec import Struct

from polku_demo import events
from polku_demo.calls import Call, by_time
from polku_demo.planted import BROWSERS, DAYS, LAST_DAY, USER_AGENTS, deal_anew
from polku_demo.webshop.diary import DAY, HOUR, Diary
from polku_demo.webshop.draw import Draw

SOURCES: Final = {"site": "web", "mail": "email", "sales": "call_centre", "crm": "server"}

FIRST_DAY: Final = LAST_DAY - timedelta(days=DAYS - 1)
LANDING_DAY: Final[date] = FIRST_DAY + timedelta(days=DAYS - 28)
"""Since then the landing page is a better one."""
BROKEN_BROWSER: Final = "Firefox"

_SITE: Final = "https://b2b.example"
_TO_FORM: Final = (0.3, 0.5)
"""Share of the visits that come to the form, with the old and with the new landing page."""
_ERROR: Final = (0.02, 0.8)
"""Share of the forms that fail, in the other browsers and in the broken one."""
_SENT: Final = (0.7, 0.1)
"""Share of the forms that are sent, without an error and after one."""


class _Visit(Struct):
    """What will happen in one visit."""

    company: int
    person: int
    number: int
    day: int
    browser: str
    to_form: bool
    error: bool = False
    sent: bool = False


class B2b:
    """Twelve weeks: `calls` in the order of time, and what is known of them."""

    def __init__(self, companies: int = 400, seed: int = 1, *, shuffled: bool = False) -> None:
        diary = Diary(FIRST_DAY, DAYS)
        visits: list[_Visit] = []
        people = 0
        for company in range(companies):
            draw = Draw(seed, f"b2b-{company}")
            for _ in range(draw.whole(1, 3)):
                people += 1
                visits += _visits(draw, company, people)
        if shuffled:
            _shuffle(Draw(seed, "b2b-twin"), visits)
        self.leads: set[int] = set()
        self.orders = 0
        for visit in sorted(visits, key=lambda visit: visit.day):
            self.orders += _tell(diary, seed, visit, known=visit.person in self.leads)
            if visit.sent:
                self.leads.add(visit.person)
        self.people = people
        self.calls: list[Call] = sorted(diary.calls, key=by_time)


def _visits(draw: Draw, company: int, person: int) -> list[_Visit]:
    found = []
    for number in range(draw.whole(1, 4)):
        day, browser = draw.whole(0, DAYS - 1), draw.weighted(BROWSERS)
        visit = _Visit(company, person, number, day, browser, draw.chance(_TO_FORM[day >= DAYS - 28]))
        if visit.to_form:
            visit.error = draw.chance(_ERROR[browser == BROKEN_BROWSER])
            visit.sent = draw.chance(_SENT[visit.error])
        found.append(visit)
    return found


def _shuffle(draw: Draw, visits: list[_Visit]) -> None:
    """Days, browsers and errors (among forms) in another order: none of them explains anything any more."""
    days, browsers = [visit.day for visit in visits], [visit.browser for visit in visits]
    forms = [visit for visit in visits if visit.to_form]
    errors = [visit.error for visit in forms]
    deal_anew(draw, days)
    deal_anew(draw, browsers)
    deal_anew(draw, errors)
    for visit, day, browser in zip(visits, days, browsers, strict=True):
        visit.day, visit.browser = day, browser
    for visit, error in zip(forms, errors, strict=True):
        visit.error = error


def _tell(diary: Diary, seed: int, visit: _Visit, *, known: bool) -> int:
    """Write one visit and what follows from it; the number of contracts."""
    draw = Draw(seed, f"b2b-visit-{visit.person}-{visit.number}")
    lead, anonymous_id = f"lead-{visit.person:05d}", f"b2b-{seed}-{visit.person:05d}"
    at = visit.day * DAY + draw.between(7 * HOUR, 17 * HOUR)
    user_id = lead if known else None
    base = {"sessionId": draw.id(), "userAgent": USER_AGENTS[visit.browser]}

    def page(path: str, title: str, kind: events.PageType, time: float) -> None:
        context = {**base, "page": {"url": _SITE + path, "path": path, "title": title}}
        seen = events.PageViewed(page_name=title, page_type=kind)
        moment = diary.moment(time)
        diary.add(Call("site", "page", draw.id(), moment, title, user_id, anonymous_id, values=seen, context=context))

    page("/", "What we do", "home", at)
    for number in range(draw.whole(0, 3)):
        page(f"/features/{number}", "Feature", "product", at + 30 * (number + 1))
    if not visit.to_form:
        return 0
    at += 200
    track = diary.track
    track("site", draw.id(), at, events.CtaClicked(element="book-a-call"), user_id, anonymous_id, base)
    page("/contact", "Book a call", "other", at + 5)
    if visit.error:
        failed = events.ErrorShown(error_code="form_failed", http_status=500)
        track("site", draw.id(), at + 40, failed, user_id, anonymous_id, base)
    if not visit.sent:
        return 0
    at += 60
    track("site", draw.id(), at, events.FormSubmitted(form_id="call", form_type="contact"), lead, anonymous_id, base)
    company = f"company-{visit.company:04d}"
    diary.add(Call("crm", "group", draw.id(), diary.moment(at + 1), user_id=lead, group_id=company))
    track("mail", draw.id(), at + 30, events.EmailSent(email_id=draw.id(), campaign_id="confirmation"), lead)
    spoken = events.AgentContacted(
        agent_role="sales",
        contact_reason="quote",
        duration_seconds=round(draw.duration(1200)),
        agent_id=f"S{draw.whole(1, 5)}",
        contact_medium="phone",
    )
    track("sales", draw.id(), at + DAY, spoken, lead)
    track("mail", draw.id(), at + 2 * DAY, events.EmailSent(email_id=draw.id(), campaign_id="follow-up"), lead)
    if not draw.chance(0.35):
        return 0
    price = float(draw.whole(10, 90) * 100)
    signed = events.OrderCompleted(
        order_id=f"contract-{visit.person}-{visit.number}",
        revenue=price,
        currency="EUR",
        products=[events.Product(product_id="licence", price=price, quantity=1)],
    )
    track("crm", draw.id(), at + 5 * DAY, signed, lead)
    asked = events.FeedbackRequested(about="company", about_id=signed.order_id)
    track("mail", draw.id(), at + 8 * DAY, asked, lead)
    return 1
