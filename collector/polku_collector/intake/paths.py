"""The addresses that events are posted to, and how the body of each is read."""

from __future__ import annotations

from .consent import CONSENT_PATH
from .envelope import CALLS
from .refused import Refused
from .shape import Shape
from .split import TooMany
from .wire import Body, Unreadable, parse_batch, parse_single

BATCH_PATHS = frozenset(("/v1/batch", "/v1/b", "/v1/import"))
SINGLE_PATHS = {f"/v1/{call}": call for call in CALLS} | {f"/v1/{call[0]}": call for call in sorted(CALLS - {"alias"})}
SINGLE_PATHS["/v1/a"] = "alias"
EVENT_PATHS = BATCH_PATHS | SINGLE_PATHS.keys()
PATHS = EVENT_PATHS | {CONSENT_PATH}


def parsed(path: str, raw: bytes, max_events: int, shape: Shape) -> Body:
    """The body of a request to one of `EVENT_PATHS`. Raises Refused."""
    try:
        if path in BATCH_PATHS:
            return parse_batch(raw, max_events, shape)
        return parse_single(raw, SINGLE_PATHS[path], shape)
    except Unreadable as error:
        raise Refused(400, "invalid_json", str(error), error.path) from None
    except TooMany as error:
        raise Refused(413, "too_many_events", f"{error}; send smaller batches", "$.batch") from None
