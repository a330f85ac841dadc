"""The page on scopes and middlewares: its snippets run, its table has every option."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fastapi import Depends

import polku
from polku.context import Binding
from polku.middleware.request import Options
from tests.docs.blocks import tables_of
from tests.sdk.middleware.world import Sent, asgi, browser, wsgi

PAGE = Path(__file__).parents[3] / "docs" / "sdk-python-web.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_snippets_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent()
    monkeypatch.setattr("polku.default._client", sent.client)
    snippets = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(snippets) == 6
    names: dict[str, Any] = {"polku": polku}
    for snippet in snippets:
        exec(snippet, names)  # noqa: S102  # it is our own page
    ids = [(event.get("userId"), event.get("anonymousId")) for event in sent.events]
    assert ids == [(None, "a-77"), ("user-1", "a-77"), ("user-1", "a-77"), ("user-1", None)]

    def show(order: str) -> str:
        polku.track("shown")
        return "ok"

    names["app"].get("/x/{order}", dependencies=[Depends(names["signed_in"])])(show)
    names["shop"].get("/x/<order>")(show)
    with asgi(names["app"]) as fast, wsgi(names["shop"]) as flask:
        for url in (fast, flask):
            assert browser.get(f"{url}/x/1", headers={"Cookie": "polku_id=a-1"}).status_code == 200
        requests = sent.named("request_completed", 2)
    assert [event["properties"]["route"] for event in requests] == ["/x/{order}", "/x/<order>"]
    for event in (*requests, *sent.named("shown", 2)):
        assert (event["userId"], event["anonymousId"]) == ("user-1", "a-1")

    assert names["MIDDLEWARE"][-1] == "polku.middleware.django.PolkuMiddleware"
    assert set(names["POLKU_MIDDLEWARE"]) <= set(Options.__struct_fields__)
    for known, expected in ((True, 7), (False, None)):
        assert names["user_id"](SimpleNamespace(user=SimpleNamespace(pk=7, is_authenticated=known))) == expected


def test_every_option_and_every_keyword_is_on_the_page() -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(Options)}
    table = tables_of(PAGE)["The middlewares"]
    listed = {name: cells[1] for name, cells in table.items() if name in defaults}
    shown = {name: "none" if value is None else f"`{json.dumps(value)}`" for name, value in defaults.items()}
    assert listed == shown
    assert [name for name in Binding.__annotations__ if f"`{name}`" not in TEXT] == []
