"""The catalogue: what it says of a plan, that no text of a plan becomes markup, and `polku plan docs`."""

import base64
import hashlib
import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmarkgfm
import pytest
from click.testing import CliRunner
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polku_schemas import Comparison, Plan, Property, Rule, builtin_plan_path, load_plan
from polku_schemas.catalogue import Catalogue, catalogue_of, render_html, render_markdown
from polku_schemas.catalogue.marks import code, table, text
from polku_schemas.catalogue.wording import (
    Code,
    Words,
    constraint_words,
    rule_words,
    target_words,
    when_text,
    when_words,
)
from polku_schemas.cli import plan as plan_command
from polku_schemas.rules import parse_when
from tests.schemas.catalogue.page import Page
from tests.schemas.catalogue.plans import HOSTILE, LONG, LONG_NAME, SCRIPT, hostile_plan
from tests.schemas.conftest import SMALL_PLAN

WritePlan = Callable[..., Path]


def flat(words: Words) -> str:
    return "".join(f"`{word.text}`" if isinstance(word, Code) else word for word in words)


@pytest.fixture(scope="module")
def builtin() -> Plan:
    return load_plan(builtin_plan_path())


@pytest.fixture(scope="module")
def builtin_page(builtin: Plan) -> Page:
    return Page(render_html(catalogue_of(builtin)))


# What it says ---------------------------------------------------------------------------------------------------------


def test_every_event_is_shown_once_under_its_first_stage_and_named_under_the_others(builtin: Plan) -> None:
    catalogue = catalogue_of(builtin)
    assert [stage.name for stage in catalogue.stages] == [*builtin.stages, ""]
    assert sorted(name for stage in catalogue.stages for name in stage.events) == sorted(builtin.events)
    by_name = {stage.name: stage for stage in catalogue.stages}
    assert "order_completed" in by_name["purchase"].events
    assert "order_completed" in by_name["repeat"].elsewhere
    assert "order_completed" in by_name["repeat"].touchpoints["order"]
    assert by_name[""].events == (
        *(
            "consent_decided",
            "error_shown",
            "logged_out",
            "page_performance_measured",
            "page_scrolled",
            "script_failed",
        ),
    )


def test_a_stage_without_events_is_shown(write_plan: WritePlan) -> None:
    catalogue = catalogue_of(load_plan(write_plan()))
    assert [(stage.name, stage.events) for stage in catalogue.stages] == [("interest", ()), ("purchase", ("paid",))]
    assert "no event yet" in Page(render_html(catalogue)).text_of("journey")


def test_what_a_plan_has_nothing_of_is_left_out(write_plan: WritePlan) -> None:
    bare = {"traits.yaml": "", "events/paid.yaml": SMALL_PLAN["events/paid.yaml"].partition("properties:")[0]}
    bare["events/paid.yaml"] += "examples: [{}]\n"
    plan = load_plan(write_plan(bare))
    page = Page(render_html(catalogue_of(plan)))
    assert page.ids >= {"journey", "touchpoints", "events", "properties", "privacy", "sending"}
    assert not page.ids & {"traits", "goals", "funnels", "segments", "targets", "changes", "log"}
    assert {a["href"] for tag, a in page.elements if tag == "a"} <= {f"#{identity}" for identity in page.ids}
    assert "Nothing but who, when and where." in page.text_of("event-paid")
    assert "## Traits" not in render_markdown(catalogue_of(plan))


def test_a_property_names_its_events_its_containers_and_what_rests_on_it(builtin: Plan) -> None:
    properties = catalogue_of(builtin).properties
    revenue = properties["revenue"]
    assert (revenue.column, revenue.column_type) == ("revenue", "double")
    assert "order_completed" in revenue.events
    assert "cart_viewed" in revenue.events_within, "its products have a revenue, it has none of its own"
    assert revenue.within == ("products[]",)
    assert [(use.kind, use.name, use.how) for use in revenue.uses] == [
        ("goal", "order", "value"),
        ("goal", "store_order", "value"),
        ("target", "revenue_per_month", "by the goal order"),
    ]
    assert [(use.kind, use.name) for use in properties["contact_medium"].uses] == [("event", "agent_contacted")]
    assert ("funnel", "search", "condition of step 1") in [
        (use.kind, use.name, use.how) for use in properties["results_count"].uses
    ]
    assert properties["filter_type"].column == "filters[].filter_type", "it has no column of its own"


