"""Which ids are one person: the cases of docs/definitions.md, and a computation event by event that shares no code."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.build.identity import resolve_identity
from polku_analytics.lake import open_duckdb

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("event_id", pa.string()),
        ("event_type", pa.string()),
        ("event_name", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("anonymous_id", pa.string()),
        ("user_id", pa.string()),
        ("previous_id", pa.string()),
    ]
)

Seen = tuple[str | None, str | None] | tuple[str | None, str | None, str]
"""(anonymous id, user id, event name or `alias:previous id`), one second after the one before."""


def rows_of(events: Sequence[Seen], times: Sequence[int] | None = None) -> list[dict[str, Any]]:
    rows = []
    for number, (anonymous_id, user_id, *name) in enumerate(events):
        what = name[0] if name else "page_viewed"
        is_alias = what.startswith("alias:")
        rows.append(
            {
                "source": "shop",
                "event_id": f"e{number:03}",
                "event_type": "alias" if is_alias else "track",
                "event_name": "alias" if is_alias else what,
                "event_time": START + datetime.timedelta(seconds=times[number] if times else number),
                "anonymous_id": anonymous_id,
                "user_id": user_id,
                "previous_id": what[6:] if is_alias else None,
            }
        )
    return rows


def resolved(rows: Sequence[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    connection = open_duckdb()
    connection.register("unique_events", pa.Table.from_pylist(list(rows), schema=SCHEMA))
    resolve_identity(connection)
    return connection


def persons(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The person of each event, in the order of event ids."""
    found = resolved(rows).execute("""
        SELECT COALESCE(u.person_id, d.person_id, p.person_id)
        FROM unique_events AS e
        LEFT JOIN person_links AS u ON u.anonymous_id IS NULL AND u.user_id = e.user_id
        LEFT JOIN device_persons AS d ON e.user_id IS NULL AND d.anonymous_id = e.anonymous_id
        LEFT JOIN event_persons AS p ON e.user_id IS NULL AND p.event_id = e.event_id
        ORDER BY e.event_id
    """)
    return [row[0] for row in found.fetchall()]


def test_what_precedes_the_first_user_is_that_users() -> None:
    assert persons(rows_of([("d", None), ("d", None), ("d", "aino"), ("d", None)])) == ["aino"] * 4


def test_a_visitor_who_never_identifies_is_a_person() -> None:
    assert persons(rows_of([("d", None), ("x", "aino"), ("d", None)])) == ["d", "aino", "d"]


def test_one_user_on_two_devices_is_one_person() -> None:
    assert persons(rows_of([("phone", None), ("phone", "aino"), ("laptop", "aino"), ("laptop", None)])) == ["aino"] * 4


def test_a_second_user_ends_the_link_forward_and_nobody_is_merged() -> None:
    events = [("d", "aino"), ("d", None), ("d", "eino"), ("d", None), ("d", "aino"), ("d", None)]
    assert persons(rows_of(events)) == ["aino", "aino", "eino", "eino", "aino", "aino"]


def test_after_a_logout_the_device_is_a_fresh_person() -> None:
    events = [("d", "aino"), ("d", "aino", "logged_out"), ("d", None), ("d", None)]
    assert persons(rows_of(events)) == ["aino", "aino", "d~2", "d~2"]


def test_after_a_logout_the_next_user_takes_what_precedes_it() -> None:
    events = [("d", "aino"), ("d", None, "logged_out"), ("d", None), ("d", "eino"), ("d", None)]
    assert persons(rows_of(events)) == ["aino", "aino", "eino", "eino", "eino"]


def test_a_further_logout_keeps_the_next_user_from_reaching_back() -> None:
    events = [("d", "a"), ("d", "a", "logged_out"), ("d", None), ("d", None, "logged_out"), ("d", None), ("d", "b")]
    assert persons(rows_of(events)) == ["a", "a", "d~2", "d~2", "b", "b"]


def test_an_alias_joins_two_users_and_an_anonymous_id() -> None:
    events = [("d", None), (None, "old"), (None, "new", "alias:old"), (None, "new", "alias:d"), (None, "new")]
    assert persons(rows_of(events)) == ["old"] * 5


def test_an_alias_chain_is_one_person_named_by_the_user_seen_first() -> None:
    events = [(None, "b"), (None, "a"), (None, "c", "alias:b"), (None, "a", "alias:c")]
    assert persons(rows_of(events)) == ["b"] * 4


def test_an_anonymous_id_that_looks_like_another_users_id_stays_apart() -> None:
    assert persons(rows_of([("aino", None), ("d", "aino")])) == ["aino~1", "aino"]


def test_three_cookies_of_which_two_meet_the_same_person() -> None:
    """The shape of a published stitching example: after all is known, two people remain."""
    events = [
        ("246", None),
        ("246", "Bob"),
        ("246", "Bob"),
        ("246", None),
        ("246", "Bob"),
        ("246", None),
        ("3579", None),
        ("3579", None),
        ("3579", None),
        ("81911", None),
        ("81911", "Bob"),
        ("81911", None),
    ]
    assert persons(rows_of(events)) == ["Bob"] * 6 + ["3579"] * 3 + ["Bob"] * 3


