"""The closed list of reasons for which an event is refused, used by verdicts, `quarantine` and the docs."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct


class ProblemCode(StrEnum):
    """A stable, machine-readable reason.

    Codes are added, never renamed: queries over `quarantine` rely on them.
    """

    NOT_AN_OBJECT = "not_an_object"
    MISSING_TYPE = "missing_type"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_EVENT_NAME = "missing_event_name"
    UNKNOWN_EVENT = "unknown_event"
    MISSING_ID = "missing_id"
    INVALID_ID = "invalid_id"
    INVALID_TIME = "invalid_time"
    MISSING_PROPERTY = "missing_property"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    PATTERN_MISMATCH = "pattern_mismatch"
    NOT_IN_ENUM = "not_in_enum"
    UNKNOWN_PROPERTY = "unknown_property"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    TOO_DEEP = "too_deep"
    TOO_MANY_KEYS = "too_many_keys"
    TOO_LARGE = "too_large"
    DUPLICATE_ID = "duplicate_id"
    UNCONVERTIBLE = "unconvertible"
    REPAIRED_TEXT = "repaired_text"
    TIME_REPLACED = "time_replaced"
    BOT = "bot"
    LOST_BY_CLIENT = "lost_by_client"


DESCRIPTIONS: Final[dict[ProblemCode, str]] = {
    ProblemCode.NOT_AN_OBJECT: "An event, its properties or its traits are not a JSON object.",
    ProblemCode.MISSING_TYPE: "The item has no `type`, so nobody can say which call it is.",
    ProblemCode.UNKNOWN_TYPE: "The `type` is none of track, page, screen, identify, group, alias.",
    ProblemCode.MISSING_EVENT_NAME: "A track call without an `event` name.",
    ProblemCode.UNKNOWN_EVENT: "The plan has no such event and the source does not take unplanned ones.",
    ProblemCode.MISSING_ID: "An id that the call needs is absent: `anonymousId` or `userId`, or the other.",
    ProblemCode.INVALID_ID: "An id is neither a string nor a number, or is longer than the limit.",
    ProblemCode.INVALID_TIME: "A time of the envelope is not an ISO 8601 date-time.",
    ProblemCode.MISSING_PROPERTY: "A required property is absent or null.",
    ProblemCode.WRONG_TYPE: "A value has another type than the plan gives it.",
    ProblemCode.OUT_OF_RANGE: "A number is below the minimum, above the maximum or outside 64 bits.",
    ProblemCode.TOO_LONG: "A string or list is longer than the plan allows.",
    ProblemCode.TOO_SHORT: "A string or list is shorter than the plan allows.",
    ProblemCode.PATTERN_MISMATCH: "A string does not match the pattern of the plan.",
    ProblemCode.NOT_IN_ENUM: "A value is none of those the plan lists.",
    ProblemCode.UNKNOWN_PROPERTY: "A property is not planned and the source does not take such ones.",
    ProblemCode.INVALID_UTF8: "The bytes are not UTF-8.",
    ProblemCode.INVALID_JSON: "The bytes are not JSON.",
    ProblemCode.TOO_DEEP: "Objects or lists are nested deeper than the limit.",
    ProblemCode.TOO_MANY_KEYS: "The objects of the event have more keys than the limit.",
    ProblemCode.TOO_LARGE: "The event is larger than the limit.",
    ProblemCode.DUPLICATE_ID: "The source has already sent an event with this id; it counts once.",
    ProblemCode.UNCONVERTIBLE: "The event was accepted, but the lake could not turn it into columns.",
    ProblemCode.REPAIRED_TEXT: "A warning: half of a cut emoji (a lone surrogate) was stored as U+FFFD.",
    ProblemCode.TIME_REPLACED: "A warning: the time is out of the source's bounds; that of receipt is stored.",
    ProblemCode.BOT: "Its user agent is a robot's and the source refuses those: it was not stored.",
    ProblemCode.LOST_BY_CLIENT: "No event: an SDK tells how many it lost, and why, in `original`.",
}
"""One sentence per code, as the docs and the verdict page print it."""


class Problem(Struct, frozen=True):
    """Why an event (or a value in it) is refused; a value that travels on, never an exception."""

    code: ProblemCode
    path: str
    """Where, as a JSONPath in the wire item: `$.properties.products[2].price`."""
    message: str
    """One sentence: what was expected and what came."""
    expected: str = ""
    """What would have been right: `a number`. Empty where the message has no such parts."""
    came: str = ""
    """What came instead: `the string "59,90"`. A personal or sensitive value is named by its kind only."""

    @classmethod
    def of(cls, code: ProblemCode, path: str, expected: str, came: str) -> Problem:
        """A problem whose message is made of its parts."""
        return cls(code, path, f"expected {expected}, came {came}", expected, came)