def test_an_event_names_the_goals_funnels_and_targets_that_rest_on_it(builtin: Plan) -> None:
    uses = catalogue_of(builtin).events["order_completed"].uses
    assert [(use.kind, use.name, use.how) for use in uses] == [
        ("goal", "order", "reaches it"),
        ("funnel", "purchase", "step 4 of 4"),
        ("funnel", "checkout", "step 4 of 4"),
        ("target", "orders_per_week", "by the goal order"),
        ("target", "revenue_per_month", "by the goal order"),
        ("target", "purchase_conversion", "by the funnel purchase"),
    ]


def test_an_event_has_the_privacy_classes_of_its_objects_fields_too() -> None:
    plan = hostile_plan()
    event = plan.events["event_a"]
    inside = replace(event, properties={"things": event.properties["things"]})
    entry = catalogue_of(replace(plan, events={"event_a": inside, "event_b": plan.events["event_b"]})).events["event_a"]
    assert inside.properties["things"].privacy == "none"
    assert entry.privacy == ("personal",)


def test_the_page_says_of_each_event_all_that_the_plan_says(builtin: Plan, builtin_page: Page) -> None:
    page = builtin_page
    for event in builtin.events.values():
        text = page.text_of(f"event-{event.name}")
        for prop in event.properties.values():
            assert prop.name in text
            assert prop.description.replace("`", "") in text
        for expected in (event.description, event.owner, f"Version {event.version}", *event.aliases):
            assert expected.replace("`", "") in text, (event.name, expected)
        for rule in (*event.stage, *event.touchpoint, *event.channel):
            assert rule.then in text
            assert when_text(rule.when) in text


def test_a_plan_in_small_is_shown_in_words(write_plan: WritePlan) -> None:
    """The whole text of an event as a reader sees it."""
    event = {
        "events/paid.yaml": """\
name: paid
aliases: [Paid]
version: "1.0"
owner: shop
description: Somebody paid.
stage: [{when: "first_order and count >= 2", stage: purchase}, {stage: interest}]
touchpoint: till
channel: [{when: "count = 1", channel: store}]
properties:
  amount: {required: true}
  count: {}
examples:
  - {amount: 5}
""",
        "journey/goals.yaml": "sale: {description: A sale., events: [paid], value: amount}\n",
    }
    page = Page(render_html(catalogue_of(load_plan(write_plan(event)))))
    assert page.text_of("event-paid").startswith(
        "paid Somebody paid. 1 2 shop · v1.0 "
        "Stage purchase if it is the person's first order and count is at least 2 first_order and count >= 2 "
        "interest otherwise "
        "Touchpoint till "
        "Channel store if count is 1 count = 1 that of the source otherwise "
        "Call track Also sent as Paid Owner shop Version 1.0 Link #event-paid "
        "What it carries Property Type Column Meaning Example "
        "amount required number at least 0 double What was paid. 5 "
        "count integer long How many. "
        "Used by goal sale reaches it "
        "Send it Python JavaScript curl Copy Python import polku"
    )
    assert page.text_of("property-amount") == (
        "amount What was paid. number 1 event Type number at least 0 Privacy class none · Says nothing about a person. "
        "Column amount double In the events paid Used by goal sale value Link #property-amount"
    )
    assert "email trait E-mail address. trait_email string calls of identify" in page.text_of("privacy")


def test_the_privacy_section_has_everything_about_a_person_and_nothing_else(builtin: Plan, builtin_page: Page) -> None:
    page = builtin_page
    section = page.text_of("privacy")
    for prop in builtin.properties.values():
        assert (f" {prop.name} property " in f" {section}") == (prop.privacy != "none"), prop.name
    for trait in builtin.traits.values():
        assert (f" {trait.name} trait " in f" {section}") == (trait.privacy != "none"), trait.name
    assert "user_id" in section and "quarantine" in section, "what is beside the plan"


