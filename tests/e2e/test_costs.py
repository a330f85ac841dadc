"""What `polku lake status` says that a lake costs is what a collector asks of its store: requests are counted there."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from polku_collector.compose_maintenance import TABLES, open_table
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake import checkpoints
from polku_collector.lake.open_store import open_store
from polku_collector.lake.store import Store
from polku_collector.lake.table import Table
from polku_collector.maintain.costs import Requests, Work, requests
from polku_collector.maintain.run import Maintainer, Rules, Unobserved
from polku_collector.settings import Lake
from tests.collector.lake.world import PLANS, Node, line_of
from tests.collector.world import CONFIG, collector, wait_until
from tests.s3_server import Request, requests_in, s3_bucket

CHECKPOINT_COMMITS = 5  # where it is not the default


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of every request to the store, once there is one."""
    with s3_bucket("lake", monkeypatch, tmp_path / "record"):
        yield tmp_path / "record"


def counted(asked: list[Request]) -> Requests:
    lists = sum(1 for request in asked if "list-type=2" in request.query or request.query.startswith("uploads&"))
    puts = sum(1 for request in asked if request.method in ("PUT", "POST"))
    gets = sum(1 for request in asked if request.method in ("GET", "HEAD")) - lists
    return Requests(puts + lists, gets)


def about(expected: Requests) -> Requests:
    """Requests depend a little on who comes first: what a flush reads in two parts may be cut by the next."""
    return Requests(pytest.approx(expected.puts, rel=0.05), pytest.approx(expected.gets, rel=0.15))


def test_a_collector_asks_its_store_what_it_is_said_to_cost(tmp_path: Path, record: Path) -> None:
    """At the default settings, an event a commit, up to the checkpoint; and nothing between them."""
    commits = Lake().checkpoint_commits
    config = f"{CONFIG}[maintenance]\nenabled = false\n"
    with collector(tmp_path / "node", "--flush-seconds", "0.5", lake="s3://lake/x", config=config) as process:
        wait_until(lambda: '"committing"' in process.log(), 120, process.log)
        begin = len(requests_in(record))
        for number in range(commits):
            item = {"type": "page", "userId": "u", "messageId": f"{number}"}
            answer = httpx.post(f"{process.url}/v1/batch", json={"batch": [item]}, auth=("web-key", ""), timeout=60)
            assert answer.status_code == 200
            wait_until(lambda: made(requests_in(record), ".json") > number, 120, process.log)  # noqa: B023
        wait_until(lambda: made(requests_in(record), ".checkpoint.parquet") == 1, 120, process.log)
        assert process.stop() == 0  # its last requests come after the checkpoint
        asked = requests_in(record)[begin:]
    assert made(asked, ".json") == commits
    work = Work(commits=commits, files=commits)
    assert counted(asked) == about(requests(work, streams=1, checkpoint_commits=commits, log_objects=0))


def test_refusals_and_maintenance_ask_what_they_are_said_to_cost(
    tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a refused event in each flush, a look of maintenance after each, and one merge of each table at the end."""
    monkeypatch.setattr(checkpoints, "_PAUSES", 0)  # flushes come so fast here that it would leave some out
    (tmp_path / "journal").mkdir()
    (tmp_path / "scratch").mkdir()
    store = open_store("s3://lake/x")
    journal = StreamWriter(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=1 << 20)
    asyncio.run(journal.append([line_of("first")], PLANS[0], 10))  # so that there is a stream
    node = Node(tmp_path, store, checkpoint_commits=CHECKPOINT_COMMITS)
    node.run()

    def flush(number: int) -> None:
        asyncio.run(journal.append([line_of(f"{number}"), line_of(f"refused {number}")], PLANS[0], 10))
        assert node.committer.flush()

    for number in range(CHECKPOINT_COMMITS):  # up to a first checkpoint of either table
        flush(number)
    tables = [table for name, day in TABLES if (table := open_table(store, name, day)) is not None]
    assert len(tables) == len(TABLES)
    before = len(requests_in(record))
    for number in range(2 * CHECKPOINT_COMMITS):
        flush(CHECKPOINT_COMMITS + number)
        look(store, tables, tmp_path / "maintenance", most_files=1000)
    look(store, tables, tmp_path / "maintenance", most_files=10)
    asked = requests_in(record)[before:]
    assert not node.committer.flush()
    assert len(requests_in(record)) == before + len(asked), "a flush that finds nothing asks nobody"
    journal.close()
    work = Work(
        commits=2 * CHECKPOINT_COMMITS,
        files=2 * CHECKPOINT_COMMITS,
        refusals=2 * CHECKPOINT_COMMITS,
        maintenance_looks=2 * CHECKPOINT_COMMITS + 1,
        merges=2,
        merged_files=2 * (3 * CHECKPOINT_COMMITS) + 1,
    )
    assert counted(asked) == about(requests(work, streams=1, checkpoint_commits=CHECKPOINT_COMMITS, log_objects=0))


def look(store: Store, tables: list[Table], scratch: Path, most_files: int) -> None:
    """As the process that looks after the tables does it, which keeps them."""
    rules = Rules(most_files=most_files, target_bytes=128 << 20, vacuum_hours=27, limits={})
    maintainer = Maintainer(store, rules, scratch, Unobserved())
    for table in tables:
        maintainer.compact(table)


def made(asked: list[Request], ending: str) -> int:
    """How many files of the log of `events` were made, without that which makes the table."""
    begin = "/events/_delta_log/0"
    paths = [one.path for one in asked if one.method == "PUT" and begin in one.path]
    return sum(1 for path in paths if path.endswith(ending) and not path.endswith(f"/{0:020}.json"))
