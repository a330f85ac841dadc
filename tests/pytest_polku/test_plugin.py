"""The fixture `polku_events`, in runs of pytest within pytest; and its verdicts beside those of the collector."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import polku
import polku.default
from polku.buffer import Buffer
from polku.planned import Unplanned, judging_plan
from polku.worker import Worker
from polku_collector.intake.judged import Arrival
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.settings import Limits, Source
from polku_schemas import builtin_plan_path, compile_plan, load_plan
from pytest_polku.captured import CapturedEvents, capture

pytest_plugins = ["pytester"]

PLAN = builtin_plan_path()
ORDER = {"order_id": "O-1", "revenue": 59.9, "products": [{"product_id": "P-1"}]}
APP = """
import polku

early = polku.Client("k", "http://127.0.0.1:9")

def view(revenue=59.9):
    order = {"order_id": "O-1", "revenue": revenue, "products": [{"product_id": "P-1"}]}
    return polku.track("order_completed", order, user_id="u-1")
"""


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLKU_WRITE_KEY", raising=False)
    monkeypatch.delenv("POLKU_ENDPOINT", raising=False)
    monkeypatch.setattr(polku.default, "_client", None)


@pytest.fixture
def run(pytester: pytest.Pytester) -> Any:
    """Runs tests beside the module `app`."""

    def run(tests: str, *arguments: str, process: bool = False) -> pytest.RunResult:
        pytester.makepyfile(app=APP, test_app="import polku, app, pytest, asyncio, threading\n" + tests)
        start = pytester.runpytest_subprocess if process else pytester.runpytest_inprocess
        return start("-p", "no:cacheprovider", *arguments)

    return run


def test_a_view_tracks_exactly_one_valid_event(run: Any) -> None:
    result = run(
        """
def test_view(polku_events):
    app.view()
    assert polku_events.only("order_completed")["revenue"] == 59.9
    assert polku_events.only("Order Completed").user_id == "u-1"
    assert polku_events.valid()

def test_invalid(polku_events):
    app.view(revenue="a lot")
    polku_events.only("order_completed")

def test_unplanned(polku_events):
    polku.track("ordr_completed", {}, user_id="u-1")
    assert polku_events.valid(unplanned="accept")
    assert polku_events.valid()
""",
        f"--polku-plan={PLAN}",
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*order_completed: wrong_type at $.properties.revenue: expected a number, came *"])
    result.stdout.fnmatch_lines(["*ordr_completed: unknown_event at $.event: *"])


def test_not_exactly_one_says_what_came(run: Any) -> None:
    result = run(
        """
def test_none(polku_events):
    polku.track("cart_viewed", {"n": 7}, user_id="u-1")
    polku_events.only("order_completed")

def test_two(polku_events):
    app.view(), app.view()
    polku_events.only("order_completed")
"""
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*exactly one 'order_completed', there are 0. Tracked (1):", '*cart_viewed of *"n":7*']
    )
    result.stdout.fnmatch_lines(["*exactly one 'order_completed', there are 2. Tracked (2):"])


def test_every_client_is_captured_and_nothing_leaks_from_test_to_test(run: Any) -> None:
    """Those made before too; what one test configures or closes is for the next as it was before."""
    result = run(
        """
@pytest.mark.parametrize("turn", range(3))
def test_clients(polku_events, turn):
    assert not polku_events
    assert app.early.track("a", user_id="u")
    with polku.Client("k", "http://127.0.0.1:9") as own:
        own.track("b", user_id="u")
    app.early.close()
    assert app.early.track("after close", user_id="u") is None
    polku.track("c", user_id="u")
    polku.configure("k", "http://127.0.0.1:9", full_queue="block").track("d", user_id="u")
    assert polku.flush() and polku.close()
    assert [event.name for event in polku_events] == ["a", "b", "c", "d"]
    assert own.stats().delivered == 1 and own.stats().requests == 0

def test_after():
    assert polku.default._client is None
"""
    )
    result.assert_outcomes(passed=4)


def test_threads_and_async_tests(run: Any) -> None:
    result = run(
        """