def test_the_page_says_which_values_are_not_stored_as_they_come(builtin: Plan, builtin_page: Page) -> None:
    says = "Stored as pseudonyms", "Not stored: the collector drops the values."
    plan = replace(builtin, privacy={"personal": "pseudonymise", "sensitive": "drop"})
    page, markdown = Page(render_html(catalogue_of(plan))), render_markdown(catalogue_of(plan))
    for words in says:
        assert words in page.text_of("privacy")
        assert words in markdown
        assert words not in builtin_page.text_of("privacy")


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ({"type": "integer", "minimum": 0}, ["at least 0"]),
        ({"type": "number", "maximum": 2.5}, ["at most 2.5"]),
        ({"type": "integer", "minimum": 1, "maximum": 5000}, ["1 to 5,000"]),
        ({"type": "string", "max_length": 128}, ["at most 128 characters"]),
        ({"type": "string", "min_length": 1}, ["at least 1 character"]),
        ({"type": "string", "min_length": 1, "max_length": 9}, ["1 to 9 characters"]),
        ({"type": "string", "min_length": 2, "max_length": 2}, ["exactly 2 characters"]),
        ({"type": "string", "enum": ("a", "b")}, ["one of `a`, `b`"]),
        ({"type": "string", "pattern": "^[A-Z]$"}, ["matches `^[A-Z]$`"]),
        ({"type": "string", "format": "email"}, ["an e-mail address"]),
        ({"type": "string", "default": "x"}, ['`"x"` is stored if it is absent']),
        ({"type": "boolean", "default": False}, ["`false` is stored if it is absent"]),
        ({"type": "date", "nullable": True}, ["may be null"]),
        (
            {
                "type": "array",
                "max_length": 50,
                "items": Property(name="x", type="string", description="", max_length=9),
            },
            ["at most 50 items", "each item: at most 9 characters"],
        ),
    ],
)
def test_constraints_are_said_in_words(constraints: dict[str, Any], words: list[str]) -> None:
    prop = Property(name="x", description="", **constraints)
    assert [flat(one) for one in constraint_words(prop)] == words


def test_a_long_enum_is_counted_in_an_event_and_whole_in_the_dictionary(builtin_page: Page) -> None:
    page = builtin_page
    shown = page.text_of("event-ad_clicked")
    assert "one of AED, AFN, ALL, AMD, AOA, ARS, AUD, AWG, AZN, BAM, BBD, BDT and 144 more" in page.text_of(
        "event-ad_clicked"
    )
    assert "ZMW, ZWG" in page.text_of("property-currency")
    assert "ZWG" not in shown


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("first_order", "it is the person's first order"),
        ("first_order = false", "it is not the person's first order"),
        ("repeat_order != true", "the person has not ordered before"),
        ("score >= 9 and score < 11.5", "`score` is at least `9` and `score` is below `11.5`"),
        ("kind in ('a', 'b')", "`kind` is one of `a`, `b`"),
        ("kind != 'a'", "`kind` is not `a`"),
        ("page_path like '/help/%'", "the path of the page begins with `/help/`"),
        ("page_path like '%.pdf'", "the path of the page ends with `.pdf`"),
        ("kind like '%a%'", "`kind` contains `a`"),
        ("kind like 'a'", "`kind` is `a`"),
        ("kind like 'a_%'", "`kind` looks like `a_%` (`%`: any text, `_`: any character)"),
        ("resolved", "`resolved` is `true`"),
    ],
)
def test_conditions_are_said_in_words(when: str, words: str) -> None:
    kinds: Any = dict.fromkeys(("first_order", "repeat_order", "resolved"), "boolean")
    kinds |= {"score": "number", "kind": "string", "page_path": "string"}
    assert flat(when_words(parse_when(when, kinds))) == words


def test_the_same_word_asks_a_person_or_a_property() -> None:
    when = (Comparison("revenue", ">", 10),)
    assert flat(when_words(when)) == "`revenue` is above `10`"
    assert flat(when_words(when, of_person=True)) == "the revenue so far is above `10`"


def test_rules_are_read_from_the_top() -> None:
    first, second = (Comparison("a", "=", 1),), (Comparison("b", "=", 2),)
    rules = (Rule("x", first), Rule("y", second), Rule("z"))
    assert [(then, flat(words)) for then, words in rule_words(rules)] == [
        ("x", "if `a` is `1`"),
        ("y", "else if `b` is `2`"),
        ("z", "otherwise"),
    ]


def test_targets_are_sentences(builtin: Plan) -> None:
    assert [flat(target_words(target, builtin)) for target in builtin.targets.values()] == [
        "the goal `order` is reached 500 times per week",
        "100,000 of `revenue` from the goal `order` per month",
        "3 % of those who begin the funnel `purchase` finish it, per month",
        "200 people reach the goal `recommendation_given` per quarter",
    ]
    money = replace(builtin.targets["revenue_per_month"], currency="EUR")
    assert flat(target_words(money, builtin)) == "100,000 EUR of `revenue` from the goal `order` per month"


