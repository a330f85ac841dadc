"""What must be true of every answer, whatever came. Pure: answers and journalled lines in, complaints out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polku_collector.batch import QUARANTINE_RUN
from polku_collector.intake.pixel import GIF
from polku_collector.openapi import ERRORS

from .inputs import Input, Known


@dataclass
class Answered:
    """An answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Stored:
    """A line of the journal: the run it stands in, and its JSON."""

    run: str
    line: dict[str, Any]

    @property
    def refused(self) -> bool:
        return self.run == QUARANTINE_RUN


def complaints(request: Input, answer: Answered, stored: Sequence[Stored] | None) -> list[str]:
    """Everything that is wrong with what became of a request. `stored` is None where the lines are looked at later."""
    if answer.status not in {200, 204, *ERRORS}:
        return [f"the status {answer.status} is in no description"]
    found = list(_of_form(request, answer))
    if request.status is not None and request.status != answer.status:
        found.append(f"answered with {answer.status}, and should be {request.status}")
    takes = answer.status == 200 and request.method in ("POST", "GET") and request.kind != "elsewhere"
    if not takes:
        if stored:
            found.append(f"{len(stored)} lines are stored though it was answered with {answer.status}")
        if request.known:
            found.append(f"a whole request was refused with {answer.status}")
        return found
    if request.kind == "pixel":
        return found + _of_pixel(request, stored)
    if request.kind == "consent":
        return found + _of_decision(request, json.loads(answer.body), stored)
    return found + _of_verdicts(request, json.loads(answer.body), stored)


def _of_form(request: Input, answer: Answered) -> list[str]:
    if answer.status == 204:
        return [] if answer.body == b"" else ["a body where there is none"]
    if request.method == "HEAD":  # the server leaves the body out
        return []
    if request.kind == "pixel":
        return [] if answer.body == GIF and "no-store" in answer.headers.get("cache-control", "") else ["no image"]
    if request.kind == "elsewhere" and answer.status == 200:
        return []
    try:
        document = json.loads(answer.body)
    except ValueError:
        return ["the answer is not JSON"]
    if answer.status == 200:
        return [] if document["success"] is True else ["no success in a 200"]
    complete = document["success"] is False and document["error"] and document["message"]
    waits = answer.status != 503 or "retry-after" in answer.headers
    return [] if complete and waits else ["the refusal does not say what is wrong"]


def _of_verdicts(request: Input, document: dict[str, Any], stored: Sequence[Stored] | None) -> list[str]:
    rejected = document["rejected"]
    found = []
    items = document["accepted"] + len(rejected)
    if stored is not None:
        if len(stored) != items:
            found.append(f"{document['accepted']} accepted and {len(rejected)} rejected are {len(stored)} lines")
        told = Counter((verdict["code"], verdict["path"]) for verdict in rejected)
        kept = Counter((one.line["code"], one.line["path"]) for one in stored if one.refused)
        if told != kept:
            found.append(f"told {dict(told)}, stored {dict(kept)}")
    if request.known is not None:
        codes: list[str | None] = [None] * len(request.known)
        for verdict in rejected:
            if verdict["index"] >= len(codes):
                return [*found, f"a verdict on item {verdict['index']} of {len(codes)}"]
            codes[verdict["index"]] = verdict["code"]
        if len(codes) != items:
            found.append(f"{len(codes)} items have {items} outcomes")
        for index, (code, known) in enumerate(zip(codes, request.known, strict=True)):
            if code != known.code:
                found.append(f"item {index} is {code or 'accepted'}, and should be {known.code or 'accepted'}")
        if stored is not None:
            found += _of_neighbours(request.known, stored)
    return found


def _of_pixel(request: Input, stored: Sequence[Stored] | None) -> list[str]:
    if stored is None:
        return []
    found = [] if len(stored) == 1 else [f"one event is {len(stored)} lines"]
    return found if request.known is None else [*found, *_of_neighbours(request.known, stored)]


def _of_decision(request: Input, document: dict[str, Any], stored: Sequence[Stored] | None) -> list[str]:
    """It is counted once, and nothing is kept of who made it."""
    found = []
    if (document["accepted"], document["rejected"]) != (1, []):
        found.append(f"a decision is {document['accepted']} accepted and {len(document['rejected'])} rejected")
    if stored is None:
        return found
    if [one.run for one in stored] != ["consent_decided"]:
        return [*found, f"a decision is in {[one.run for one in stored]}"]
    line = stored[0].line
    if more := line.keys() - _OF_A_DECISION:
        found.append(f"a decision is kept with {sorted(more)}")
    if request.known is not None and line["p"] != request.known[0].properties:
        found.append(f"a decision is {line['p']}, sent {request.known[0].properties}")
    return found


# The id is made by us; source and channel are those of the settings.
_OF_A_DECISION = {
    *("sequence", "received_at", "event_time", "event_id", "event_type", "event_name", "schema_version"),
    *("source", "channel", "digest", "p"),
}


def _of_neighbours(known: Sequence[Known], stored: Sequence[Stored]) -> list[str]:
    """Each good event is there once, where it belongs, with what it was sent with."""
    found = []
    lines: dict[str, list[Stored]] = {}
    for one in stored:
        lines.setdefault(one.line.get("event_id", ""), []).append(one)
    for expected in known:
        if expected.event_id is None:
            continue
        of_it = lines.get(expected.event_id, [])
        if [one.run for one in of_it] != ["product_viewed"]:
            found.append(f"the good event {expected.event_id} is in {[one.run for one in of_it]}")
        elif of_it[0].line["p"] != expected.properties:
            found.append(f"the good event {expected.event_id} has {of_it[0].line['p']}, sent {expected.properties}")
    return found
