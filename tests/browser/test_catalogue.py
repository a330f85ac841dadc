"""The catalogue's page in a real browser: search, filters, links, copying, and that it reads well everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from msgspec.structs import replace

from polku_schemas import builtin_plan_path, load_plan
from polku_schemas.catalogue import catalogue_of, render_html
from polku_schemas.catalogue.calls import SETUP, event_calls
from tests.collector.world import collector, rows, wait_until
from tests.schemas.catalogue.plans import HOSTILE, big_plan, hostile_plan

Open = Callable[..., Any]


def becomes_true(page: Any, expression: str) -> None:
    """Wait for something in the page. Playwright's own way to wait is code in the page, which these pages forbid."""
    wait_until(lambda: page.evaluate(expression), 10, lambda: expression)


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of the built-in plan (with a log), of a hostile one and of 500 events."""
    folder = tmp_path_factory.mktemp("pages")
    builtin, hostile = load_plan(builtin_plan_path()), hostile_plan()
    older = {name: event for name, event in builtin.events.items() if name != "ad_viewed"}
    made = {
        "builtin": catalogue_of(builtin, older=[replace(builtin, events=older, version="0.9")]),
        "hostile": catalogue_of(hostile, HOSTILE[0]),
        "big": catalogue_of(big_plan(500)),
    }
    files = {name: folder / f"{name}.html" for name in made}
    for name, catalogue in made.items():
        files[name].write_text(render_html(catalogue), encoding="utf-8")
    return files


def search(page: Any, text: str) -> list[str]:
    """Type into the search field; the names of the hits."""
    page.keyboard.press("/")
    page.locator("#search").fill(text)
    return list(page.locator("#hits [role=option] .name").all_text_contents())


# Search ---------------------------------------------------------------------------------------------------------------


def test_search_by_keyboard_leads_to_an_event(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("order compl")
    options = page.locator("#hits [role=option]")
    assert options.first.get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowDown")
    assert options.nth(1).get_attribute("aria-selected") == "true"
    assert page.locator("#search").get_attribute("aria-activedescendant") == options.nth(1).get_attribute("id")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#event-order_completed"
    # The page follows its hash when it is told that it has changed, which comes a moment later.
    page.locator("#event-order_completed > .body").wait_for(state="visible")
    becomes_true(page, "document.activeElement === document.querySelector('#event-order_completed > summary')")
    page.locator("#hits").wait_for(state="hidden")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("order_completed", "order_completed"),
        ("Order Completed", "order_completed"),
        ("orderCompleted", "order_completed"),
        ("Viewed Page", "page_viewed"),  # an alias
        ("price", "price"),  # a property before the many events that carry it
        ("call centre", "agent_contacted"),  # a channel
        ("employee or a chatbot", "agent_contacted"),
        ("logistics", "order_delivered"),  # an owner
        ("account signed", "signed_up"),  # an owner and a part of a name
        ("contact_medium", "contact_medium"),
        ("income", "income_band"),  # a trait
        ("purchase conversion", "purchase_conversion"),  # a target
    ],
)
def test_search_finds_by_name_alias_text_property_and_owner(
    open_page: Open, pages: dict[str, Path], text: str, first: str
) -> None:
    assert search(open_page(pages["builtin"]), text)[0] == first


def test_search_finds_every_event_with_a_property(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    plan = load_plan(builtin_plan_path())
    expected = {event.name for event in plan.events.values() if "coupon" in event.properties}
    assert expected <= set(search(page, "coupon"))
    assert "carries coupon" in page.locator("#hits").text_content()


def test_escape_clears_the_search_and_nothing_found_is_said(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    assert search(page, "zzzz") == []
    assert "Nothing in the plan is like “zzzz”." in page.locator("#hits").text_content()
    assert page.locator("#status").text_content() == "0 hits"
    page.keyboard.press("Escape")
    assert page.locator("#search").input_value() == ""
    assert not page.locator("#hits").is_visible()
    page.locator("#search").type("a/b")
    assert page.locator("#search").input_value() == "a/b", "a slash is a slash while one types"


def test_a_hit_can_be_clicked(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    search(page, "trait_email email")
    search(page, "birthday")
    page.locator("#hits [role=option]").first.click()
    assert page.locator("#trait-birthday > .body").is_visible()


def test_a_page_of_500_events_is_searched_like_a_small_one(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["big"])
    assert page.locator(".entry.event").count() == 500
    assert search(page, "order_completed")[0] == "order_completed"


# Filters --------------------------------------------------------------------------------------------------------------


def shown(page: Any) -> list[str]:
    return list(page.locator(".entry.event:visible > summary .name").all_text_contents())


def test_filters_narrow_the_events_together_and_can_be_shared(open_page: Open, pages: dict[str, Path]) -> None:
    plan = load_plan(builtin_plan_path())
    catalogue = catalogue_of(plan)
    page = open_page(pages["builtin"])
    assert len(shown(page)) == len(plan.events)
    page.locator("select[name=owner]").select_option("=marketing")
    assert set(shown(page)) == set(catalogue.owners["marketing"])
    page.locator("select[name=stage]").select_option("=interest")
    interest = {name for name, entry in catalogue.events.items() if "interest" in entry.stages}
    expected = set(catalogue.owners["marketing"]) & interest
    assert 1 < len(expected) < len(catalogue.owners["marketing"])
    assert set(shown(page)) == expected
    assert page.locator("#shown").text_content() == f"{len(expected)} of 77 events"
    address = page.evaluate("location.hash")
    other = open_page(pages["builtin"], address)
    assert set(shown(other)) == expected
    page.locator("#filters button").click()
    wait_until(lambda: len(shown(page)) == len(plan.events), 10)  # a form is told that it is reset before it is
    assert page.locator("#filters button").is_hidden()


@pytest.mark.parametrize("name", ["stage", "touchpoint", "channel", "privacy"])
def test_each_filter_shows_what_has_the_value(open_page: Open, pages: dict[str, Path], name: str) -> None:
    page = open_page(pages["builtin"])
    entries = catalogue_of(load_plan(builtin_plan_path())).events
    members = {"stage": "stages", "touchpoint": "touchpoints", "channel": "channels", "privacy": "privacy"}
    select = page.locator(f"select[name={name}]")
    values = [option.get_attribute("value") for option in select.locator("option").all()]
    assert len(values) > 3
    for value in values[1:]:
        select.select_option(value)
        wanted = value.removeprefix("=")
        has = {event for event, entry in entries.items() if wanted in (getattr(entry, members[name]) or ("",))}
        assert set(shown(page)) == has, value


def test_a_link_to_an_event_that_is_filtered_away_shows_it(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"], "#events?owner=%3Dlogistics")
    assert "page_viewed" not in shown(page)
    page.evaluate("location.hash = 'event-page_viewed'")
    page.wait_for_selector("#event-page_viewed > .body", state="visible")
    assert len(shown(page)) == 77


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["event-order_completed", "property-products", "trait-email", "goal-order", "log"])
def test_a_deep_link_opens_and_shows_its_target(open_page: Open, pages: dict[str, Path], target: str) -> None:
    page = open_page(pages["builtin"], f"#{target}")
    box = page.locator(f"#{target}").bounding_box()
    assert -1 <= box["y"] < 400, "it is at the top of the window"
    if page.locator(f"details#{target}").count():
        assert page.locator(f"#{target} > .body").is_visible()


def test_links_inside_the_page_open_their_targets_also_a_second_time(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"], "#event-order_completed")
    page.locator("#event-order_completed th a", has_text="revenue").click()
    page.wait_for_selector("#property-revenue > .body", state="visible")
    page.locator("#property-revenue > summary").click()
    assert not page.locator("#property-revenue > .body").is_visible()
    page.locator("#event-order_completed th a", has_text="revenue").click()
    page.wait_for_selector("#property-revenue > .body", state="visible")


def test_opening_a_row_by_hand_makes_its_address_the_pages(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    page.locator("#event-ad_viewed > summary").click()
    becomes_true(page, "location.hash === '#event-ad_viewed'")  # set when the row is told that it is open
    assert page.locator("#event-ad_viewed > .body").is_visible()


# Calls ----------------------------------------------------------------------------------------------------------------


def test_the_copy_button_copies_the_call_of_the_chosen_language(open_page: Open, pages: dict[str, Path]) -> None:
    event = load_plan(builtin_plan_path()).events["order_completed"]
    calls = event_calls(event)
    page = open_page(pages["builtin"], "#event-order_completed", permissions=["clipboard-read", "clipboard-write"])
    entry = page.locator("#event-order_completed")
    for language, expected in (("Python", calls.python), ("JavaScript", calls.javascript), ("curl", calls.curl)):
        entry.get_by_role("button", name=language, exact=True).click()
        assert entry.locator("pre:visible").text_content() == expected
        entry.get_by_role("button", name="Copy the call of order_completed").click()
        becomes_true(page, "document.getElementById('status').textContent === 'Copied'")
        assert page.evaluate("navigator.clipboard.readText()") == expected
        page.evaluate("document.getElementById('status').textContent = ''")


def test_the_language_is_chosen_for_the_whole_page(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"], "#event-order_completed")
    page.locator("#event-order_completed").get_by_role("button", name="curl", exact=True).click()
    page.locator("#event-ad_viewed > summary").click()
    assert page.locator("#event-ad_viewed pre:visible").text_content().startswith("curl -u ")


def test_without_a_clipboard_the_text_is_copied_by_selection(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"], "#event-ad_viewed", permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not here')); }")
    page.locator("#event-ad_viewed").get_by_role("button", name="Copy the call of ad_viewed").click()
    becomes_true(page, "document.getElementById('status').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()").startswith("import polku")


def test_the_calls_in_javascript_arrive_in_the_lake(browser: Any, tmp_path: Path) -> None:
    plan = load_plan(builtin_plan_path())
    events = [plan.events[name] for name in ("order_completed", "page_viewed", "screen_viewed", "products_searched")]
    with collector(tmp_path) as process:
        setup = SETUP.javascript.replace("http://127.0.0.1:8080", process.url).replace('"dev"', '"web-key"')
        page = browser.new_page()
        page.goto(f"{process.url}/healthz")
        page.add_script_tag(
            type="module", content="\n".join([setup, *(event_calls(event).javascript for event in events)])
        )
        # Besides: who the person is, and the page that the SDK tracks by itself.
        wait_until(lambda: len(rows(process.lake, "events", "event_id")) == len(events) + 2, 60, process.log)
        page.close()
        columns = "event_name, user_id, order_id, page_name, screen_name, query"
        stored = [row for row in rows(process.lake, "events", columns) if any(row[2:])]
        assert rows(process.lake, "quarantine", "code") == []
    assert sorted(stored) == sorted([
        ("order_completed", "user-1", "O-20931", None, None, None),
        ("page_viewed", "user-1", None, "Home", None, None),
        ("products_searched", "user-1", None, None, None, "wool sweater"),
        ("screen_viewed", "user-1", None, None, "ProductDetail", None),
    ])  # fmt: skip


# How it looks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scheme", "width"), [("builtin", "light", 1280), ("builtin", "dark", 390), ("hostile", "dark", 1280)]
)
def test_nothing_serious_is_wrong_for_those_who_cannot_see_or_point(
    open_page: Open, pages: dict[str, Path], name: str, scheme: str, width: int
) -> None:
    """axe's rules, contrast among them, with rows open and the search in use."""
    page = open_page(pages[name], width=width, color_scheme=scheme)
    some = "rows => rows.filter((row, at) => at < 3 || at > rows.length - 3).map((row) => row.open = true)"
    assert len(page.locator(".entry").evaluate_all(some)) == 5
    search(page, "e")
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    bad = [v for v in results.response["violations"] if v["impact"] in ("serious", "critical")]
    assert bad == [], [(v["id"], v["nodes"][0]["html"], v["nodes"][0]["any"]) for v in bad]


