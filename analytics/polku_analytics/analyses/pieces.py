"""Pieces: rows counted side by side, some units each, the first ones while the next are read.

Pieces stay near the processor: larger arrays take longer to be made than to be counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np

from polku_analytics.analyses.scope import BY_TIME, Arrays, Part
from polku_analytics.engines.engine import unit_numbers

PIECE_ROWS: Final = 500_000

Counted = TypeVar("Counted")


def count_by_time(part: Part, sql: str, count: Callable[[Arrays], Counted], *, joins: bool = False) -> list[Counted]:
    """`count` of the rows of a SELECT as for `Part.ordered`, by unit and time, in pieces that hold whole units.

    Units are numbers, equal within a piece for what is one unit. No piece if there is no row.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # numpy lets go of the interpreter
        engine = part.journeys.engine
        as_read = part.unit == "person" and part.lies_in_order and not joins
        if as_read and engine.runs_in_order("touchpoints") == 1:
            try:
                found = [pool.submit(count, piece) for piece in whole_units(engine.batches(sql, PIECE_ROWS))]
                return [one.result() for one in found]
            except OutOfOrder:
                pass  # a file that somebody else has written
        return list(pool.map(count, cut_by_unit(part.ordered(sql, BY_TIME, joins=joins))))


def cut_by_unit(arrays: Arrays) -> list[Arrays]:
    """Rows of which those of a unit lie together, in pieces that hold whole units."""
    units = unit_numbers(arrays["unit"])
    arrays = {**arrays, "unit": units}
    if len(units) == 0:
        return []
    places = np.unique(np.searchsorted(units, units[PIECE_ROWS::PIECE_ROWS]))
    cut = {name: np.split(values, places[places > 0]) for name, values in arrays.items()}
    return [dict(zip(cut, piece, strict=True)) for piece in zip(*cut.values(), strict=True)]


class OutOfOrder(Exception):
    """Rows do not lie by unit and time."""


def whole_units(batches: Iterable[Arrays]) -> Iterator[Arrays]:
    """The same rows, those of a unit in one piece: the units that a batch ends in come together, last of all."""
    edges: list[Arrays] = []
    last: tuple[int, int] | None = None
    for batch in batches:
        units, times = batch["unit"], batch["microseconds"]
        if len(units) == 0:
            continue
        later = (units[1:] > units[:-1]) | ((units[1:] == units[:-1]) & (times[1:] >= times[:-1]))
        if not later.all() or (last is not None and (units[0], times[0]) < last):
            raise OutOfOrder
        last = units[-1], times[-1]
        begin, end = np.searchsorted(units, units[0], side="right"), np.searchsorted(units, units[-1])
        if begin >= end:
            edges.append(batch)
            continue
        yield {name: values[begin:end] for name, values in batch.items()}
        edges.append({name: values[:begin] for name, values in batch.items()})
        edges.append({name: values[end:] for name, values in batch.items()})
    if edges:
        yield {name: np.concatenate([edge[name] for edge in edges]) for name in edges[0]}
