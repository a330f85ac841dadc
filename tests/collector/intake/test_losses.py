"""What an SDK tells of events it lost becomes rows of quarantine, and never costs an event."""

import json
from typing import Any

import msgspec
import pytest

from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.losses import REASONS, losses_of

from .world import intake

GOOD = {
    "type": "track",
    "event": "Product Viewed",
    "userId": "u",
    "messageId": "m-1",
    "properties": {"product_id": "p-1"},
}


def told(*losses: Any) -> bytes:
    return json.dumps(list(losses)).encode()


def test_each_telling_is_a_line_beside_the_events_and_not_counted_as_one() -> None:
    with intake() as world:
        losses = [{"id": "l-1", "reason": "queue_full", "count": 12}, {"id": "l-2", "reason": "gremlins", "count": 1}]
        answer = world.post({"batch": [GOOD], "lost": losses})
        assert answer.json() | {"warnings": None} == {"success": True, "accepted": 1, "rejected": [], "warnings": None}
        event, *rows = world.journal.lines
        assert isinstance(event, Line)
        assert [
            (row.code, row.event_id, row.message, row.original) for row in rows if isinstance(row, QuarantineLine)
        ] == [
            (
                "lost_by_client",
                "l-1",
                "12 events were lost before they were sent: queue_full",
                '{"reason":"queue_full","count":12}',
            ),
            (
                "lost_by_client",
                "l-2",
                "1 event was lost before they were sent: other",
                '{"reason":"other","count":1}',
            ),
        ]


def test_a_telling_alone_is_enough() -> None:
    with intake() as world:
        answer = world.post({"batch": [], "lost": [{"id": "l-1", "reason": "closed", "count": 1}]})
        assert (answer.status_code, answer.json()["accepted"]) == (200, 0)
        assert len(world.journal.lines) == 1


@pytest.mark.parametrize("beside", [{}, {"context": {"own": {"member": 1}}}, {"sentAt": "no time"}], ids=str)
def test_it_is_read_also_when_the_body_has_to_be_taken_apart(beside: Any) -> None:
    with intake() as world:
        losses = [{"id": "l-1", "reason": "expired", "count": 3}]
        world.post({"batch": [GOOD, 7], "lost": losses, **beside})
        codes = [line.code for line in world.journal.lines if isinstance(line, QuarantineLine)]
        assert codes == ["not_an_object", "lost_by_client"]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {},
        7,
        [1],
        [{"id": "", "reason": "closed", "count": 1}],
        [{"id": "x" * 200, "reason": "closed", "count": 1}],
        [{"id": "x", "reason": "closed", "count": 0}],
        [{"id": "x", "reason": "closed", "count": 10**30}],
        [{"id": "x", "reason": 5, "count": 1}],
    ],
    ids=repr,
)
def test_what_is_odd_costs_no_event(odd: Any) -> None:
    with intake() as world:
        answer = world.post({"batch": [GOOD], "lost": odd})
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
        assert len(world.journal.lines) == 1


def test_no_more_is_taken_than_a_browser_tells_at_once() -> None:
    raw = told(*({"id": str(n), "reason": "closed", "count": 1} for n in range(500)))
    assert len(losses_of(raw)) == 200


def test_the_reasons_are_those_of_the_sdk() -> None:
    from polku.errors import LossReason

    assert {*LossReason} <= REASONS
    assert msgspec.json.decode(msgspec.json.encode([*LossReason]))
