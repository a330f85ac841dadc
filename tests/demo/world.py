"""Calls of the demo as the collector would store them, and commands that are asked about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from click.testing import CliRunner

import polku
from polku_demo.calls import Call
from polku_demo.sending import make
from polku_schemas import builtin_plan_path, compile_plan, load_plan

Row = dict[str, Any]

PLAN = load_plan(builtin_plan_path())


def stored(
    calls: Sequence[Call], channels: Mapping[str, str], kept: Iterable[str], more: Callable[[Row], Row]
) -> list[Row]:
    """Rows of `events`, as far as questions need them: the properties `kept`, and `more` columns of what is sent."""
    compiled, transport = compile_plan(PLAN), polku.MemoryTransport()
    with polku.Client("dev", "http://127.0.0.1:9", transport=transport, full_queue="block", strict=True) as client:
        for call in calls:
            make(client, call)
        assert client.flush(60)
    rows = []
    for number, (call, sent) in enumerate(zip(calls, transport.events, strict=True)):
        event, given = compiled.find(sent["type"], sent.get("event")), sent.get("properties", {})
        rows.append(
            {
                "event_id": sent["messageId"],
                "event_type": sent["type"],
                "event_name": event.name if event is not None else sent["type"],
                "event_time": call.timestamp,
                "received_at": call.timestamp,
                "stream": "in-1",
                "sequence": number,
                "source": call.source,
                "channel": channels[call.source],
                "user_id": sent.get("userId"),
                "anonymous_id": sent.get("anonymousId"),
                "session_id": sent.get("context", {}).get("sessionId"),
                **more(sent),
                **{name: given[name] for name in kept if name in given},
            }
        )
    return rows


def ask(command: Any, lake: str, *arguments: str) -> list[Row]:
    """The rows of a command's answer."""
    result = CliRunner().invoke(command, [*arguments, "--lake", lake, "--json"], standalone_mode=False)
    assert result.exception is None, result.exception
    told = json.loads(result.stdout)
    return told if isinstance(told, list) else [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]
