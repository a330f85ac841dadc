"""Each alert fires on what it is for and keeps quiet beside it, as promtool evaluates the committed rules."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from polku_collector.operate.alerts import ALERTS
from tests.docs.blocks import ROOT

RULES = ROOT / "infra" / "prometheus" / "alerts.yaml"
NODE = 'instance="a:8080"'


class Case(NamedTuple):
    """Series as promtool writes them (one value a minute), and the alerts that fire at their end, with their labels."""

    name: str
    series: dict[str, str]
    fires: dict[str, str]
    minutes: int = 60


def histogram(name: str, fast: str, slow_bound: str, all_of_it: str) -> dict[str, str]:
    """Counts at two bounds: up to `fast` in 0.1 s, up to `all_of_it` in `slow_bound`."""
    return {
        f'{name}_bucket{{{NODE},le="0.1"}}': fast,
        f'{name}_bucket{{{NODE},le="{slow_bound}"}}': all_of_it,
        f'{name}_bucket{{{NODE},le="+Inf"}}': all_of_it,
    }


def source(name: str, accepted: str | None, rejected: str, code: str = "wrong_type") -> dict[str, str]:
    found = {f'polku_events_rejected_total{{{NODE},source="{name}",code="{code}"}}': rejected}
    if accepted:
        found[f'polku_events_accepted_total{{{NODE},source="{name}"}}'] = accepted
    return found


def kept_out(reason: str, requests: str) -> dict[str, str]:
    return {f'polku_refused_requests_total{{{NODE},source="web",reason="{reason}"}}': requests}


WEB = f'{NODE}, source="web"'
REFUSED = f'polku_plan_reloads_total{{{NODE},outcome="refused"}}'
SETTINGS = f'polku_settings_reloads_total{{{NODE},outcome="refused"}}'
WINDOW, NOTES = f"polku_dedup_window_seconds{{{NODE}}}", f"polku_lake_notes_passed_over{{{NODE}}}"
RESTARTS = f'polku_child_restarts_total{{{NODE},role="committer"}}'
LAG, SIZE, FULL = (f"polku_journal_{name}{{{NODE}}}" for name in ("lag_seconds", "bytes", "max_bytes"))
DAMAGE, FAILURES = f"polku_journal_damage_total{{{NODE}}}", f"polku_lake_failures_total{{{NODE}}}"
CONFLICTS, BAD_LINES = f"polku_lake_conflicts_total{{{NODE}}}", f"polku_lake_unconvertible_total{{{NODE}}}"
JOURNAL_FULL = f'polku_errors_total{{{NODE},error="journal_full"}}'
UPKEEP = f"polku_maintenance_failures_total{{{NODE}}}"
EVENTS = f'{NODE}, table="events"'
FILES, MIRROR = (f"polku_{name}{{{EVENTS}}}" for name in ("table_files", "iceberg_lag_seconds"))
JOB = f'{NODE}, job="polku"'

CASES = [
    Case("down", {f"up{{{JOB}}}": "1x57 0 0 0"}, {"PolkuCollectorDown": JOB}, 60),
    Case("down for a moment", {f"up{{{JOB}}}": "1x57 0 1 0"}, {}, 60),
    Case("another job is down", {'up{instance="a:8080",job="other"}': "0x60"}, {}),
    Case("lag", {LAG: "0+30x60"}, {"PolkuJournalLag": NODE}, 15),
    Case("lag of five minutes", {LAG: "300x60"}, {}),
    Case("lag that has just begun", {LAG: "0x59 301"}, {}),
    Case("half full", {SIZE: "2200x60", FULL: "4294x60"}, {"PolkuJournalFilling": NODE}),
    Case("not half full", {SIZE: "2100x60", FULL: "4294x60"}, {}),
    Case("journal full", {JOURNAL_FULL: "0+1x60"}, {"PolkuRequestsTurnedAway": NODE}),
    Case("journal full an hour ago", {JOURNAL_FULL: "0 5 9x60"}, {}),
    Case("a source over its rate", {f'polku_errors_total{{{NODE},error="rate_limited"}}': "0+9x60"}, {}),
    Case("a store that is slow", {f'polku_errors_total{{{NODE},error="not_committed"}}': "0+9x60"}, {}),
    Case("other answers", {f'polku_requests_total{{{NODE},status="400"}}': "0+9x60"}, {}),
    Case("damage from the start", {DAMAGE: "1x60"}, {"PolkuJournalDamaged": NODE}),
    Case("no damage", {DAMAGE: "0x60"}, {}),
    Case("failing", {FAILURES: "0+1x60"}, {"PolkuCommitsFail": NODE}),
    Case("failed now and then", {FAILURES: "0x57 1 2 3"}, {}),
    Case("conflicts", {CONFLICTS: "0x50 0+1x10"}, {"PolkuCommitConflicts": NODE}),
    Case("a conflict", {CONFLICTS: "0x50 1x10"}, {}),
    Case("dying", {RESTARTS: "1x50 1+1x10"}, {"PolkuProcessesRestart": f'{NODE}, role="committer"'}),
    Case("died once", {RESTARTS: "_x50 1x10"}, {}),
    Case("rejected", source("web", "0+90x60", "0+10x60"), {"PolkuEventsRejected": WEB}),
    Case("all rejected", source("web", None, "0+10x60"), {"PolkuEventsRejected": WEB}),
    Case("few rejected", source("web", "0+97x60", "0+3x60"), {}),
    Case(
        "rejected for two reasons by one of two sources",
        source("web", "0+95x60", "0+3x60") | source("web", None, "0+3x60", "bad") | source("app", "0+95x60", "0+3x60"),
        {"PolkuEventsRejected": WEB},
    ),
    Case("unconvertible", {BAD_LINES: "0x55 1x5"}, {"PolkuEventsUnconvertible": NODE}),
    Case("unconvertible long ago", {BAD_LINES: "0 1x60"}, {}),
    Case("refused at first", {REFUSED: "_x55 1x5"}, {"PolkuPlanRefused": f'{NODE}, outcome="refused"'}),
    Case("refused again", {REFUSED: "1x55 2x5"}, {"PolkuPlanRefused": f'{NODE}, outcome="refused"'}),
    Case("refused long ago", {REFUSED: "1x60"}, {}),
    Case("plan taken", {f'polku_plan_reloads_total{{{NODE},outcome="in_force"}}': "_x55 1x5"}, {}),
    Case("settings refused", {SETTINGS: "_x55 1x5"}, {"PolkuSettingsRefused": f'{NODE}, outcome="refused"'}),
    Case("settings refused long ago", {SETTINGS: "1x60"}, {}),
    Case("not kept", {f"polku_quarantine_unkept_total{{{WEB}}}": "_x55 5x5"}, {"PolkuQuarantineUnkept": WEB}),
    Case("not kept yesterday", {f"polku_quarantine_unkept_total{{{WEB}}}": "5x60"}, {}),
    Case("over its rate", kept_out("rate", "0x40 0+1x20"), {"PolkuSourceKeptOut": WEB}),
    Case("over its rate for a moment", kept_out("rate", "0x40 0+1x10"), {}, 50),
    Case("pages of another origin", kept_out("origin", "0x40 0+1x20"), {}),
    Case("knows little", {WINDOW: "604800x40 80000x20"}, {"PolkuDedupWindowShort": NODE}),
    Case("knows a day", {WINDOW: "604800x40 86400x20"}, {}),
    Case("notes passed over", {NOTES: "0x50 2x10"}, {"PolkuNotesPassedOver": NODE}),
    Case("no note passed over", {NOTES: "0x60"}, {}),
    Case("slow", histogram("polku_request_seconds", "0+90x60", "10", "0+100x60"), {"PolkuAnswersSlow": NODE}),
    Case("fast", histogram("polku_request_seconds", "0+999x60", "10", "0+1000x60"), {}),
    Case(
        "slow disk", histogram("polku_journal_block_seconds", "0+9x60", "10", "0+10x60"), {"PolkuJournalDiskSlow": NODE}
    ),
    Case("fast disk", histogram("polku_journal_block_seconds", "0+10x60", "10", "0+10x60"), {}),
    Case("late", histogram("polku_freshness_seconds", "0+1x60", "300", "0+2x60"), {"PolkuEventsLate": NODE}),
    Case("in time", histogram("polku_freshness_seconds", "0+2x60", "300", "0+2x60"), {}),
    Case("upkeep fails every 75 minutes", {UPKEEP: "0x60 1x75 2x75 3x90"}, {"PolkuMaintenanceFails": NODE}, 300),
    Case("upkeep failed during an outage", {UPKEEP: "0x100 1 2 3 4 5 6 7x300"}, {}, 300),
    Case("an outage that is not over for long", {UPKEEP: "0x100 1 2 3 4 5 6 7x300"}, {}, 180),
    Case("files pile up", {FILES: "700x100 700+20x300"}, {"PolkuTooManyFiles": EVENTS}, 400),
    Case("files pile up and are merged", {FILES: "700x100 700+20x180 500x100"}, {}, 380),
    Case("many files, as they always were", {FILES: "20000x400"}, {}, 400),
    Case("mirror behind", {MIRROR: "0+60x60"}, {"PolkuIcebergLag": EVENTS}),
    Case("mirror ten minutes behind", {MIRROR: "600x60"}, {}),
    Case("mirror that has just fallen behind", {MIRROR: "0x57 601 661 721"}, {}),
]


def test_the_rules_are_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_the_settings_of_prometheus_are_settings() -> None:
    settings = ROOT / "infra" / "prometheus" / "prometheus.yaml"
    done = subprocess.run(["promtool", "check", "config", str(settings)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_alert_has_a_case_that_fires_it() -> None:
    assert {name for case in CASES for name in case.fires} == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_fires(case: Case, tmp_path: Path) -> None:
    severities = {alert.name: alert.severity for alert in ALERTS}
    firing = [
        {
            "labels": f'ALERTS{{alertname="{name}", alertstate="firing", severity="{severities[name]}", {labels}}}',
            "value": 1,
        }
        for name, labels in case.fires.items()
    ]
    question = {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{case.minutes}m", "exp_samples": firing}
    series = [{"series": name, "values": values} for name, values in case.series.items()]
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [question]}],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
