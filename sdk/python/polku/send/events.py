"""Makes the bytes of an event of a line or a row, with the encoder of the SDK."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec

from polku.event import Record, encode, is_plain, now
from polku.planned import CALLS
from polku.repair import repaired
from polku.send.files import Entry
from polku.send.mapping import Mapper
from polku.send.problem import Problem


class _Item(msgspec.Struct, rename="camel", gc=False):
    """What says of a line whether it is an item of the wire format."""

    type: Any = None
    event: Any = None
    message_id: Any = None


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_any = msgspec.json.Decoder().decode


class Encoder:
    """Without a mapper lines have to be items of the wire format. `note` is told what was put right.

    Ids: that of the event, else one made of `seed`, the number of the line and its text. So the same file brings the
    same ids, whenever it is sent again.
    """

    def __init__(self, mapper: Mapper | None, seed: str, note: Callable[[str], object]) -> None:
        self._mapper = mapper
        self._note = note
        self._seed = hashlib.blake2b(seed.encode(), digest_size=16)

    def event(self, entry: Entry) -> bytes | Problem:
        """The event, as it is sent."""
        value = entry.value
        if isinstance(value, Problem):
            return value
        if isinstance(value, bytes):
            try:
                item = _decode_item(value)
            except msgspec.ValidationError:
                return Problem("not_an_object", "$", "the line is no JSON object")
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                return self._tolerant(entry, value)
            if type(item.type) is str and item.type in CALLS and (item.type != "track" or type(item.event) is str):
                return value if item.message_id else self._with_id(entry, value)
            return self._mapped(entry, _decode_any(value))
        return self._mapped(entry, value)

    def _tolerant(self, entry: Entry, line: bytes) -> bytes | Problem:
        """Half an emoji and NaN are JSON to Python, and no reason for a collector to refuse an event."""
        try:
            row = json.loads(line, parse_constant=lambda name: None)
        except (ValueError, RecursionError) as error:
            return Problem("invalid_json", "$", f"the line is not JSON: {error}")
        if not isinstance(row, dict):
            return Problem("not_an_object", "$", "the line is no JSON object")
        if row.get("type") in CALLS and (row["type"] != "track" or isinstance(row.get("event"), str)):
            row["messageId"] = row.get("messageId") or self._id(entry)
            return json.dumps(row, ensure_ascii=True).encode()
        return self._mapped(entry, row)

    def _with_id(self, entry: Entry, line: bytes) -> bytes:
        if b'"messageId"' in line:  # null or empty, or somewhere inside
            return msgspec.json.encode({**_decode_any(line), "messageId": self._id(entry)})
        return b'{"messageId":"' + self._id(entry).encode() + b'",' + line[1:].lstrip()

    def _mapped(self, entry: Entry, row: dict[str, Any]) -> bytes | Problem:
        if self._mapper is None:
            return Problem(
                "missing_type", "$.type", "no item of the wire format; flags or --mapping say how to make one of it"
            )
        record = self._mapper.record(row)
        if isinstance(record, Problem):
            return record
        record.message_id = record.message_id or self._id(entry)
        record.timestamp = record.timestamp or now()
        if is_plain(record):
            try:
                return encode(record)
            except Exception:  # noqa: S110  # `repaired` finds out what it was
                pass
        return self._repaired(record)

    def _repaired(self, record: Record) -> bytes | Problem:
        try:
            fixed, findings = repaired(record)
            raw = encode(fixed)
        except Exception as error:
            return Problem("unserialisable", "$", f"no JSON form ({type(error).__name__})")
        for finding in findings:
            self._note(str(finding))
        return raw

    def _id(self, entry: Entry) -> str:
        digest = self._seed.copy()
        digest.update(b"%d:" % entry.line)
        digest.update(entry.content)
        return digest.hexdigest()
