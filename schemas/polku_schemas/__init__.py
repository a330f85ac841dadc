"""The tracking plan: read, check, compile to decoders, and its columns and journey rules as SQL."""

from polku_schemas.columns import (
    ENVELOPE_COLUMNS,
    EXTRA_COLUMN,
    TRAIT_PREFIX,
    event_columns,
    table_columns,
    trait_columns,
)
from polku_schemas.compile import Checked, CompiledEvent, CompiledPlan, compile_plan, snake_case
from polku_schemas.errors import Finding, PlanError, SchemasError
from polku_schemas.finding_codes import FindingCode
from polku_schemas.journey import channel_sql, segment_sql, stage_sql, stage_values, touchpoint_sql
from polku_schemas.json_schema import event_schema
from polku_schemas.model import (
    Change,
    Comparison,
    Event,
    Funnel,
    FunnelStep,
    Goal,
    Plan,
    Property,
    ReferenceColumn,
    ReferenceTable,
    Rule,
    Segment,
    Target,
)
from polku_schemas.plan import PlanReport, builtin_plan_path, load_plan, read_plan
from polku_schemas.problems import DESCRIPTIONS, Problem, ProblemCode
from polku_schemas.rules import when_sql

__all__ = [
    "DESCRIPTIONS",
    "ENVELOPE_COLUMNS",
    "EXTRA_COLUMN",
    "TRAIT_PREFIX",
    "Change",
    "Checked",
    "Comparison",
    "CompiledEvent",
    "CompiledPlan",
    "Event",
    "Finding",
    "FindingCode",
    "Funnel",
    "FunnelStep",
    "Goal",
    "Plan",
    "PlanError",
    "PlanReport",
    "Problem",
    "ProblemCode",
    "Property",
    "ReferenceColumn",
    "ReferenceTable",
    "Rule",
    "SchemasError",
    "Segment",
    "Target",
    "builtin_plan_path",
    "channel_sql",
    "compile_plan",
    "event_columns",
    "event_schema",
    "load_plan",
    "read_plan",
    "segment_sql",
    "snake_case",
    "stage_sql",
    "stage_values",
    "table_columns",
    "touchpoint_sql",
    "trait_columns",
    "when_sql",
]
