"""Which rows are older than they may become, by table and by event name. Pure; without a limit nothing ever goes.

A day is kept for so many days after it is over. Whole files leave the table without being read where that is certain
from the log; of the others only the names are read, and files with rows of both kinds are written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from msgspec import Struct

from ..lake.table import LiveFile
from ..lake.types import literal


class Limits(Struct, frozen=True):
    """How long rows of a table are kept: in days, None for ever. `names` go before `days`."""

    days: int | None = None
    names: Mapping[str, int] = {}

    def expired_names(self, age_days: int) -> list[str]:
        """The names with a limit of their own that is passed."""
        return sorted(name for name, days in self.names.items() if age_days > days)

    def is_expired(self, name: str | None, age_days: int) -> bool:
        """Whether rows of this event are to go, at an age of so many days."""
        days = self.names.get(name, self.days) if name is not None else self.days
        return days is not None and age_days > days

    def all_expired(self, age_days: int) -> bool:
        """Whatever the name."""
        return self.days is not None and age_days > max([self.days, *self.names.values()])


class Expired(Struct, frozen=True):
    """Files that go as they are, and files in which rows may be expired."""

    whole: list[LiveFile]
    unsure: list[LiveFile]


def expired(files: Iterable[LiveFile], limits: Limits, today: date) -> Expired:
    """What the log tells of the files."""
    whole: list[LiveFile] = []
    unsure: list[LiveFile] = []
    for file in files:
        age = age_days(file, today)
        least, most = file.least.get("event_name"), file.most.get("event_name")
        known = least is not None and most is not None
        if limits.all_expired(age) or (known and least == most and limits.is_expired(least, age)):
            whole.append(file)
        elif known and least == most:
            continue
        elif limits.is_expired(None, age) or any(
            least is None or most is None or least <= name <= most for name in limits.expired_names(age)
        ):
            unsure.append(file)
    return Expired(whole, unsure)


def age_days(file: LiveFile, today: date) -> int:
    """How many days ago the file's day was; never more than 0 for one in the future."""
    try:
        return (today - date.fromisoformat(file.partition)).days
    except ValueError:  # the rows that have no day
        return 0


def condition(limits: Limits, age: int) -> str:
    """The expired rows of a file, as SQL."""
    if limits.is_expired(None, age):
        kept = [name for name in limits.names if not limits.is_expired(name, age)]
        return f"event_name IS NULL OR event_name NOT IN ({_listed(kept)})" if kept else "true"
    names = limits.expired_names(age)
    return f"event_name IN ({_listed(names)})" if names else "false"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(literal, names))
