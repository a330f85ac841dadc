"""An Iceberg table stays equal to its Delta table, whatever the Delta table does and whoever else mirrors it."""

import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyiceberg.exceptions import CommitFailedException

import polku_collector.mirror.expire as expiry
import polku_collector.mirror.mirror as steps
from polku_collector.errors import CommitUncertain, StoreUnreachable, TableMismatch
from polku_collector.mirror.mirror import VERSION

from .world import IDENTIFIER, SmallLake


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path)


def test_files_are_registered_as_they_are_and_every_reader_sees_the_same_rows(lake: SmallLake) -> None:
    lake.add("1", "2", user_id="u1")
    lake.add("3", day="2026-01-02", products=[{"product_id": "p", "price": 1.5}, {"product_id": "q", "price": None}])
    lake.mirror().catch_up()
    lake.add("4", products=[{"price": 2.0}])  # a struct of which only some members occur
    lake.mirror().catch_up()
    lake.assert_equal()
    iceberg = lake.iceberg()
    day = iceberg.scan("event_date = '2026-01-02'")
    assert day.to_arrow()["event_id"].to_pylist() == ["3"]
    assert len(list(day.plan_files())) == 1, "a day is pruned by its partition"
    assert len(list(iceberg.scan("event_id = '4'").plan_files())) == 1, "an id is pruned by the bounds of files"
    assert len(list(iceberg.scan("event_time < '2026-01-02T00:00:00+00:00'").plan_files())) == 2


def test_a_second_run_adds_nothing(lake: SmallLake) -> None:
    lake.add("1")
    lake.mirror().catch_up()
    before = lake.iceberg().metadata_location
    lake.mirror().catch_up()
    lake.table.commit([], {"stream": 5})  # a commit without files is nothing to mirror either
    lake.mirror().catch_up()
    assert lake.iceberg().metadata_location == before
    assert lake.mirror().lag().versions == 0


def test_several_versions_are_one_snapshot_but_removals_stand_apart_from_what_is_new(lake: SmallLake) -> None:
    mirror = lake.mirror()
    first = lake.add("1")
    mirror.catch_up()
    second = lake.add("2")
    lake.add("3")
    lake.replace([first, second], "1", "2")
    lake.add("4")
    assert mirror.lag().versions == 4
    mirror.catch_up()
    lake.assert_equal()
    history = [snapshot.summary for snapshot in lake.iceberg().snapshots()]
    assert [summary and summary.operation.value for summary in history] == ["append", "append", "overwrite", "append"]
    total = [summary["total-records"] for summary in history if summary]
    assert total == ["1", "3", "3", "4"]


def test_a_removal_without_a_replacement_is_mirrored(lake: SmallLake) -> None:
    first = lake.add("1")
    lake.add("2")
    mirror = lake.mirror()
    mirror.catch_up()
    lake.replace([first])
    mirror.catch_up()
    lake.assert_equal()
    assert lake.iceberg().scan().to_arrow()["event_id"].to_pylist() == ["2"]


def test_new_columns_and_new_members_are_there_with_the_files_that_bring_them(lake: SmallLake) -> None:
    lake.add("1", products=[{"product_id": "p", "price": 1.0}])
    mirror = lake.mirror()
    mirror.catch_up()
    ids = {field.name: field.field_id for field in lake.iceberg().schema().fields}
    lake.table.add_columns({"till": "long", "products": "list<struct<product_id:string,price:double,size:string>>"})
    mirror.catch_up()  # columns alone
    lake.add("2", till=7, products=[{"product_id": "q", "size": "xl"}])
    lake.table.add_columns(
        {"note": "string", "products": "list<struct<product_id:string,price:double,tags:list<string>>>"}
    )
    lake.add("3", note="n", products=[{"tags": ["a", "b"]}])
    mirror.catch_up()  # columns and files together
    lake.assert_equal()
    after = {field.name: field.field_id for field in lake.iceberg().schema().fields}
    assert {name: after[name] for name in ids} == ids, "a column's number is for life"
    assert sorted(lake.iceberg().scan().to_arrow()["till"].to_pylist(), key=str) == [7, None, None]


