"""What is bound goes with the events of a piece of work, of no other, and never with another person's."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polku
from polku import typed
from polku.context import begin_request, held


@pytest.fixture(autouse=True)
def nothing_bound() -> Iterator[None]:
    token = held.set(None)
    yield
    held.reset(token)


class World:
    """A client and what it sends."""

    def __init__(self, **options: Any) -> None:
        self.transport = polku.MemoryTransport()
        self.client = polku.Client("key", "http://collector", transport=self.transport, **options)
        self.track = self.client.track

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.client.flush()
        return self.transport.events

    @property
    def event(self) -> dict[str, Any]:
        (event,) = self.events
        return event


def test_what_is_bound_goes_with_each_event_until_the_scope_ends() -> None:
    world = World()
    with polku.scope(
        user_id="u-1",
        anonymous_id="a-1",
        session_id="s-1",
        group_id="g-1",
        page={"path": "/cart"},
        campaign={"name": "spring"},
        user_agent="UA",
        locale="fi-FI",
        context={"app": {"name": "shop"}},
        properties={"variant": "b"},
    ):
        world.track("seen", {"price": 1})
    world.track("after", user_id="u-2")
    seen, after = world.events
    assert (seen["userId"], seen["anonymousId"]) == ("u-1", "a-1")
    assert seen["properties"] == {"variant": "b", "price": 1}
    assert seen["context"] == {
        "sessionId": "s-1",
        "groupId": "g-1",
        "page": {"path": "/cart"},
        "campaign": {"name": "spring"},
        "userAgent": "UA",
        "locale": "fi-FI",
        "app": {"name": "shop"},
    }
    assert set(after) == {"type", "event", "messageId", "timestamp", "userId"}


def test_an_exception_ends_a_scope_too() -> None:
    with pytest.raises(ZeroDivisionError), polku.scope(user_id="u-1"):
        1 / 0  # noqa: B018
    assert polku.bound() == {}


def test_the_call_goes_before_the_scope_and_the_scope_before_the_client() -> None:
    transport = polku.MemoryTransport()
    client = polku.Client("key", "http://c", transport=transport, context={"app": "client", "os": "client"})
    with polku.scope(user_id="u-1", context={"app": "scope", "device": "scope"}, properties={"a": 1, "b": 1}):
        client.track("seen", {"b": 2}, context={"device": "call"})
    client.flush()
    (event,) = transport.events
    assert event["properties"] == {"a": 1, "b": 2}
    # That of the client travels once a batch; the collector takes an event's own members over it.
    assert event["context"] == {"app": "scope", "device": "call"}


def test_inner_scopes_add_and_replace_and_none_takes_away() -> None:
    with polku.scope(user_id="u-1", page={"path": "/a", "title": "A"}, context={"x": 1}, properties={"p": 1, "q": 1}):
        with polku.scope(page={"path": "/b"}, context={"y": 2}, properties={"q": 2}):
            assert polku.bound() == {
                "user_id": "u-1",
                "page": {"path": "/b"},
                "context": {"x": 1, "y": 2},
                "properties": {"p": 1, "q": 2},
            }
        with polku.scope(user_id=None, page=None, properties=None):
            assert polku.bound() == {"context": {"x": 1}}
        assert polku.bound()["page"] == {"path": "/a", "title": "A"}


def test_bind_holds_until_the_scope_around_it_ends() -> None:
    with polku.scope(anonymous_id="a-1"):
        polku.bind(user_id="u-1")
        polku.bind(properties={"variant": "b"})
        assert polku.bound() == {"user_id": "u-1", "anonymous_id": "a-1", "properties": {"variant": "b"}}
        polku.unbind("properties")
        assert polku.bound() == {"user_id": "u-1", "anonymous_id": "a-1"}
        polku.unbind()
        assert polku.bound() == {}
    assert polku.bound() == {}


def test_later_changes_of_what_was_given_do_not_matter() -> None:
    properties = {"variant": "b"}
    with polku.scope(user_id="u-1", properties=properties):
        properties["variant"] = "changed"
        polku.bound()["properties"]["variant"] = "changed"
        assert polku.bound()["properties"] == {"variant": "b"}


@pytest.mark.parametrize("ids", [{"user_id": "u-2"}, {"user_id": 2}, {"anonymous_id": "a-2"}])
def test_a_call_about_another_person_gets_nothing_of_the_one_bound(ids: dict[str, Any]) -> None:
    world = World()
    visit: dict[str, Any] = {"session_id": "s-1", "group_id": "g-1", "page": {"path": "/"}, "campaign": {"name": "c"}}
    with polku.scope(user_id="u-1", anonymous_id="a-1", user_agent="UA", locale="fi", **visit):
        polku.bind(context={"app": "shop"}, properties={"variant": "b"})
        world.track("closed", **ids)
    event = world.event
    assert [event.get("userId"), event.get("anonymousId")] == [
        str(ids[name]) if name in ids else None for name in ("user_id", "anonymous_id")
    ]
    assert event["context"] == {"app": "shop"}
    assert event["properties"] == {"variant": "b"}


def test_members_in_the_words_of_the_wire_belong_to_the_person_as_well() -> None:
    world = World()
    with polku.scope(user_id="u-1", context={"sessionId": "s-1", "app": "shop"}):
        assert polku.bound() == {"user_id": "u-1", "session_id": "s-1", "context": {"app": "shop"}}
        world.track("closed", user_id="u-2")
    assert world.event["context"] == {"app": "shop"}


def test_consent_is_the_persons_and_none_at_all_is_a_decision() -> None:
    world = World(consent="analytics")
    with polku.scope(user_id="u-1", consent=["analytics"]):
        world.track("agreed")
        world.track("not_asked", user_id="u-2")
        with polku.scope(context={"consent": []}):
            assert polku.bound()["consent"] == []
            world.track("refused")
    (event,) = world.events
    assert (event["event"], event["context"]) == ("agreed", {"consent": ["analytics"]})
    assert world.client.stats().withheld == {polku.WithheldReason.CONSENT: 2}


def test_another_user_in_an_inner_scope_leaves_the_person_around_behind() -> None:
    with polku.scope(user_id="u-1", anonymous_id="a-1", session_id="s-1", properties={"variant": "b"}):
        with polku.scope(user_id="u-2"):
            assert polku.bound() == {"user_id": "u-2", "properties": {"variant": "b"}}
        polku.bind(user_id="u-1")
        assert polku.bound()["anonymous_id"] == "a-1"


def test_whoever_signs_in_keeps_the_anonymous_id_and_identify_ties_both() -> None:
    world = World()
    with polku.scope(anonymous_id="a-1", session_id="s-1", properties={"variant": "b"}):
        world.client.identify("u-1", {"plan": "premium"})
        polku.bind(user_id="u-1")
        world.track("signed_in")
    identified, signed_in = world.events
    for event in (identified, signed_in):
        assert (event["userId"], event["anonymousId"]) == ("u-1", "a-1")
        assert event["context"] == {"sessionId": "s-1"}
    assert "properties" not in identified


def test_every_call_gets_the_person_and_those_with_properties_the_properties() -> None:
    world = World()
    with polku.scope(user_id="u-1", properties={"variant": "b"}):
        world.client.page("Home")
        world.client.screen("Home")
        world.client.group("g-1", {"size": 3})
        world.client.alias("u-0", "u-1")
    for event in world.events:
        assert event["userId"] == "u-1"
        assert ("properties" in event) == (event["type"] in ("page", "screen"))


class OrderCompleted(typed.Event, name="order_completed"):
    revenue: Decimal
    at: datetime
    coupon: str | None = None


def test_a_typed_event_is_written_as_without_a_scope_and_gets_the_properties_bound() -> None:
    world = World()
    event = OrderCompleted(revenue=Decimal("12.50"), at=datetime(2026, 1, 2, tzinfo=UTC))
    world.track(event, user_id="u-1")
    with polku.scope(properties={"variant": "b", "coupon": "X"}):
        world.track(event, user_id="u-1")
    plain, scoped = world.events
    assert scoped["properties"] == {"variant": "b", "coupon": "X", **plain["properties"]}


def test_a_call_with_odd_arguments_is_mended_as_without_a_scope(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with polku.scope(user_id="u-1", properties={"variant": "b"}):
        world.track("seen", ["no", "object"])  # type: ignore[arg-type]
        world.track("seen", {"price": float("nan")}, context="none")  # type: ignore[arg-type]
    first, second = world.events
    assert "properties" not in first
    assert second["properties"] == {"variant": "b"}
    assert "$.properties is a list" in caplog.text
    assert "$.context is a str" in caplog.text


def test_odd_values_are_told_once_and_nobody_is_better_than_somebody_else(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def keys(self) -> Any:
            raise RuntimeError

    with polku.scope(user_id="u-1", page={"path": "/"}):
        for _ in range(2):
            polku.bind(user_id=object(), page="/cart", locale=7, context=Broken())  # type: ignore[arg-type]
        assert polku.bound() == {"page": {"path": "/"}}
    (record,) = caplog.records
    assert "test_context.py" in record.message
    assert "page is a str, not an object: left out" in record.message
    assert "/cart" not in record.message


def test_a_name_that_cannot_be_bound_is_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="'userid' cannot be bound"):
        polku.bind(userid="u-1")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'userid' cannot be bound"):
        polku.unbind("userid")


texts = st.text(st.characters(codec="utf-8"), min_size=1)
objects = st.dictionaries(texts, st.integers() | texts, min_size=1)
bindings = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("user_id", "anonymous_id", "session_id", "group_id", "user_agent", "locale"), texts),
        **dict.fromkeys(("page", "campaign", "context", "properties"), objects),
    },
)


@given(bindings)
def test_what_is_bound_can_be_handed_to_another_process_as_json(binding: Any) -> None:
    with polku.scope(**binding):
        told = json.loads(json.dumps(polku.bound()))
    with polku.scope(**told):
        assert polku.bound() == told
    assert polku.bound() == {}


# Tasks and threads ------------------------------------------------------------------------------------------------


def test_tasks_inherit_and_have_their_own_from_then_on() -> None:
    world = World()

    async def one(number: int) -> None:
        world.track("begun", {"number": number})
        polku.bind(user_id=f"u-{number}", properties={"of": number})
        for _ in range(number % 5):
            await asyncio.sleep(0)
        world.track("done", {"number": number})
        await asyncio.to_thread(world.track, "threaded", {"number": number})

    async def main() -> None:
        with polku.scope(session_id="s-1", context={"app": "x"}):
            await asyncio.gather(*map(one, range(200)))
            assert polku.bound() == {"session_id": "s-1", "context": {"app": "x"}}

    asyncio.run(main())
    events = world.events
    assert len(events) == 600
    for event in events:
        number = event["properties"]["number"]
        mine = event["event"] != "begun"
        assert event.get("userId") == (f"u-{number}" if mine else None)
        assert event["properties"].get("of") == (number if mine else None)
        assert event["context"] == {"sessionId": "s-1", "app": "x"}


def test_threads_start_with_nothing_and_carry_gives_them_what_is_bound() -> None:
    seen: dict[str, Any] = {}

    def look(name: str) -> None:
        seen[name] = polku.bound()

    with polku.scope(user_id="u-1"):
        for name, function in (("plain", look), ("carried", polku.carry(look))):
            thread = threading.Thread(target=function, args=(name,))
            thread.start()
            thread.join()
    assert seen == {"plain": {}, "carried": {"user_id": "u-1"}}


def test_a_carried_function_may_run_many_times_at_once_and_leaves_nothing_behind() -> None:
    here = threading.Barrier(4)

    def work(number: int) -> tuple[Any, int]:
        before = polku.bound()
        polku.bind(user_id=f"u-{number}")
        here.wait(10)
        return before, int(polku.bound()["user_id"].removeprefix("u-"))

    with ThreadPoolExecutor(4) as pool:
        with polku.scope(session_id="s-1"):
            done = list(pool.map(polku.carry(work), range(4)))
        assert done == [({"session_id": "s-1"}, number) for number in range(4)]
        assert pool.submit(polku.bound).result() == {}


def test_carry_keeps_name_result_and_exceptions() -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    carried = polku.carry(divide)
    assert (carried.__name__, carried(1, b=2)) == ("divide", 0.5)
    with pytest.raises(ZeroDivisionError):
        carried(1, 0)


def test_a_scope_that_another_task_closes_neither_raises_nor_changes_that_one() -> None:
    async def rows() -> Any:
        with polku.scope(user_id="u-1"):
            yield 1

    async def main() -> None:
        generator = rows()
        await asyncio.create_task(anext(generator))
        polku.bind(user_id="u-2")
        await generator.aclose()
        assert polku.bound() == {"user_id": "u-2"}

    asyncio.run(main())


# Requests ---------------------------------------------------------------------------------------------------------


def test_bind_request_is_seen_by_the_whole_request_and_later_words_win() -> None:
    def in_request() -> None:
        held.set(begin_request({"anonymous_id": "a-1"}))
        aside = threading.Thread(target=polku.carry(lambda: polku.bind_request(user_id="u-1")))
        with polku.scope(properties={"variant": "b"}):
            aside.start()
            aside.join()
            assert polku.bound() == {"user_id": "u-1", "anonymous_id": "a-1", "properties": {"variant": "b"}}
            with polku.scope(user_id="u-2"):
                assert polku.bound() == {"user_id": "u-2", "properties": {"variant": "b"}}
            polku.bind(properties={"more": 1})
        assert polku.bound() == {"user_id": "u-1", "anonymous_id": "a-1"}

    polku.carry(in_request)()
    assert polku.bound() == {}


def test_bind_request_without_a_request_is_bind() -> None:
    with polku.scope():
        polku.bind_request(user_id="u-1")
        assert polku.bound() == {"user_id": "u-1"}
    assert polku.bound() == {}
