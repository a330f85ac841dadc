"""The Python snippets of the guide run as they are written."""

import ast
import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

import polku
import polku.default

GUIDE = (Path(__file__).parents[2] / "docs" / "sdk-python.md").read_text()


def test_the_snippets_run(
    collector: Any, reply: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(body: bytes) -> Any:
        verdict = {"index": 0, "code": "wrong_type", "path": "$.properties.price", "message": "expected a number"}
        rejected = [verdict] if b"a lot" in body else []
        return reply(200, json.dumps({"success": True, "accepted": 1, "rejected": rejected}).encode())

    monkeypatch.setattr(polku.default, "_client", None)
    collector.answer = answer
    snippets = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(snippets) == 9
    scope: dict[str, Any] = {"polku": polku}
    for snippet in snippets:
        for address in ("http://127.0.0.1:8080", "https://collect.example.com"):
            snippet = snippet.replace(address, collector.url)
        code = compile(
            snippet.replace("/var/lib/shop/polku", str(tmp_path)), "guide", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        coroutine = eval(code, scope)  # noqa: S307  # it is our own guide
        if coroutine is not None:
            asyncio.run(coroutine)
        if isinstance(scope.get("client"), polku.Client):
            assert scope.pop("client").close()
    scope["handler"]({"id": "o-2", "user": "user-2"}, None)
    assert polku.close()
    names = [item["event"] for item in collector.taken]
    assert names == ["product_viewed", "product_viewed", "order_completed", "order_completed"]
    promised = re.search(r"the collector put .*price: ", GUIDE)
    assert promised is not None
    assert promised[0] in caplog.text


def test_every_reason_of_a_loss_is_in_the_guide() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| [^|`]", GUIDE, re.MULTILINE))
    assert {reason.value for reason in polku.LossReason} <= listed
