"""Sends batches with ids of its own, and keeps the ledger: what was answered, and what may have been stored anyway."""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx

BATCH = 20
# Write keys: of a source that is answered after the fsync, and of one that is answered after the commit.
WEB_KEY, SURE_KEY = "web-key", "sure-key"
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
        self.looked_up = 0
        """requests answered with 200 whose events a fresh reader was asked for at that moment"""
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

    def note_missing(self, ids: Sequence[str], missing: Sequence[str]) -> None:
        """What a fresh reader did not see of a request that was answered after its commit."""
        with self._lock:
            self.looked_up += 1
            if missing:
                self.wrong.append(
                    f"answered after the commit, and {len(missing)} of {len(ids)} events are not in the tables: "
                    f"{', '.join(missing[:5])}"
                )

    @property
    def events(self) -> int:
        """How many ids were acknowledged."""
        return len(self.answered)


class Load:
    """A few threads that send until they are told to stop."""

    def __init__(
        self,
        urls: Sequence[str],
        ledger: Ledger,
        seed: str,
        *,
        threads: int,
        pause_seconds: float,
        committed: Callable[[Sequence[str]], list[str]] | None = None,
    ) -> None:
        """`committed`: one more thread sends from the source that is answered after the commit, and asks this for what
        of its events is missing."""
        self._urls, self._ledger, self._pause = urls, ledger, pause_seconds
        self._committed = committed
        self._stop = threading.Event()
        self._open: list[tuple[list[str], str]] = []
        self._lock = threading.Lock()
        senders = [(f"{seed}-{number}", WEB_KEY) for number in range(threads)]
        if committed is not None:
            senders.append((f"{seed}-sure", SURE_KEY))
        self._threads = [threading.Thread(target=self._run, args=sender, daemon=True) for sender in senders]
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
            for ids, key in self._open:
                if chance.random() < 0.7:
                    self._post(client, chance.randrange(len(self._urls)), ids, key)

    def _run(self, seed: str, key: str) -> None:
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
                if self._post(client, node, ids, key):
                    done.append((node, ids))
                    ids = []
                    self._stop.wait(chance.uniform(0, 2 * self._pause))
                    continue
                if chance.random() < _GIVEN_UP:
                    with self._lock:
                        self._open.append((ids, key))
                    ids = []
                self._stop.wait(0.2)
            if ids:
                self._open.append((ids, key))

    def _post(self, client: httpx.Client, node: int, ids: list[str], key: str) -> bool:
        body = {"batch": [event(event_id) for event_id in ids]}
        try:
            answer: httpx.Response | Exception = client.post(f"{self._urls[node]}/v1/batch", json=body, auth=(key, ""))
        except httpx.TransportError as error:
            answer = error
        stored = self._ledger.note(node, ids, answer)
        if stored and key == SURE_KEY and self._committed is not None:
            try:
                missing = self._committed(ids)
            except Exception as error:  # a table that cannot be read is what this is here to see
                missing = [f"a fresh reader failed: {type(error).__name__}: {error}"]
            self._ledger.note_missing(ids, missing)
        return stored
