"""Every kind of finding, shown by a small plan that is broken in one place.

`broken/sound` is a plan without findings. Each folder beside it holds the files that are put over it and is named by
the code it shows, with a word behind it where there are several. What must be found stands where it is wrong, as
`# finding: CODE PATH`, or in `findings.txt` for files that cannot hold a comment; `remove.txt` names files to take
out. Nothing else may be found: one mistake is one finding.
"""

import re
import shutil
from pathlib import Path

import pytest

from polku_schemas import FindingCode
from polku_schemas.finding_codes import DESCRIPTIONS, WARNINGS
from polku_schemas.plan import read_plan

BROKEN = Path(__file__).parent / "broken"
CASES = sorted(path.name for path in BROKEN.iterdir() if path.name != "sound")


def copy_of(case: str, folder: Path) -> Path:
    """The sound plan with the files of a case over it."""
    shutil.copytree(BROKEN / "sound", folder)
    shutil.copytree(BROKEN / case, folder, dirs_exist_ok=True)
    (folder / "findings.txt").unlink(missing_ok=True)
    if (folder / "remove.txt").exists():
        for file in (folder / "remove.txt").read_text().split():
            (folder / file).unlink()
        (folder / "remove.txt").unlink()
    return folder


def expected(case: str) -> list[str]:
    """`FILE:LINE CODE PATH` for each finding that the files of a case announce."""
    found = []
    for file in (BROKEN / case).rglob("*.yaml"):
        name = file.relative_to(BROKEN / case).as_posix()
        for number, line in enumerate(file.read_bytes().decode("utf-8", "ignore").splitlines(), 1):
            said = re.search(r"# finding: (.*)$", line)
            found += [f"{name}:{number} {one.strip()}" for one in said[1].split(";")] if said else []
    beside = BROKEN / case / "findings.txt"
    return sorted(found + (beside.read_text().splitlines() if beside.exists() else []))


@pytest.mark.parametrize("case", CASES)
def test_a_broken_plan_has_the_findings_it_announces_and_no_others(case: str, tmp_path: Path) -> None:
    report = read_plan(copy_of(case, tmp_path / "plan"))
    found = []
    for finding in report.findings:
        where = finding.file if finding.line is None else f"{finding.file}:{finding.line}"
        found.append(f"{where} {finding.code} {finding.path}".strip())
        assert finding.severity == ("warning" if finding.code in WARNINGS else "error")
        assert bool(finding.names) == (finding.code in WARNINGS - {FindingCode.STALE_ACCEPT})
        assert finding.message
        assert re.search(r"[^.]$", finding.remedy), finding
    assert sorted(found) == expected(case)
    assert found
    assert any(case.startswith(finding.code) for finding in report.findings)
    assert (report.plan is None) == any(finding.severity == "error" for finding in report.findings)


def test_the_sound_plan_has_no_findings(tmp_path: Path) -> None:
    report = read_plan(BROKEN / "sound")
    assert report.findings == ()
    assert report.plan is not None


@pytest.mark.parametrize("code", FindingCode)
def test_every_code_is_shown_and_explained(code: FindingCode) -> None:
    assert any(code in line.split()[1] for case in CASES if case.startswith(code) for line in expected(case))
    assert re.fullmatch(r"[`A-Z].*[^.]\.", DESCRIPTIONS[code])


def test_the_codes_are_a_closed_list() -> None:
    assert set(DESCRIPTIONS) == set(FindingCode)
    assert set(FindingCode) >= WARNINGS
