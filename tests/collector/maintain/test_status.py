"""What `polku lake status` says there is to do, and how a mirror is shown."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from polku_collector.compose_status import status
from polku_collector.maintain.costs import Costs
from polku_collector.maintain.status import JournalStatus, Mirrored, MirrorStatus, NotesStatus, Status, lines_of, to_do
from polku_collector.settings import Lake as LakeSettings
from polku_collector.settings import Maintenance, Settings

from .world import Lake, event


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


def test_the_facts_of_a_table_are_those_of_its_log_before_and_after_a_merge(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    for number in range(20):
        lake.write(event(), event(days_ago=1), stream=f"{number}")
    few = Maintenance(enabled=False, compact_files=10)
    settings = Settings(lake=LakeSettings(uri=lake.uri, scratch=str(tmp_path / "looks")), maintenance=few)

    def seen() -> tuple[Status, int, int]:
        (told,) = (one := status(settings, None)).tables
        table = DeltaTable(f"{lake.uri}/events")
        sizes = table.get_add_actions(flatten=True)["size_bytes"].to_pylist()
        assert (told.name, told.version, told.files, told.rows) == ("events", table.version(), len(sizes), 40)
        assert (told.size_bytes, told.partitions) == (sum(sizes), 2)
        assert (told.small_files, told.small_ratio) == (len(sizes), 1.0)
        return one, told.surplus_files, told.vacuumable_files

    before, surplus, vacuumable = seen()
    assert (surplus, vacuumable, before.tables[0].last_work) == (38, 0, {})
    assert before.to_do == [
        "events has 40 files, 38 of them too many: maintenance does not keep up or does not run "
        "(set maintenance.enabled = true), or run `polku lake compact`"
    ]
    shown = lines_of(before)
    assert shown[2].startswith(f"events: version {before.tables[0].version}, newest commit ")
    assert shown[3].startswith("  40 rows in 40 files of 2 days, ")
    assert shown[4:6] == [
        "  40 small files (100%); 38 fewer files if all were merged",
        "  last maintenance in the log: none",
    ]

    lake.maintainer().compact(lake.table(), everything=True)
    after, surplus, vacuumable = seen()
    assert (after.tables[0].files, surplus, [*after.tables[0].last_work]) == (2, 0, ["compaction"])
    assert after.to_do == [] and lines_of(after)[-1] == "nothing to do"
    assert f"compaction {after.tables[0].last_work['compaction']}" in "\n".join(lines_of(after))


@pytest.mark.parametrize(
    ("window", "is_bounded", "shown", "told"),
    [
        (7 * 86_400.0, False, "7.0 days", []),
        (
            86_400.0,
            True,
            "24.0 h",
            ["copies are recognised for 24.0 h instead of 7.0 days: raise lake.dedup_max_bytes"],
        ),
        (None, False, "not known", []),
    ],
)
def test_lag_and_window_are_shown(window: float | None, is_bounded: bool, shown: str, told: list[str]) -> None:
    journal = JournalStatus("./journal", 2, 1_234, 5 * 2**20, 30.0, window, is_bounded)
    found = to_do([], journal, most_files=1000, flush_seconds=1, window_seconds=7 * 86_400, maintenance=True)
    assert found == told
    lines = lines_of(Status("lake", "now", [], journal, None, found))
    assert lines[2] == "journal ./journal: 1,234 waiting events in 2 streams, 5.0 MiB, the oldest for 30.0 s"
    assert lines[3] == f"  copies are recognised for: {shown}"
    late = JournalStatus("./journal", 1, 1, 1, 61.0, window, False)
    (line,) = to_do([], late, most_files=1000, flush_seconds=1, window_seconds=7 * 86_400, maintenance=True)
    assert "has waited for 61.0 s" in line and "run `polku lake drain --journal ./journal`" in line
