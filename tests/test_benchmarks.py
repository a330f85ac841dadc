"""The benchmark suite in its smallest form: it completes, and every count in it was right. Nothing about time."""

import json
import subprocess
import sys
from pathlib import Path

_SUBJECTS = {
    "intake",
    "lake",
    "end to end",
    "track",
    "peers",
    "validate",
    "hostile",
    "growth",
    "compaction",
    "freshness",
    "scale",
    "analyses",
}
ROOT = Path(__file__).parents[1]


def test_the_suite_completes_with_every_event_accounted_for(tmp_path: Path) -> None:
    """A wrong answer, a missing row or a filled quarantine would end it with 1.

    So would a collector under attack that answers anything but 200 to a client that behaves.
    """
    found = tmp_path / "figures.json"
    arguments = ["--seconds", "0.1", "--json", str(found), "--folder", str(tmp_path)]
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(found.read_text())["figures"]
    assert {figure["subject"] for figure in figures} == _SUBJECTS
    assert all(figure["value"] > 0 for figure in figures)
    for figure in figures:
        assert figure["what"] in done.stdout


def test_an_answer_that_is_not_the_expected_one_voids_the_figure(tmp_path: Path) -> None:
    """The generator gives up on the first answer it did not expect."""
    code = (
        "from pathlib import Path\n"
        "from tests.benchmarks.load import generate\n"
        "from tests.benchmarks.processes import constant_server\n"
        "from tests.benchmarks.bodies import save\n"
        "from tests.benchmarks.shop import Shop\n"
        f"bodies = save(Shop().templates(1, 1), Path({str(tmp_path / 'bodies')!r}))\n"
        "with constant_server() as port:\n"
        "    generate(port, bodies, '{\"success\":false', connections=1, seconds=0.1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "NotAsExpected" in done.stderr and "unexpected answer" in done.stderr
