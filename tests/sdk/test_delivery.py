"""Delivery to a real HTTP server: batches, answers, waits, losses, and what the caller notices of it (nothing)."""

import base64
import json
import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import polku
from polku.transport import Answer

from .waiting import wait_until

CONTRACT = json.loads((Path(__file__).parents[1] / "contract" / "sdk" / "request.json").read_text())


@pytest.fixture
def client_of(collector: Any) -> Any:
    """Makes clients of the recording collector and closes them."""
    clients = []

    def make(**options: Any) -> polku.Client:
        client = polku.Client("write-key", options.pop("endpoint", collector.url), **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close(0)


def track(client: polku.Client, count: int, **properties: Any) -> None:
    for number in range(count):
        client.track("x", {"n": number, **properties}, user_id="u")


def numbers(items: list[dict[str, Any]]) -> list[int]:
    return [item["properties"]["n"] for item in items]


def test_the_request_is_the_agreed_one(collector: Any, client_of: Any) -> None:
    client = client_of(context={"channel": "server"})
    track(client, 3)
    assert client.flush()
    [got] = collector.received
    assert got.path == CONTRACT["path"]
    assert {name: got.headers[name] for name in CONTRACT["headers"]} == CONTRACT["headers"]
    assert base64.b64decode(got.headers["authorization"].removeprefix("Basic ")) == b"write-key:"
    assert got.headers["x-polku-sent-at"].endswith("Z")
    body = json.loads(got.body)
    assert list(body) == CONTRACT["body_keys"]
    expected = json.loads(json.dumps(CONTRACT["context"]).replace("VERSION", polku.__version__))
    assert body["context"] == expected
    assert numbers(body["batch"]) == [0, 1, 2]
    assert "sentAt" not in got.body.decode()


def test_a_path_prefix_of_the_endpoint_is_kept_and_compression_can_be_off(collector: Any, client_of: Any) -> None:
    client = client_of(endpoint=collector.url + "/events/", compression=None)
    track(client, 1)
    assert client.flush()
    [got] = collector.received
    assert got.path == "/events/v1/batch"
    assert "content-encoding" not in got.headers
    assert got.raw.startswith(b'{"batch":[{"type":"track"')


def test_batches_are_cut_by_count_bytes_and_age_and_keep_their_order(collector: Any, client_of: Any) -> None:
    by_count = client_of(batch_events=4, batch_age_seconds=60)
    track(by_count, 10)
    wait_until(lambda: len(collector.taken) == 8)
    assert [len(got.items) for got in collector.received] == [4, 4]
    assert by_count.flush()
    assert numbers(collector.taken) == list(range(10))

    collector.received.clear()
    by_bytes = client_of(batch_bytes=2_000, batch_age_seconds=60, compression=None)
    track(by_bytes, 7, text="a" * 700)
    assert by_bytes.flush()
    assert [len(got.items) for got in collector.received] == [2, 2, 2, 1]
    assert all(len(got.raw) < 2_200 for got in collector.received)

    collector.received.clear()
    by_age = client_of(batch_age_seconds=0.2)
    began = time.monotonic()
    track(by_age, 3)
    wait_until(lambda: len(collector.taken) == 3)
    assert len(collector.received) == 1
    assert collector.received[0].at - began >= 0.2


def test_one_connection_is_kept(collector: Any, client_of: Any) -> None:
    client = client_of()
    for _ in range(5):
        track(client, 1)
        assert client.flush()
    assert len({got.client for got in collector.received}) == 1


def test_retries_carry_the_same_events_a_new_time_and_the_attempt(collector: Any, reply: Any, client_of: Any) -> None:
    collector.script = [reply(500), reply(drop=True), reply(429)]
    client = client_of(retry_base_seconds=0.02)
    track(client, 5)
    assert client.flush()
    assert [got.headers["x-polku-attempt"] for got in collector.received] == ["1", "2", "3", "4"]
    assert len({got.body for got in collector.received}) == 1
    assert len({got.headers["x-polku-sent-at"] for got in collector.received}) == 4
    stats = client.stats()
    assert (stats.delivered, stats.lost, stats.requests, stats.retries) == (5, {}, 4, 3)


def test_retry_after_is_kept_to_for_everything_that_is_queued(collector: Any, reply: Any, client_of: Any) -> None:
    collector.script = [reply(503, headers={"Retry-After": "1"})]
    client = client_of(batch_events=2, retry_base_seconds=0.01)
    track(client, 6)
    assert client.flush()
    first, second, *_ = collector.received
    assert 1.0 <= second.at - first.at < 2.5
    assert numbers(collector.taken) == list(range(6))


def test_a_connection_that_cannot_be_made_is_tried_again(collector: Any, client_of: Any) -> None:
    transport = polku.HttpTransport("http://127.0.0.1:9/v1/batch")
    client = client_of(transport=transport, retry_base_seconds=0.05)
    track(client, 2)
    assert not client.flush(0.3)
    assert client.stats().queued == 2
    transport._url = collector.url + "/v1/batch"
    assert client.flush()
    assert len(collector.taken) == 2


def test_a_slow_answer_is_given_up_and_sent_again(collector: Any, reply: Any, client_of: Any) -> None:
    collector.script = [reply(500, delay_seconds=1.0)]
    client = client_of(timeout_seconds=0.1, retry_base_seconds=0.02)
    track(client, 2)
    assert client.flush(5)
    assert collector.received[1].at - collector.received[0].at < 0.9


def test_a_batch_is_given_up_in_the_end_and_the_loss_is_told(
    collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answer = lambda body: reply(503)
    losses: list[polku.Loss] = []
    client = client_of(
        retry_base_seconds=0.02, retry_cap_seconds=0.05, give_up_after_seconds=0.2, on_loss=losses.append
    )
    track(client, 4)
    assert client.flush()
    assert client.stats().lost == {polku.LossReason.EXPIRED: 4}
    [loss] = losses
    assert (loss.reason, loss.count, len(loss.events)) == ("expired", 4, 4)
    assert json.loads(loss.events[3])["properties"] == {"n": 3}
    assert "4 events were lost (expired)" in caplog.text


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_final_refusal_is_not_tried_again(
    status: int, collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script = [reply(status, b'{"error":"unknown_key","message":"no source has this key"}')]
    client = client_of()
    track(client, 3)
    assert client.flush()
    assert len(collector.received) == 1
    assert client.stats().lost == {polku.LossReason.REFUSED: 3}
    assert "no source has this key" in caplog.text
    track(client, 1)
    assert client.flush()
    assert len(collector.taken) == 1


def test_a_batch_that_is_too_large_is_halved_until_it_fits(collector: Any, reply: Any, client_of: Any) -> None:
    collector.answer = lambda body: reply(413) if body.count(b'"messageId"') > 2 or b'"n":6' in body else reply()
    client = client_of()
    track(client, 9)
    assert client.flush()
    assert numbers(collector.taken) == [0, 1, 2, 3, 4, 5, 7, 8]
    assert client.stats().lost == {polku.LossReason.TOO_LARGE: 1}


def test_an_event_that_is_not_json_does_not_cost_its_batch(collector: Any, reply: Any, client_of: Any) -> None:
    """A NaN that is a Decimal is written as such; the collector cannot read the body."""
    from decimal import Decimal

    def answer(body: bytes) -> Any:
        return reply(400, b'{"error":"invalid_json","message":"at 1"}') if b"NaN" in body else reply()

    collector.answer = answer
    client = client_of()
    track(client, 3)
    client.track("x", {"n": Decimal("NaN")}, user_id="u")
    track(client, 2)
    assert client.flush()
    assert numbers(collector.taken) == [0, 1, 2, 0, 1]
    assert client.stats().lost == {polku.LossReason.UNSERIALISABLE: 1}


def test_a_400_for_sound_events_is_a_refusal(collector: Any, reply: Any, client_of: Any) -> None:
    collector.answer = lambda body: reply(400)
    client = client_of()
    track(client, 3)
    assert client.flush()
    assert len(collector.received) == 1
    assert client.stats().lost == {polku.LossReason.REFUSED: 3}


def test_verdicts_are_warnings_that_do_not_repeat(
    collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: bytes) -> Any:
        rejected = [
            {"index": index, "message_id": item["messageId"], "code": "wrong_type", "path": "$.properties.n"}
            | {"message": "expected a string"}
            for index, item in enumerate(json.loads(body)["batch"])
        ]
        return reply(200, json.dumps({"success": True, "accepted": 0, "rejected": rejected}).encode())

    collector.answer = answer
    client = client_of()
    for _ in range(2):
        track(client, 5)
        assert client.flush()
    wait_until(lambda: client.stats().rejected == 10)
    assert caplog.text.count("quarantine") == 1
    assert "'x'" in caplog.text
    assert "wrong_type at $.properties.n: expected a string" in caplog.text
    client.track("other", user_id="u")
    assert client.flush()
    wait_until(lambda: caplog.text.count("quarantine") == 2)
    assert client.stats().delivered == 11


def test_a_warning_of_the_collector_is_told_and_the_event_is_not_counted_as_rejected(
    collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    warning = {"index": 0, "message_id": "m", "code": "unknown_property", "path": "$.properties", "message": "colour"}
    document = {"success": True, "accepted": 1, "rejected": [], "warnings": [warning]}
    collector.script = [reply(200, json.dumps(document).encode())]
    client = client_of()
    track(client, 1)
    assert client.flush()
    wait_until(lambda: "accepted 'x' with a warning: unknown_property at $.properties: colour" in caplog.text)
    assert (client.stats().delivered, client.stats().rejected) == (1, 0)


@pytest.mark.parametrize("body", [b"", b"<html>portal</html>", b"[]", b'{"rejected":[{"index":99,"code":"x"}]}'])
def test_answers_that_make_no_sense_do_no_harm(
    body: bytes, collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script = [reply(200, body)]
    client = client_of()
    track(client, 1)
    assert client.flush()
    wait_until(lambda: "collector" in caplog.text)
    track(client, 1)
    assert client.flush()
    assert client.stats().delivered == 2


def test_a_full_queue_drops_the_newest_without_a_wait_and_tells(
    collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script = [reply(delay_seconds=0.5)]
    losses: list[polku.Loss] = []
    client = client_of(queue_events=10, batch_events=5, on_loss=losses.append)
    began = time.monotonic()
    returned = [client.track("x", {"n": n}, user_id="u") for n in range(25)]
    assert time.monotonic() - began < 0.4
    assert [message_id is not None for message_id in returned] == [True] * 10 + [False] * 15
    assert client.close()
    assert numbers(collector.taken) == list(range(10))
    assert client.stats().lost == {polku.LossReason.QUEUE_FULL: 15}
    assert sum(loss.count for loss in losses) == 15
    assert "queue_full" in caplog.text


def test_the_queue_is_bounded_in_bytes(collector: Any, reply: Any, client_of: Any) -> None:
    collector.script = [reply(delay_seconds=0.3)]
    client = client_of(queue_bytes=10_000, batch_events=2)
    track(client, 50, text="a" * 850)
    stats = client.stats()
    assert stats.queued <= 10
    assert stats.queued_bytes <= 10_000
    assert client.close()
    assert client.stats().delivered + client.stats().lost[polku.LossReason.QUEUE_FULL] == 50


def test_a_full_queue_can_make_the_caller_wait(collector: Any, client_of: Any) -> None:
    client = client_of(queue_events=10, batch_events=7, batch_age_seconds=60, full_queue="block")
    track(client, 200)
    assert client.close()
    assert numbers(collector.taken) == list(range(200))
    assert client.stats().lost == {}


def test_waiting_for_room_is_bounded(collector: Any, reply: Any, client_of: Any) -> None:
    collector.script = [reply(delay_seconds=2)]
    client = client_of(queue_events=2, batch_events=1, full_queue="block", block_seconds=0.1)
    track(client, 2)
    began = time.monotonic()
    assert client.track("x", user_id="u") is None
    assert 0.1 <= time.monotonic() - began < 1


def test_the_hook_may_do_anything(collector: Any, reply: Any, client_of: Any) -> None:
    """Calls back, raises, tries to end the thread: the rest is delivered all the same."""
    collector.script = [reply(401)] * 3

    def hook(loss: polku.Loss) -> None:
        client.track("loss_seen", {"n": -1}, user_id="u")
        client.flush()
        raise SystemExit

    client = client_of(on_loss=hook, full_queue="block", batch_events=2)
    track(client, 8)
    assert client.flush()
    assert client.close()
    assert sorted(numbers(collector.taken)) == [-1, -1, -1, 6, 7]


def test_flush_says_when_the_time_was_too_short(collector: Any, reply: Any, client_of: Any) -> None:
    collector.script = [reply(delay_seconds=0.5)]
    client = client_of()
    track(client, 1)
    began = time.monotonic()
    assert client.flush(0.05) is False
    assert time.monotonic() - began < 0.4
    assert client.flush() is True


def test_close_is_bounded_and_counts_what_was_left(
    collector: Any, reply: Any, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answer = lambda body: reply(delay_seconds=3)
    client = client_of(batch_events=2)
    track(client, 5)
    began = time.monotonic()
    assert client.close(0.3) is False
    assert time.monotonic() - began < 1
    assert client.stats().queued == 0
    assert client.stats().lost == {polku.LossReason.CLOSE_TIMEOUT: 5}
    assert "close_timeout" in caplog.text


def test_close_is_bounded_even_if_the_transport_keeps_to_no_time() -> None:
    released = threading.Event()

    class Stuck(polku.MemoryTransport):
        def send(self, body: bytes, headers: Any, timeout_seconds: float) -> Answer:
            released.wait(10)
            return super().send(body, headers, timeout_seconds)

    client = polku.Client("k", "http://c", transport=Stuck())
    track(client, 3)
    assert not client.flush(0.1)
    began = time.monotonic()
    assert client.close(0.2) is False
    assert time.monotonic() - began < 2
    thread = client._worker._thread
    released.set()
    assert thread is not None
    thread.join(5)
    stats = client.stats()
    assert (stats.delivered, stats.lost) == (0, {polku.LossReason.CLOSE_TIMEOUT: 3})


def test_close_does_not_wait_for_what_cannot_be_in_time(collector: Any, reply: Any, client_of: Any) -> None:
    """The collector asked for a minute; closing has five seconds, and does not knock before the minute is over."""
    collector.answer = lambda body: reply(503, headers={"Retry-After": "60"})
    client = client_of(batch_events=2)
    track(client, 6)
    wait_until(lambda: len(collector.received) == 1)
    began = time.monotonic()
    assert client.close(5) is False or client.stats().lost
    assert time.monotonic() - began < 1
    assert len(collector.received) == 1
    assert client.stats().lost == {polku.LossReason.CLOSE_TIMEOUT: 6}


def test_close_cuts_a_backoff_short(collector: Any, reply: Any, client_of: Any) -> None:
    """A collector that was away may be back: one more attempt, not the rest of a long wait."""
    collector.script = [reply(500)]
    client = client_of(retry_base_seconds=0.05, transport=None)
    client._worker._settings = polku.Settings(
        write_key="k",
        endpoint=collector.url,
        retry_base_seconds=10_000,
        retry_cap_seconds=10_000,
        give_up_after_seconds=80_000,
    )
    track(client, 2)
    assert not client.flush(0.3)
    client._worker._settings = client.settings
    began = time.monotonic()
    assert client.close(5)
    assert time.monotonic() - began < 2
    assert len(collector.taken) == 2


def test_calls_after_close_are_counted_and_harmless(collector: Any, client_of: Any) -> None:
    client = client_of()
    track(client, 1)
    assert client.close()
    assert client.close()
    assert client.track("x", user_id="u") is None
    assert client.flush()
    assert client.stats().lost == {polku.LossReason.CLOSED: 1}
    assert len(collector.taken) == 1


def test_an_event_queued_while_losses_are_told_is_not_forgotten_by_close() -> None:
    """The worker sees an empty queue, is held up in the hook, and only then learns that it shall close."""
    in_hook, closing = threading.Event(), threading.Event()

    def hook(loss: polku.Loss) -> None:
        in_hook.set()
        closing.wait(5)

    transport = polku.MemoryTransport()
    client = polku.Client("k", "http://c", transport=transport, on_loss=hook, max_event_bytes=1_000)
    client.track("x", {"text": "a" * 2_000}, user_id="u")
    assert in_hook.wait(5)
    client.track("x", user_id="u")
    client._worker.begin_close(time.monotonic() + 5)
    closing.set()
    assert client._worker.finish_close()
    assert len(transport.events) == 1


def test_a_client_that_goes_out_of_scope_still_delivers_and_ends_its_thread(collector: Any) -> None:
    def scope() -> threading.Thread:
        client = polku.Client("write-key", collector.url)
        track(client, 3)
        thread = client._worker._thread
        assert thread is not None
        return thread

    thread = scope()
    thread.join(5)
    assert not thread.is_alive()
    assert len(collector.taken) == 3


def test_a_transport_that_raises_is_a_failed_attempt(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(polku.MemoryTransport):
        def send(self, body: bytes, headers: Any, timeout_seconds: float) -> Answer:
            if len(self.bodies) < 1:
                super().send(body, headers, timeout_seconds)
                self.events.clear()
                raise RuntimeError("out of order")
            return super().send(body, headers, timeout_seconds)

    transport = Broken()
    with polku.Client("k", "http://c", transport=transport, retry_base_seconds=0.01) as client:
        track(client, 2)
        assert client.flush()
    assert len(transport.events) == 2
    assert "out of order" in caplog.text


def test_a_failing_log_handler_does_not_reach_the_caller() -> None:
    class Failing(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("disk full")

    handler = Failing()
    logging.getLogger("polku").addHandler(handler)
    try:
        transport = polku.MemoryTransport()
        with polku.Client("k", "http://c", transport=transport) as client:
            assert client.track("x")
        assert len(transport.events) == 1
    finally:
        logging.getLogger("polku").removeHandler(handler)


def test_calls_from_many_threads_and_a_signal_handler_are_all_counted(collector: Any, client_of: Any) -> None:
    client = client_of(batch_events=50)
    calls = [0]

    def on_signal(number: int, frame: FrameType | None) -> None:
        calls[0] += 1
        client.track("signal", {"n": 0}, user_id="u")

    before = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        threads = [threading.Thread(target=track, args=(client, 1_000)) for _ in range(4)]
        for thread in threads:
            thread.start()
        track(client, 3_000)
        for thread in threads:
            thread.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert client.flush()
    ids = [item["messageId"] for item in collector.taken]
    assert len(ids) == len(set(ids)) == 7_000 + calls[0]
    assert calls[0] > 0
    assert client.stats().delivered == len(ids)
