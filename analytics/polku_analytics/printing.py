"""Results as text: aligned columns for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from polku_analytics.result import NO_ROWS, AnalysisResult
from polku_schemas.visible import VISIBLE

MAX_CELL: Final = 80
"""Longer values are cut in the table, numbers and times rounded; CSV and JSON have them whole."""

_VISIBLE: Final = VISIBLE | {ord("\n"): " "}
"""What was tracked is anybody's text: in a table it gives a terminal no commands, and turns no line around."""


def aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with a line under the header, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    right = [
        any(row[i] is not None for row in rows)
        and all(isinstance(row[i], int | float | type(None)) and not isinstance(row[i], bool) for row in rows)
        for i in range(len(columns))
    ]
    lines = [_line(columns, widths, right), "  ".join("─" * width for width in widths)]
    lines += [_line(row, widths, right) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """RFC 4180 CSV with a header; null is an empty field, truth `true` or `false`, as `polku load` reads them."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([["" if value is None else _plain(value) for value in row] for row in rows])
    return out.getvalue()


def as_json(value: Any) -> str:
    """Indented JSON; times in ISO 8601."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()


def as_json_line(value: Any) -> str:
    """JSON in one line, as `as_json` writes it."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def explained(result: AnalysisResult) -> str:
    """A result for people: the question, its table, and below it what the numbers cover."""
    coverage = result.coverage
    notes = [f"unit: {result.unit}"]
    if result.window:
        notes.append(f"window: {result.window}")
    notes += [f"{name}: {_told(value)}" for name, value in result.options.items() if _is_told(name, value)]
    covered = [f"{_cell(value)} {name.replace('_', ' ')}" for name, value in coverage.items() if isinstance(value, int)]
    as_of = "no events" if result.as_of is None else _cell(result.as_of)
    return "\n".join(
        [
            result.question,
            "",
            aligned(result.columns, _rounded(result.rows))
            if result.rows
            else " ".join(["(no rows)", *_why_empty(result)]),
            "",
            "; ".join(notes),
            f"covers {', '.join(covered)}",
            f"as of {as_of}",
        ]
    )


def _why_empty(result: AnalysisResult) -> list[str]:
    if result.as_of is None:
        return ["there are no events yet"]
    if result.coverage.get("touchpoints") == 0:
        return [f"nothing happened in this period; the newest event is of {_cell(result.as_of)}"]
    if result.coverage.get(NO_ROWS):
        return [result.coverage[NO_ROWS]]
    return []


def _is_told(name: str, value: Any) -> bool:
    return value is not None and name not in ("steps", "window_seconds")


def _told(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else _plain(value)


def _rounded(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Amounts and seconds to two digits; shares keep four."""
    return [[round(value, 2) if isinstance(value, float) and abs(value) >= 100 else value for value in r] for r in rows]


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    return "  ".join(
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if 0 < abs(value) < 0.00005:
            return "<0.0001" if value > 0 else ">-0.0001"
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = str(_plain(value)).translate(_VISIBLE)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="auto")
    if isinstance(value, list | dict | tuple):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return value
