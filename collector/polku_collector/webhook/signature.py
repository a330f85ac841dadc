"""Whether a delivery was signed by who knows the secret. Pure, and compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..settings import WebhookHmac


def why_not_signed(
    settings: WebhookHmac, secrets: Sequence[bytes], headers: Mapping[bytes, bytes], body: bytes, now: datetime
) -> str | None:
    """Why a delivery is not believed, in words that help nobody to forge one; None if it is signed."""
    given = headers.get(settings.header.lower().encode())
    if given is None:
        return f"the header {settings.header} is missing"
    text = given.decode("latin-1")
    signatures, stamps = [text], []
    if settings.field is not None:
        pairs = [part.strip().partition("=") for part in text.split(",")]
        signatures = [value for name, _, value in pairs if name == settings.field]
        stamps = [value for name, _, value in pairs if name == settings.timestamp_field]
    if settings.timestamp_header is not None:
        stamps = [headers.get(settings.timestamp_header.lower().encode(), b"").decode("latin-1")]
    stamp = ""
    if settings.timestamp_field is not None or settings.timestamp_header is not None:
        stamp = stamps[0] if stamps else ""
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 11):
            return "the time of the signature is missing, or no number of seconds"
        if abs(now - datetime.fromtimestamp(int(stamp), UTC)).total_seconds() > settings.tolerance_seconds:
            return f"it was signed more than {settings.tolerance_seconds:g} seconds ago, or the clocks disagree"
    signed = _signed(settings.signed, stamp.encode(), body)
    presented = [raw for signature in signatures if (raw := _decoded(settings, signature.strip())) is not None]
    good = False
    for secret in secrets:
        expected = hmac.digest(secret, signed, settings.algorithm)
        for raw in presented:  # all of them: how long it takes tells nothing
            good |= hmac.compare_digest(expected, raw)
    return None if good else f"the signature in {settings.header} is not right"


def _signed(template: str, stamp: bytes, body: bytes) -> bytes:
    before, _, after = template.encode().partition(b"{body}")
    return before.replace(b"{timestamp}", stamp) + body + after.replace(b"{timestamp}", stamp)


def _decoded(settings: WebhookHmac, signature: str) -> bytes | None:
    if not signature.startswith(settings.prefix):
        return None
    text = signature.removeprefix(settings.prefix)
    try:
        return bytes.fromhex(text) if settings.encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