@pytest.mark.parametrize("name", ["builtin", "hostile"])
def test_there_is_no_scrolling_sideways_on_a_phone(open_page: Open, pages: dict[str, Path], name: str) -> None:
    page = open_page(pages[name], width=390, height=844)
    page.evaluate("document.querySelectorAll('details').forEach(row => row.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    wide = page.evaluate(
        """[...document.querySelectorAll("main *, .side *")].filter((e) => e.getBoundingClientRect().right > 390.5
           && e.checkVisibility() && !e.closest(".unseen, .search label")).map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert wide == []


@pytest.mark.parametrize("width", [1000, 1280])
def test_a_column_type_is_never_broken_inside_a_word(open_page: Open, pages: dict[str, Path], width: int) -> None:
    page = open_page(pages["builtin"], "#event-order_completed", width=width)
    code = page.locator("#event-order_completed .properties tr", has_text="list of objects").locator("td").nth(1)
    assert code.inner_text() == "list<struct>"
    assert code.evaluate("cell => cell.scrollWidth <= cell.clientWidth")
    lines = code.locator("code").evaluate("code => new Set([...code.getClientRects()].map((part) => part.top)).size")
    assert lines == (2 if width == 1000 else 1)


def test_the_navigation_tells_which_section_is_read_also_the_last(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    current = page.locator("nav a[aria-current]")
    for section in ("privacy", "sending", "touchpoints"):
        page.locator(f'nav a[href="#{section}"]').click()
        page.locator(f'nav a[href="#{section}"][aria-current]').wait_for()
        assert current.count() == 1


def test_dark_is_dark(open_page: Open, pages: dict[str, Path]) -> None:
    def brightness(scheme: str) -> int:
        page = open_page(pages["builtin"], color_scheme=scheme)
        return sum(page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))

    assert brightness("dark") < 150 < 600 < brightness("light")


def test_the_focus_is_seen_on_everything_that_takes_it(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"])
    for _ in range(40):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => { const active = document.activeElement, style = getComputedStyle(active);
               return [active.outerHTML.slice(0, 99), style.outlineStyle, parseFloat(style.outlineWidth)]; }"""
        )
        assert seen[1] == "solid" and seen[2] >= 2, seen


