"""The sources and limits that are in force on a node, kept beside the journal as the plan is.

A settings file is edited while a collector runs. All processes read what was checked and accepted instead, also a
worker that is started again a week later. Of keys only digests are kept here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from .settings import Limits, Settings, Source
from .write_keys import hashed

_IN_FORCE: Final = "senders.json"


class SendersInForce(Struct, frozen=True):
    """What a reload may change."""

    sources: dict[str, Source]
    limits: Limits


def put_senders_in_force(journal: Path, settings: Settings) -> bool:
    """Make the sources and limits those that workers follow from now on. False if they are so already."""
    sources = {
        name: msgspec.structs.replace(source, keys=[hashed(key) for key in source.keys])
        for name, source in settings.sources.items()
    }
    content = msgspec.json.encode(SendersInForce(sources, settings.limits))
    path = journal / _IN_FORCE
    if path.exists() and path.read_bytes() == content:
        return False
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)
    return True


def with_senders_in_force(settings: Settings) -> Settings:
    """The settings a worker follows: those it was started with, and the sources and limits in force."""
    content = (Path(settings.journal.directory) / _IN_FORCE).read_bytes()
    found = msgspec.json.decode(content, type=SendersInForce)
    return msgspec.structs.replace(settings, sources=found.sources, limits=found.limits)


def rates_directory(journal: Path) -> Path:
    """Where the workers of a node keep what each source owes of its rate."""
    return journal / "rates"


def forget_rates(journal: Path) -> None:
    """Nobody owes anything. For the start of a node: its clock begins anew with the machine, and a source
    could be kept out for as long as that had been up.
    """
    for path in rates_directory(journal).glob("*"):
        path.unlink(missing_ok=True)


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """The places of the file that differ and are not taken by a reload."""
    found = []
    for part in Settings.__struct_fields__:
        before, after = getattr(old, part), getattr(new, part)
        if part in ("sources", "limits") or before == after:
            continue
        if isinstance(before, Struct):
            names = before.__struct_fields__
            found += [f"{part}.{name}" for name in names if getattr(before, name) != getattr(after, name)]
        else:
            found.append(part)
    return found
