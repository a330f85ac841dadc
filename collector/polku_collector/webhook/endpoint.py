"""POST /v1/webhook/NAME: check who sends it, make events of it, and put these through intake like any others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping

from ..intake.answer import answer_of
from ..intake.receive import ClientGone, Receive, Scope, Send, headers_of, presented_key
from ..intake.refused import Refused
from ..intake.shape import Shape
from ..intake.take import MAX_BLOCK_BYTES, Intake, wrong_key
from ..intake.wire import Body, Item, parse_single
from .mapping import Made, TooMuch, events_of
from .places import Delivery
from .ready import ReadyWebhook
from .signature import why_not_signed

PREFIX = "/v1/webhook/"


class WebhookEndpoint:
    """One webhook. `observe(name, outcome)` is told of each delivery: `taken`, `ignored` or `refused`."""

    def __init__(self, name: str, webhook: ReadyWebhook, intake: Intake, observe: Callable[[str, str], None]) -> None:
        self._name, self._webhook, self._intake, self._observe = name, webhook, intake, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        retry_after, waited = None, 0.0
        try:
            if scope["method"] != "POST":
                raise Refused(405, "method_not_allowed", "send webhooks with POST")
            status, (body, waited) = 200, await self._accept(scope, receive)
        except Refused as refused:
            self._observe(self._name, "refused")
            status, retry_after, waited = refused.status, refused.retry_after, refused.waited_seconds
            body = self._intake.refusal(refused)
        except (ClientGone, asyncio.CancelledError):
            self._intake.answered(499, started)
            return
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if retry_after is not None:
            head.append((b"retry-after", b"%d" % retry_after))
        if status == 405:
            head.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
        self._intake.answered(status, started, waited)

    async def _accept(self, scope: Scope, receive: Receive) -> tuple[bytes, float]:
        """The answer's body, and how long the lake was waited for."""
        headers = headers_of(scope)
        settings = self._webhook.settings
        if settings.hmac is None:
            sender = self._intake.sender_of(presented_key(headers, scope["query_string"]), headers)
            if sender.name != settings.source:
                raise wrong_key()
        else:
            sender = self._intake.sender_named(settings.source)
        raw = await self._intake.body_of(receive, headers)
        arrival = self._intake.arrival(sender, raw)
        if settings.hmac is not None:
            reason = why_not_signed(settings.hmac, self._webhook.secrets, headers, raw, arrival.received_at)
            if reason is not None:
                raise Refused(401, "invalid_signature", reason)
        made = self._events(raw, headers)
        shape = self._intake.in_force.senders.shape
        body = Body(None, [_item(one, shape) for one in made], None, None, None)
        taken = await self._intake.take(body, arrival, sender, None, size=sum(len(one.raw) for one in made))
        self._observe(self._name, "taken" if made else "ignored")
        return answer_of(taken), taken.waited_seconds

    def _events(self, raw: bytes, headers: Mapping[bytes, bytes]) -> list[Made]:
        try:
            payload = json.loads(raw.decode())
            delivery = Delivery(payload, headers)
            most = self._intake.in_force.senders.limits.max_batch_events
            return events_of(self._webhook.mapping, self._name, delivery, raw, most=most, most_bytes=MAX_BLOCK_BYTES)
        except TooMuch as error:
            raise Refused(413, "too_many_events", str(error), "$") from None
        except RecursionError:
            raise Refused(400, "invalid_json", "the payload is nested too deep", "$") from None
        except ValueError as error:  # no UTF-8, no JSON, or a number of more digits than Python reads
            raise Refused(400, "invalid_json", f"the payload is not JSON: {error}", "$") from None


def _item(made: Made, shape: Shape) -> Item:
    """An event that was made as the wire reads it. It is a JSON object: we wrote it."""
    if made.problem is not None:
        return Item(None, made.problem, made.raw)
    body = parse_single(made.raw, None, shape)
    return body.items[0] if body.items is not None else Item(body.events[0] if body.events else None, raw=made.raw)