def test_without_scripts_all_can_be_read_and_nothing_pretends_to_work(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"], "#event-order_completed", java_script_enabled=False)
    assert not page.locator("#search").is_visible()
    assert not page.locator("#filters").is_visible()
    assert page.get_by_role("button").count() == 0
    assert page.locator("#event-order_completed > .body").is_visible(), "the row that is linked to is open"
    for language in ("python", "javascript", "curl"):
        assert page.locator(f"#event-order_completed .call[data-language={language}]").is_visible()
    page.locator("#event-ad_viewed > summary").click()
    assert page.locator("#event-ad_viewed > .body").is_visible()


def test_on_paper_every_row_is_open_and_nothing_is_to_be_pressed(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["builtin"], color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#event-order_completed table").evaluate("e => e.checkVisibility()")
    assert page.locator("#property-revenue .facts").evaluate("e => e.getBoundingClientRect().height > 50")
    assert page.locator("button:visible, select:visible, input:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


# Safety ---------------------------------------------------------------------------------------------------------------


def test_no_text_of_a_plan_runs(open_page: Open, pages: dict[str, Path]) -> None:
    page = open_page(pages["hostile"])
    title = page.title()
    page.evaluate("document.querySelectorAll('details').forEach(row => row.open = true)")
    for text in (*HOSTILE, "e"):
        search(page, text)
        page.keyboard.press("Escape")
    for select in page.locator("select").all():
        for option in select.locator("option").all():
            select.select_option(option.get_attribute("value"))
    page.wait_for_timeout(300)
    assert page.title() == title == HOSTILE[0]
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2


def test_the_policy_stops_what_would_get_through(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    """Were a text not escaped after all, it could not run: a page with a hole in it, made for this test."""
    text = pages["builtin"].read_text(encoding="utf-8")
    holed = tmp_path / "holed.html"
    hole = f"{HOSTILE[0]}<p style='color: red' id='styled'>x</p>"
    holed.write_text(text.replace("<h1", f"{hole}<h1", 1), encoding="utf-8")
    page = browser.new_page()
    page.goto(holed.as_uri())
    page.wait_for_timeout(300)
    assert page.title() == "Tracking plan ecommerce"
    assert page.locator("#styled").evaluate("e => getComputedStyle(e).color") != "rgb(255, 0, 0)"
    page.close()
