"""A live file of a Delta table as an entry of an Iceberg manifest.

Made of what the Delta log says: no file is opened. (pyiceberg's own `add_files` reads each file's footer, and copies
the bounds of every column it finds there into the manifest, those of people's identifiers too.)
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import PrimitiveType, StringType, TimestamptzType

from ..lake.statistics import STATISTICS_COLUMNS
from .changes import Added

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def data_file(file: Added, root: str, schema: Schema, spec: PartitionSpec) -> DataFile:
    """The entry of a file below `root`, with bounds of the columns that have some in the Delta log, and no others."""
    lower: dict[int, bytes] = {}
    upper: dict[int, bytes] = {}
    nulls: dict[int, int] = {}
    for name in STATISTICS_COLUMNS:
        if name not in schema.column_names:
            continue
        field = schema.find_field(name)
        if name in file.nulls:
            nulls[field.field_id] = file.nulls[name]
        if name in file.lower and name in file.upper and isinstance(field.field_type, PrimitiveType):
            least, most = (_bytes(field.field_type, bounds[name]) for bounds in (file.lower, file.upper))
            if least is not None and most is not None:
                lower[field.field_id], upper[field.field_id] = least, most
    entry = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"{root}/{file.path}",
        file_format=FileFormat.PARQUET,
        partition=Record((date.fromisoformat(file.partition) - _EPOCH.date()).days),
        record_count=file.rows,
        file_size_in_bytes=file.size_bytes,
        null_value_counts=nulls,
        value_counts=dict.fromkeys(nulls, file.rows),
        lower_bounds=lower,
        upper_bounds=upper,
    )
    entry.spec_id = spec.spec_id
    return entry


def _bytes(kind: PrimitiveType, bound: str) -> bytes | None:
    if isinstance(kind, StringType):
        return to_bytes(kind, bound)
    if isinstance(kind, TimestamptzType):
        moment = datetime.fromisoformat(bound)
        return to_bytes(kind, (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND)
    return None
