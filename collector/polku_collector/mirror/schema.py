"""The columns of a Delta table as an Iceberg schema, in which a column's number is for life."""

from __future__ import annotations

from itertools import count

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)

from polku_schemas.column_types import struct_fields

from ..errors import TableMismatch

_TYPES: dict[str, IcebergType] = {
    "string": StringType(),
    "long": LongType(),
    "double": DoubleType(),
    "boolean": BooleanType(),
    "date": DateType(),
    "timestamp": TimestamptzType(),
}

_PARTITION_FIELD_ID = 1000


def schema_of(columns: dict[str, str]) -> Schema:
    """An Iceberg schema of optional columns. Its numbers are provisional: the table gives its own, by name."""
    ids = count(1)
    return Schema(*[NestedField(next(ids), name, _type_of(kind, ids)) for name, kind in columns.items()])


def partition_spec(schema: Schema, column: str) -> PartitionSpec:
    """Partitions by a column as it is, which is what the folders of the Delta table are."""
    source = schema.find_field(column).field_id
    return PartitionSpec(PartitionField(source, _PARTITION_FIELD_ID, IdentityTransform(), column))


def _type_of(neutral: str, ids: count[int]) -> IcebergType:
    if neutral.startswith("list<"):
        element_id = next(ids)
        return ListType(element_id, _type_of(neutral[5:-1], ids), element_required=False)
    if neutral.startswith("struct<"):
        return StructType(*[NestedField(next(ids), name, _type_of(kind, ids)) for name, kind in struct_fields(neutral)])
    if neutral not in _TYPES:
        raise TableMismatch(f"a column of the type {neutral} cannot be mirrored to Iceberg")
    return _TYPES[neutral]
