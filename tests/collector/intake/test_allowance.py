"""What a source may leave in quarantine in a day: beyond it events are told of and counted, and not kept."""

from datetime import date
from pathlib import Path

from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.allowance import SharedAllowance
from polku_collector.intake.senders import senders_of

from .world import LIMITS, SOURCES, intake

GOOD = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "p"}}
BAD = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": 7}}
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def test_beyond_its_bytes_of_the_day_a_source_is_told_and_counted_and_nothing_is_kept(tmp_path: Path) -> None:
    room_for_two = 2 * (256 + 200)
    senders = senders_of(SOURCES, LIMITS, allowance_of=lambda name: SharedAllowance(tmp_path / name, room_for_two))
    with intake(senders=senders) as world:
        answer = world.post(
            {"batch": [BAD, GOOD, BAD, BAD, GOOD], "lost": [{"id": "l", "reason": "closed", "count": 1}]}
        )
        assert answer.status_code == 200
        assert answer.json()["accepted"] == 2
        assert [verdict["index"] for verdict in answer.json()["rejected"]] == [0, 2, 3]
        lines = world.taken()
        assert sum(isinstance(line, Line) for line in lines) == 2
        kept = [line.code for line in lines if isinstance(line, QuarantineLine)]
        assert kept == ["wrong_type", "wrong_type", "lost_by_client"]
        [judged] = world.counted.judgements
        assert (judged.accepted, judged.unkept) == (2, 1)
        # Its accepted events, and other sources, go on as ever.
        assert world.post({"batch": [BAD]}).json()["accepted"] == 0
        assert world.taken() == []
        assert world.post({"batch": [GOOD]}).json()["accepted"] == 1
        assert world.post({"batch": [BAD]}, "past-key").status_code == 200
        assert len(world.taken()) == 2


def test_workers_share_it_and_a_new_day_begins_anew(tmp_path: Path) -> None:
    one, other = SharedAllowance(tmp_path / "s", 100), SharedAllowance(tmp_path / "s", 100)
    assert one.take(60, MONDAY)
    assert not other.take(60, MONDAY)
    assert other.take(40, MONDAY)
    assert not one.take(1, MONDAY)
    assert SharedAllowance(tmp_path / "s", 100).take(100, TUESDAY)
    assert not one.take(1, TUESDAY)