literals = {
    "string": st.text(st.characters(exclude_categories=["Cs"])),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    kind = draw(st.sampled_from(sorted(literals)))
    ops = ["=", "!=", "in", *{"string": ["like"], "boolean": []}.get(kind, ["<", "<=", ">", ">="])]
    op: Any = draw(st.sampled_from(ops))
    many = st.lists(literals[kind], min_size=1, max_size=3).map(tuple)
    return Comparison(f"a_{kind}", op, draw(many if op == "in" else literals[kind]))


@given(st.lists(comparisons(), min_size=1, max_size=3).map(tuple))
def test_the_shown_condition_is_the_condition(when: tuple[Comparison, ...]) -> None:
    """What the page shows can be pasted into a plan and means the same there."""
    kinds: Any = {f"a_{kind}": kind for kind in literals}
    assert parse_when(when_text(when), kinds) == when


# The page -------------------------------------------------------------------------------------------------------------


def squeezed(text: str) -> str:
    """Backticks mark code in a description, and white space is one space on a page."""
    return re.sub(r"\s+", " ", text.replace("`", "")).strip()


def test_a_hostile_text_is_shown_and_makes_no_element(builtin: Plan) -> None:
    plan = hostile_plan()
    older = replace(plan, description=SCRIPT, events={name: plan.events[name] for name in ("event_a", "event_c")})
    page = Page(render_html(catalogue_of(plan, SCRIPT, [older])))
    assert page.tags <= Page(render_html(catalogue_of(builtin, older=[builtin]))).tags
    assert len(page.scripts) == 2, "the search index and our own"
    for tag, attributes in page.elements:
        bad = [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcdoc")]
        assert not bad, (tag, attributes)
    shown = squeezed(page.text_of("content"))
    for hostile in (*HOSTILE, LONG, LONG_NAME):
        assert squeezed(hostile) in shown, hostile


def test_the_search_index_has_the_texts_and_cannot_end_its_element() -> None:
    plan = hostile_plan()
    page = Page(render_html(catalogue_of(plan)))
    index = json.loads(page.scripts[0])
    events = {entry["name"]: entry for entry in index if entry["kind"] == "event"}
    for event in plan.events.values():
        assert events[event.name]["text"] == event.description
    assert events["event_a"]["aliases"] == [SCRIPT[:120], LONG_NAME]
    assert events["event_a"]["privacy"] == ["sensitive", "personal", "pseudonymous"]
    assert "<" not in page.scripts[0]


def test_every_link_leads_to_something_on_the_page_and_nothing_is_loaded(builtin: Plan, builtin_page: Page) -> None:
    for page in (builtin_page, Page(render_html(catalogue_of(hostile_plan())))):
        for tag, attributes in page.elements:
            target = attributes.get("href")
            if target is not None:
                assert tag == "a" and target.startswith("#") and target[1:] in page.ids, target
        assert not any("url(" in style or "@import" in style for style in page.styles)
    assert {f"event-{name}" for name in builtin.events} <= builtin_page.ids
    assert {f"property-{name}" for name in builtin.properties} <= builtin_page.ids
    assert {f"trait-{name}" for name in builtin.traits} <= builtin_page.ids


def test_the_policy_of_the_page_allows_our_own_style_and_script_alone(builtin_page: Page) -> None:
    (policy,) = [a["content"] for tag, a in builtin_page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (style,), script = builtin_page.styles, builtin_page.scripts[1]
    assert policy is not None
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest(style)}'",
        f"script-src 'sha256-{digest(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_page_of_the_builtin_plan_is_small_and_soon_made(builtin: Plan) -> None:
    begun = time.process_time()
    page = render_html(catalogue_of(builtin))
    assert time.process_time() - begun < 1
    assert len(page.encode()) < 1_000_000


def test_the_page_names_version_and_fingerprint_and_no_time(builtin: Plan, builtin_page: Page) -> None:
    assert builtin.fingerprint in builtin_page.text_of("content")
    assert "ecommerce 1.0" in builtin_page.text_of("content")
    dates = set(re.findall(r"\b20\d\d-\d\d-\d\d", builtin_page.text_of("content")))
    written = "".join(file.read_text(encoding="utf-8") for file in builtin_plan_path().rglob("*.yaml"))
    assert dates and all(date in written for date in dates)


# The change log -------------------------------------------------------------------------------------------------------


def test_the_log_has_the_steps_between_versions_the_newest_first(builtin: Plan) -> None:
    oldest = replace(builtin, version="0.8", events={k: v for k, v in builtin.events.items() if k != "ad_viewed"})
    event = builtin.events["survey_answered"]
    optional = {name: replace(prop, required=False) for name, prop in event.properties.items()}
    older = replace(builtin, version="0.9", events=builtin.events | {event.name: replace(event, properties=optional)})
    catalogue = catalogue_of(builtin, older=[oldest, older])
    log = Page(render_html(catalogue)).text_of("log")
    assert log.index("0.9 → 1.0 3 changes 3 breaking") < log.index("0.8 → 0.9 ")
    assert "survey_answered breaks question is required" in log
    assert "Instead: leave it optional" in log
    assert "ad_viewed the event is new, with version 1.0" in log
    text = render_markdown(catalogue)
    assert text.index("### From 0.9 to 1.0") < text.index("### From 0.8 to 0.9")
    assert "- `ad_viewed`: the event is new, with version 1.0." in text
    assert "(**breaks**)" in text


def test_a_step_without_changes_is_left_out_unless_it_is_the_only_one(builtin: Plan) -> None:
    """The newest tag is often the plan itself."""
    older = replace(builtin, version="0.9", fingerprint="other", events={})
    assert [step.old_version for step in catalogue_of(builtin, older=[older, builtin]).history] == ["0.9"]
    text = render_markdown(catalogue_of(builtin, older=[builtin]))
    assert "### From 1.0 to 1.0\n\nNothing changed." in text


def test_without_an_older_plan_there_is_no_log_and_the_page_says_how_to_get_one(builtin: Plan) -> None:
    catalogue = catalogue_of(builtin)
    page = Page(render_html(catalogue))
    assert "log" not in page.ids
    assert "--changes-since OLD makes one" in page.text_of("content")
    assert "`--changes-since OLD` makes one" in render_markdown(catalogue)


# Markdown -------------------------------------------------------------------------------------------------------------


def rendered(text: str) -> str:
    """As a forge shows it, by the parser of one; raw HTML is left, to see what would come through."""
    return str(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE))


def test_the_markdown_of_a_hostile_plan_has_its_texts_and_none_of_their_marks(builtin: Plan) -> None:
    plan = hostile_plan()
    page = markdown_page(catalogue_of(plan, SCRIPT, [replace(plan, description="")]))
    assert page.tags <= markdown_page(catalogue_of(builtin)).tags
    assert {a["href"] for tag, a in page.elements if tag == "a"} == {f"#event-{name}" for name in plan.events}
    shown = squeezed(page.text_of("all"))
    for hostile in (*HOSTILE, LONG, LONG_NAME):
        assert visible(squeezed(hostile)) in shown, hostile


def markdown_page(catalogue: Catalogue) -> Page:
    return Page(f"<main id='all'>{rendered(render_markdown(catalogue))}</main>")


def test_every_row_of_the_markdown_has_the_cells_of_its_table(builtin: Plan) -> None:
    for plan in (hostile_plan(), builtin):
        document = rendered(render_markdown(catalogue_of(plan)))
        tables = re.findall(r"<table>.*?</table>", document, re.DOTALL)
        assert len(tables) > len(plan.events)
        for found in tables:
            rows = re.findall(r"<tr>.*?</tr>", found, re.DOTALL)
            assert len({len(re.findall(r"<t[dh]>", row)) for row in rows}) == 1, found


MARKS = "`|*_<>[]()\\#&~$!-+=1. \n\tabc"
TEXTS = st.text(st.one_of(st.sampled_from(MARKS), st.characters(exclude_categories=["Cs", "Cc"])))


@given(TEXTS, TEXTS)
def test_any_text_stays_in_its_cell_of_the_markdown(description: str, value: str) -> None:
    """The two ways a text is written, as prose and as code, are read back by a forge's parser as they were."""
    document = rendered(table(("a", "b"), [(text(description), code(value)), ("end", "end")]))
    rows = re.findall(r"<tr>(.*?)</tr>", document, re.DOTALL)
    assert len(rows) == 3
    first, second = re.findall(r"<td>(.*?)</td>", rows[1], re.DOTALL)
    assert "<" not in first
    assert html.unescape(first) == visible(description)
    assert html.unescape(re.sub(r"</?code>", "", second)) == visible(value)
    assert "<" not in re.sub(r"^<code>|</code>$", "", second)


def visible(text: str) -> str:
    """A text on one line, with the marks that turn its direction written out."""
    turned = re.sub("[\u202a-\u202e\u2066-\u2069]", lambda mark: f"U+{ord(mark[0]):04X}", text)
    return re.sub(r"\s+", " ", turned).strip()


def test_the_markdown_links_lead_to_its_headings(builtin: Plan) -> None:
    text = render_markdown(catalogue_of(builtin))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


# `polku plan docs` ----------------------------------------------------------------------------------------------------


def docs(*arguments: str | Path) -> Any:
    return CliRunner().invoke(plan_command, ["docs", *map(str, arguments)])


def test_the_command_writes_a_page_and_says_where(write_plan: WritePlan, tmp_path: Path) -> None:
    result = docs(write_plan(), "--out", tmp_path / "site", "--markdown", "--title", "Our plan")
    assert result.exit_code == 0, result.output
    fingerprint = load_plan(tmp_path / "plan").fingerprint
    assert result.output.splitlines() == [
        f"{tmp_path}/site/index.html: small 1.0 ({fingerprint}), 1 event",
        f"{tmp_path}/site/catalogue.md: small 1.0 ({fingerprint}), 1 event",
    ]
    page = Page((tmp_path / "site/index.html").read_text(encoding="utf-8"))
    assert page.text_of("content").startswith("Our plan One event.")
    assert (tmp_path / "site/catalogue.md").read_text(encoding="utf-8").startswith("# Our plan\n\nOne event.\n")


def test_a_file_is_written_as_what_it_is_called(write_plan: WritePlan, tmp_path: Path) -> None:
    folder = write_plan()
    assert docs(folder, "--out", tmp_path / "a/page.html").exit_code == 0
    assert docs(folder, "--out", tmp_path / "a/plan.md").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["page.html", "plan.md"]
    assert (tmp_path / "a/page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "a/plan.md").read_text().startswith("# Tracking plan small")


def test_a_file_that_is_neither_and_a_contradiction_are_refused(write_plan: WritePlan, tmp_path: Path) -> None:
    folder = write_plan()
    result = docs(folder, "--out", tmp_path / "plan.pdf")
    assert (result.exit_code, "a file ends in .html or .md" in result.output) == (2, True)
    result = docs(folder, "--out", tmp_path / "plan.html", "--markdown")
    assert (result.exit_code, f"--out {tmp_path}/plan.md" in result.output) == (2, True)
    assert docs(folder).exit_code == 2, "--out is needed"
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_a_folder_with_a_dot_in_its_name_is_a_folder_once_it_is_there(write_plan: WritePlan, tmp_path: Path) -> None:
    (tmp_path / "site.html").mkdir()
    assert docs(write_plan(), "--out", tmp_path / "site.html").exit_code == 0
    assert (tmp_path / "site.html/index.html").exists()


def test_a_plan_that_cannot_be_used_writes_nothing(write_plan: WritePlan, tmp_path: Path) -> None:
    folder = write_plan({"traits.yaml": None})
    done = polku("plan", "docs", folder, "--out", tmp_path / "site")
    assert (done.returncode, done.stdout) == (2, "")
    assert "traits.yaml" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "site").exists()


def test_older_plans_are_folders_or_revisions(write_plan: WritePlan, tmp_path: Path) -> None:
    folder = write_plan()
    git = ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@example.com"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "The first plan"], ["tag", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    head = (folder / "plan.yaml").read_text()
    (folder / "plan.yaml").write_text(head.replace("1.0", "1.1"))
    traits = folder / "traits.yaml"
    traits.write_text(traits.read_text() + "age: {type: integer, description: Age., privacy: sensitive}\n")
    result = docs(folder, "--out", tmp_path / "site", "--changes-since", "v1")
    assert result.exit_code == 0, result.output
    log = Page((tmp_path / "site/index.html").read_text()).text_of("log")
    assert "1.0 → 1.1 1 change" in log and "Traits the trait age is new" in log
    result = docs(folder, "--out", tmp_path / "other", "--changes-since", "nothing")
    assert result.exit_code != 0 and not (tmp_path / "other").exists()


def test_the_same_plan_gives_the_same_bytes(builtin: Plan, tmp_path: Path) -> None:
    """Also in another process, with another hash seed, time zone and language."""
    other = {"PYTHONHASHSEED": "77", "TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = polku("plan", "docs", "--out", tmp_path, "--markdown", environment=other)
    assert done.returncode == 0, done.stderr
    catalogue = catalogue_of(builtin)
    assert (tmp_path / "index.html").read_bytes() == render_html(catalogue).encode()
    assert (tmp_path / "catalogue.md").read_bytes() == render_markdown(catalogue).encode()


def polku(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polku.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | (environment or {}), check=False)
