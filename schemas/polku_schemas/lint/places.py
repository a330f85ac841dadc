"""Where the parts of a plan stand, for findings about the plan as a whole."""

from __future__ import annotations

from msgspec import Struct, field

from polku_schemas.documents import Document


class Places(Struct):
    """The files a plan was read from; what could not be read is not there."""

    head: Document | None = None
    properties: Document | None = None
    traits: Document | None = None
    events: dict[str, Document] = field(default_factory=dict)
    journey: dict[str, Document] = field(default_factory=dict)
    """By the stem of the file: `goals`, `segments` …"""
