"""The mirror as a process: beside a collector, by cron, killed at any step, and with nobody to talk to."""

import json
import multiprocessing
import os
import random
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from polku_collector.cli import collector as collector_command
from polku_collector.errors import CollectorError, StoreUnreachable
from polku_collector.lake_cli import lake
from tests.collector.world import CONFIG, CollectorProcess, collector, wait_until

from .crash import catch_up_and_die
from .world import SmallLake, assert_same_rows

# POLKU_ROUNDS=200 for a long run.
ROUNDS = int(os.environ.get("POLKU_ROUNDS", "8"))


def config(root: Path) -> str:
    """A mirror into a catalog that is away as long as its folder is."""
    properties = f'{{ type = "sql", uri = "sqlite:///{root}/catalog/catalog.db" }}'
    return f'{CONFIG}\n[lake.iceberg]\ncatalog = "shop"\nproperties = {properties}\ninterval_seconds = 0.5\n'


def send(process: CollectorProcess, *ids: str) -> None:
    viewed = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1"}}
    products = [{"product_id": "p1", "price": 2.5, "quantity": 2}, {"product_id": "p2", "name": "Sukka"}]
    ordered = viewed | {"event": "order_completed"}
    ordered["properties"] = {"order_id": "o", "revenue": 5.0, "products": products}
    broken = viewed | {"properties": {"prodId": "p3"}}
    batch = []
    for each in ids:
        batch += [viewed | {"messageId": f"v{each}"}, ordered | {"messageId": f"o{each}"}]
        batch += [broken | {"messageId": f"b{each}"}, viewed | {"messageId": f"v{each}"}]
    sent = httpx.post(f"{process.url}/v1/batch", json={"batch": batch}, auth=("web-key", ""), timeout=30)
    assert sent.status_code == 200


def polku(*arguments: str) -> Result:
    """`polku lake …` in this process: a start costs more than what is tested."""
    return CliRunner().invoke(lake, arguments)


def metric(process: CollectorProcess, name: str) -> float:
    for line in httpx.get(f"{process.url}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def wait_for(process: CollectorProcess, name: str, least: float) -> None:
    wait_until(lambda: metric(process, name) >= least, 60, process.log)


def test_a_collector_mirrors_what_it_commits_and_a_catalog_that_is_away_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "mend.yaml").write_text("events:\n  product_viewed:\n    rename: {prodId: product_id}\n")
    settings = str(tmp_path / "collector.toml")
    with collector(tmp_path, config=config(tmp_path)) as process:
        send(process, "0")
        wait_for(process, "polku_lake_commits_total", 1)
        wait_for(process, 'polku_iceberg_failures_total{table="events"}', 2)
        wait_for(process, 'polku_iceberg_lag_versions{table="events"}', 2)  # the first commit made the table
        assert metric(process, 'polku_iceberg_lag_seconds{table="events"}') > 0
        assert len(process.children("mirror")) == 1, "it waits, and is not started again and again"
        done = polku("mirror", settings, "--lake", process.lake)
        assert isinstance(done.exception, StoreUnreachable)
        assert "the Iceberg catalog shop failed" in str(done.exception)
        shown = polku("status", "--config", settings, "--lake", process.lake)
        assert "\nIceberg catalog shop: not known\n" in shown.output, shown.output
        assert "the Iceberg mirror could not be looked at: the Iceberg catalog shop failed" in shown.output
        (tmp_path / "catalog").mkdir()
        wait_for(process, 'polku_iceberg_snapshots_total{table="events"}', 1)
        wait_until(lambda: metric(process, 'polku_iceberg_lag_versions{table="events"}') == 0, 60, process.log)
        assert process.kill_child("mirror")
        send(process, "1")
        wait_for(process, 'polku_iceberg_snapshots_total{table="events"}', 2)
        mapped = ["--config", settings, "--map", str(tmp_path / "mend.yaml")]
        assert polku("replay", "--lake", process.lake, *mapped).exit_code == 0  # rows leave `quarantine`
        assert process.stop() == 0
    done = polku("mirror", settings, "--lake", process.lake)
    assert (done.exit_code, done.output.count("up to date")) == (0, 2)
    shown = polku("status", "--config", settings, "--lake", process.lake).output
    assert "Iceberg catalog shop:\n  events: mirrored to version " in shown and shown.count(", up to date\n") == 2
    status = json.loads(polku("status", "--config", settings, "--lake", process.lake, "--json").stdout)
    assert [(table["table"], table["behind_commits"]) for table in status["mirror"]["tables"]] == [
        ("events", 0), ("quarantine", 0),
    ]  # fmt: skip
    shop = load_catalog("shop", type="sql", uri=f"sqlite:///{tmp_path}/catalog/catalog.db")
    for table, rows in (("events", 6), ("quarantine", 0)):
        mirrored = shop.load_table(("polku", table))
        assert_same_rows(DeltaTable(f"{process.lake}/{table}"), mirrored)
        assert mirrored.scan().count() == rows
        assert mirrored.location() == f"file://{process.lake}/_iceberg/{table}"
    lags = json.loads(polku("mirror", settings, "--lake", process.lake, "--status", "--json").stdout)
    assert [(lag["table"], lag["versions"], lag["seconds"]) for lag in lags] == [("events", 0, 0), ("quarantine", 0, 0)]


@pytest.mark.parametrize("seed", [1])
def test_whatever_step_the_mirror_dies_at_each_version_is_mirrored_once(tmp_path: Path, seed: int) -> None:
    """Real processes, SIGKILL before and after files and commits, while the Delta table goes on."""
    chance = random.Random(seed)
    small = SmallLake(tmp_path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.collector.mirror.crash"])
    paths: list[str] = []
    kills = 0
    for number in range(ROUNDS):
        paths.append(small.add(f"{number}", user_id=f"u{number}"))
        if number % 4 == 2:
            small.table.add_columns({f"note_{number}": "string"})
            paths.append(small.add(f"n{number}", **{f"note_{number}": "n"}))
        if number % 3 == 2:
            gone, paths = paths[:-1], paths[-1:]
            small.replace(gone)
        process = context.Process(target=catch_up_and_die, args=(tmp_path, chance.randrange(1, 16)))
        process.start()
        process.join(60)
        kills += process.exitcode == -9
        assert process.exitcode in (0, -9)
        if process.exitcode == 0:
            small.assert_equal()
    assert kills > ROUNDS // 3
    small.mirror().catch_up()
    small.assert_equal()


def test_what_the_mirror_cannot_do_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = tmp_path / "some.toml"
    (tmp_path / "none.toml").write_text(CONFIG)
    (tmp_path / "wrong.toml").write_text(CONFIG + '\n[lake.iceberg]\ncatalogue = "shop"\n')
    some.write_text(config(tmp_path))

    def said(*arguments: str) -> str:
        done = polku(*arguments)
        assert isinstance(done.exception, CollectorError), done.output
        assert done.exception.exit_code == 2
        return str(done.exception)

    assert "no mirror is set" in said("mirror", str(tmp_path / "none.toml"))
    assert "catalogue" in said("mirror", str(tmp_path / "wrong.toml"))
    assert "There is no lake" in said("mirror", str(some), "--lake", str(tmp_path / "no"))
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)  # as if it were not installed
    assert "pip install 'polku[iceberg]'" in said("mirror", str(some))
    done = CliRunner().invoke(collector_command, [str(some), "--port", "0"])
    assert "pip install 'polku[iceberg]'" in str(done.exception)
