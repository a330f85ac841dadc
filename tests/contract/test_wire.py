"""The wire format, file by file: a request as a client sends it, the answer, and the lines that reach the journal.

The files in `wire/` are the agreement with every SDK and with the lake. A changed file is a changed contract.
`python -m tests.contract.test_wire` writes the answers and lines anew, for a review of what a change does to them.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.collector.intake.world import World, intake

CASES = sorted((Path(__file__).parent / "wire").glob("*.json"))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with intake() as running:
        yield running


def answered(world: World, request: dict[str, Any]) -> dict[str, Any]:
    """What the collector makes of a request: status, headers that matter, body, lines."""
    world.journal.lines, world.journal.full = [], request.get("journal") == "full"
    body = request.get("text", "").encode() or base64.b64decode(request.get("base64", ""))
    if "json" in request:
        body = json.dumps(request["json"]).encode()
    body += b" " * request.get("padding", 0)
    if request.get("gzip"):
        body = gzip.compress(body)
    response = world.client.request(
        request["method"], request["path"], content=body, headers=request.get("headers", {})
    )
    found: dict[str, Any] = {"status": response.status_code}
    if "retry-after" in response.headers:
        found["retry-after"] = response.headers["retry-after"]
    found["body"] = response.json() if response.content else None
    found["lines"] = [json.loads(msgspec.json.encode(line)) for line in world.taken()]
    for line in found["lines"]:
        line.pop("sequence", None)  # the journal's
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_answer_and_the_lines_are_as_agreed(world: World, path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    assert answered(world, case["request"]) == case["answer"]


def test_every_endpoint_has_a_file() -> None:
    used = {json.loads(path.read_text(encoding="utf-8"))["request"]["path"].partition("?")[0] for path in CASES}
    calls = ("batch", "track", "identify", "page", "screen", "group", "alias")
    assert used >= {f"/v1/{call}" for call in calls} | {"/healthz", "/readyz"}


def _write() -> None:
    with intake() as world:
        for path in CASES:
            case = json.loads(path.read_text(encoding="utf-8"))
            case["answer"] = answered(world, case["request"])
            path.write_text(json.dumps(case, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write()
