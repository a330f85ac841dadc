"""How two plans differ, what breaks, which version numbers say so, and what a plan asks of the real table.

A change is *compatible* if every event that a sender sends by the old plan is accepted by the new one, and stored with
the same meaning. Everything else is *breaking*. What the old plan has no word for carries no promise.
"""

from polku_schemas.compare.differences import (
    CLASSIFICATIONS,
    Classification,
    Difference,
    DifferenceKind,
    Needs,
    Subject,
)
from polku_schemas.compare.plans import PlanDiff, VersionNeed, compare
from polku_schemas.compare.tables import TableDiff, compare_table

__all__ = [
    "CLASSIFICATIONS",
    "Classification",
    "Difference",
    "DifferenceKind",
    "Needs",
    "PlanDiff",
    "Subject",
    "TableDiff",
    "VersionNeed",
    "compare",
    "compare_table",
]
