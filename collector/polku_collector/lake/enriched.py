"""What the lines of a flush say beyond their text, from a look at each distinct value: rows for `events`.

Whole columns of repeated texts stay what they are in Arrow: small numbers beside each distinct text once. Looking up,
spreading and writing them costs a tenth of what the texts would (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from numpy.typing import NDArray

from .channels import VISIT_COLUMNS, VISIT_KEY
from .layout import AGENT, DIGEST
from .reading import KEY_COLUMNS, STREAM, whole

VISIT_PARTS = ("page_path", *VISIT_KEY)
"""Lines with any of these are part of a visit: where it came from and which page it is on is worked out."""

AGENT_COLUMNS = ("device", "os", "browser", "is_bot")

LookUp = Callable[[pa.Table], pa.Table]
"""From distinct values, a row each, to what they say, in the same order."""


class Coded(Struct, frozen=True):
    """Some columns of rows as one: the distinct values, and the number of its value for each row."""

    values: pa.Table
    numbers: Any
    """An Arrow array of int32; pyarrow's classes have no types."""


def coded(rows: pa.Table, columns: Sequence[str]) -> Coded | None:
    """Of those of the columns that the rows have; None if they have none."""
    present = [name for name in columns if name in rows.column_names]
    if not present:
        return None
    numbers: Any = None
    for name in present:
        found = whole(rows[name]).dictionary_encode(null_encoding="encode")
        if numbers is None:
            numbers = found.indices
        elif len(found.dictionary) > 1:
            both = numbers.to_numpy().astype(np.int64) * len(found.dictionary) + found.indices.to_numpy()
            numbers = pa.array(both).dictionary_encode().indices
    each = numbers.to_numpy()
    first: NDArray[np.int64] = np.empty(int(each.max()) + 1, np.int64)
    first[each[::-1]] = np.arange(len(each) - 1, -1, -1)  # of several the last one stays: where a value comes first
    return Coded(rows.select(present).take(first), numbers)


def spread(look_up: LookUp, parts: Sequence[Coded | None]) -> list[dict[str, Any]]:
    """What is found, as columns of the rows of each part. Everything distinct is looked up together, once."""
    coded_parts = [part for part in parts if part is not None]
    if not coded_parts:
        return [{} for _ in parts]
    values = pa.concat_tables([part.values for part in coded_parts], promote_options="default")
    found = look_up(values.combine_chunks())
    # Parts share one dictionary a column: what is written together needs no other.
    columns = {name: _encoded(whole(found[name])) for name in found.column_names}
    result: list[dict[str, Any]] = []
    start = 0
    for part in parts:
        if part is None:
            result.append({})
            continue
        numbers = pc.add(part.numbers, pa.scalar(start, pa.int32()))
        result.append({name: column.take(numbers) for name, column in columns.items()})
        start += part.values.num_rows
    return result


def _encoded(column: Any) -> Any:
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def of_visits(found: pa.Table, values: pa.Table) -> pa.Table:
    """The columns of visits: what their parts say (`found`), and the parts themselves. A page's own path goes first."""
    columns = {name: found[name] for name in VISIT_COLUMNS}
    if "page_path" in values.column_names:
        columns["page_path"] = pc.coalesce(values["page_path"], found["page_path"])
    columns |= {name: values[name] for name in ("page_url", "referrer") if name in values.column_names}
    return pa.table(columns)


def of_agents(resolve: Callable[[Sequence[str]], pa.Table], values: pa.Table) -> pa.Table:
    """The columns of user agents. `resolve`: distinct ones → a table of them (`user_agent`) and AGENT_COLUMNS."""
    resolved = resolve([text for text in values[AGENT].unique().to_pylist() if text is not None])
    places = pc.index_in(values[AGENT], resolved["user_agent"].combine_chunks())
    return resolved.select(AGENT_COLUMNS).take(places)


def enriched(rows: pa.Table, found: dict[str, Any], streams: Sequence[str]) -> pa.Table:
    """The rows with what was found in the place of what was looked at. `streams`: of the flush, by their numbers."""
    stream = pa.DictionaryArray.from_arrays(whole(rows[STREAM]).cast(pa.int32()), pa.array(streams))
    hidden = {AGENT, DIGEST, STREAM, *KEY_COLUMNS}
    columns = {name: rows[name] for name in rows.column_names if name not in hidden}
    if "page_path" in columns.keys() - found.keys():
        # Of lines that are no visits: in the form that it has where it is found, or files could not hold both.
        columns["page_path"] = _encoded(columns["page_path"])
    return pa.table({**columns, **found, "stream": stream})


def together(parts: Sequence[pa.Table]) -> pa.Table:
    """The rows of all parts; what some of them lack is null. One dictionary a column makes files an eighth smaller."""
    if len(parts) == 1:
        return parts[0]
    return pa.concat_tables(parts, promote_options="default").unify_dictionaries()
