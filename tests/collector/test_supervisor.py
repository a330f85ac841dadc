"""A start: intake loads beside the check of the plan, and takes nothing before it has ended well."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from polku_collector.supervisor import EXIT_HOPELESS, Clearance, on_sigterm, wait_for_clearance

_SCRIPT = """
import sys
from pathlib import Path
from polku_collector.supervisor import Clearance, Renewal, Role, Start, Supervisor, signals_held
folder, code = Path(sys.argv[1]), int(sys.argv[2])
clearance = Clearance()
this = "tests.collector.test_supervisor:"
with signals_held():
    supervisor = Supervisor(
        [Role("intake", this + "intake", (folder, clearance.taker))],
        Role("committer", this + "committer", (folder,)),
        start=Start(
            Role("plan", this + "check", (folder, code)),
            60.0,
            clearance,
            meanwhile=lambda: (folder / "meanwhile").touch(),
            on_cleared=lambda: (folder / "cleared").touch(),
        ),
        renewal=Renewal(Role("plan", this + "check", (folder, code)), lambda outcome: None, on_hangup=False),
        drain_seconds=10.0,
    )
    sys.exit(supervisor.run())
"""


def intake(folder: Path, clearance: socket.socket) -> None:
    (folder / "loaded").touch()
    wait_for_clearance(clearance)
    seen = sorted(path.name for path in folder.iterdir())
    (folder / "began").write_text(" ".join(seen))
    _until_told()


def committer(folder: Path) -> None:
    """Nothing to do."""
    _until_told()


def check(folder: Path, code: int) -> None:
    """Ends only when intake has loaded: one after the other they would wait for ever."""
    _wait_for(folder / "loaded")
    (folder / "checked").touch()
    sys.exit(code)


def _until_told() -> None:
    told: list[bool] = []
    on_sigterm(lambda: told.append(True))
    while not told:
        time.sleep(0.01)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)


def _started(folder: Path, code: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SCRIPT, str(folder), str(code)])


def test_intake_loads_beside_the_check_and_begins_after_it(tmp_path: Path) -> None:
    process = _started(tmp_path, 0)
    _wait_for(tmp_path / "began")
    process.terminate()
    assert process.wait(60) == 0
    assert (tmp_path / "began").read_text() == "checked cleared loaded meanwhile"


def test_a_check_that_finds_it_hopeless_ends_those_who_wait(tmp_path: Path) -> None:
    process = _started(tmp_path, EXIT_HOPELESS)
    assert process.wait(60) == EXIT_HOPELESS
    assert (tmp_path / "checked").exists()
    assert not (tmp_path / "began").exists()
    assert not (tmp_path / "cleared").exists()


def test_told_to_stop_while_it_checks_it_begins_all_the_same_and_ends_cleanly(tmp_path: Path) -> None:
    """What an earlier life left in the journal wants to be committed."""
    process = _started(tmp_path, 0)
    _wait_for(tmp_path / "meanwhile")
    process.terminate()
    assert process.wait(60) == 0
    assert (tmp_path / "cleared").exists()


def test_the_word_stays_for_whoever_asks_and_silence_is_none() -> None:
    clearance = Clearance()
    taker = clearance.taker.dup()
    clearance.give()
    wait_for_clearance(taker)
    wait_for_clearance(taker)  # a worker that is started again
    silent = Clearance()
    taker = silent.taker.dup()
    del silent
    try:
        wait_for_clearance(taker)
    except SystemExit as ended:
        assert ended.code == 1
    else:
        raise AssertionError("taken as given")