def test_threads(polku_events):
    threads = [threading.Thread(target=lambda: [app.view() for _ in range(200)]) for _ in range(8)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert len(polku_events.named("order_completed")) == 1600

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks(polku_events, anyio_backend):
    await asyncio.gather(*(asyncio.to_thread(app.view) for _ in range(20)))
    app.view()
    async with polku.AsyncClient("k", "http://127.0.0.1:9") as client:
        assert client.track("last", user_id="u")
        assert await client.flush()
    assert client.track("after close", user_id="u") is None
    assert len(polku_events) == 22 and polku_events[-1].name == "last"
    assert client.stats().requests == 0
"""
    )
    result.assert_outcomes(passed=2)


def test_processes_of_xdist_have_their_own(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\npolku_plan = {PLAN}\npolku_unplanned = accept")
    result = run(
        """
@pytest.mark.parametrize("n", range(8))
def test_one(polku_events, n):
    polku.track("x", {"n": n}, user_id="u")
    assert polku_events.only("x")["n"] == n
    assert polku_events.valid()
    assert "polku" not in [thread.name for thread in threading.enumerate()]
""",
        "-n2",
        process=True,
    )
    result.assert_outcomes(passed=8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "*there is no plan to judge by: --polku-plan*"),
        (("--polku-plan=none",), "*UsageError: the tracking plan*none cannot be used*"),
    ],
)
def test_a_missing_plan_is_said(run: Any, arguments: tuple[str, ...], said: str) -> None:
    result = run("def test_x(polku_events):\n    polku_events.valid()", *arguments)
    assert result.ret != 0
    result.stdout.fnmatch_lines([said])


def test_it_costs_nothing_where_no_test_asks_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_x():\n    assert not {'polku', 'msgspec', 'httpx'} & set(sys.modules)")
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_what_it_replaces_is_put_back_even_after_a_failure() -> None:
    before = (Buffer.put, Worker.flush, Worker.close)
    with pytest.raises(ZeroDivisionError), capture(CapturedEvents()):
        assert Buffer.put is not before[0]
        raise ZeroDivisionError
    assert (Buffer.put, Worker.flush, Worker.close) == before
    assert polku.default._client is None


def test_helpers() -> None:
    with capture(CapturedEvents(judging_plan(PLAN))) as events:
        polku.page("Home", {"page_type": "home"}, anonymous_id="a-1", context={"page": {"path": "/"}})
        polku.identify("u-1", {"loyalty_tier": "gold"})
        assert events.only("page_viewed") == events.named("page")[0] == events[0]
        assert events[0].context == {"page": {"path": "/"}}
        assert events[0].anonymous_id == "a-1"
        assert events[-1].traits == {"loyalty_tier": "gold"}
        assert [event.type for event in events[:2]] == ["page", "identify"]
        assert events[1].item["messageId"] == events[1].message_id
        events.clear()
        assert len(events) == 0


ITEMS: list[dict[str, Any]] = [
    {"type": "track", "event": "order_completed", "userId": "u", "properties": ORDER},
    {"type": "track", "event": "Order Completed", "userId": "u", "properties": {**ORDER, "revenue": "x"}},
    {"type": "track", "event": "order_completed", "userId": "u"},
    {"type": "track", "event": "order_completed", "userId": "u", "properties": {**ORDER, "colour": 1}},
    {"type": "track", "event": "order_completed", "properties": ORDER},
    {"type": "track", "event": "order_completed", "userId": "u" * 1_025, "properties": ORDER},
    {"type": "track", "event": "no_such_event", "userId": "u"},
    {"type": "track", "event": "x" * 257, "userId": "u"},
    {"type": "track", "userId": "u"},
    {"type": "tracked", "userId": "u"},
    {"event": "order_completed", "userId": "u"},
    {"type": "identify", "userId": "u", "traits": {"email": "nobody"}},
    {"type": "identify", "userId": "u", "traits": {"shoe_size": 43}},
    {"type": "identify", "userId": "u", "properties": {"beside": 1}},
    {"type": "page", "name": "Home", "anonymousId": "a", "properties": {"url": "https://x.example/"}},
    {"type": "page", "name": "Home", "anonymousId": "a", "properties": {"url": 7}},
    {"type": "page", "category": "c", "anonymousId": "a", "properties": {"page_type": 7}},
    {"type": "screen", "name": "Start", "anonymousId": "a"},
    {"type": "group", "groupId": "g", "userId": "u", "traits": {"email": 7, "size": 3}},
    {"type": "alias", "userId": "u", "previousId": "p"},
    {"type": "alias", "previousId": "p"},
]


@pytest.mark.parametrize("unplanned", ["accept", "quarantine"])
def test_its_verdicts_are_those_of_the_collector(unplanned: Unplanned) -> None:
    body = json.dumps({"batch": ITEMS}).encode()
    validator = Validator(compile_plan(load_plan(PLAN)), Limits(), lambda: "id")
    arrival = Arrival(datetime.now(UTC), None, "s", Source(keys=["k"], unplanned=unplanned), body)
    judged = validator.judge(parse_batch(body), arrival)
    plan = judging_plan(PLAN)
    ours = [plan.judge(item, unplanned, index) for index, item in enumerate(ITEMS)]
    rejected = [(one.rejected.index, one.rejected.code, one.rejected.path) for one in ours if one.rejected]
    assert rejected == [(one.index, one.code, one.path) for one in judged.rejected]
    assert len(rejected) > 8
    warnings = [(one.warning.index, one.warning.code, one.warning.path) for one in ours if one.warning]
    assert warnings == [(one.index, one.code, one.path) for one in judged.warnings]


def test_the_example_of_the_guide_passes(run: Any) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "sdk-python.md").read_text()
    [example] = [text for text in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "polku_events.only" in text]
    run(example, f"--polku-plan={PLAN}").assert_outcomes(passed=1)
