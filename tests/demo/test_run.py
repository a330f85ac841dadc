"""A small demo from end to end: real SDK, real collector process, real tables; and what it refuses."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from polku_demo import datasets
from polku_demo.cli import demo
from polku_demo.datasets import Figure
from polku_demo.errors import DemoError, FiguresDifferError
from polku_demo.lake_figures import Found, table
from polku_demo.progress import Progress
from polku_demo.run import Outcome, check_directory, run, run_dataset
from polku_demo.sending import Sent

PEOPLE, SEED = 12, 2


def test_both_data_sets_arrive_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    chosen = [datasets.retail(2), datasets.webshop(PEOPLE, SEED)]
    out = io.StringIO()
    outcomes = run(chosen, tmp_path, out)
    assert [outcome.dataset for outcome in outcomes] == ["retail", "webshop"]
    for outcome, dataset in zip(outcomes, chosen, strict=True):
        assert outcome.rows_added == dataset.events
        assert all(item.equal for item in outcome.found)
        assert outcome.sent.rejected == 0
        assert outcome.report.as_uri() in out.getvalue()
        other = "webshop" if outcome.dataset == "retail" else "retail"
        assert f"../{other}/report.html" in outcome.report.read_text(encoding="utf-8")
    assert "polku query --lake" in out.getvalue()

    again = run_dataset(datasets.webshop(PEOPLE, SEED), tmp_path, io.StringIO())
    assert again.rows_before == outcomes[1].rows_after
    assert again.rows_added == 0
    assert all(item.equal for item in again.found)


def test_a_figure_that_is_not_met_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome(
        dataset="webshop",
        lake=tmp_path / "webshop" / "lake",
        report=tmp_path / "webshop" / "report.html",
        sent=Sent(events=1, delivered=1, rejected=0, seconds=1.0, requests=1),
        rows_before=0,
        rows_after=1,
        found=(Found(Figure("orders", 3, ""), 3), Found(Figure("returns", 3, ""), 2)),
        seconds=1.0,
    )
    monkeypatch.setattr("polku_demo.run.run_dataset", lambda *args, **kwargs: outcome)
    with pytest.raises(FiguresDifferError, match="webshop: returns") as caught:
        run([datasets.webshop(2, 1)], tmp_path, io.StringIO())
    assert caught.value.exit_code == 1


def test_another_run_is_not_mixed_into_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"dataset":"webshop","people":5,"seed":1}')
    check_directory(datasets.webshop(5, 1), tmp_path)
    with pytest.raises(DemoError, match="--out"):
        check_directory(datasets.webshop(5, 2), tmp_path)


def test_a_table_for_people_shows_amounts_and_differences() -> None:
    lines = table(
        (
            Found(Figure("revenue", 123456, "", cents=True), 123456),
            Found(Figure("orders", 10, ""), 9),
        )
    )
    assert "1,234.56" in lines[1]
    assert lines[1].endswith("equal")
    assert lines[2].endswith("DIFFERENT")


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    now, out = [0.0], io.StringIO()
    with Progress("sending", 1_000, out, clock=lambda: now[0]) as progress:
        for count in range(1, 1_001):
            now[0] = count / 100
            progress.at(count)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "\r" not in out.getvalue()
    assert "1,000 of 1,000" in lines[-1]
    assert "100 events/s" in lines[-1]


def test_full_and_households_contradict_each_other() -> None:
    result = CliRunner().invoke(demo, ["--full", "--households", "3"])
    assert result.exit_code == 2
    assert "--full" in result.output


def test_the_commands_it_prints_are_commands_there_are() -> None:
    """Each is `polku NAME …` with a {lake}; running them is the end-to-end tests' part."""
    commands = datasets.retail(1).next_commands + datasets.webshop(1, 1).next_commands
    assert {command.split()[1] for command in commands} == {"query", "funnel"}
    assert all("{lake}" in command for command in commands)


def test_ctrl_c_ends_demo_and_collector_with_one_sentence(tmp_path: Path) -> None:
    """The signal goes to the whole process group, as from a terminal."""
    command = [sys.executable, "-m", "polku.cli", "demo", "--dataset", "webshop", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "a collector listens on" in line)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors == "polku: interrupted; run the same command again: it adds no row twice\n"
    port = re.findall(r":(\d+),", line)[0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)
