"""Write keys as settings hold them: in plain text or as `sha256:` and the digest; and how a presented one is known.

Only digests are compared: SHA-256, and Python's keyed hash of a key that was right before. Whoever sends guesses learns
nothing from how long an answer takes: he cannot choose the digest of a guess, so a comparison that ends early says
nothing about the key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

HASHED = "sha256:"
_HASHED_FORM = re.compile(r"sha256:[0-9a-fA-F]{64}")

Owner = TypeVar("Owner")


def is_hashed(written: str) -> bool:
    """Whether a key in the settings is given by its digest."""
    return _HASHED_FORM.fullmatch(written) is not None


def digest_of(written: str) -> bytes:
    """The digest of a key as it is written in the settings."""
    return bytes.fromhex(written.removeprefix(HASHED)) if is_hashed(written) else _digest(written)


def hashed(written: str) -> str:
    """The same key without its plain text, for files that are not the operator's own."""
    return HASHED + digest_of(written).hex()


class KeyRing(Generic[Owner]):
    """Who may use which key."""

    __slots__ = ("_known", "_owner_of")

    def __init__(self, owners: Iterable[tuple[Owner, Iterable[str]]]) -> None:
        self._owner_of: Mapping[bytes, Owner] = {digest_of(key): owner for owner, keys in owners for key in keys}
        # Keys that were presented, and are right: no more than there are keys. SHA-256 is felt at an event a request.
        self._known: dict[str, Owner] = {}

    def owner_of(self, presented: str) -> Owner | None:
        """Whose key was presented; None if nobody's."""
        owner = self._known.get(presented)
        if owner is None:
            owner = self._owner_of.get(_digest(presented))
            if owner is not None:
                self._known[presented] = owner
        return owner


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
