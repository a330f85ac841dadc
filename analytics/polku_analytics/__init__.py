"""From the events of a lake to the journeys of its people: models, analyses and the report.

The lake is read through `lake.py`; `build.py` makes the journey tables from `models/`; `analyses/` answers questions
over them, through one of `engines/`; `commands/` and `report/` show the answers, and `api.py` asks from Python:
`polku_analytics.open(…)`. Importing this package imports none of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polku_analytics.api import OpenLake, open  # noqa: A004, people write polku_analytics.open(…)

__all__ = ["OpenLake", "open"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from polku_analytics import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
