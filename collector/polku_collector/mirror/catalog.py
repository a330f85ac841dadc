"""The Iceberg side: a catalog as pyiceberg loads it, and the tables in it that are mirrors of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties

from ..errors import LakeError, StoreUnreachable, TableMismatch
from ..lake.statistics import STATISTICS_COLUMNS
from ..lake.store import Store
from .delta_log import DeltaLog
from .schema import partition_spec, schema_of

T = TypeVar("T")

# Which Delta table an Iceberg table is a mirror of.
DELTA_TABLE_ID = "polku.delta-table-id"

# Old metadata files that are kept besides the newest; each names every snapshot that is kept.
_METADATA_FILES = 10
_MANIFESTS_MERGED_AT = 30

_PROPERTIES = {
    # A snapshot is made from the state in which the watermark was read, or not at all: pyiceberg would otherwise put
    # the same files on top of whatever another mirror has committed meanwhile.
    TableProperties.COMMIT_NUM_RETRIES: "0",
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.MANIFEST_MIN_MERGE_COUNT: str(_MANIFESTS_MERGED_AT),
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: str(_METADATA_FILES),
    # The mirror keeps to it anyway. Should somebody let an engine rewrite files, it shall too: no person's identifier,
    # address or referrer belongs into a manifest.
    TableProperties.DEFAULT_WRITE_METRICS_MODE: "none",
    **{f"{TableProperties.METRICS_MODE_COLUMN_CONF_PREFIX}.{name}": "full" for name in STATISTICS_COLUMNS},
}


def open_catalog(name: str, properties: Mapping[str, str], store: Store) -> Catalog:
    """Any catalog pyiceberg knows. Files are reached as the store's are, unless the properties say otherwise.

    Raises StoreUnreachable when it does not answer. pyiceberg has its say too: `.pyiceberg.yaml`, `PYICEBERG_…`.
    """
    return reached(name, lambda: load_catalog(name, **(_file_properties(store.storage_options()) | dict(properties))))


def reached(what: str, call: Callable[[], T]) -> T:
    """Every failure of a catalog is one that may pass: what it refuses today an operator can allow."""
    try:
        return call()
    except LakeError:
        raise
    except Exception as error:
        raise StoreUnreachable(f"the Iceberg catalog {what} failed: {type(error).__name__}: {error}") from error


def open_table(catalog: Catalog, identifier: tuple[str, str], log: DeltaLog, location: str) -> IcebergTable:
    """The mirror of a Delta table, made if there is none. Raises TableMismatch if something else has the name."""
    try:
        table = catalog.load_table(identifier)
    except NoSuchTableError:
        table = _create(catalog, identifier, log, location)
    mirrored = table.properties.get(DELTA_TABLE_ID)
    if mirrored is None:
        raise TableMismatch(
            f"the Iceberg table {'.'.join(identifier)} is no mirror of Polku's: give the mirror another name"
        )
    if mirrored != log.id:
        raise TableMismatch(
            f"the Iceberg table {'.'.join(identifier)} mirrors another Delta table (id {mirrored}); that of this lake "
            f"is {log.id}: give the mirror another name, or drop the Iceberg table, without purging its files"
        )
    return table


def find_table(catalog: Catalog, identifier: tuple[str, str]) -> IcebergTable | None:
    """The mirror as it is, if there is one."""
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return None


def _create(catalog: Catalog, identifier: tuple[str, str], log: DeltaLog, location: str) -> IcebergTable:
    with contextlib.suppress(NamespaceAlreadyExistsError):
        catalog.create_namespace(identifier[0])
    schema = schema_of(log.columns)
    # create_table gives the columns numbers of its own; so the names are mapped to those afterwards.
    try:
        with catalog.create_table_transaction(
            identifier,
            schema,
            location=location,
            partition_spec=partition_spec(schema, log.partition_by),
            properties=_PROPERTIES | {DELTA_TABLE_ID: log.id},
        ) as transaction:
            mapping = transaction.table_metadata.schema().name_mapping
            transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping.model_dump_json()})
    except TableAlreadyExistsError:
        pass  # another mirror was faster
    return catalog.load_table(identifier)


def _file_properties(options: Mapping[str, str]) -> dict[str, str]:
    """How pyiceberg reaches the place that deltalake reaches with these options."""
    names = {
        "AWS_ENDPOINT_URL": "s3.endpoint",
        "AWS_REGION": "s3.region",
        "AWS_ACCESS_KEY_ID": "s3.access-key-id",
        "AWS_SECRET_ACCESS_KEY": "s3.secret-access-key",
        "AWS_SESSION_TOKEN": "s3.session-token",
        # Of pyiceberg's ways to S3 only the one of fsspec (s3fs) knows these; that of PyArrow leaves it to the bucket.
        "AWS_SERVER_SIDE_ENCRYPTION": "s3.server-side-encryption",
        "AWS_SSE_KMS_KEY_ID": "s3.sse-kms-key-id",
    }
    return {name: options[option] for option, name in names.items() if option in options}
