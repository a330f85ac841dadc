"""Sends batches with ids of its own, and keeps the ledger: what was answered, and what may have been stored anyway."""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

BATCH = 20
# What cannot be stored as it is; goes to quarantine.
_INVALID = 0.08
_AGAIN = 0.12  # a batch that was answered is sent again
_GIVEN_UP = 0.05  # a batch that was not answered is not tried again at once
_ELSEWHERE = 0.3  # … to another collector
_TIMEOUT_SECONDS = 20.0


def event(event_id: str) -> dict[str, Any]:
    """The event of an id: all of it follows from the id, so that the oracle knows it too."""
    number = zlib.crc32(event_id.encode())
    common = {"type": "track", "messageId": event_id, "userId": user_of(event_id)}
    match number % 4:
        case 0:
            return common | {"event": "products_searched", "properties": {"query": text_of(event_id)}}
        case 1:
            return common | {"event": "chaos_of_no_plan", "properties": {"what": text_of(event_id)}}
        case _:
            price: Any = "none" if is_invalid(event_id) else price_of(event_id)
            return common | {
                "event": "product_viewed",
                "properties": {"product_id": text_of(event_id), "price": price},
            }


def is_invalid(event_id: str) -> bool:
    number = zlib.crc32(event_id.encode())
    return number % 4 > 1 and number // 4 % 1000 < 2000 * _INVALID


def user_of(event_id: str) -> str:
    return f"user {zlib.crc32(event_id.encode()) % 97}"


def text_of(event_id: str) -> str:
    return f"text of {event_id}"


def price_of(event_id: str) -> float:
    return zlib.crc32(event_id.encode()) % 100_000 / 100


class Ledger:
    """What was sent, by id: to which nodes with a 200, to which without an answer that can be trusted."""

    def __init__(self) -> None:
        self.answered: dict[str, Counter[int]] = {}
        self.unanswered: dict[str, Counter[int]] = {}
        self.statuses: Counter[str] = Counter()
        self.requests: Counter[int] = Counter()
        """answered with 200, by node"""
        self.wrong: list[str] = []
        """answers that were not what they had to be"""
        self._lock = threading.Lock()

    def note(self, node: int, ids: Sequence[str], answer: httpx.Response | Exception) -> bool:
        """Whether it was answered with 200."""
        stored = isinstance(answer, httpx.Response) and answer.status_code == 200
        with self._lock:
            what = str(answer.status_code) if isinstance(answer, httpx.Response) else type(answer).__name__
            self.statuses[what] += 1
            self.requests[node] += stored
            for event_id in ids:
                (self.answered if stored else self.unanswered).setdefault(event_id, Counter())[node] += 1
            if stored and isinstance(answer, httpx.Response):
                told, invalid = answer.json(), sum(map(is_invalid, ids))
                if (told["accepted"], len(told["rejected"])) != (len(ids) - invalid, invalid):
                    self.wrong.append(f"{len(ids)} events, {invalid} of them wrong, were answered with {told}")
        return stored

    @property
    def events(self) -> int:
        """How many ids were acknowledged."""
        return len(self.answered)


class Load:
    """A few threads that send until they are told to stop."""

    def __init__(self, urls: Sequence[str], ledger: Ledger, seed: str, *, threads: int, pause_seconds: float) -> None:
        self._urls, self._ledger, self._pause = urls, ledger, pause_seconds
        self._stop = threading.Event()
        self._open: list[list[str]] = []
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(f"{seed}-{number}",), daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def send_what_is_open(self) -> None:
        """As an SDK does: most of what was not answered is sent again until it is; the rest stays as it is."""
        chance = random.Random("open")
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            for ids in self._open:
                if chance.random() < 0.7:
                    self._post(client, chance.randrange(len(self._urls)), ids)

    def _run(self, seed: str) -> None:
        chance, number = random.Random(seed), 0
        done: list[tuple[int, list[str]]] = []
        ids: list[str] = []  # what is being tried again
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            while not self._stop.is_set():
                node = chance.randrange(len(self._urls))
                if ids:
                    pass
                elif done and chance.random() < _AGAIN:
                    first, ids = chance.choice(done[-200:])
                    node = node if chance.random() < _ELSEWHERE else first
                else:
                    ids = [f"{seed}-{number + place}" for place in range(BATCH)]
                    number += BATCH
                if self._post(client, node, ids):
                    done.append((node, ids))
                    ids = []
                    self._stop.wait(chance.uniform(0, 2 * self._pause))
                    continue
                if chance.random() < _GIVEN_UP:
                    with self._lock:
                        self._open.append(ids)
                    ids = []
                self._stop.wait(0.2)
            if ids:
                self._open.append(ids)

    def _post(self, client: httpx.Client, node: int, ids: list[str]) -> bool:
        body = {"batch": [event(event_id) for event_id in ids]}
        try:
            answer: httpx.Response | Exception = client.post(
                f"{self._urls[node]}/v1/batch", json=body, auth=("web-key", "")
            )
        except httpx.TransportError as error:
            answer = error
        return self._ledger.note(node, ids, answer)
