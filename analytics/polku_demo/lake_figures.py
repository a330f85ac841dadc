"""What the lake says, put beside what is known: read as any analyst would, from the committed tables."""

import msgspec

from polku_analytics.errors import LakeError
from polku_analytics.lake import Lake, connect
from polku_demo.datasets import COUNTED, Figure


class Found(msgspec.Struct, frozen=True):
    """A figure and what was found in its place."""

    figure: Figure
    found: int

    @property
    def equal(self) -> bool:
        """Whether the lake says what is known."""
        return self.found == self.figure.expected


def row_count(lake: str, table: str = "events") -> int:
    """Rows of a table of the lake; 0 if there is none yet."""
    reader = Lake(lake)
    try:
        tables = reader.tables()
    except LakeError:
        return 0
    if table not in tables:
        return 0
    row = connect(reader, [table]).execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


def find(lake: str, figures: tuple[Figure, ...]) -> tuple[Found, ...]:
    """Compute every figure over one snapshot of the lake."""
    connection = connect(Lake(lake), ["events", "quarantine", "persons"])
    connection.execute(f"CREATE TABLE counted AS {COUNTED}")
    found = []
    for figure in figures:
        row = connection.execute(figure.sql).fetchone()
        found.append(Found(figure, int(row[0] or 0) if row else 0))
    connection.close()
    return tuple(found)


def table(found: tuple[Found, ...]) -> list[str]:
    """Lines of a table for people: expected, in the lake, equal."""
    rows = [("", "expected", "in the lake", "")]
    rows += [
        (
            item.figure.name,
            _shown(item.figure.expected, item.figure.cents),
            _shown(item.found, item.figure.cents),
            "equal" if item.equal else "DIFFERENT",
        )
        for item in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"  {name:<{widths[0]}}  {expected:>{widths[1]}}  {lake:>{widths[2]}}  {equal}".rstrip()
        for name, expected, lake, equal in rows
    ]


def _shown(number: int, cents: bool) -> str:
    return f"{number // 100:,}.{number % 100:02d}" if cents else f"{number:,}"
