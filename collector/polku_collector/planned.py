"""What the collector takes from the tracking plan: how lines are read, and which columns the table has."""

from __future__ import annotations

from pathlib import Path

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

from .batch import Schemas
from .settings import Settings

BUILT_IN_CALLS = ("identify", "group", "alias")


def plan_of(settings: Settings) -> Plan:
    """The plan the settings name. Raises polku_schemas.PlanError with all findings."""
    return load_plan(Path(settings.plan) if settings.plan else builtin_plan_path())


def schemas_of(plan: Plan) -> Schemas:
    """How lines validated with this plan are to be read."""
    events = {name: event_columns(event) for name, event in plan.events.items()}
    events |= {call: {} for call in BUILT_IN_CALLS}
    return Schemas(plan.name, plan.version, plan.fingerprint, events, trait_columns(plan))


def events_table_columns(plan: Plan) -> dict[str, str]:
    """All columns of `events`: the envelope, the plan's properties and traits, `extra`."""
    return {**ENVELOPE_COLUMNS, **table_columns(plan), EXTRA_COLUMN: "string"}
