"""A real Prometheus scrapes a real collector: the lag alert fires while the store is away, and ends when it is back."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml

from polku_collector.operate.alerts import ALERTS
from tests.collector.world import CollectorProcess, free_port, wait_until
from tests.docs.blocks import ROOT

S3_SERVER = ROOT / "tests" / "s3_server.py"
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
EVENT = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "p"}}


def impatient(rules: str) -> str:
    """The committed rules, but five minutes of lag are two seconds, and nothing has to last."""
    document = yaml.safe_load(rules)
    (lag,) = (rule for rule in document["groups"][0]["rules"] if rule["alert"] == "PolkuJournalLag")
    assert lag["expr"] == "polku_journal_lag_seconds > 300"
    lag["expr"], lag["for"] = "polku_journal_lag_seconds > 2", "0s"
    return yaml.safe_dump(document)


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """Prometheus with the committed settings, its intervals and its target replaced; gives its address."""
    folder.mkdir()
    settings = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yaml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    (folder / "alerts.yaml").write_text(impatient((ROOT / "infra" / "prometheus" / "alerts.yaml").read_text()))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def asked(address: str, path: str) -> Any:
    """The `data` of an answer of Prometheus' API; empty while it does not answer."""
    try:
        answer = httpx.get(f"{address}/api/v1/{path}", timeout=10)
        return answer.json()["data"] if answer.status_code == 200 else {}
    except httpx.TransportError:
        return {}


def alerts(address: str) -> dict[str, Any]:
    return {
        alert["labels"]["alertname"]: alert
        for alert in asked(address, "alerts").get("alerts", [])
        if alert["state"] == "firing"
    }


def test_the_lag_alert_fires_while_the_store_is_away_and_ends_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_port = free_port()
    endpoint = f"http://127.0.0.1:{store_port}"  # nobody listens there yet
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    collector = CollectorProcess(tmp_path / "node", lake="s3://bucket/lake")
    store: subprocess.Popen[bytes] | None = None
    with prometheus(tmp_path / "prometheus", collector.port) as address:
        try:
            collector.wait_ready()
            body = {"batch": [EVENT]}
            httpx.post(f"{collector.url}/v1/batch", json=body, auth=("web-key", ""), timeout=30).raise_for_status()

            wait_until(lambda: "PolkuJournalLag" in alerts(address), 120, lambda: asked(address, "rules"))
            alert = alerts(address)["PolkuJournalLag"]
            assert alert["labels"]["instance"] == f"127.0.0.1:{collector.port}"
            assert alert["annotations"]["summary"].startswith(f"Collector 127.0.0.1:{collector.port} has events")
            assert alert["annotations"]["runbook"] == "docs/operations.md#polkujournallag"
            assert float(alert["value"]) > 2

            (group,) = asked(address, "rules")["groups"]
            assert [rule["name"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
            wait_until(lambda: {rule["health"] for rule in asked(address, "rules")["groups"][0]["rules"]} == {"ok"}, 60)

            store = subprocess.Popen(
                [sys.executable, str(S3_SERVER), str(store_port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ,
            )
            make_bucket(endpoint)
            wait_until(lambda: "PolkuJournalLag" not in alerts(address), 120, collector.log)
            fresh = "query?query=polku_freshness_seconds_count"
            wait_until(lambda: [one["value"][1] for one in asked(address, fresh)["result"]] == ["1"], 60)
            (oldest,) = asked(address, "query?query=polku_freshness_seconds_sum")["result"]
            assert float(oldest["value"][1]) > 2  # it had waited for longer than the alert
            assert collector.stop() == 0
        finally:
            collector.close()
            if store:
                store.kill()
                store.wait()


def make_bucket(endpoint: str) -> None:
    def made() -> bool:
        try:
            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
        except Exception:
            return False
        return True

    wait_until(made, 60)
