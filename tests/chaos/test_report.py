"""The report adds up rounds, and runs."""

from collections import Counter
from pathlib import Path

from .director import Outcome
from .report import Report, Run


def test_the_figures_of_an_earlier_run_are_gone_on_with_and_both_seeds_are_named(tmp_path: Path) -> None:
    kept = tmp_path / "sum.json"
    for seed in (7, 8):
        report = Report.read(kept)
        report.runs.append(Run(seed))
        for wrong in ([], ["lost"]):
            outcome = Outcome(wrong, kills=Counter(intake=3), windows=2, acknowledged=100)
            report.add("local-kills", f"--seed {seed} --round {report.runs[-1].rounds}", outcome)
        report.write(kept)
    text = Report.read(kept).text(missing=["clock"]).splitlines()
    assert text[:3] == [
        "sum of 2 runs:",
        "  seed 7: 2 rounds, 6 kills, 4 fault scenarios",
        "  seed 8: 2 rounds, 6 kills, 4 fault scenarios",
    ]
    assert {"12 kills (SIGKILL) by role:", "8 fault scenarios; faults made by kind:", "not tried here: clock"} < {*text}
    assert text[-1] == "2 rounds failed: --seed 7 --round 1, --seed 8 --round 1"
