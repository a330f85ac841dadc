"""The Python snippets of the guide run as they are written. What a real collector says to the first: `tests/docs`."""

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

import polku
import polku.default

GUIDE = (Path(__file__).parents[2] / "docs" / "sdk-python.md").read_text()


def test_the_snippets_run(collector: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(polku.default, "_client", None)
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


def test_every_reason_of_a_loss_is_in_the_guide() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| [^|`]", GUIDE, re.MULTILINE))
    assert {reason.value for reason in polku.LossReason} <= listed
