"""The values that travel between the stages, and the seams at which the stages meet.

`intake` makes `Line` and `QuarantineLine` values; `journal` numbers them and stores them as newline-delimited JSON;
`lake` reads them back as `Block`s with the byte runs of each event name. The JSON of a line *is* the contract
between intake and lake, versioned by `JOURNAL_FORMAT`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

JOURNAL_FORMAT = 2
READABLE_FORMATS = frozenset((1, 2))
"""What an older version left in the journal is still read: in format 1 the columns of `context` stood beside it."""

# Run names: lines of one run are read with one schema. Event names are snake_case, so these cannot clash.
UNPLANNED_RUN = "*"
QUARANTINE_RUN = "!quarantine"

# The stream of the rows that came out of `quarantine` again; those of the journal are named by UUIDs.
REPLAY_STREAM = "replay"


MAX_ID = 1024
MAX_NAME = 256
MAX_TEXT = 1024  # of a user agent, a title, a campaign, …
MAX_URL = 8192
MAX_CONSENT = 100

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Url = Annotated[str, Meta(max_length=MAX_URL)]
Id = Annotated[str, Meta(max_length=MAX_ID)] | int | float
"""As it comes. What is stored is text."""


class Library(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What sent the event."""

    name: Text | None = None
    version: Text | None = None


