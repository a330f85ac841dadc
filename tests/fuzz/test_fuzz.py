"""A short run of the fuzzer, and that it is not blind: each way to break the collector is seen by it."""

import asyncio
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polku_collector.app import CollectorApp
from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake import consent, endpoint, pixel, validate
from polku_collector.intake.answer import Taken
from polku_collector.intake.judged import Judged
from polku_collector.intake.refused import Refused
from polku_collector.intake.shape import Shape
from polku_collector.intake.take import Intake
from polku_collector.intake.validate import Validator
from polku_collector.journal.writer import StreamWriter
from polku_collector.webhook import endpoint as webhook

from .in_process import SLOTS, InProcess
from .inputs import make_input

SEED = 11


def run(folder: Path, waves: int) -> InProcess:
    fuzzer = InProcess(folder, SEED)

    async def all_waves() -> None:
        for wave in range(waves):
            await fuzzer.wave(wave * SLOTS, SLOTS)
            if fuzzer.complaints:
                return

    asyncio.run(all_waves())
    fuzzer.close()
    return fuzzer


def test_nothing_is_wrong_with_a_thousand_inputs(tmp_path: Path) -> None:
    fuzzer = run(tmp_path, 16)
    assert fuzzer.complaints == []
    assert fuzzer.outcomes["lines accepted"] > 500
    assert fuzzer.outcomes["lines refused"] > 300


def test_an_input_is_made_again_from_its_number() -> None:
    once, again = (make_input(SEED, 7, 3) for _ in range(2))
    assert once == again
    assert once != make_input(SEED, 8, 3)


Break = Callable[[pytest.MonkeyPatch], None]


def _raises(patch: pytest.MonkeyPatch) -> None:
    real = Shape.problem

    def problem(self: Shape, raw: bytes, *arguments: Any, **options: Any) -> Any:
        found = real(self, raw, *arguments, **options)
        return found if found is None else 1 // 0

    patch.setattr(Shape, "problem", problem)


