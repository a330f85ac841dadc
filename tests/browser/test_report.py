"""The report's page in a real browser: it draws its plots, fits a phone and can be read by all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from polku_schemas import builtin_plan_path, load_plan
from tests.analytics.conftest import history
from tests.analytics.small_shop import write_shop_report

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small shop."""
    return write_shop_report(tmp_path_factory.mktemp("shop"), history(), load_plan(builtin_plan_path()))[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read_by_all(report: Path, open_page: Open, width: int, scheme: str) -> None:
    page = open_page(report, width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.locator("[data-plot] svg")
    assert drawn.count() == page.locator("[data-plot]").count() == 3
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_bars_of_one_list_are_drawn_to_one_scale(report: Path, open_page: Open) -> None:
    for width in (360, 1280):
        page = open_page(report, width=width)
        wide = "list => list.querySelector('.figure b').textContent = '1,234,567,890'"
        page.evaluate(f"[...document.querySelectorAll('.bars')].forEach({wide})")
        widths = page.evaluate(
            "[...document.querySelectorAll('.bars')].map(list => "
            "[...list.querySelectorAll('.track')].map(track => Math.round(track.getBoundingClientRect().width)))"
        )
        assert widths and all(len(set(tracks)) == 1 for tracks in widths)
