"""`polku plan check` and `polku plan list`."""

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from polku_schemas.cli import plan

WritePlan = Callable[..., Path]


def test_check_of_the_builtin_plan_is_clean() -> None:
    result = CliRunner().invoke(plan, ["check"])
    assert result.exit_code == 0
    assert result.output.startswith("ecommerce 1.0 (")
    assert "nothing to correct" in result.output


def test_check_prints_every_finding_with_its_place_and_exits_with_1(write_plan: WritePlan) -> None:
    folder = write_plan({"traits.yaml": None, "journey/goals.yaml": "g: {description: G., events: [none]}\n"})
    result = CliRunner().invoke(plan, ["check", str(folder)])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{folder}/journey/goals.yaml:1: there is no event `none`. Use the name of a file in events/.",
        f"{folder}/traits.yaml: the file is not there. Add it.",
        "2 findings",
    ]


def test_list_shows_all_stages_also_those_without_events(write_plan: WritePlan) -> None:
    result = CliRunner().invoke(plan, ["list", str(write_plan())])
    assert result.exit_code == 0
    assert result.output.splitlines()[:3] == ["interest (0)", "purchase (1)", "   paid  till · the source"]


def test_list_of_the_builtin_plan_marks_what_depends_on_rules() -> None:
    lines = CliRunner().invoke(plan, ["list"]).output.splitlines()
    assert sum(line.strip().startswith("* order_completed ") for line in lines) == 2
    assert any(line.startswith("no stage (3)") for line in lines)


def test_a_folder_that_is_not_there_is_a_usage_error() -> None:
    assert CliRunner().invoke(plan, ["check", "/nowhere/at/all"]).exit_code == 2
