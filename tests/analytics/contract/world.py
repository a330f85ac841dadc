"""Lakes as a real collector leaves them: its own validation, columns step and tables, without the processes."""

import datetime
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from polku_analytics.lake import Lake
from polku_collector.batch import Block, Line, QuarantineLine
from polku_collector.intake.judged import Arrival, Judged
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.journal.block import decode_block, decode_head, encode_block
from polku_collector.journal.writer import encoded_runs
from polku_collector.lake.columns import ColumnsStep, Keys, Repeats
from polku_collector.lake.commit import add_actions
from polku_collector.lake.enrich import UserAgents
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.table import QUARANTINE_COLUMNS, Table
from polku_collector.planned import events_table_columns, schemas_of
from polku_collector.settings import Limits, Source
from polku_schemas import Plan, compile_plan

TODAY = datetime.date(2026, 3, 20)
AGENTS = UserAgents()

PLAN = {
    "plan.yaml": """\
name: shop
version: "1.0"
description: For tests.
stages: [interest, purchase]
channels: [web, store]
""",
    "properties.yaml": """\
order_id: {type: string, description: Key., privacy: pseudonymous}
price: {type: number, description: Price., privacy: none, minimum: 0}
count: {type: integer, description: How many., privacy: none}
is_gift: {type: boolean, description: Whether., privacy: none}
day: {type: date, description: Day., privacy: none}
moment: {type: date-time, description: Moment., privacy: none}
key: {type: uuid, description: Key., privacy: none}
email: {type: string, description: Address., privacy: personal}
coupon: {type: string, description: Code., privacy: none, nullable: true}
kind: {type: string, description: Kind., privacy: none, enum: [a, b]}
tags: {type: array, description: Tags., privacy: none, items: {type: string}}
lines:
  type: array
  description: What was bought.
  privacy: none
  items:
    type: object
    properties:
      order_id: {required: true}
      price: {}
      count: {}
address:
  type: object
  description: Where to.
  privacy: personal
  properties:
    kind: {}
    day: {}
""",
    "traits.yaml": """\
email: {type: string, description: Address., privacy: personal}
age: {type: integer, description: Age., privacy: personal}
""",
    "events/paid.yaml": """\
name: paid
aliases: [Order Paid]
version: "1.0"
owner: shop
description: Somebody paid.
stage: purchase
touchpoint: till
properties:
  order_id: {required: true}
  price: {}
  count: {}
  is_gift: {}
  day: {}
  moment: {}
  key: {}
  email: {}
  coupon: {required: true}
  kind: {}
  tags: {}
  lines: {}
  address: {}
examples:
  - {order_id: O-1, coupon: null}
""",
    "events/looked.yaml": """\
name: looked
version: "1.0"
owner: shop
description: Somebody looked.
stage: interest
touchpoint: shelf
properties:
  price: {}
  kind: {}
examples:
  - {price: 5}
""",
    "events/page_viewed.yaml": """\
name: page_viewed
version: "1.0"
owner: shop
description: A page.
call: page
stage: interest
touchpoint: page
properties: {}
examples:
  - {}
""",
}


def write_plan(folder: Path, changes: dict[str, str | None] | None = None) -> Path:
    """The plan of these tests, with some files in place of its own (None: left out)."""
    for name, text in {**PLAN, **(changes or {})}.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


class Request(Struct):
    """What one client sent at one time."""

    items: Sequence[dict[str, Any]]
    source: str = "web"
    day: datetime.date = TODAY
    library: str = "polku-js"
    version: str = "1.0"
    is_strict: bool = False


def track(name: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An item of a batch."""
    return {"type": "track", "event": name, "userId": "u", "properties": properties or {}} | more


def judge(plan: Plan, request: Request, limits: Limits | None = None) -> Judged:
    """The collector's own verdicts on a request."""
    numbers = itertools.count()
    validator = Validator(compile_plan(plan), limits or Limits(), new_id=lambda: f"{id(request)}-{next(numbers)}")
    noon = datetime.datetime.combine(request.day, datetime.time(12), datetime.UTC)
    context = {"library": {"name": request.library, "version": request.version}}
    items = [{"context": context} | item for item in request.items]
    # As real clients write JSON: NaN, Infinity and lone surrogates included.
    body = json.dumps({"batch": items}).encode("utf-8", "surrogatepass")
    source = Source(keys=["k"], historical=True, unplanned="quarantine" if request.is_strict else "accept")
    return validator.judge(parse_batch(body), Arrival(noon, None, request.source, source, body))


def make_lake(folder: Path, plan: Plan, requests: Iterable[Request], limits: Limits | None = None) -> Lake:
    """A lake that holds what a collector with this plan makes of the requests."""
    lines = [line for request in requests for line in judge(plan, request, limits).lines]
    step = ColumnsStep(folder / "scratch", AGENTS.table, threads=1)
    written = step.write([_block(lines, plan)], _nothing_repeats)
    step.close()
    store = LocalStore(folder / "lake")
    tables = (
        ("events", "event_date", events_table_columns(plan), written.events),
        ("quarantine", "received_date", QUARANTINE_COLUMNS, written.quarantine),
    )
    for name, partition, columns, files in tables:
        table = Table(store, name, partition, columns)
        for file in files:
            store.put(file.path, f"{name}/{file.key}")
        table.commit(add_actions(files, partition), {"s1": len(lines)})
    return Lake(folder / "lake", environ={})


def _block(lines: list[Line | QuarantineLine], plan: Plan) -> Block:
    data = memoryview(b"".join(encode_block("s1", 1, encoded_runs(lines, 1))))
    head = decode_head(data)
    found, text = decode_block("s1", head, data)
    return Block("s1", head.first_sequence, head.last_sequence, found, text, schemas_of(plan))


def _nothing_repeats(keys: Keys, streams: list[str]) -> Repeats:
    none = np.zeros(len(keys.high), np.bool_)
    return Repeats(none, none)