class Page(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The page an event happened on."""

    url: Url | None = None
    path: Url | None = None
    title: Text | None = None
    referrer: Url | None = None
    search: str | None = None  # a part of the URL; not stored apart


class Campaign(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What the client says brought somebody here."""

    name: Text | None = None
    source: Text | None = None
    medium: Text | None = None
    term: Text | None = None
    content: Text | None = None


class Context(Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel", gc=False):
    """The parts of an event's `context` that have columns. Its limits are checked where it is decoded, in C.

    It is stored as it was decoded: copying it member by member costs as much as decoding it.
    """

    library: Library | None = None
    page: Page | None = None
    campaign: Campaign | None = None
    user_agent: Text | None = None
    locale: Text | None = None
    timezone: Text | None = None
    session_id: Id | None = None
    channel: Text | None = None  # stored beside the context
    consent: Annotated[list[Annotated[str, Meta(max_length=MAX_NAME)]], Meta(max_length=MAX_CONSENT)] | None = None
    group_id: Id | None = None
    ip: str | None = None  # known and not stored here: what the source's policy leaves of it is in `extra`


class Line(Struct, omit_defaults=True, gc=False, kw_only=True):
    """One accepted event as the journal stores it: everything the lake needs, decided once at intake.

    Times are UTC. `p` holds the plan's properties (a compiled struct), `t` its traits; `extra` is JSON text of what
    has no column. `digest` is a checksum of the event's content, or of what the plan's `privacy` leaves of it: the same
    id with another digest is another event.
    """

    sequence: int = 0
    received_at: datetime
    event_time: datetime
    sent_at: datetime | None = None
    event_id: str
    event_type: str
    event_name: str
    schema_version: str | None = None
    source: str
    channel: str | None = None
    anonymous_id: str | None = None
    user_id: str | None = None
    group_id: str | None = None
    previous_id: str | None = None
    time_adjusted: bool = False
    unplanned: bool = False
    digest: int = 0
    context: Context | None = None
    p: Any = None  # a struct compiled from the plan; its type differs per event
    t: Any = None
    extra: str | None = None


_RECEIVED_AT = re.compile(rb'"received_at":"([^"]+)"')


def received_at_of(line_start: bytes) -> datetime | None:
    """When a line of either kind was received, read from its first few hundred bytes; None if they are no line's."""
    found = _RECEIVED_AT.search(line_start.partition(b"\n")[0])
    try:
        return found and datetime.fromisoformat(found[1].decode())
    except ValueError:
        return None


class QuarantineLine(Struct, omit_defaults=True, gc=False, kw_only=True):
    """One rejected event: why, where, and its bytes as they came (`original`, or base64 when not UTF-8).

    `context` and `sent_at` are the request's, which `original` lacks: with them the event can be judged again.
    """

    sequence: int = 0
    received_at: datetime
    source: str
    event_id: str | None = None
    event_type: str | None = None
    event_name: str | None = None
    code: str
    path: str
    message: str
    original: str | None = None
    original_base64: str | None = None
    context: str | None = None  # JSON of what the batch said for all its events; cut like `original`
    sent_at: datetime | None = None
    library: str | None = None
    library_version: str | None = None


# The columns of a line beside `p` and `t`, with the neutral type each is read as (see lake/types.py).
LINE_COLUMNS: dict[str, str] = {
    "sequence": "long",
    "received_at": "timestamp",
    "event_time": "timestamp",
    "sent_at": "timestamp",
    **dict.fromkeys(
        (
            *("event_id", "event_type", "event_name", "schema_version", "source", "channel"),
            *("anonymous_id", "user_id", "group_id", "previous_id", "session_id"),
            *("page_url", "page_path", "page_title", "referrer"),
            *("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"),
            *("user_agent", "locale", "timezone", "library", "library_version"),
        ),
        "string",
    ),
    "time_adjusted": "boolean",
    "unplanned": "boolean",
    "consent": "list<string>",
    "digest": "long",
    "extra": "string",
}

# Which of them stand inside `context`, and where.
CONTEXT_PLACES: dict[str, tuple[str, ...]] = {
    "session_id": ("sessionId",),
    "page_url": ("page", "url"),
    "page_path": ("page", "path"),
    "page_title": ("page", "title"),
    "referrer": ("page", "referrer"),
    "utm_source": ("campaign", "source"),
    "utm_medium": ("campaign", "medium"),
    "utm_campaign": ("campaign", "name"),
    "utm_term": ("campaign", "term"),
    "utm_content": ("campaign", "content"),
    "user_agent": ("userAgent",),
    "locale": ("locale",),
    "timezone": ("timezone",),
    "library": ("library", "name"),
    "library_version": ("library", "version"),
    "consent": ("consent",),
}

QUARANTINE_LINE_COLUMNS: dict[str, str] = {
    "sequence": "long",
    "received_at": "timestamp",
    **dict.fromkeys(
        (
            *("source", "event_id", "event_type", "event_name", "code", "path", "message"),
            *("original", "original_base64", "context", "library", "library_version"),
        ),
        "string",
    ),
    "sent_at": "timestamp",
}


class Schemas(Struct, frozen=True):
    """How the lines of a segment are to be read: property columns per run name, and trait columns.

    Carried in each segment's header, so that a journal is read as it was written even when the plan has moved on.
    """

    plan_name: str
    plan_version: str
    plan_fingerprint: str
    events: dict[str, dict[str, str]]
    traits: dict[str, str]


class Run(Struct, frozen=True, array_like=True):
    """The lines of one event name inside a block: where they start, how many bytes and lines they are."""

    name: str
    offset: int
    length: int
    lines: int
    traits: bool = True
    """Whether a line may carry `t`; journals of before 0.3 do not say."""


class Block(Struct, frozen=True):
    """One group commit of a stream, proven durable and intact: its lines and their runs."""

    stream: str
    first_sequence: int
    last_sequence: int
    runs: list[Run]
    lines: memoryview
    schemas: Schemas
    format: int = JOURNAL_FORMAT


class Journal(Protocol):
    """What intake sees of the journal."""

    async def append(self, lines: list[Line | QuarantineLine], schemas: Schemas, size_bytes: int) -> int:
        """Return the last sequence when every line is durable. Raise JournalFull or JournalBroken when none was stored.

        `schemas` are those of the plan by which the lines were judged: they are read with these and no others.
        The list is emptied before anything is waited for: while the disk is, bytes are kept and no objects.
        """


class Commits(Protocol):
    """What intake sees of the lake."""

    async def why_not_committed(self, sequence: int, seconds: float) -> str | None:
        """Return None when all lines of this journal up to `sequence` are in the tables; after `seconds` why not."""


class StreamSource(Protocol):
    """What the lake sees of one stream of the journal."""

    @property
    def stream_id(self) -> str:
        """Its name, which no other stream has."""

    def read(self, after: int, max_bytes: int) -> list[Block]:
        """The durable blocks with sequences beyond `after`, in order, up to about `max_bytes` (at least one)."""

    def trim(self, committed: int) -> None:
        """Delete what lies wholly at or below `committed`."""