def test_keys_are_dense_and_facts_are_counted() -> None:
    connection = resolved(rows_of([("x", None), ("d", None), ("d", "aino"), ("p", "aino"), ("x", None)]))

    rows = connection.execute(
        "SELECT person_key, person_id, known_person, events, user_ids, anonymous_ids FROM person_facts ORDER BY 1"
    ).fetchall()

    assert rows == [(0, "x", False, 2, 0, 1), (1, "aino", True, 3, 1, 2)]


def test_links_say_from_when_to_when() -> None:
    connection = resolved(rows_of([("d", "a"), ("d", "b"), ("d", None, "logged_out"), ("d", None)]))

    rows = connection.execute(
        "SELECT EPOCH_US(valid_from), EPOCH_US(valid_until), person_id FROM person_links "
        "WHERE anonymous_id = 'd' ORDER BY valid_from NULLS FIRST"
    ).fetchall()

    start = int(START.timestamp()) * 1_000_000
    logout = start + 2_000_001
    assert rows == [(None, start + 1_000_000, "a"), (start + 1_000_000, logout, "b"), (logout, None, "d~2")]


def reference(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rule of docs/definitions.md, one event after the other."""
    users = {row["user_id"] for row in rows if row["user_id"]}
    sightings = [(r["anonymous_id"], r["event_time"], r["user_id"]) for r in rows if r["user_id"] and r["anonymous_id"]]
    parent = {user: user for user in users}

    def root(user: str) -> str:
        return user if parent[user] == user else root(parent[user])

    for row in rows:
        previous, user, device = row["previous_id"], row["user_id"], row["anonymous_id"]
        if row["event_type"] != "alias" or not previous:
            continue
        if user and previous in users:
            parent[root(previous)] = root(user)
        elif user:
            sightings.append((previous, row["event_time"], user))
        elif device and previous in users:
            sightings.append((device, row["event_time"], previous))
    first_seen = {u: min(r["event_time"] for r in rows if r["user_id"] == u) for u in users}

    def name(user: str) -> str:
        group = [other for other in users if root(other) == root(user)]
        return min(group, key=lambda other: (first_seen[other], other))

    people = []
    for row in rows:
        device, at = row["anonymous_id"], row["event_time"]
        if row["user_id"]:
            people.append(name(row["user_id"]))
            continue
        logouts = sorted(
            {r["event_time"] for r in rows if r["anonymous_id"] == device and r["event_name"] == "logged_out"}
        )
        before = [time for time in logouts if time < at]
        after = [time for time in logouts if time >= at]
        inside = [
            (time, user)
            for seen_on, time, user in sightings
            if seen_on == device and (not before or time > before[-1]) and (not after or time <= after[0])
        ]
        earlier = [sighting for sighting in inside if sighting[0] <= at]
        if inside:
            people.append(name((max(earlier) if earlier else min(inside))[1]))
        elif before or device in users:
            people.append(f"{device}~{len(before) + 1}")
        else:
            people.append(device)
    return people


ids = st.sampled_from(["d1", "d2", "d3"])
names = st.sampled_from(["u1", "u2", "u3", "u4", "d3"])
one_event = st.one_of(
    st.tuples(ids, st.none()),
    st.tuples(ids, names),
    st.tuples(st.none(), names),
    st.tuples(ids, st.one_of(st.none(), names), st.just("logged_out")),
    st.tuples(st.one_of(st.none(), ids), names, st.sampled_from(["alias:u1", "alias:u2", "alias:d1", "alias:d9"])),
    st.tuples(ids, st.none(), st.sampled_from(["alias:u1", "alias:u3"])),
)


a_world = st.lists(one_event, min_size=1, max_size=12).flatmap(
    lambda events: st.tuples(st.just(events), st.lists(st.integers(0, 9), min_size=len(events), max_size=len(events)))
)


def in_world(number: int, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with ids that no other world has, so that many worlds are resolved at once."""
    marked = []
    for row in rows:
        ids = {
            key: row[key] and f"{number}/{row[key]}" for key in ("anonymous_id", "user_id", "previous_id", "event_id")
        }
        marked.append(row | ids)
    return marked


@settings(max_examples=10, deadline=None)
@given(st.lists(a_world, min_size=10, max_size=14), st.randoms())
def test_the_rule_holds_whatever_happens_and_in_whatever_order_rows_stand(
    worlds: list[tuple[list[Seen], list[int]]], order: random.Random
) -> None:
    rows: list[dict[str, Any]] = []
    expected: dict[str, str] = {}
    for number, (events, times) in enumerate(worlds):
        world = in_world(number, rows_of(events, times))
        expected |= zip((row["event_id"] for row in world), reference(world), strict=True)
        rows += world
    in_order = [expected[event_id] for event_id in sorted(expected)]
    shuffled = list(rows)
    order.shuffle(shuffled)

    assert persons(rows) == in_order
    assert persons(shuffled) == in_order
