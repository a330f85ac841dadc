"""The built tables against small histories written out by hand."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pytest

from polku_analytics.build import build
from polku_analytics.errors import BuildError
from polku_analytics.fillings import expected_event_columns, fillings
from polku_analytics.journeys import BUILT_TABLES, Journeys, open_journeys
from polku_analytics.model_files import Model, fill, read_models, run_order
from polku_schemas import Plan, builtin_plan_path, load_plan

Make = Callable[..., Any]


def test_an_event_counts_once_per_source_and_bots_do_not_count(make_lake: Make, event: Make, plan: Plan) -> None:
    first = event("page_viewed", 0, anonymous_id="a", event_id="same")
    late = event("page_viewed", 0, anonymous_id="a", event_id="same", page_path="/late")
    lake = make_lake(
        [
            late | {"received_at": late["received_at"] + datetime.timedelta(hours=1)},
            first | {"page_path": "/first"},
            event("page_viewed", 1, anonymous_id="a", event_id="same", source="app"),
            event("page_viewed", 2, anonymous_id="robot", is_bot=True),
            event("made_up", 3, anonymous_id="a"),
        ]
    )

    report = build(lake, plan)

    found = open_journeys(lake, plan).rows("SELECT source, event_id, page_path FROM touchpoints ORDER BY 1, event_time")
    assert found == [("app", "same", None), ("shop", "same", "/first"), ("shop", "e00005", None)]
    assert (report.events, report.duplicate_events, report.bot_events) == (3, 1, 1)
    assert report.unplaced_events == {"made_up": 1}
    assert report.as_of == first["event_time"] + datetime.timedelta(seconds=3)


def test_a_session_ends_after_more_than_thirty_minutes(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("page_viewed", 0, anonymous_id="exact"),
            event("page_viewed", 1800, anonymous_id="exact"),
            event("page_viewed", 0, anonymous_id="more"),
            event("page_viewed", 1800.000001, anonymous_id="more"),
        ]
    )

    found = journeys.rows("SELECT person_id, events, duration_seconds FROM sessions ORDER BY person_id, started_at")
    assert found == [("exact", 2, 1800.0), ("more", 1, 0.0), ("more", 1, 0.0)]


def test_a_client_session_is_kept_whatever_lies_between(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("page_viewed", 0, anonymous_id="a", session_id="s1", page_path="/in", device="mobile"),
            event("order_delivered", 600, anonymous_id="a"),
            event("product_viewed", 7200, anonymous_id="a", session_id="s1", marketing_channel="email"),
            event("order_delivered", 1500, anonymous_id="a"),
            event("page_viewed", 7201, anonymous_id="a", session_id="s2"),
            event(
                "order_completed", 7300, anonymous_id="a", session_id="s1", order_id="o", revenue=12.5, page_path="/out"
            ),
        ]
    )

    found = journeys.rows(
        "SELECT session_id, events, entry_touchpoint, exit_touchpoint, entry_page_path, exit_page_path, device, "
        "marketing_channel, orders, revenue FROM sessions ORDER BY session_key"
    )
    assert found == [
        ("s1", 3, "page", "order", "/in", "/out", "mobile", "email", 1, 12.5),
        (None, 2, "delivery", "delivery", None, None, None, None, 0, 0.0),
        ("s2", 1, "page", "page", None, None, None, None, 0, 0.0),
    ]


def test_people_enter_stages_and_stay_in_the_furthest(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("product_viewed", 0, user_id="u"),
            event("order_completed", 10, user_id="u", order_id="o1", revenue=5.0),
            event("order_completed", 20, user_id="u", order_id="o1", revenue=5.0),
            event("page_viewed", 30, user_id="u", kind="comparison"),
            event("store_order_completed", 40, user_id="u", order_id="o1", revenue=7.0),
            event("product_viewed", 50, user_id="u"),
        ]
    )

    stages = journeys.rows("SELECT stage, event_name, touchpoints, is_present FROM stages ORDER BY stage_number")
    assert stages == [
        ("interest", "product_viewed", 2, False),
        ("comparison", "page_viewed", 1, False),
        ("purchase", "order_completed", 2, False),
        ("repeat", "store_order_completed", 1, True),
    ]
    assert journeys.rows("SELECT stage, stage_number, orders, revenue FROM persons") == [("repeat", 6, 2, 12.0)]


def test_an_order_counts_once_however_often_it_is_reported(built: Make, event: Make) -> None:
    lines = [{"product_id": "p", "quantity": 2}, {"product_id": "q", "quantity": None}]
    journeys = built(
        [
            event("order_completed", 5, user_id="u", order_id="o1", revenue=9.0, currency="EUR", products=lines),
            event("order_completed", 4, user_id="u", order_id="o2", revenue=1.0),
            event("order_completed", 6, user_id="u", order_id="o1", revenue=9.0),
            event("order_completed", 7, user_id="u", revenue=2.0),
        ]
    )

    found = journeys.rows(
        "SELECT order_id, revenue, currency, items, order_number, first_order FROM orders ORDER BY ordered_at"
    )
    assert found == [
        ("o2", 1.0, None, None, 1, True),
        ("o1", 9.0, "EUR", 3.0, 2, False),
        ("shop:e00004", 2.0, None, None, 3, False),
    ]
    assert journeys.rows("SELECT SUM(revenue), COUNT(order_id) FROM touchpoints") == [(12.0, 3)]


def test_touchpoints_are_placed_by_the_plan_and_ordered(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("store_order_completed", 30, user_id="u", order_id="o"),
            event("identify", 25, anonymous_id="d", user_id="u", trait_city="Turku"),
            event("ad_clicked", 0, anonymous_id="d"),
            event("unheard_of", 0, anonymous_id="d"),
        ]
    )

    found = journeys.rows(
        "SELECT person_id, touchpoint_number, event_name, stage, touchpoint, channel, known_person FROM touchpoints "
        "ORDER BY person_key, touchpoint_number"
    )
    assert found == [
        ("u", 1, "ad_clicked", "awareness", "ad", "ads", False),
        ("u", 2, "unheard_of", None, "unheard_of", "web", False),
        ("u", 3, "store_order_completed", "purchase", "order", "store", True),
    ]


def test_who_has_ordered_before_is_known_at_every_event_after_the_first_order(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("email_sent", 0, user_id="u"),
            event("order_completed", 10, user_id="u", order_id="o1"),
            event("email_sent", 10, user_id="u"),
            event("email_sent", 20, user_id="u"),
            event("order_completed", 30, user_id="u", order_id="o1"),
            event("order_completed", 40, user_id="u", order_id="o2"),
            event("email_sent", 50, user_id="nobody's customer"),
        ]
    )

    found = journeys.rows("SELECT touchpoint, stage FROM touchpoints WHERE person_id = 'u' ORDER BY touchpoint_number")
    assert found == [
        ("email", "awareness"),
        ("order", "purchase"),
        ("email", "awareness"),  # at the time of the order, not after it
        ("email", "relationship"),
        ("order", "purchase"),  # the first order, reported again
        ("order", "repeat"),
    ]
    assert journeys.rows("SELECT stage FROM touchpoints WHERE person_id <> 'u'") == [("awareness",)]


def test_persons_carry_the_latest_value_of_each_trait(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("identify", 0, user_id="u", trait_city="Turku", trait_email="a@b"),
            event("identify", 20, user_id="u", trait_city="Oulu"),
            event("identify", 10, user_id="u", trait_city="Kemi"),
            event("page_viewed", 5, anonymous_id="x"),
        ]
    )

    found = journeys.rows(
        "SELECT person_id, known_person, trait_city, trait_email, touchpoints, sessions FROM persons ORDER BY 1"
    )
    assert found == [("u", True, "Oulu", "a@b", 0, 0), ("x", False, None, None, 1, 1)]


def test_transitions_count_what_follows_what(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("ad_clicked", 0, anonymous_id="a"),
            event("product_viewed", 10, anonymous_id="a"),
            event("product_viewed", 9000, anonymous_id="a"),
            event("ad_clicked", 0, anonymous_id="b"),
            event("product_viewed", 30, anonymous_id="b"),
        ]
    )

    found = journeys.rows("SELECT * EXCLUDE (scope) FROM transitions WHERE scope = 'person' ORDER BY ALL NULLS FIRST")
    assert found == [
        (None, "ad", 2, 2, 0),
        ("ad", "product", 2, 2, 40_000_000),
        ("product", None, 2, 2, 0),
        ("product", "product", 1, 1, 8_990_000_000),
    ]
    session = journeys.rows(
        "SELECT from_touchpoint, to_touchpoint, transitions FROM transitions WHERE scope = 'session' "
        "ORDER BY ALL NULLS FIRST"
    )
    assert session == [(None, "ad", 2), (None, "product", 1), ("ad", "product", 2), ("product", None, 3)]


def test_the_result_does_not_depend_on_the_order_of_rows(make_lake: Make, event: Make, plan: Plan) -> None:
    rows = [
        event(name, seconds, anonymous_id=device, user_id=user, order_id=order)
        for seconds, device, user, name, order in [
            (0, "d", None, "page_viewed", None),
            (0, "d", "u", "product_viewed", None),
            (5, "d", "u", "order_completed", "o"),
            (5, "d", "u", "order_completed", "o"),
            (5, "d", None, "logged_out", None),
            (5, "d", "v", "page_viewed", None),
            (6, "d", None, "share_clicked", None),
        ]
    ]
    answers = []
    for ordered in (rows, rows[::-1]):
        lake = make_lake(ordered)
        build(lake, plan)
        journeys = open_journeys(lake, plan)
        answers.append(
            [journeys.rows(f"SELECT * FROM {name} ORDER BY ALL") for name in ("touchpoints", "persons", "stages")]
        )
    assert answers[0] == answers[1]


def test_tables_can_be_read_by_every_engine(make_lake: Make, event: Make, plan: Plan) -> None:
    lake = make_lake([event("order_completed", 0, user_id="u", order_id="o", revenue=1.0)])
    build(lake, plan)
    build(lake, plan, full=True)

    for name in BUILT_TABLES:
        table = deltalake.DeltaTable(lake.table_uri(name))
        protocol = table.protocol()
        kinds = {
            field["type"] for field in json.loads(table.schema().to_json())["fields"] if field["name"] != "product_ids"
        }
        assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2), name
        assert kinds <= {"string", "long", "double", "boolean", "timestamp", "date"}, name
        assert len(table.file_uris()) == 1
        assert table.version() == 1


def test_touchpoints_lie_in_the_order_of_people_and_time(make_lake: Make, event: Make, plan: Plan) -> None:
    import pyarrow.parquet as pq

    lake = make_lake([event("page_viewed", 100 - n, anonymous_id=f"p{n % 3}") for n in range(30)])
    build(lake, plan)

    table = pq.read_table(lake.delta("touchpoints").file_uris()[0])
    keys = list(zip(table["person_key"].to_pylist(), table["touchpoint_number"].to_pylist(), strict=True))
    assert keys == sorted(keys)


def test_a_lake_without_events_gives_empty_tables(make_lake: Make, event: Make, plan: Plan) -> None:
    lake = make_lake([event("page_viewed", 0, anonymous_id="a")])
    lake.delta("events").delete()

    report = build(lake, plan)
    journeys: Journeys = open_journeys(lake, plan)

    assert report.as_of is None
    assert {table.name: table.rows for table in report.tables}["touchpoints"] == 0
    assert journeys.rows("SELECT COUNT(*) FROM persons") == [(0,)]


def test_old_tables_stay_when_a_build_fails(
    make_lake: Make, event: Make, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake([event("page_viewed", 0, anonymous_id="a")])
    build(lake, plan)
    monkeypatch.setattr(
        "polku_analytics.build.run.read_models", lambda: {"bad": model("bad", (), "SELECT 1 / nothing")}
    )

    with pytest.raises(BuildError, match=r"could not be computed.*nothing"):
        build(lake, plan)

    monkeypatch.undo()
    assert open_journeys(lake, plan).rows("SELECT COUNT(*) FROM touchpoints") == [(1,)]


def test_the_built_in_plan_fills_every_model(tmp_path: Path, make_lake: Make, event: Make) -> None:
    plan = load_plan(builtin_plan_path())
    lake = make_lake(
        [event("product_viewed", 0, anonymous_id="a"), event("order_completed", 9, anonymous_id="a", order_id="1")]
    )

    build(lake, plan)

    found = open_journeys(lake, plan).rows("SELECT event_name, stage FROM touchpoints ORDER BY touchpoint_number")
    assert [row[0] for row in found] == ["product_viewed", "order_completed"]
    assert found[1][1] == "purchase"


def model(name: str, inputs: tuple[str, ...], sql: str = "SELECT 1 AS a") -> Model:
    return Model(
        name=name, grain="", keys="", inputs=inputs, order="", stored="yes", increment="person", definition="", sql=sql
    )


def test_models_run_after_their_inputs_and_circles_are_errors() -> None:
    chain = {"a": model("a", ("b", "events")), "b": model("b", ("c",)), "c": model("c", ())}
    assert [item.name for item in run_order(chain)] == ["c", "b", "a"]
    with pytest.raises(BuildError, match="circle"):
        run_order({"a": model("a", ("b",)), "b": model("b", ("a",))})


def test_every_model_says_what_it_is_and_every_placeholder_stands_for_something(plan: Plan) -> None:
    filled, models = fillings(plan, expected_event_columns(plan)), read_models()
    for item in models.values():
        assert item.grain and item.keys and item.inputs and item.definition
        assert "{{" not in fill(item.sql, filled)
        rested_on = [models[name] for name in item.inputs if name in models]
        if item.increment == "whole":
            assert all(other.stored == "yes" for other in rested_on), f"{item.name} is computed from tables of the lake"
        else:
            assert all(other.increment == "person" for other in rested_on), f"{item.name} is computed for some people"
    with pytest.raises(BuildError, match="nothing"):
        fill("SELECT {{ no_such }}", filled)
