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
        ("is_bot", pa.bool_()),
        ("trait_mail", pa.string()),
        ("trait_crm", pa.string()),
    ]
)
TRAITS = ("trait_mail", "trait_crm")

Seen = tuple[str | None, str | None] | tuple[str | None, str | None, str]
"""(anonymous id, user id, event name, `alias:previous id` or `mail:value`), one second after the one before."""


def rows_of(events: Sequence[Seen], times: Sequence[int] | None = None) -> list[dict[str, Any]]:
    rows = []
    for number, (anonymous_id, user_id, *name) in enumerate(events):
        what = name[0] if name else "page_viewed"
        is_alias = what.startswith("alias:")
        told, _, value = what.partition(":") if what.startswith(("mail:", "crm:")) else ("", "", "")
        kind = "alias" if is_alias else "identify" if told else "track"
        rows.append(
            {
                "source": "shop",
                "event_id": f"e{number:03}",
                "event_type": kind,
                "event_name": what if kind == "track" else kind,
                "event_time": START + datetime.timedelta(seconds=times[number] if times else number),
                "anonymous_id": anonymous_id,
                "user_id": user_id,
                "previous_id": what[6:] if is_alias else None,
                "trait_mail": value if told == "mail" else None,
                "trait_crm": value if told == "crm" else None,
            }
        )
    return rows


def resolved(rows: Sequence[dict[str, Any]], **options: Any) -> duckdb.DuckDBPyConnection:
    connection = open_duckdb()
    connection.register("unique_events", pa.Table.from_pylist(list(rows), schema=SCHEMA))
    resolve_identity(connection, **options)
    return connection


