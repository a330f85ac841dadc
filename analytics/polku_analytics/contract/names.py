"""Names as they are sent, turned into names that a plan can have."""

from __future__ import annotations

import hashlib
import keyword
import unicodedata
from collections.abc import Collection
from typing import Final, Literal

from polku_schemas import TRAIT_PREFIX, snake_case
from polku_schemas.dictionary import RESERVED_NAMES, SQL_WORDS
from polku_schemas.members import NAME

Kind = Literal["event", "property", "trait"]

_MAX_NAME: Final = 63
_BUILT_IN_EVENTS: Final = ("identify", "group", "alias", "traits")


def plan_name(sent: str, kind: Kind, reserved: Collection[str] = ()) -> str:
    """The name for something that is sent as `sent`: the same if a plan can have it.

    `reserved` are names that the plan keeps free, beside those that nobody can have.
    """
    name = sent if NAME.fullmatch(sent) else _snake_case(sent, kind)
    short = name[: _MAX_NAME - len(kind) - 3].rstrip("_")
    # A word too many may stand in front or behind; the plan may keep even these free.
    tried = (name, f"{short}_{kind}", f"{kind}_{short}", *(f"{kind}_{short}_{number}" for number in range(2, 10)))
    return next((made for made in tried if _is_free(made, kind, reserved)), name)


def unlike(name: str, suffix: str, taken: Collection[str]) -> str:
    """`name_suffix`, with a number if that is taken too."""
    made = f"{name[: _MAX_NAME - len(suffix) - 4]}_{suffix}"
    numbered = (f"{made}_{number}" for number in range(2, 100))
    return made if made not in taken else next(name for name in numbered if name not in taken)


def _snake_case(sent: str, kind: Kind) -> str:
    plain = unicodedata.normalize("NFKD", sent).encode("ascii", "ignore").decode()
    name = snake_case(plain)
    if not name:  # nothing of another script is left: a name that says nothing, but always the same
        return f"{kind}_{hashlib.sha256(sent.encode()).hexdigest()[:8]}"
    return (name if name[0].isalpha() else f"{kind}_{name}")[:_MAX_NAME].rstrip("_")


def _is_free(name: str, kind: Kind, reserved: Collection[str]) -> bool:
    if keyword.iskeyword(name) or name in SQL_WORDS or name in reserved:
        return False
    if kind == "event":
        return name not in _BUILT_IN_EVENTS
    return kind == "trait" or not (name in RESERVED_NAMES or name.startswith(TRAIT_PREFIX))
