"""The pytest plugin: the fixture `polku_events` keeps what a test tracks, and nothing leaves the process.

Every run of pytest in an environment that has Polku loads this. So it is no part of the package `polku`, and imports
nothing of it before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from polku.planned import JudgingPlan
    from pytest_polku.captured import CapturedEvents

_plan = pytest.StashKey["JudgingPlan"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--polku-plan` and the settings `polku_plan`, `polku_unplanned`."""
    group = parser.getgroup("polku", "events tracked with Polku")
    group.addoption(
        "--polku-plan", metavar="DIR", help="tracking plan that `polku_events` judges by (setting: polku_plan)"
    )
    parser.addini("polku_plan", "folder of the tracking plan that `polku_events` judges by, from the root of the tests")
    parser.addini(
        "polku_unplanned",
        "quarantine (default): events and properties that the plan lacks are invalid; accept: they are not",
        default="quarantine",
    )


@pytest.fixture
def polku_events(pytestconfig: pytest.Config) -> Iterator[CapturedEvents]:
    """What is tracked during the test, by `polku.track` and by every `Client`; nothing is sent."""
    from pytest_polku.captured import CapturedEvents, capture

    unplanned = pytestconfig.getini("polku_unplanned")
    if unplanned not in ("accept", "quarantine"):
        raise pytest.UsageError(f"polku_unplanned is {unplanned!r}: write `accept` or `quarantine`")
    with capture(CapturedEvents(_plan_of(pytestconfig), unplanned)) as events:
        yield events


def _plan_of(config: pytest.Config) -> JudgingPlan | None:
    """The plan, read once a process; None if none is named."""
    if _plan in config.stash:
        return config.stash[_plan]
    given = config.getoption("polku_plan")
    folder = Path.cwd() / given if given else _folder_of_setting(config)
    if folder is None:
        return None
    from polku.planned import PlanUnusable, judging_plan

    try:
        plan = judging_plan(folder)
    except PlanUnusable as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_plan] = plan
    return plan


def _folder_of_setting(config: pytest.Config) -> Path | None:
    setting = config.getini("polku_plan")
    return config.rootpath / str(setting) if setting else None
