"""Each recipe of docs/operations.md is tried by a test, and this says by which."""

import ast
import re

import pytest

from tests.docs.blocks import ROOT

MAINTAINED, PROCESS, RECIPES = (
    f"tests/collector/{name}.py" for name in ("maintain/test_run", "test_process", "test_recipes")
)
TRIED = {
    "Rows shall not be kept for ever.": (
        MAINTAINED,
        "test_whole_days_go_without_being_read_and_a_day_is_kept_to_its_end",
    ),
    "A retention was set too short.": (
        MAINTAINED,
        "test_what_a_limit_that_was_too_short_removed_is_read_from_the_version_before",
    ),
    "A journal is left and its collector is gone.": (
        "tests/collector/test_maintenance.py",
        "test_a_journal_without_a_collector_is_drained_by_a_command",
    ),
    "The store was away and the journal is large.": (
        "tests/collector/test_ack_lake.py",
        "test_with_the_store_away_it_is_503_and_the_retry_after_it_is_back_is_one_row",
    ),
    "Move a collector to another machine.": (RECIPES, "test_a_moved_a_cloned_journal_and_an_older_lake"),
    "A journal was restored from a copy, or cloned.": (RECIPES, "test_a_moved_a_cloned_journal_and_an_older_lake"),
    "A journal belongs to another lake.": (PROCESS, "test_a_journal_belongs_to_its_table"),
    "A lake was restored to an older state.": (RECIPES, "test_a_moved_a_cloned_journal_and_an_older_lake"),
    "A key leaked or must change.": (
        "tests/collector/test_reload.py",
        "test_keys_are_rotated_and_limits_taken_without_a_restart",
    ),
    "A source floods the others.": (
        "tests/collector/test_reload.py",
        "test_another_rate_and_another_start_begin_with_a_full_bucket",
    ),
    "Too many connections.": (
        "tests/collector/intake/test_guard.py",
        "test_one_address_has_a_share_and_a_trusted_proxy_has_all",
    ),
    "The plan has changed.": (
        "tests/collector/test_new_plan.py",
        "test_a_new_minor_version_is_taken_under_load_and_lives_beside_the_old_one",
    ),
    "A release sent broken events.": ("tests/collector/replay/test_process.py", "test_the_command"),
}


def test_every_recipe_is_tried() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.split("\n## Recipes\n", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\*\*(.+?)\*\*", section, re.MULTILINE) == [*TRIED]


@pytest.mark.parametrize("recipe", TRIED)
def test_the_test_is_there(recipe: str) -> None:
    file, name = TRIED[recipe]
    found = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name in [node.name for node in found if isinstance(node, ast.FunctionDef)]
