"""What the collector takes from the tracking plan, and the plan in force: the one that is validated by.

The plan in force is kept beside the journal. The folder a plan comes from is edited, copied to and half-written; the
processes of a node all read what was checked and accepted instead, also one that is started again a week later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from polku_schemas import (
    ENVELOPE_COLUMNS,
    EXTRA_COLUMN,
    Plan,
    builtin_plan_path,
    event_columns,
    load_plan,
    table_columns,
    trait_columns,
)
from polku_schemas.privacy import Protection, needs_key, pseudonyms

from .batch import Schemas
from .errors import SettingsError
from .settings import PrivacySettings, Settings

BUILT_IN_CALLS = ("identify", "group", "alias")

_IN_FORCE: Final = "plan.json"

# A shorter secret can be found by trying.
_KEY_BYTES: Final = 16


def plan_of(settings: Settings) -> Plan:
    """The plan in the folder the settings name. Raises polku_schemas.PlanError with all findings."""
    return load_plan(Path(settings.plan) if settings.plan else builtin_plan_path())


def protection_of(plan: Plan, settings: Settings) -> Protection:
    """What the plan does not let be stored, with the key of its pseudonyms. SettingsError when it needs one that is
    not given."""
    return Protection(plan, _pseudonym_key(settings.privacy, "the plan's `privacy`") if needs_key(plan) else b"")


def pseudonyms_of(settings: Settings) -> Callable[[str], str] | None:
    """What makes pseudonyms of addresses, if a source asks for them. SettingsError when the key is not given."""
    asking = [name for name, source in settings.sources.items() if source.ip == "hash"]
    if not asking:
        return None
    return pseudonyms(_pseudonym_key(settings.privacy, f'[sources.{asking[0]}] ip = "hash"'))


def _pseudonym_key(given: PrivacySettings, who: str) -> bytes:
    if given.key is not None:
        key, origin = given.key.encode().strip(), "POLKU_PRIVACY_KEY"
    elif given.key_file is not None:
        try:
            key, origin = Path(given.key_file).read_bytes().strip(), given.key_file
        except OSError as error:
            raise SettingsError(f"[privacy] key_file: {given.key_file}: {error.strerror}") from None
    else:
        raise SettingsError(
            f"{who} asks for pseudonyms, which need a key: give POLKU_PRIVACY_KEY, or [privacy] key_file"
        )
    if len(key) < _KEY_BYTES:
        raise SettingsError(f"{origin}: the key of the pseudonyms has {len(key)} bytes, at least {_KEY_BYTES}")
    return key


def put_in_force(journal: Path, plan: Plan) -> None:
    """Make a plan the one that processes started from now on validate by. They see the old one or the new one."""
    path = journal / _IN_FORCE
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.write_bytes(msgspec.json.encode(plan))
    fresh.replace(path)


def plan_in_force(journal: Path) -> Plan:
    """The plan this node validates by."""
    return msgspec.json.decode((journal / _IN_FORCE).read_bytes(), type=Plan)


def schemas_of(plan: Plan) -> Schemas:
    """How lines validated with this plan are to be read."""
    events = {name: event_columns(event) for name, event in plan.events.items()}
    events |= {call: {} for call in BUILT_IN_CALLS}
    return Schemas(plan.name, plan.version, plan.fingerprint, events, trait_columns(plan))


def events_table_columns(plan: Plan) -> dict[str, str]:
    """All columns of `events`: the envelope, the plan's properties and traits, `extra`."""
    return {**ENVELOPE_COLUMNS, **table_columns(plan), EXTRA_COLUMN: "string"}
