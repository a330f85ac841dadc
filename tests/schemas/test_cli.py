"""`polku plan check` and `polku plan list`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from polku_schemas import load_plan
from polku_schemas.cli import plan
from tests.schemas.conftest import SMALL_PLAN

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
        f"{folder}/plan.yaml:4: warning: stages[0]: no event places anybody in the stage `interest`. "
        "Give an event this stage, or remove it. [unreached_stage]",
        f"{folder}/traits.yaml: error: the file is not there. Add it. [missing_file]",
        f"{folder}/journey/goals.yaml:1: error: g.events[0]: there is no event `none`. "
        "Use the name of a file in events/. [unknown_event]",
        "2 errors, 1 warning",
    ]


def test_warnings_end_with_0_and_with_strict_with_1(write_plan: WritePlan) -> None:
    folder = str(write_plan())
    for arguments, code in ([folder], 0), ([folder, "--strict"], 1), (["--strict"], 0):
        result = CliRunner().invoke(plan, ["check", *arguments])
        assert result.exit_code == code
        if folder in arguments:
            assert result.output.splitlines()[-1].endswith("1 event, 2 properties, 1 trait, 1 warning")


def test_json_is_one_document_with_everything(write_plan: WritePlan) -> None:
    result = CliRunner().invoke(plan, ["check", str(write_plan()), "--format", "json"])
    assert result.exit_code == 0
    loaded = load_plan(write_plan())
    assert json.loads(result.output) == {
        "folder": write_plan().as_posix(),
        "name": "small",
        "version": "1.0",
        "fingerprint": loaded.fingerprint,
        "counts": {"errors": 0, "warnings": 1},
        "findings": [
            {
                "file": "plan.yaml",
                "line": 4,
                "path": "stages[0]",
                "code": "unreached_stage",
                "severity": "warning",
                "message": "no event places anybody in the stage `interest`",
                "remedy": "Give an event this stage, or remove it",
                "names": ["interest"],
            }
        ],
    }


def test_json_of_a_plan_with_errors_has_no_fingerprint(write_plan: WritePlan) -> None:
    result = CliRunner().invoke(plan, ["check", str(write_plan({"traits.yaml": None})), "--format", "json"])
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert (document["name"], document["version"], document["fingerprint"]) == (None, None, None)
    assert document["counts"] == {"errors": 1, "warnings": 1}


def test_github_gets_workflow_commands_with_paths_from_the_working_directory(
    write_plan: WritePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_plan({"traits.yaml": "a: {type: string, description: A., privacy: 'x%,y: z'}\n"})
    folder.rename(folder.parent / "my, plan: 100%")
    (folder.parent / "below").mkdir()
    monkeypatch.chdir(folder.parent / "below")
    result = CliRunner().invoke(plan, ["check", "../my, plan: 100%", "--format", "github"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "::warning file=../my%2C plan%3A 100%25/plan.yaml,line=4,title=unreached_stage::"
        "stages[0]: no event places anybody in the stage `interest`. Give an event this stage, or remove it.",
        "::error file=../my%2C plan%3A 100%25/traits.yaml,line=1,title=unknown_value::"
        "a.privacy: `privacy` is `x%25,y: z`. Use one of none, pseudonymous, personal, sensitive.",
        "1 error, 1 warning",
    ]


def test_a_line_break_does_not_end_a_finding(write_plan: WritePlan) -> None:
    event = SMALL_PLAN["events/paid.yaml"].replace("[Paid]", '["Paid\\nTwice"]')
    folder = write_plan({"events/paid.yaml": event, "events/sold.yaml": event.replace("name: paid", "name: sold")})
    (folder / "events" / "a\nb.txt").touch()
    for form in ("text", "github"):
        output = CliRunner().invoke(plan, ["check", str(folder), "--format", form]).output
        assert "`Paid\\nTwice` already leads to events/paid.yaml" in output
    assert "/events/a%0Ab.txt,title=unread_file" in output


def test_an_unknown_form_is_a_usage_error() -> None:
    assert CliRunner().invoke(plan, ["check", "--format", "xml"]).exit_code == 2


def test_list_shows_all_stages_also_those_without_events(write_plan: WritePlan) -> None:
    result = CliRunner().invoke(plan, ["list", str(write_plan())])
    assert result.exit_code == 0
    assert result.output.splitlines()[:3] == ["interest (0)", "purchase (1)", "   paid  till · the source"]


def test_list_of_the_builtin_plan_marks_what_depends_on_rules() -> None:
    lines = CliRunner().invoke(plan, ["list"]).output.splitlines()
    assert sum(line.strip().startswith("* order_completed ") for line in lines) == 2
    assert any(line.startswith("no stage (4)") for line in lines)


def test_a_folder_that_is_not_there_is_a_usage_error() -> None:
    assert CliRunner().invoke(plan, ["check", "/nowhere/at/all"]).exit_code == 2
