"""Bodies of beacons and forms: a page that cannot set a header, or wait for an answer, still sends events.

`navigator.sendBeacon` sends a text as text/plain, and URLSearchParams as a form. JSON is taken whatever it is called; a
form carries it in its field `data`, as JSON or as base64 of JSON.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from urllib.parse import unquote_to_bytes

from .refused import Refused

_FIELD = b"data="


def form_field(body: bytes) -> bytes:
    """The JSON in a form's field `data`; any other body as it came, without a byte order mark. Raises Refused."""
    if not body.startswith(_FIELD):  # which no JSON does
        return body.removeprefix(codecs.BOM_UTF8)  # RFC 8259, 8.1: a reader may pass over it
    field = unquote_to_bytes(body[len(_FIELD) :].partition(b"&")[0].replace(b"+", b" ")).strip()
    if field.startswith((b"{", b"[")):
        return field
    try:
        return from_base64(field.replace(b" ", b"+"))
    except ValueError:
        message = "the form's field `data` is neither a JSON object nor base64 of one"
        raise Refused(400, "invalid_json", message, "$") from None


def from_base64(text: bytes) -> bytes:
    """The bytes behind base64 of either alphabet, padded or not. Raises ValueError."""
    text = text.translate(_TO_STANDARD).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
