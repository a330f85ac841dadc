"""Suspicious merges found in a history that has one of each, and none in a history without any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from polku_analytics.analyses.identity_report import IdentityQuestion, run_identity
from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.commands.identity import identity
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import BUILT_TABLES, Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Plan

Make = Callable[..., Any]


@pytest.fixture
def opened(make_lake: Callable[..., Lake], plan: Plan) -> Callable[..., Journeys]:
    def make(rows: list[dict[str, Any]]) -> Journeys:
        joining = replace(plan, join_by=("email",))
        lake = make_lake(rows)
        build(lake, joining)
        return open_journeys(lake, joining, BUILT_TABLES)

    return make


def test_each_suspicion_is_found_and_its_values_are_not_told(
    opened: Callable[..., Journeys], event: Make, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [event("page_viewed", n, anonymous_id=f"d{n}", user_id="undefined") for n in range(4)]
    rows += [event("page_viewed", 10 + n, anonymous_id="tablet", user_id=f"u{n}") for n in range(3)]
    rows += [event("page_viewed", 86_400, anonymous_id="tablet"), event("page_viewed", 0, anonymous_id="phone")]
    rows += [event("page_viewed", 9 * 86_400, anonymous_id="tablet", is_bot=True)]
    rows += [event("identify", 20, user_id=user, trait_email="one@x.fi") for user in ("aino", "aina")]
    rows += [event("identify", 30, user_id="old", trait_email="old@x.fi")]
    rows += [event("identify", 31, user_id="new", trait_email="new@x.fi"), event("page_viewed", 32, anonymous_id="y")]
    rows += [event("alias", 33, user_id="new", previous_id="old")]
    rows += [event("identify", 40 + n, anonymous_id=f"till{n}", trait_email="till@x.fi") for n in range(21)]
    journeys = opened(rows)

    result = run_identity(journeys, IdentityQuestion(many_ids=5))

    assert [row[:5] for row in result.rows] == [
        ["placeholder_id", "undefined", 4, 1, None],
        ["values_differ", "old", 2, None, "new, old"],
        ["many_ids", "undefined", 5, None, "d0, d1, d2, d3, undefined"],
        ["shared_device", "tablet", 3, 2, "u0, u1, u2"],
        ["same_value", "aina", 2, None, "aina, aino"],
        ["value_of_many", "email", 21, None, "till0, till1, till10, till11, till12 and 16 more"],
    ]
    monkeypatch.setattr(options, "load_plan", lambda folder: journeys.plan)
    text = CliRunner().invoke(identity, ["--lake", journeys.lake.uri], standalone_mode=False).stdout
    assert "several known people, not merged: no device joins user ids" in text and "@x.fi" not in text
    fewer = run_identity(journeys, IdentityQuestion(many_ids=5, shared_by=4))
    assert "shared_device" not in {row[0] for row in fewer.rows} and fewer.coverage["shared_device"] == 0


@pytest.mark.parametrize(
    ("told", "differ"),
    [
        ({"a": ["x"], "b": ["y"]}, True),
        ({"a": ["x"], "b": ["y"], "c": ["x"]}, True),  # two of them agree, and the third is somebody else
        ({"a": ["x"], "b": ["y"], "c": ["x"], "d": ["y"]}, True),
        ({"a": ["x"], "b": ["x", "y"], "c": ["y"]}, False),  # who moved house binds them
        ({"a": ["x", "y"], "b": []}, False),
    ],
)
def test_user_ids_that_were_joined_and_tell_different_values_are_found(
    opened: Callable[..., Journeys], event: Make, told: dict[str, list[str]], differ: bool
) -> None:
    rows = [event("page_viewed", 0, user_id=user) for user in told]
    rows += [event("identify", 1, user_id=u, trait_email=f"{v}@x.fi") for u, values in told.items() for v in values]
    rows += [event("alias", 2, user_id="a", previous_id=user) for user in told if user != "a"]

    found = [row[:3] for row in run_identity(opened(rows), IdentityQuestion(many_ids=9)).rows]

    who = sum(bool(values) for values in told.values())
    assert found == ([["values_differ", "a", who]] if differ else [])


def test_nothing_suspicious_is_an_answer(opened: Callable[..., Journeys], event: Make) -> None:
    journeys = opened([event("identify", 0, anonymous_id="d", user_id="u", trait_email="u@x.fi")])
    result = run_identity(journeys, IdentityQuestion())
    assert result.rows == [] and result.coverage["same_value"] == 0
    with pytest.raises(AnalyticsError, match="begin with 2"):
        run_identity(journeys, IdentityQuestion(many_ids=1))


def test_a_build_after_an_erasure_takes_the_person_apart(
    make_lake: Callable[..., Lake], event: Make, plan: Plan
) -> None:
    rows = [event("page_viewed", n, anonymous_id=device) for n, device in enumerate(["phone", "laptop", "phone"])]
    rows += [event("page_viewed", 9 + n, anonymous_id=d, user_id="aino") for n, d in enumerate(["phone", "laptop"])]
    lake = make_lake(rows)
    build(lake, plan)
    assert open_journeys(lake, plan).rows("SELECT person_id, touchpoints FROM persons") == [("aino", 5)]

    lake.delta("events").delete("user_id = 'aino'")
    build(lake, plan)

    assert open_journeys(lake, plan).rows("SELECT person_id, touchpoints FROM persons ORDER BY 1") == [
        ("laptop", 1),
        ("phone", 2),
    ]
