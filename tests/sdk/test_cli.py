"""The `polku` command, with commands that are there only for these tests."""

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest

from polku import __version__, cli


class FullError(Exception):
    exit_code = 75


class Errors:
    to_raise: BaseException | None = None


@click.command()
@click.option("--count", type=int, default=0)
@click.pass_context
def fake(context: click.Context, count: int) -> None:
    """Does what the test wants."""
    if Errors.to_raise is not None:
        raise Errors.to_raise
    print(f"counted {count}")
    context.exit(count)


@pytest.fixture
def polku(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command with arguments; returns exit code, output and errors."""
    points = [
        EntryPoint("fake", f"{__name__}:fake", cli.GROUP),
        EntryPoint("funnel", "no_such_package_here.cli:main [analytics]", cli.GROUP),
        EntryPoint("report", "polku_no_such_part:main [demo]", cli.GROUP),
    ]
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules["__main__"])
    monkeypatch.setattr(EntryPoint, "load", lambda self: fake if self.name == "fake" else __import__(self.module))
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    monkeypatch.setattr(Errors, "to_raise", None)

    def run(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_alone_it_lists_the_commands(polku: Any) -> None:
    code, out, _ = polku()
    assert code == 0
    assert "  fake    Does what the test wants.\n" in out
    assert "  funnel  (not installed: pip install '.[analytics]' in a checkout of Polku)\n" in out
    assert polku("--help")[1] == out


def test_it_runs_a_command_and_passes_its_exit_code_on(polku: Any) -> None:
    assert polku("fake") == (0, "counted 0\n", "")
    assert polku("fake", "--count", "3") == (3, "counted 3\n", "")


def test_usage_errors_are_one_sentence_and_exit_2(polku: Any) -> None:
    code, _, err = polku("fake", "--cuont", "3")
    assert code == 2
    assert "--cuont" in err
    assert "Usage: polku fake" in err
    assert polku("fnunel") == (2, "", "polku: unknown command 'fnunel', did you mean 'funnel'?\n")
    assert polku("xyzzy")[0] == 2
    assert "unknown option '--verison'" in polku("--verison")[2]


def test_a_missing_package_says_what_to_install(polku: Any) -> None:
    text = "polku: the command 'funnel' needs 'no_such_package_here', which is not installed or too old: "
    assert polku("funnel") == (2, "", text + "pip install '.[analytics]' in a checkout of Polku\n")
    assert "pip install '.[demo]'" in polku("report")[2]


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (FullError("the journal is full"), 75, "polku: the journal is full\n"),
        (PermissionError(13, "Permission denied", "/lake"), 2, "polku: /lake: Permission denied\n"),
        (OSError("no room"), 2, "polku: no room\n"),
        (KeyboardInterrupt(), 130, None),
        (SystemExit(75), 75, ""),
        (click.ClickException("not so"), 1, "Error: not so\n"),
        (ModuleNotFoundError("No module named 'duckdb'", name="duckdb"), 2, None),
    ],
)
def test_expected_ends_have_no_traceback(error: BaseException, code: int, err: str | None, polku: Any) -> None:
    Errors.to_raise = error
    got_code, _, got_err = polku("fake")
    assert got_code == code
    assert err is None or got_err == err
    assert "Traceback" not in got_err


@pytest.mark.parametrize("error", [ValueError("a fault"), ImportError("cannot import name", name="polku_schemas.x")])
def test_a_fault_of_ours_keeps_its_traceback(error: Exception, polku: Any) -> None:
    Errors.to_raise = error
    with pytest.raises(type(error)):
        cli.main(["fake"])


def test_it_runs_as_a_module_and_as_the_installed_script() -> None:
    script = Path(sys.executable).with_name("polku")
    for command in ([sys.executable, "-m", "polku.cli"], [str(script)]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, env=os.environ)
        assert (done.returncode, done.stdout) == (0, f"polku {__version__}\n")


def test_an_installed_command_is_listed_with_what_it_does() -> None:
    done = subprocess.run([sys.executable, "-m", "polku.cli"], capture_output=True, text=True, env=os.environ)
    assert re.search(r"^  query +Run SQL over the tables of the lake", done.stdout, re.MULTILINE)
    assert "not installed" not in done.stdout


def test_a_reader_that_goes_away_ends_it_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run([sys.executable, "-m", "polku.cli"], stdout=gone, stderr=subprocess.PIPE, env=os.environ)
    assert done.stderr == b""