def persons(rows: Sequence[dict[str, Any]], **options: Any) -> list[str]:
    """The person of each event, in the order of event ids."""
    found = resolved(rows, **options).execute("""
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


COOKIES = ["246"] * 7 + ["3579"] * 2 + ["81911"] * 3
LOGINS = [None, "Bob", "Bob", None, "Bob", None, "Bob", None, None, None, "Bob", None]
MINUTES = [1, 2, 3, 4, 5, 6, 7, 3, 9, 2, 5, 12]
"""The events of Adobe's page on field-based stitching, with its ids and the minutes after 12:00."""


def test_adobes_published_table_after_replay() -> None:
    rows = rows_of(list(zip(COOKIES, LOGINS, strict=True)), MINUTES)
    assert persons(rows) == ["Bob"] * 7 + ["3579"] * 2 + ["Bob"] * 3


def test_adobes_published_table_after_a_privacy_request_for_bob() -> None:
    """What the erased id had joined falls apart: each row that is left is its cookie's again."""
    rows = rows_of(list(zip(COOKIES, LOGINS, strict=True)), MINUTES)
    left = [row for row in rows if row["user_id"] != "Bob"]
    assert persons(left) == ["246", "246", "246", "3579", "3579", "81911", "81911"]
    unlinked = [row | {"user_id": None} for row in rows]
    assert persons(unlinked) == COOKIES


def test_an_anonymous_visitor_who_tells_a_users_address_is_that_user() -> None:
    events = [
        (None, "aino", "mail:Aino@x.fi"),
        ("phone", None),
        ("phone", None, "mail: aino@X.fi "),
        ("shared", "eino"),
        ("shared", None, "mail:aino@x.fi"),  # Eino has logged in here: no evidence about him
        ("tv", None, "mail:aino@x.fi"),
        ("tv", None, "logged_out"),
        ("tv", None),
    ]
    assert persons(rows_of(events), join_by=TRAITS) == ["aino"] * 3 + ["eino"] * 2 + ["aino", "aino", "tv~2"]
    assert persons(rows_of(events)) == ["aino", "phone", "phone", "eino", "eino", "tv", "tv", "tv~2"]


def test_anonymous_visitors_who_tell_the_same_are_one_person() -> None:
    events = [("a", None), ("b", None, "mail:x"), ("a", None, "mail:x"), ("c", None, "crm:7"), ("a", None, "crm:7")]
    assert persons(rows_of(events), join_by=TRAITS) == ["b"] * 5


def test_two_users_with_one_address_are_joined_only_if_the_plan_says_so() -> None:
    events = [(None, "aino", "mail:x"), (None, "eino", "mail:x"), ("d", None, "mail:x")]
    assert persons(rows_of(events), join_by=TRAITS) == ["aino", "eino", "d"]
    assert persons(rows_of(events), join_by=TRAITS, join_users=True) == ["aino"] * 3


def test_a_value_of_many_is_nobodys() -> None:
    events = [(f"d{number}", None, "mail:info@x") for number in range(21)]
    assert len(set(persons(rows_of(events[:20]), join_by=TRAITS))) == 1
    assert len(set(persons(rows_of(events), join_by=TRAITS))) == 21


def test_erasing_who_told_the_value_undoes_the_join() -> None:
    rows = rows_of([(None, "aino", "mail:x"), ("phone", None), ("phone", None, "mail:x"), ("tab", None, "mail:x")])
    assert persons(rows, join_by=TRAITS) == ["aino"] * 4
    assert persons([row for row in rows if row["user_id"] != "aino"], join_by=TRAITS) == ["phone"] * 3
    assert persons([row for row in rows if not row["trait_mail"]], join_by=TRAITS) == ["phone"]


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


def reference(rows: Sequence[dict[str, Any]], same: Sequence[tuple[str, str]] = ()) -> list[str]:
    """The rule of docs/definitions.md, one event after the other; `same`: pairs of users that are one person."""
    users = {row["user_id"] for row in rows if row["user_id"]}
    sightings = [(r["anonymous_id"], r["event_time"], r["user_id"]) for r in rows if r["user_id"] and r["anonymous_id"]]
    parent = {user: user for user in users}

    def root(user: str) -> str:
        return user if parent[user] == user else root(parent[user])

    for one, other in same:
        parent[root(one)] = root(other)
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


def told(row: dict[str, Any]) -> str | None:
    """The value an event tells, marked with its trait."""
    for trait in TRAITS:
        if row[trait]:
            return f"{trait} {row[trait]}"
    return None


def reference_by_values(rows: Sequence[dict[str, Any]], *, join_users: bool) -> list[str]:
    """The same with values: first who is who without them, then those who tell the same, from one to the next."""
    users_of: dict[str, list[str]] = {}
    for row in rows:
        if row["user_id"] and told(row):
            users_of.setdefault(str(told(row)), []).append(row["user_id"])
    same = [(users[0], other) for users in users_of.values() for other in users] if join_users else []
    base = reference(rows, same)
    known = {name for row, name in zip(rows, base, strict=True) if row["user_id"]}
    told_by: dict[str, set[str]] = {}
    first_told: dict[str, tuple[Any, str, int]] = {}
    for row, name in zip(rows, base, strict=True):
        mark = told(row)
        if mark is None or (name in known and not row["user_id"]):
            continue
        told_by.setdefault(name, set()).add(mark)
        if name not in known:
            piece = int(name.rpartition("~")[2]) if "~" in name else 1
            when = (row["event_time"], row["anonymous_id"], piece)
            first_told[name] = min(first_told.get(name, when), when)
    renamed = {}
    for start in first_told:
        group, marks = {start}, set(told_by[start])
        while more := {name for name in first_told if told_by[name] & marks} - group:
            group |= more
            marks |= {mark for name in more for mark in told_by[name]}
        users = {name for name in known if told_by.get(name, set()) & marks}
        if len(users) == 1:
            renamed[start] = users.pop()
        elif not users:
            renamed[start] = min(group, key=lambda name: first_told[name])
    return [renamed.get(name, name) for name in base]


ids = st.sampled_from(["d1", "d2", "d3"])
names = st.sampled_from(["u1", "u2", "u3", "u4", "d3"])
one_event = st.one_of(
    st.tuples(ids, st.none()),
    st.tuples(ids, names),
    st.tuples(st.none(), names),
    st.tuples(ids, st.one_of(st.none(), names), st.just("logged_out")),
    st.tuples(st.one_of(st.none(), ids), names, st.sampled_from(["alias:u1", "alias:u2", "alias:d1", "alias:d9"])),
    st.tuples(ids, st.none(), st.sampled_from(["alias:u1", "alias:u3"])),
    st.tuples(ids, st.one_of(st.none(), names), st.sampled_from(["mail:x", "mail:y", "crm:x", "crm:z"])),
)


a_world = st.lists(one_event, min_size=1, max_size=12).flatmap(
    lambda events: st.tuples(st.just(events), st.lists(st.integers(0, 9), min_size=len(events), max_size=len(events)))
)


def in_world(number: int, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with ids that no other world has, so that many worlds are resolved at once."""
    marked = []
    for row in rows:
        ids = {
            key: row[key] and f"{number}/{row[key]}"
            for key in ("anonymous_id", "user_id", "previous_id", "event_id", *TRAITS)
        }
        marked.append(row | ids)
    return marked


@settings(max_examples=10)
@given(st.lists(a_world, min_size=10, max_size=14), st.randoms())
def test_the_rule_holds_whatever_happens_and_in_whatever_order_rows_stand(
    worlds: list[tuple[list[Seen], list[int]]], order: random.Random
) -> None:
    rows: list[dict[str, Any]] = []
    expected: dict[str, str] = {}
    by_values: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for number, (events, times) in enumerate(worlds):
        world = in_world(number, rows_of(events, times))
        event_ids = [row["event_id"] for row in world]
        expected |= zip(event_ids, reference(world), strict=True)
        for join_users, of_world in by_values.items():
            of_world |= zip(event_ids, reference_by_values(world, join_users=join_users), strict=True)
        rows += world
    in_order = [expected[event_id] for event_id in sorted(expected)]
    shuffled = list(rows)
    order.shuffle(shuffled)

    assert persons(rows) == in_order
    assert persons(shuffled) == in_order
    for join_users, of_worlds in by_values.items():
        found = persons(shuffled, join_by=TRAITS, join_users=join_users)
        assert found == [of_worlds[event_id] for event_id in sorted(of_worlds)]
