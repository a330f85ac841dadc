"""`polku plan generate`: what it writes, what it leaves alone, and what CI asks it."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from polku_schemas.cli import plan
from polku_schemas.errors import PlanError, SchemasError
from tests.schemas.conftest import WritePlan


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(plan, ["generate", *map(str, arguments)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_plan: WritePlan) -> Path:
    """A directory with the small plan in plan/."""
    write_plan()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_both_languages_are_written_and_then_up_to_date(here: Path) -> None:
    arguments = ("plan", "--python", "events.py", "--typescript", "events.ts")
    assert run(*arguments).output == "events.py: written\nevents.ts: written\n"
    assert "class Paid(typed.Event" in (here / "events.py").read_text()
    assert "export interface Paid {" in (here / "events.ts").read_text()
    before = (here / "events.py").stat()
    assert run(*arguments).output == "events.py: up to date\nevents.ts: up to date\n"
    assert (here / "events.py").stat() == before
    checked = run(*arguments, "--check")
    assert (checked.exit_code, checked.output) == (0, "events.py: up to date\nevents.ts: up to date\n")


def test_the_builtin_plan_is_taken_without_a_folder(here: Path) -> None:
    assert run("--python", "events.py", "--events", "order_completed").exit_code == 0
    assert "class OrderCompleted(typed.Event" in (here / "events.py").read_text()


def test_types_only_leaves_out_what_does_something(here: Path) -> None:
    assert run("plan", "--python", "events.py", "--typescript", "events.ts", "--types-only").exit_code == 0
    assert "class Paid(TypedDict):" in (here / "events.py").read_text()
    assert "polku import" not in (here / "events.py").read_text()
    assert "function" not in (here / "events.ts").read_text()


def test_check_writes_nothing_and_tells_what_differs_and_what_to_run(here: Path) -> None:
    missing = run("plan", "--python", "events.py", "--events", "paid,traits", "--types-only", "--check")
    assert missing.exit_code == 1
    assert missing.output == (
        "events.py is not there\n"
        "Not what the plan says. Run: polku plan generate plan --python events.py --events paid,traits --types-only\n"
    )
    assert not (here / "events.py").exists()
    run("plan", "--python", "events.py")
    properties = here / "plan" / "properties.yaml"
    properties.write_text(properties.read_text().replace("minimum: 0", "minimum: 1"))
    before = (here / "events.py").read_bytes()
    stale = run("plan", "--python", "events.py", "--check")
    assert stale.exit_code == 1
    assert "-    amount: Annotated[float, typed.number(minimum=0)]" in stale.output
    assert "+    amount: Annotated[float, typed.number(minimum=1)]" in stale.output
    assert stale.output.endswith("Run: polku plan generate plan --python events.py\n")
    assert (here / "events.py").read_bytes() == before


def test_a_long_difference_is_cut(here: Path) -> None:
    run("--python", "events.py")
    output = run("--python", "events.py", "--events", "order_completed", "--check").output
    assert "more lines" in output
    assert len(output.splitlines()) < 50


def test_line_ends_that_git_changed_are_no_difference(here: Path) -> None:
    run("plan", "--python", "events.py")
    (here / "events.py").write_bytes((here / "events.py").read_bytes().replace(b"\n", b"\r\n"))
    assert run("plan", "--python", "events.py", "--check").exit_code == 0


def test_a_file_that_was_not_generated_is_left_alone(here: Path) -> None:
    for content in (b"import polku\n", b"\xff\xfe"):
        (here / "mine.py").write_bytes(content)
        for more in ((), ("--check",)):
            result = run("plan", "--python", "mine.py", *more)
            assert isinstance(result.exception, SchemasError)
            assert result.exception.exit_code == 2
            assert "mine.py was not generated" in str(result.exception)
        assert (here / "mine.py").read_bytes() == content
    (here / "empty.py").touch()
    assert run("plan", "--python", "empty.py").exit_code == 0


def test_what_cannot_be_written_says_why_and_leaves_nothing_behind(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("plan", "--python", "no/where/events.py")
    assert str(result.exception) == (
        f"cannot write no/where/events.py: No such file or directory. Make the folder {here}/no/where first."
    )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run("plan", "--python", "events.py")
    before = (here / "events.py").read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    result = run("--python", "events.py")
    assert "cannot write events.py: No space left on device" in str(result.exception)
    assert (here / "events.py").read_bytes() == before
    assert {path.name for path in here.iterdir()} == {"plan", "events.py"}


def test_a_link_stays_a_link_and_a_new_file_has_ordinary_rights(here: Path) -> None:
    (here / "real").mkdir()
    (here / "events.py").symlink_to(here / "real" / "events.py")
    assert run("plan", "--python", "events.py").exit_code == 0
    assert (here / "events.py").is_symlink()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((here / "real" / "events.py").stat().st_mode) == 0o666 & ~umask


def test_a_broken_plan_is_not_generated_from(here: Path, write_plan: WritePlan) -> None:
    write_plan({"traits.yaml": "email: {type: text}\n"})
    result = run("plan", "--python", "events.py")
    assert isinstance(result.exception, PlanError)
    assert len(result.exception.findings) > 1
    assert not (here / "events.py").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to write: give --python FILE, --typescript FILE or both"),
        (("--python", "a", "--typescript", "./a"), "name one file"),
        (("--python", "."), "is a directory"),
        (("nowhere", "--python", "a.py"), "does not exist"),
    ],
)
def test_bad_usage_is_told(here: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
