"""The lakes of the analytics tests, for the oracles too."""

from tests.analytics.conftest import built, make_lake, new_history, plan

__all__ = ["built", "make_lake", "new_history", "plan"]
