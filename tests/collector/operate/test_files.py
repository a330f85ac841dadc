"""The alerts and the dashboard in infra/ are made from the list of metrics, and name nothing that is not in it."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from polku_collector.metrics import METRICS, Metric
from polku_collector.operate.__main__ import FILES
from polku_collector.operate.alerts import ALERTS, Alert, rules_yaml
from polku_collector.operate.dashboard import dashboard_json
from tests.docs.blocks import ROOT

# Prometheus adds these to every series; `job` and `up` are its own too.
FROM_PROMETHEUS = {"instance", "job", "le"}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def misnamed(expression: str) -> list[str]:
    """What a PromQL expression names that the collector does not have: metrics, and labels of them."""
    known: set[str] = set(FROM_PROMETHEUS)
    wrong = []
    for name, selector in re.findall(r"\b((?:polku_|up\b)\w*)(?:\{([^}]*)\})?", expression):
        if name == "up":
            continue
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        metric = METRICS.get(name) or METRICS.get(base)
        if metric is None or (metric.kind == "histogram") != (name != base):
            wrong.append(name)
            continue
        known |= set(metric.labels)
        labels = re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector)
        wrong += [f"{name}.{label}" for label in labels if label not in {*metric.labels, *FROM_PROMETHEUS}]
    for grouped in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression):
        wrong += [label for label in re.split(r",\s*", grouped) if label not in known]
    return wrong


def expressions() -> list[str]:
    targets = [target for panel in json.loads(dashboard_json())["panels"] for target in panel.get("targets", ())]
    return [alert.expression for alert in ALERTS] + [target["expr"] for target in targets]


@pytest.mark.parametrize("name", FILES)
def test_the_committed_file_is_what_the_generator_writes(name: str) -> None:
    message = f"run `python -m polku_collector.operate infra`: infra/{name} is not of this list of metrics"
    assert (ROOT / "infra" / name).read_text(encoding="utf-8") == FILES[name](), message


def test_every_metric_that_is_named_exists_with_its_labels() -> None:
    assert len(expressions()) > len(METRICS)
    assert [found for expression in expressions() for found in misnamed(expression)] == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("polku_nothing > 0", ["polku_nothing"]),
        ("polku_request_seconds > 0", ["polku_request_seconds"]),  # a histogram has no series of its own name
        ("rate(polku_requests_total_bucket[5m])", ["polku_requests_total_bucket"]),
        ('polku_requests_total{code="503"}', ["polku_requests_total.code"]),
        ("sum by (source) (polku_requests_total)", ["source"]),
        ('sum by (instance, status) (polku_requests_total{status="503"})', []),
    ],
)
def test_what_is_misnamed_is_found(expression: str, expected: list[str]) -> None:
    assert misnamed(expression) == expected


def test_every_metric_has_a_panel_of_its_own_with_its_sentence() -> None:
    panels = [panel for panel in json.loads(dashboard_json())["panels"] if panel["type"] == "timeseries"]
    assert [panel["title"] for panel in panels if panel["description"] != METRICS[panel["title"]].help] == []
    assert Counter(panel["title"] for panel in panels) == Counter(list(METRICS))


def test_a_metric_that_is_new_gets_a_panel_without_further_ado() -> None:
    new = {"polku_moon_phase_seconds": Metric("newest", "Since it was new.", ("moon",))}
    row, panel = json.loads(dashboard_json(new))["panels"][-2:]
    assert (row["type"], row["title"]) == ("row", "Moon")
    assert panel["targets"][0]["expr"].startswith("sum by (instance, moon) (polku_moon_phase_seconds{")
    assert panel["fieldConfig"]["defaults"]["unit"] == "s"


def test_panels_do_not_lie_on_each_other() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    panels = json.loads(dashboard_json())["panels"]
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        taken.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    assert set(taken.values()) == {1}
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_says_what_is_wrong_and_where_to_read_what_to_do(alert: Alert) -> None:
    assert alert.summary and alert.description and alert.severity in ("critical", "warning")
    heading = re.search(rf"^### {alert.name}\n(.*?)(?=^#|\Z)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert heading, f"docs/operations.md has no section {alert.name}"
    assert alert.runbook == f"docs/operations.md#{alert.name.lower()}"
    for part in ("*Means.*", "*Do.*"):
        assert part in heading[1], f"the section {alert.name} lacks {part}"


def test_every_section_is_of_an_alert() -> None:
    assert re.findall(r"^### (Polku\w+)$", OPERATIONS, re.MULTILINE) == [alert.name for alert in ALERTS]


def test_the_rules_are_yaml_that_says_the_same() -> None:
    (group,) = yaml.safe_load(rules_yaml())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    for rule, alert in zip(group["rules"], ALERTS, strict=True):
        assert rule["expr"] == alert.expression
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def test_a_folder_is_filled(tmp_path: Path) -> None:
    from polku_collector.operate.__main__ import main

    main(tmp_path)
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")}
    assert written == set(FILES)
