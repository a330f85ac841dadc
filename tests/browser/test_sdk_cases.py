"""The browser SDK under Node: the cases that all SDKs share, its types, and the size of what pages load."""

import json
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SDK = ROOT / "sdk" / "browser"
CASES = ROOT / "tests" / "contract" / "sdk"


def node(*arguments: str, folder: Path = SDK) -> str:
    assert (SDK / "node_modules").is_dir(), "the npm packages are not installed: run `make test-browser`"
    done = subprocess.run(["node", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node(str(Path(__file__).parent / "sdk_cases.mjs")))
    return found


def test_every_answer_has_the_agreed_consequence(told: dict[str, Any]) -> None:
    cases = json.loads((CASES / "answers.json").read_text())
    assert len(cases) == len(told["answers"])
    for case, decisions in zip(cases, told["answers"], strict=True):
        if case.get("reason") == "expired":  # not by the answer, but each event by its age: see test_sdk.py
            continue
        for decision in decisions:
            assert decision["then"] == case["then"], case
            if case["then"] == "wait":
                assert case.get("at_least_seconds", 0) <= decision["seconds"] <= case["at_most_seconds"], case
            assert decision.get("reason") == case.get("reason"), case


def test_the_conversations_are_the_agreed_ones(told: dict[str, Any]) -> None:
    cases = json.loads((CASES / "deliveries.json").read_text())
    for case, came in zip(cases, told["deliveries"], strict=True):
        requests, name = came["requests"], case["name"]
        batches = [request["body"]["batch"] for request in requests]
        if "requests" in case:
            assert [len(batch) for batch in batches] == case["requests"], name
        for before, after, wait in zip(requests, requests[1:], case.get("waits", ()), strict=False):
            assert wait is None or 0.98 * wait <= after["at"] - before["at"] <= wait + 0.01, name
        assert (came["delivered"], came["lost"]) == (case.get("delivered", 0), case.get("lost", {})), name
        told_of = {loss["reason"]: loss["count"] for loss in requests[-1]["body"]["lost"]} if requests else {}
        assert told_of == case.get("told", {}), name
        sent: dict[str, Any] = {}
        for batch in batches:
            assert len({item["messageId"] for item in batch}) == len(batch), name
            for item in batch:
                assert sent.setdefault(item["messageId"], item) == item, name
        assert list(sent) == came["tracked"], name


def test_a_call_becomes_the_agreed_item(told: dict[str, Any]) -> None:
    cases = json.loads((CASES / "calls.json").read_text())
    for case, made in zip(cases, told["calls"], strict=True):
        item, expected = made["item"], json.loads(case["item"])
        assert made["returned"] == case["kwargs"]["message_id"]
        context = item.pop("context")
        assert context["page"]["url"] == "https://shop.example/"
        assert expected.pop("context", {}).items() <= context.items()
        if "anonymousId" not in expected:
            assert uuid.UUID(item.pop("anonymousId")).version == 7  # a browser always has one
        assert item == expected


def test_the_request_is_the_agreed_one(told: dict[str, Any]) -> None:
    request = json.loads((CASES / "request.json").read_text())
    assert told["request"]["url"] == "https://events.example.com" + request["path"] + "?writeKey=write-key"
    assert set(request["body_keys"]) <= set(told["request"]["body"])
    assert told["request"]["body"]["context"]["library"]["name"] == "polku-browser"
    assert told["last"]["url"].endswith("?writeKey=a%20key%2B")


def test_what_cannot_be_sent_is_counted_and_told_with_the_next_batch(told: dict[str, Any]) -> None:
    assert [bool(returned) for returned in told["odd"]] == [False, False, False, True]
    assert told["lost"] == {"unserialisable": 2, "too_large": 1}
    body = told["last"]["body"]
    assert body["batch"][0]["properties"] == {"nan": None, "kept": 1}
    assert [(loss["reason"], loss["count"]) for loss in body["lost"]] == [
        ("unserialisable", 2),
        ("too_large", 1),
    ]
    assert len({uuid.UUID(loss["id"]) for loss in body["lost"]}) == 2


def test_an_id_is_a_uuid_version_7_of_now_and_later_ones_sort_later(told: dict[str, Any]) -> None:
    ids = told["ids"]
    assert len(set(ids)) == len(ids)
    assert sorted(ids) == ids
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert abs((parsed.int >> 80) / 1000 - time.time()) < 60


def test_the_types_are_right() -> None:
    node("node_modules/typescript/lib/tsc.js", "--project", ".")


def test_what_is_served_is_what_the_sources_say_and_no_larger_than_promised() -> None:
    node("build.mjs", "--check")


def test_the_version_is_the_one_of_all_parts() -> None:
    import polku

    assert f'"{polku.__version__}"' in (SDK / "polku" / "version.js").read_text()
    assert json.loads((SDK / "package.json").read_text())["version"] == polku.__version__
