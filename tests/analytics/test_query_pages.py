"""The pages on querying a lake without Polku say what works: those that need only what all tests have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polku_analytics.build import build
from polku_analytics.lake import Lake
from polku_schemas import Plan
from tests.docs.blocks import ROOT, blocks_of


@pytest.fixture(scope="module")
def home(
    new_history: Callable[[], Callable[..., dict[str, Any]]],
    make_lake: Callable[..., Lake],
    plan: Plan,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with polku-data/lake."""
    event = new_history()
    lake = make_lake(
        [
            event("product_viewed", 0, user_id="aino", price=5.0),
            event("order_completed", 60, user_id="aino", order_id="1", revenue=10.0),
            event("product_viewed", 100, anonymous_id="eino", price=50.0),
        ]
    )
    build(lake, plan)
    folder = tmp_path_factory.mktemp("home")
    (folder / "polku-data").mkdir()
    (folder / "polku-data" / "lake").symlink_to(lake.uri)
    return folder


@pytest.mark.parametrize("name", ["duckdb", "polars", "bi"])
def test_a_page_runs_as_it_stands(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    blocks = [block for block in blocks_of(ROOT / "docs" / "query" / f"{name}.md") if block.verb == "run"]
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block.text, block.place, "exec"), scope)  # noqa: S102, it is our own documentation
    assert blocks
    assert name == "bi" or "interest" in capfd.readouterr().out
    assert name != "bi" or (home / "journeys.new.duckdb").exists()