def test_the_first_snapshot_is_what_is_live_and_an_empty_table_has_one_too(lake: SmallLake) -> None:
    mirror = lake.mirror()
    mirror.catch_up()
    assert mirror.lag().mirrored_version == 0
    assert lake.iceberg().scan().count() == 0
    lake.add("1")
    mirror.catch_up()
    lake.assert_equal()


def test_a_log_that_was_cleaned_up_leads_to_a_comparison_of_all_files(lake: SmallLake) -> None:
    first, second = lake.add("1"), lake.add("2")
    lake.mirror().catch_up()
    third = lake.add("3")
    lake.replace([first, third], "1", "3")
    lake.add("4")
    lake.table.handle.create_checkpoint()
    for commit in sorted((lake.root / "lake" / "events" / "_delta_log").glob("*.json"))[:-1]:
        commit.unlink()
    mirror = lake.mirror()
    assert mirror.lag().versions == 3
    assert mirror.lag().seconds > 0
    mirror.catch_up()
    lake.assert_equal()
    assert mirror.lag().versions == 0
    kept = {task.file.file_path.rpartition("events/")[2] for task in lake.iceberg().scan().plan_files()}
    assert second in kept


def test_far_behind_all_files_are_compared(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.add("1")
    mirror = lake.mirror()
    mirror.catch_up()
    for number in range(4):
        lake.add(f"1{number}")
    monkeypatch.setattr(steps, "MOST_VERSIONS", 3)
    assert mirror.lag().versions == 4
    mirror.catch_up()
    lake.assert_equal()
    assert len(lake.iceberg().snapshots()) == 2


def test_the_loser_of_two_mirrors_reads_again(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both prepare the same snapshot; the second to commit must not put the same files on top."""
    lake.add("1")
    one, other = lake.mirror(), lake.mirror()
    one.catch_up()
    lake.add("2")
    prepared = steps._snapshot

    def overtaken(*arguments: object) -> None:
        prepared(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(steps, "_snapshot", prepared)
        other.catch_up()

    monkeypatch.setattr(steps, "_snapshot", overtaken)
    one.catch_up()
    lake.assert_equal()
    assert [each.summary and each.summary[VERSION] for each in lake.iceberg().snapshots()] == ["1", "2"]


def test_many_mirrors_at_once_and_a_table_that_goes_on(lake: SmallLake) -> None:
    lake.mirror().catch_up()
    done = threading.Event()
    failures: list[Exception] = []

    def keep_up() -> None:
        mirror = lake.mirror()
        while not done.is_set():
            try:
                mirror.catch_up(done.is_set)
            except (CommitUncertain, StoreUnreachable):  # lost too often, or SQLite was busy: it comes again
                continue
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=keep_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    paths = []
    for number in range(12):
        paths.append(lake.add(f"{number}"))
        if number % 4 == 3:
            paths = [lake.replace(paths, *[f"{each}" for each in range(number + 1)])]
    done.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    lake.mirror().catch_up()
    lake.assert_equal()


def test_an_answer_that_is_lost_after_the_commit_doubles_nothing(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.add("1")
    catalog = lake.catalog()
    mirror = lake.mirror()
    monkeypatch.setattr(mirror, "_catalog", lambda: catalog)
    mirror.catch_up()
    lake.add("2")
    commit = catalog.commit_table

    def lost(*arguments: object) -> object:
        commit(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(catalog, "commit_table", commit)
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(catalog, "commit_table", lost)
    with pytest.raises(StoreUnreachable, match="answer was lost"):
        mirror.catch_up()
    mirror.catch_up()
    lake.assert_equal()
    assert len(lake.iceberg().snapshots()) == 2


def test_a_rollback_by_somebody_is_caught_up(lake: SmallLake) -> None:
    """The watermark goes back with the files, since it is theirs."""
    lake.add("1")
    mirror = lake.mirror()
    mirror.catch_up()
    first = lake.iceberg().snapshots()[0].snapshot_id
    lake.add("2")
    mirror.catch_up()
    lake.iceberg().manage_snapshots().rollback_to_snapshot(first).commit()
    assert lake.iceberg().scan().count() == 1
    assert mirror.lag().versions == 1
    mirror.catch_up()
    lake.assert_equal()


def test_what_somebody_else_wrote_on_top_is_taken_out_again(lake: SmallLake) -> None:
    lake.add("1")
    mirror = lake.mirror()
    mirror.catch_up()
    iceberg = lake.iceberg()
    iceberg.append(iceberg.scan().to_arrow())
    assert iceberg.scan().count() == 2
    mirror.catch_up()
    lake.assert_equal()


def test_a_lake_that_moved_is_mirrored_at_its_new_place(lake: SmallLake, tmp_path: Path) -> None:
    lake.add("1")
    lake.mirror().catch_up()
    (tmp_path / "lake" / "events").rename(tmp_path / "events")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "events").rename(tmp_path / "elsewhere" / "events")
    from polku_collector.lake.local_store import LocalStore
    from polku_collector.mirror.delta_log import DeltaLog
    from polku_collector.mirror.mirror import Mirror

    delta = DeltaLog(LocalStore(tmp_path / "elsewhere"), "events", "event_date")
    mirror = Mirror(lake.catalog, IDENTIFIER, delta, location="unused", keep_seconds=1e9)
    mirror.catch_up()
    assert lake.iceberg().scan().to_arrow()["event_id"].to_pylist() == ["1"]


def test_another_table_of_the_name_and_a_restored_one_are_refused(lake: SmallLake, tmp_path: Path) -> None:
    lake.add("1")
    lake.mirror().catch_up()
    other = SmallLake(tmp_path / "other")
    other.catalog_uri = lake.catalog_uri
    with pytest.raises(TableMismatch, match="mirrors another Delta table"):
        other.mirror().catch_up()
    foreign = lake.catalog()
    foreign.create_table(("polku", "foreign"), lake.iceberg().schema(), location=f"file://{tmp_path}/foreign")
    mirror = lake.mirror()
    mirror._identifier = ("polku", "foreign")
    with pytest.raises(TableMismatch, match="no mirror of Polku's"):
        mirror.catch_up()
    lake.add("2")
    lake.mirror().catch_up()
    newest = sorted((tmp_path / "lake" / "events" / "_delta_log").glob("*.json"))[-1]
    newest.unlink()
    with pytest.raises(TableMismatch, match="it was restored"):
        lake.mirror().catch_up()


def test_no_identifier_of_a_person_is_in_the_metadata(lake: SmallLake) -> None:
    """Though it is in the files' footers, from which pyiceberg would have taken it."""
    first = lake.add("1", user_id="a-person")
    mirror = lake.mirror()
    mirror.catch_up()
    lake.add("2", user_id="another-person", products=[{"product_id": "secret-product", "price": 1.0}])
    lake.replace([first])
    mirror.catch_up()
    iceberg = lake.iceberg()
    bounded = set()
    for row in iceberg.inspect.files().to_pylist():
        for name, metrics in row["readable_metrics"].items():
            if metrics["lower_bound"] is not None or metrics["upper_bound"] is not None:
                bounded.add(name)
    assert bounded == {"event_id", "event_time"}
    texts = [path.read_text() for path in _metadata(lake) if path.suffix == ".json"]
    for snapshot in iceberg.snapshots():
        for manifest in snapshot.manifests(iceberg.io):
            texts += [repr(manifest), *map(repr, manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False))]
    found = "".join(texts)
    assert "2026-01-01" in found and first in found
    for secret in ("a-person", "another-person", "secret-product"):
        assert secret not in found
    assert iceberg.properties["write.metadata.metrics.default"] == "none"


def _metadata(lake: SmallLake) -> list[Path]:
    return [path for path in (lake.root / "lake" / "_iceberg").rglob("*") if path.is_file()]


def test_old_snapshots_go_and_metadata_does_not_grow(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "AT_LEAST", 4)
    clock = [0.0]
    mirror = lake.mirror(keep_seconds=3600.0, now=lambda: clock[0])
    data = set()
    paths = []
    for number in range(16):
        clock[0] = 1e10  # all but the newest snapshot are older than an hour
        paths.append(lake.add(f"{number}"))
        if number % 6 == 5:
            paths = [lake.replace(paths, *[f"{each}" for each in range(number + 1)])]
        data |= {*(lake.root / "lake" / "events").rglob("*.parquet")}
        mirror.catch_up()
    lake.assert_equal()
    snapshots = len(lake.iceberg().snapshots())
    assert snapshots <= 6
    # A list and up to two new manifests each, the present one's own, the newest metadata file and ten before it.
    assert len(_metadata(lake)) <= snapshots * 3 + 5 + 11
    assert all(path.exists() for path in data), "data files are Delta's"
    assert lake.iceberg().scan(snapshot_id=lake.iceberg().snapshots()[0].snapshot_id).count() > 0


def test_a_snapshot_that_a_tag_holds_stays_readable(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "AT_LEAST", 4)
    mirror = lake.mirror(keep_seconds=0.0, now=lambda: 1e10)
    lake.add("0")
    mirror.catch_up()
    held = lake.iceberg().snapshots()[0].snapshot_id
    lake.iceberg().manage_snapshots().create_tag(held, "audit").commit()
    for number in range(1, 8):
        lake.add(f"{number}")
        mirror.catch_up()
    assert len(lake.iceberg().snapshots()) < 8
    assert lake.iceberg().scan(snapshot_id=held).to_arrow()["event_id"].to_pylist() == ["0"]
    lake.assert_equal()


def test_the_lag_is_known_while_the_catalog_is_away(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.add("1")
    mirror = lake.mirror()
    mirror.catch_up()
    lake.add("2")
    lake.add("3")

    def away() -> object:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(mirror, "_catalog", away)
    with pytest.raises(StoreUnreachable, match="nobody answers"):
        mirror.catch_up()
    lag = mirror.lag(look=False)
    assert (lag.mirrored_version, lag.delta_version, lag.versions) == (1, 3, 2)
    assert 0 < lag.seconds < 60


def test_nothing_is_mirrored_that_a_power_cut_could_take_back(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.add("1")
    mirror = lake.mirror()
    mirror.catch_up()
    settled: list[int] = []
    store = mirror._delta._table._store

    def settle(table: str, version: int, first: int | None = None) -> None:
        settled.extend(range(version if first is None else first, version + 1))

    monkeypatch.setattr(store, "sync_log", settle)
    lake.add("2")
    lake.add("3")
    mirror.catch_up()
    assert {2, 3} <= set(settled)


def test_conflicts_without_end_are_left_to_the_others(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.add("1")
    catalog = lake.catalog()
    mirror = lake.mirror()
    monkeypatch.setattr(mirror, "_catalog", lambda: catalog)
    mirror.catch_up()
    lake.add("2")

    def refuse(*arguments: object) -> None:
        raise CommitFailedException("somebody was faster")

    monkeypatch.setattr(catalog, "commit_table", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(CommitUncertain):
        mirror.catch_up()


def test_the_delta_table_is_not_touched(lake: SmallLake) -> None:
    lake.add("1")
    before = DeltaTable(str(lake.root / "lake" / "events")).version()
    lake.mirror().catch_up()
    assert DeltaTable(str(lake.root / "lake" / "events")).version() == before
