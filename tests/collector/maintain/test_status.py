"""What `polku lake status` says there is to do, and how a mirror is shown."""

import pytest

from polku_collector.maintain.costs import Costs
from polku_collector.maintain.status import Mirrored, MirrorStatus, NotesStatus, Status, lines_of, to_do


def told(mirror: MirrorStatus | None, seconds: float = 60.0, notes: NotesStatus | None = None) -> list[str]:
    return to_do(
        [],
        None,
        most_files=1000,
        flush_seconds=1,
        window_seconds=1,
        maintenance=True,
        mirror=mirror,
        mirror_seconds=seconds,
        notes=notes,
    )


@pytest.mark.parametrize(("behind", "interval", "is_told"), [(0, 60, 0), (600, 60, 0), (601, 60, 1), (900, 100, 0)])
def test_a_mirror_far_behind_is_something_to_do(behind: float, interval: float, is_told: int) -> None:
    assert len(told(MirrorStatus("shop", [Mirrored("events", 9, 7, 2, behind)]), interval)) == is_told
    assert told(None) == []


def test_notes_that_are_passed_over_are_shown_and_something_to_do() -> None:
    notes = NotesStatus(2, {"_handover/s/1.json": "it is no JSON"})
    shown = lines_of(Status("lake", "now", [], None, None, told(None, notes=notes), None, notes))
    assert shown[1:3] == ["", "handed over: 2 notes wait, 1 are passed over"]
    assert "the note _handover/s/1.json cannot be committed (it is no JSON)" in shown[-1]


def test_what_requests_cost_is_told_of_a_lake_on_object_storage_only() -> None:
    """A folder asks nobody, and is flushed ten times as often."""
    dear = Costs(1.0, 1.0, 1.0, 60.0, 11e6, 39e6, 71.0, 92.0)
    local, remote = (lines_of(Status(lake, "now", [], None, dear, [])) for lake in ("./lake", "s3://bucket/lake"))
    assert "$" not in "".join(local)
    assert any("($92.00 a month)" in line for line in remote)


def test_a_mirror_is_shown_as_a_person_reads_it() -> None:
    tables = [Mirrored("events", 9, 7, 2, 75), Mirrored("quarantine", 3, None, 4, 75)]
    shown = lines_of(Status("lake", "now", [], None, None, [], MirrorStatus("shop", tables)))
    assert shown[2:5] == [
        "Iceberg catalog shop:",
        "  events: mirrored to version 7 of 9, 2 commits behind, 75.0 s",
        "  quarantine: nothing mirrored yet of 3, 4 commits behind, 75.0 s",
    ]
    away = MirrorStatus("shop", [], "it does not answer")
    shown = lines_of(Status("lake", "now", [], None, None, told(away), away))
    assert shown[2] == "Iceberg catalog shop: not known"
    assert shown[-1] == "  - the Iceberg mirror could not be looked at: it does not answer"