def _before_judging(patch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    real = Validator.judge

    def judge(self: Validator, body: Any, arrival: Any) -> Judged:
        for event in body.events or [item.event for item in body.items or () if item.event is not None]:
            change(event)
        return real(self, body, arrival)

    patch.setattr(Validator, "judge", judge)


def _accepts_what_is_bad(patch: pytest.MonkeyPatch) -> None:
    def change(event: Any) -> None:
        event.user_id = event.user_id or "somebody"

    _before_judging(patch, change)


def _refuses_what_is_good(patch: pytest.MonkeyPatch) -> None:
    def change(event: Any) -> None:
        event.event = None if event.event == "Product Viewed" else event.event

    _before_judging(patch, change)


def _drops_the_neighbour_of_a_bad_event(patch: pytest.MonkeyPatch) -> None:
    real = Validator.judge

    def judge(self: Validator, *arguments: Any) -> Judged:
        judged = real(self, *arguments)
        if judged.rejected and len(judged.lines) > 1:
            return msgspec.structs.replace(judged, lines=judged.lines[1:])
        return judged

    patch.setattr(Validator, "judge", judge)


def _stores_an_event_twice(patch: pytest.MonkeyPatch) -> None:
    real = StreamWriter.append

    async def append(self: StreamWriter, lines: list[Line | QuarantineLine], schemas: Any, size_bytes: int) -> int:
        again = lines[:1] if len(lines) == 3 else []
        last = await real(self, lines, schemas, size_bytes)
        return await real(self, again, schemas, size_bytes) if again else last

    patch.setattr(StreamWriter, "append", append)


def _mixes_two_requests(patch: pytest.MonkeyPatch) -> None:
    real = Validator.judge
    last: list[Any] = []

    def judge(self: Validator, body: Any, arrival: Any) -> Judged:
        judged = real(self, body, arrival)
        if last and isinstance(judged.lines[:1], list) and len(judged.lines) == len(last[0]):
            judged, last[0] = msgspec.structs.replace(judged, lines=last[0]), judged.lines.copy()
        else:
            last[:] = [judged.lines.copy()]
        return judged

    patch.setattr(Validator, "judge", judge)


def _stores_before_it_refuses(patch: pytest.MonkeyPatch) -> None:
    real = Intake.take

    async def take(self: Intake, *arguments: Any, **options: Any) -> Taken:
        taken = await real(self, *arguments, **options)
        if taken.accepted + len(taken.rejected) == 2:
            raise Refused(413, "too_large", "afterwards")
        return taken

    patch.setattr(Intake, "take", take)


def _tells_another_code(patch: pytest.MonkeyPatch) -> None:
    real = validate.verdict_of

    def verdict(index: int, message_id: str | None, problem: Any) -> Any:
        return msgspec.structs.replace(real(index, message_id, problem), path="$")

    patch.setattr(validate, "verdict_of", verdict)


def _tells_another_index(patch: pytest.MonkeyPatch) -> None:
    real = validate.verdict_of
    patch.setattr(
        validate, "verdict_of", lambda index, message_id, problem: real(max(0, index - 1), message_id, problem)
    )


def _changes_a_value(patch: pytest.MonkeyPatch) -> None:
    real = Validator.judge

    def judge(self: Validator, *arguments: Any) -> Judged:
        judged = real(self, *arguments)
        for line in judged.lines:
            if isinstance(line, Line) and getattr(line.p, "price", None) == 59.9:
                line.p.price = 59.90000001
        return judged

    patch.setattr(Validator, "judge", judge)


def _stores_what_does_not_become_columns(patch: pytest.MonkeyPatch) -> None:
    real = Validator.judge

    def judge(self: Validator, *arguments: Any) -> Judged:
        judged = real(self, *arguments)
        for line in judged.lines:
            if isinstance(line, Line) and line.event_name == "identify":
                line.digest = "x"  # type: ignore[assignment]  # that is the mutation
        return judged

    patch.setattr(Validator, "judge", judge)


def _sends_no_image(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pixel, "GIF", pixel.GIF[:-1])


def _believes_any_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(webhook, "why_not_signed", lambda *arguments: None)


def _answers_with_500(patch: pytest.MonkeyPatch) -> None:
    real = CollectorApp.__call__

    async def call(self: CollectorApp, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            await send(message | {"status": 500} if message.get("status") == 415 else message)

        await real(self, scope, receive, sent)

    patch.setattr(CollectorApp, "__call__", call)


def _keeps_who_decided(patch: pytest.MonkeyPatch) -> None:
    real = consent.judged_ping

    def judged(*arguments: Any) -> Judged:
        found = real(*arguments)
        for line in found.lines:
            if isinstance(line, Line):
                line.anonymous_id = "somebody"
        return found

    patch.setattr(endpoint, "judged_ping", judged)


def _counts_another_decision(patch: pytest.MonkeyPatch) -> None:
    real = consent.ping_of
    patch.setattr(endpoint, "ping_of", lambda raw: msgspec.structs.replace(real(raw), decision="granted"))


def _counts_a_decision_that_says_more(patch: pytest.MonkeyPatch) -> None:
    ping = msgspec.defstruct(
        "Ping", [("decision", str), ("day", date | None, None), ("write_key", str | None, None)], rename="camel"
    )
    patch.setattr(consent, "_decode", msgspec.json.Decoder(ping).decode)


MUTATIONS: list[Break] = [
    _raises,
    _accepts_what_is_bad,
    _refuses_what_is_good,
    _drops_the_neighbour_of_a_bad_event,
    _stores_an_event_twice,
    _mixes_two_requests,
    _stores_before_it_refuses,
    _tells_another_code,
    _tells_another_index,
    _changes_a_value,
    _stores_what_does_not_become_columns,
    _sends_no_image,
    _believes_any_signature,
    _answers_with_500,
    _keeps_who_decided,
    _counts_another_decision,
    _counts_a_decision_that_says_more,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__.strip("_"))
def test_the_fuzzer_notices(mutation: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert run(tmp_path, 8).complaints != []
