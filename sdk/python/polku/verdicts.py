"""What the collector says about single events of a batch it took, as warnings for the developer."""

import msgspec

from polku.event import Record
from polku.report import Reporter, show

MAX_TEXT = 300
"""Characters of a collector's message that are logged."""


class Verdict(msgspec.Struct, frozen=True):
    """One event that was not plainly accepted."""

    index: int
    code: str
    path: str | None = None
    message: str | None = None
    message_id: str | None = None


class Reply(msgspec.Struct, frozen=True):
    """The body of a 200. Segment-compatible collectors send `success` alone."""

    success: bool = True
    accepted: int | None = None
    rejected: tuple[Verdict, ...] = ()
    """In the quarantine table of the lake."""
    warnings: tuple[Verdict, ...] = ()
    """In the lake, but not as the plan has it: an unplanned event or property, a repaired text."""


def read_reply(body: bytes) -> Reply | None:
    """The collector's reply, or None if this is not one (a proxy's or a portal's page, for example)."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


_decoder = msgspec.json.Decoder(Reply)


def report_verdicts(reply: Reply, events: list[bytes], reporter: Reporter) -> None:
    """Log each verdict, at most one line in a while for the same code, event and path."""
    said = [(verdict, "put {} into quarantine") for verdict in reply.rejected]
    said += [(verdict, "accepted {} with a warning") for verdict in reply.warnings]
    for verdict, what in said:
        name = event_name(events[verdict.index]) if 0 <= verdict.index < len(events) else "?"
        text = (verdict.message or "")[:MAX_TEXT]
        where = f" at {verdict.path}" if verdict.path else ""
        reporter.limited(
            ("verdict", verdict.code, name, verdict.path),
            f"the collector {what.format(repr(name))}: {verdict.code}{where}: {text}",
        )


def show_verdicts(reply: Reply | None, events: list[bytes]) -> None:
    """Print what became of each event on standard error, for `debug=True`."""
    odd = {verdict.index: ("✗", verdict) for verdict in (reply.rejected if reply else ())}
    odd |= {verdict.index: ("!", verdict) for verdict in (reply.warnings if reply else ())}
    for index, raw in enumerate(events):
        mark, verdict = odd.get(index, ("✓", None))
        show(
            f"{mark} {event_name(raw)}" + (f": {verdict.code} at {verdict.path}: {verdict.message}" if verdict else "")
        )


def event_name(raw: bytes) -> str:
    """The name of an encoded event for a message: that of a tracked event, otherwise the kind of call."""
    try:
        record = msgspec.json.decode(raw, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "?"
    return record.event if isinstance(record.event, str) else record.type
