"""`polku build --engine spark`: the same models, computed by a cluster over Spark Connect.

The cluster reads the events and writes Parquet files into the folders of the tables. What makes them tables is, as in
`build.py`, one commit a table from here: Spark would not see on S3 that somebody else commits at the same moment. Steps
on the way are kept as files too, in a folder of the lake that goes when the build ends, so that none is computed twice.
"""

from __future__ import annotations

import datetime
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from msgspec import Struct, structs
from pyarrow import fs
from pyspark.sql import types

from polku_analytics.build import Build, BuiltTable
from polku_analytics.build.compute import COPIES, LINKS, counts_of
from polku_analytics.build.identity import COUNTS, EVIDENCE, HOLDERS, NUMBERED, PERSONS
from polku_analytics.build.identity_traits import GROUP_USERS, HOLDERS_OF_PIECES, crowded_sql, join_columns, told_sql
from polku_analytics.build.publish import PlacedFile, replace_table
from polku_analytics.build.record import BuildRecord, Counts, append_record, newest_record
from polku_analytics.build.reference import reference_sql
from polku_analytics.delta_types import duckdb_type_of_neutral, quoted
from polku_analytics.engines.spark import Spark, SparkDialect, server_uri, spark_words
from polku_analytics.errors import BuildError, QueryError
from polku_analytics.fillings import REFERENCE_TABLES, expected_event_columns, fillings, session_begins, struct_members
from polku_analytics.lake import Lake, relation_sql
from polku_analytics.model_files import Filling, Model, fill, read_models, run_order
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules
from polku_schemas import Plan, trait_columns

_TABLE: Final = re.compile(r"\s*CREATE TEMP TABLE (?P<name>\w+) AS\s+(?P<sql>.*)", re.DOTALL)


def build(
    spark: Spark,
    lake: Lake,
    plan: Plan,
    progress: Callable[[str], None] = lambda text: None,
    sessions: SessionRules | None = None,
) -> Build:
    """Compute all models over everything in the lake and replace their tables. `progress` is told what comes next.

    `sessions`: where they end; None goes on with the rules of the build before.
    """
    building = _Building(spark, lake, uuid.uuid4().hex)
    try:
        return _build(building, plan, progress, sessions)
    except BuildError:
        raise
    except QueryError as error:
        raise BuildError(f"the models could not be computed: {error}") from error
    except Exception as error:
        # PySpark's own classes share no base with ours.
        if not type(error).__module__.startswith(("pyspark", "grpc")):
            raise
        raise BuildError(f"the models could not be computed: {spark_words(error)}") from error
    finally:
        building.clear()


def _build(building: _Building, plan: Plan, progress: Callable[[str], None], sessions: SessionRules | None) -> Build:
    started = time.perf_counter()
    spark, lake = building.spark, building.lake
    before = newest_record(lake)
    rules = sessions or (DEFAULT_RULES if before is None else before.sessions)
    # What is written must be read by everybody, and not everybody knows Spark's old kind of times.
    spark.session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")

    progress("events: counting each once")
    clock = time.perf_counter()
    snapshot = lake.snapshot("events")
    spark.open(lake, snapshot, expected_event_columns(plan))
    _open_reference_tables(building)
    copies = count_events_once(building)
    counts, as_of = _counts(spark, plan, copies)
    pending = [building.store(COPIES, COPIES.sql, clock)]

    progress("identity")
    clock = time.perf_counter()
    resolve_identity(building, join_columns(plan), join_users=plan.join_users)
    pending.append(building.store(LINKS, LINKS.sql, clock))

    filled = spark_fillings(plan, {**expected_event_columns(plan), **snapshot.columns}, rules)
    steps = []
    for model in run_order(read_models()):
        progress(model.name)
        clock = time.perf_counter()
        sql = fill(model.sql, filled)
        if model.stored == "view":
            building.show(model.name, sql)
        elif model.stored == "no":
            building.keep(model.name, sql)
            steps.append(BuiltTable(model.name, building.count(model.name), round(time.perf_counter() - clock, 3)))
        else:
            pending.append(building.store(model, sql, clock))

    progress("publishing")
    metadata = {"polku_build": building.build_id}
    versions = {table.name: replace_table(lake, table.name, table.files, table.columns, metadata) for table in pending}
    people, newest_key = spark.rows(
        "SELECT COUNT(DISTINCT person_key), COALESCE(MAX(person_key), -1) FROM person_links"
    )[0]
    record = BuildRecord(
        build_id=building.build_id,
        built_at=datetime.datetime.now(datetime.UTC),
        kind="full",
        as_of=as_of,
        plan=plan.fingerprint,
        # Nobody else's fingerprint: DuckDB builds everything anew after a cluster did, and then what is new.
        models=f"spark {building.build_id}",
        events_version=snapshot.version,
        marks={},
        counts=counts,
        tables=versions,
        next_key=int(newest_key) + 1,
        sessions=rules,
    )
    append_record(lake, record, None if before is None else before.build_id)
    return Build(
        build_id=building.build_id,
        kind="full",
        why_full="Spark builds everything",
        tables=tuple(BuiltTable(table.name, table.rows, table.seconds) for table in pending),
        steps=tuple(steps),
        events=counts.events,
        new_events=counts.events + counts.bots + copies,
        people=int(people),
        bot_events=counts.bots,
        duplicate_events=copies,
        unplaced_events=dict(sorted(counts.unplaced.items(), key=lambda item: (-item[1], item[0]))),
        as_of=as_of,
        loaded=(),
        sessions=rules,
        seconds=time.perf_counter() - started,
    )


def _open_reference_tables(building: _Building) -> None:
    """A view for each reference table that models read, an empty one for what was not loaded."""
    present = building.lake.tables()
    for name, columns in REFERENCE_TABLES.items():
        expected = {column: duckdb_type_of_neutral(kind) for column, kind in columns.items()}
        source = f"({relation_sql(expected, [])}) AS nothing"
        if name in present:
            snapshot = structs.replace(building.lake.snapshot(name), name=f"loaded_{name}")
            building.spark.open(building.lake, snapshot, expected)
            source = snapshot.name
        building.show(name, reference_sql(expected, source))


class _Stored(Struct, frozen=True):
    """A table that is written and not yet anybody's."""

    name: str
    files: list[PlacedFile]
    columns: Mapping[str, str]
    seconds: float

    @property
    def rows(self) -> int:
        """As the ends of its files say, which costs the cluster no query."""
        return sum(file.rows for file in self.files)


class _Building(Struct, frozen=True):
    """One build: where it writes, and what it lets later steps read."""

    spark: Spark
    lake: Lake
    build_id: str

    @property
    def folder(self) -> str:
        """Of the steps. A dash, so that nobody takes it for a table."""
        return server_uri(self.lake, f"building-{self.build_id}")

    @property
    def subfolder(self) -> str:
        """Of a table, for the files of this build."""
        return f"build-{self.build_id}"

    def show(self, name: str, sql: str) -> None:
        """Let later steps read a query under this name."""
        self._frame(sql).createOrReplaceTempView(name)

    def keep(self, name: str, sql: str) -> None:
        """Compute a query once and let later steps read it under this name."""
        self._write(name, sql, f"{self.folder}/{name}")

    def store(self, model: Model, sql: str, clock: float) -> _Stored:
        """Write a table's files, with only types every engine reads; later steps read them too."""
        fields = self._frame(sql).schema.fields
        columns = {field.name: _neutral(field.dataType, f"{model.name}.{field.name}") for field in fields}
        terms = ", ".join(_stored_column(column, kind) for column, kind in columns.items())
        ordered = f" ORDER BY {model.order}" if model.order else ""
        path = f"{server_uri(self.lake, model.name)}/{self.subfolder}"
        # Identity's own table of the name goes on being read where the rows of this one come from.
        name = f"{model.name}_stored" if model.name == LINKS.name else model.name
        self._write(name, f"SELECT {terms} FROM ({sql}\n) AS m{ordered}", path)
        return _Stored(model.name, self.files(model.name), columns, round(time.perf_counter() - clock, 3))

    def count(self, name: str) -> int:
        """The rows of what was kept."""
        return int(self.spark.rows(f"SELECT COUNT(*) AS n FROM {name}")[0][0])

    def files(self, name: str) -> list[PlacedFile]:
        """What Spark wrote for a table."""
        folder = f"{self.lake.table_uri(name)}/{self.subfolder}"
        if self.lake.cache is not None:
            store = s3_file_system(self.lake.environ)
            objects = self.lake.cache.store(folder).files(folder)
            found = [(file, size, f"{folder.partition('://')[2]}/{file}") for file, size in objects]
        else:
            store = fs.LocalFileSystem()
            found = [(path.name, path.stat().st_size, str(path)) for path in sorted(Path(folder).glob("*"))]
        return [
            PlacedFile(f"{self.subfolder}/{file}", pq.read_metadata(path, filesystem=store).num_rows, size)
            for file, size, path in found
            if file.endswith(".parquet") and not file.startswith(("_", "."))
        ]

    def clear(self) -> None:
        """Delete the steps."""
        if self.lake.cache is not None:
            self.lake.cache.store(self.folder).remove(self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _frame(self, sql: str) -> Any:
        return self.spark.session.sql(self.spark.dialect.spelling.spell(sql))

    def _write(self, name: str, sql: str, path: str) -> None:
        frame = self._frame(sql)
        frame.write.mode("overwrite").parquet(path)
        # The schema, because of nothing some write no file that would have one.
        self.spark.session.read.schema(frame.schema).parquet(path).createOrReplaceTempView(name)


def count_events_once(building: _Building) -> int:
    """Make `unique_events`: no bots, and each (source, event_id) once, the copy received first; and `repeated_events`.

    Returns how many copies are left out.
    """
    building.keep(
        "repeated_events",
        """
        SELECT source, event_id, stream, sequence, user_id, anonymous_id, copy
        FROM (
          SELECT source, event_id, stream, sequence, user_id, anonymous_id,
            COUNT(*) OVER (PARTITION BY source, event_id) AS copies,
            ROW_NUMBER() OVER (PARTITION BY source, event_id ORDER BY received_at, stream, sequence) AS copy
          FROM events
        ) AS c
        WHERE copies > 1
        """,
    )
    copies = building.spark.rows("SELECT COUNT(*) AS n FROM repeated_events WHERE copy > 1")[0][0]
    people = "NOT COALESCE(is_bot, FALSE)"
    if copies:
        building.show(
            "unique_events",
            "SELECT * FROM (SELECT *, ROW_NUMBER() OVER ("
            "PARTITION BY source, event_id ORDER BY received_at, stream, sequence) AS copy FROM events) AS c "
            f"WHERE copy = 1 AND {people}",
        )
    else:
        building.show("unique_events", f"SELECT * FROM events WHERE {people}")
    return int(copies)


def resolve_identity(building: _Building, join_by: Sequence[str], *, join_users: bool) -> None:
    """`identity.resolve_identity` in what Spark and Sail can say; the tables are the same."""
    for statement in EVIDENCE:
        _keep_table(building, statement)
    if join_by:
        _tell_values(building, join_by)
    _join_users(building, by_values=bool(join_by) and join_users)
    if join_by:
        _join_pieces(building)
    else:
        building.show("piece_holders", _NO_HOLDERS)
    for statement in (*COUNTS, HOLDERS, NUMBERED, *PERSONS):
        _keep_table(building, statement)


def _keep_table(building: _Building, statement: str) -> None:
    match = _TABLE.fullmatch(statement)
    if match is None:
        raise BuildError(f"a step of identity is not a table: {statement[:60]}")
    building.keep(match["name"], _OTHERWISE.get(match["name"], match["sql"]))


def _tell_values(building: _Building, columns: Sequence[str]) -> None:
    """`identity_traits.tell_values`."""
    building.keep(
        "told_values",
        f"""
        SELECT t.mark, t.anonymous_id, t.user_id, t.event_time
        FROM ({told_sql(columns)}) AS t
        LEFT JOIN ({crowded_sql(columns, "events")}) AS c ON c.mark = t.mark
        WHERE c.mark IS NULL
        """,
    )
    building.keep("user_values", "SELECT DISTINCT mark, user_id FROM told_values WHERE user_id IS NOT NULL")
    # Pieces of one device do not overlap. Only identify calls are compared with them, of which few go without a user.
    building.keep(
        "piece_values",
        """
        SELECT t.mark, t.anonymous_id, l.piece, MIN(t.event_time) AS told_at
        FROM told_values AS t
        JOIN device_pieces AS l ON l.anonymous_id = t.anonymous_id
          AND (l.valid_from IS NULL OR t.event_time >= l.valid_from)
          AND (l.valid_until IS NULL OR t.event_time < l.valid_until)
        WHERE t.user_id IS NULL AND l.user_id IS NULL
        GROUP BY t.mark, t.anonymous_id, l.piece
        """,
    )


def _join_users(building: _Building, *, by_values: bool) -> None:
    """Make `user_groups` (user_id, user_group): user ids that alias calls join, even in a chain, share a group.

    `by_values`: so do those that tell the same value.
    """
    told = "UNION SELECT MIN(user_id) OVER (PARTITION BY mark), user_id FROM user_values" if by_values else ""
    joined = _components(
        building,
        "user",
        f"""
        WITH users AS (SELECT DISTINCT user_id FROM id_pairs WHERE user_id IS NOT NULL)
        SELECT a.previous_id AS one, a.user_id AS other
        FROM (SELECT previous_id, user_id FROM aliases {told}) AS a
        JOIN users AS p ON p.user_id = a.previous_id
        JOIN users AS u ON u.user_id = a.user_id
        """,
    )
    building.keep(
        "user_groups",
        f"""
        SELECT u.user_id, u.first_seen, COALESCE(l.label, u.user_id) AS user_group
        FROM (
          SELECT user_id, MIN(first_seen) AS first_seen FROM id_pairs WHERE user_id IS NOT NULL GROUP BY user_id
        ) AS u
        LEFT JOIN {joined} AS l ON l.node = u.user_id
        """,
    )


def _join_pieces(building: _Building) -> None:
    """`identity_traits.join_pieces`."""
    joined = _components(
        building,
        "mark",
        "SELECT MIN(mark) OVER (PARTITION BY anonymous_id, piece) AS one, mark AS other FROM piece_values",
    )
    building.show("mark_groups", f"SELECT node AS mark, label AS joined FROM {joined}")
    building.keep(
        "piece_groups",
        """
        SELECT v.anonymous_id, v.piece, MIN(v.told_at) AS told_at_min, MIN(m.joined) AS joined
        FROM piece_values AS v JOIN mark_groups AS m ON m.mark = v.mark
        GROUP BY v.anonymous_id, v.piece
        """,
    )
    _keep_table(building, GROUP_USERS)
    building.keep(
        "joined_pieces",
        """
        SELECT d.anonymous_id, d.piece, d.valid_from, d.valid_until, COALESCE(u.user_id, d.user_id) AS user_id
        FROM device_pieces AS d
        LEFT JOIN piece_groups AS p ON p.anonymous_id = d.anonymous_id AND p.piece = d.piece
        LEFT JOIN group_users AS u ON u.joined = p.joined AND u.user_groups = 1
        """,
    )
    building.keep(
        "joined_devices",
        """
        SELECT d.anonymous_id, COALESCE(d.user_id, l.user_id) AS user_id, d.is_cut
        FROM devices AS d
        LEFT JOIN joined_pieces AS l ON l.anonymous_id = d.anonymous_id AND NOT d.is_cut
        """,
    )
    building.show("device_pieces", "SELECT * FROM joined_pieces")
    building.show("devices", "SELECT * FROM joined_devices")
    _keep_table(building, HOLDERS_OF_PIECES)


def _components(building: _Building, kind: str, edges: str) -> str:
    """The name of a table (node, label) of all nodes that edges (one, other) touch: joined ones share a label.

    Each node's label is the least node it hears of from its neighbours, until none changes. It also takes the label of
    its label, so that a long chain is done in a few rounds.
    """
    links = f"{kind}_links"
    building.keep(
        links,
        f"WITH edges AS (SELECT * FROM ({edges}) AS e) "
        "SELECT one, other FROM edges UNION SELECT other AS one, one AS other FROM edges",
    )
    number, now = 0, f"{kind}_labels_0"
    building.keep(now, f"SELECT one AS node, MIN(LEAST(one, other)) AS label FROM {links} GROUP BY one")
    changed = building.count(now)
    while changed:
        number += 1
        before, now = now, f"{kind}_labels_{number}"
        building.keep(
            now,
            f"""
            SELECT l.node, MIN(LEAST(l.label, n.label, p.label)) AS label
            FROM {before} AS l
            JOIN {links} AS k ON k.one = l.node
            JOIN {before} AS n ON n.node = k.other
            JOIN {before} AS p ON p.node = l.label
            GROUP BY l.node
            """,
        )
        changed = building.spark.rows(
            f"SELECT COUNT(*) AS n FROM {before} AS a JOIN {now} AS b ON b.node = a.node WHERE b.label <> a.label"
        )[0][0]
    return now


_NO_HOLDERS: Final = """
    SELECT CAST(NULL AS VARCHAR) AS anonymous_id, CAST(NULL AS BIGINT) AS piece,
      CAST(NULL AS VARCHAR) AS holder_id, CAST(NULL AS BIGINT) AS holder_piece
    WHERE FALSE
"""
"""Only traits put several pieces of anonymous timelines together."""

_OTHERWISE: Final = {
    # IN (SELECT …) as a value is more than Sail can do.
    "devices": """
        SELECT
          p.anonymous_id,
          MIN(p.user_id) AS user_id,
          COALESCE(MIN(p.user_id) <> MAX(p.user_id), FALSE) OR MAX(p.logouts) = 1 OR COUNT(a.anonymous_id) > 0 AS is_cut
        FROM id_pairs AS p
        LEFT JOIN (SELECT DISTINCT anonymous_id FROM device_aliases) AS a ON a.anonymous_id = p.anonymous_id
        WHERE p.anonymous_id IS NOT NULL
        GROUP BY p.anonymous_id
    """,
    # Without ASOF: pieces and events in one order of time; each event has the last piece before it.
    "cut_events": """
        WITH pieces AS (
          SELECT anonymous_id, piece, user_id, valid_from,
            ROW_NUMBER() OVER (PARTITION BY anonymous_id ORDER BY piece, valid_from NULLS FIRST, user_id) AS place
          FROM device_pieces
          WHERE anonymous_id IN (SELECT anonymous_id FROM devices WHERE is_cut)
        ),
        both AS (
          SELECT CAST(NULL AS VARCHAR) AS source, CAST(NULL AS VARCHAR) AS event_id, anonymous_id,
            CAST(place AS BIGINT) AS place, valid_from AS event_time, 0 AS is_event
          FROM pieces
          UNION ALL
          SELECT source, event_id, anonymous_id, CAST(NULL AS BIGINT), event_time, 1
          FROM unique_events
          WHERE user_id IS NULL AND anonymous_id IN (SELECT anonymous_id FROM devices WHERE is_cut)
        ),
        placed AS (
          SELECT source, event_id, anonymous_id, event_time, is_event,
            MAX(place) OVER (
              PARTITION BY anonymous_id ORDER BY event_time NULLS FIRST, is_event, place
              ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS last_place
          FROM both
        )
        SELECT e.source, e.event_id, e.event_time, e.anonymous_id, l.piece, l.user_id
        FROM placed AS e JOIN pieces AS l ON l.anonymous_id = e.anonymous_id AND l.place = e.last_place
        WHERE e.is_event = 1
    """,
}
"""Steps of identity that DuckDB says in its own way."""


def spark_fillings(
    plan: Plan, event_columns: Mapping[str, str], sessions: SessionRules = DEFAULT_RULES
) -> dict[str, Filling]:
    """What the placeholders of the models stand for on Spark."""
    traits = [name for name in trait_columns(plan) if name in event_columns]
    known = bool(struct_members(event_columns.get("products", "")))
    latest = "".join(f",\n  {_latest(quoted(name))} AS {quoted(name)}" for name in traits)
    return {
        **fillings(plan, event_columns, sessions),
        "session_begins": session_begins(sessions, SparkDialect()),
        "event_row": lambda event: f"{event}.source, {event}.event_id",
        "same_event": lambda one, other: f"{one}.source = {other}.source AND {one}.event_id = {other}.event_id",
        "seconds_between": _seconds_between,
        "microseconds_between": _microseconds_between,
        "latest_traits": latest,
        "items": _items(plan),
        # The size of null is -1 in some settings of Spark.
        "no_products": "COALESCE(SIZE(products), 0) <= 0" if known else "TRUE",
        "each_product": lambda table, columns: _each_product(table, columns, known=known),
        "sorted_list": lambda column: f"SORT_ARRAY(COLLECT_LIST({column}))",
        "in_order": "STRUCT(event_time, event_id, source)",
    }


def _each_product(table: str, columns: str, *, known: bool) -> str:
    if not known:
        return f"(SELECT {columns}, NULL AS line, CAST(NULL AS BIGINT) AS line_number FROM {table} WHERE FALSE)"
    return (
        f"(SELECT {columns}, line, CAST(place + 1 AS BIGINT) AS line_number "
        f"FROM (SELECT {columns}, POSEXPLODE(products) AS (place, line) FROM {table} WHERE SIZE(products) > 0) AS p)"
    )


def _seconds_between(start: str, end: str) -> str:
    return f"{_microseconds_between(start, end)} / 1e6"


def _microseconds_between(start: str, end: str) -> str:
    return f"(UNIX_MICROS({end}) - UNIX_MICROS({start}))"


def _latest(column: str) -> str:
    return f"MAX_BY({column}, STRUCT(event_time, event_id, source)) FILTER (WHERE {column} IS NOT NULL)"


def _items(plan: Plan) -> str:
    products = plan.properties.get("products")
    if products is None or products.items is None or "quantity" not in products.items.fields:
        return "CAST(NULL AS DOUBLE)"
    # Of no lines it is null, as in DuckDB.
    lines = "AGGREGATE(products, CAST(0 AS DOUBLE), (so_far, line) -> so_far + COALESCE(line.quantity, 1))"
    return f"CASE WHEN SIZE(products) > 0 THEN {lines} END"


def _counts(spark: Spark, plan: Plan, copies: int) -> tuple[Counts, datetime.datetime | None]:
    """What has become of the events, and the time of the newest that counts."""
    rows = spark.rows(
        "SELECT event_name, event_type, COUNT(*) AS n, MAX(event_time) AS newest FROM unique_events "
        "GROUP BY event_name, event_type"
    )
    held = spark.rows("SELECT COUNT(*) AS n FROM events")[0][0]
    counts = counts_of(plan, [row[:3] for row in rows], int(held), copies)
    return counts, max((row[3] for row in rows if row[3] is not None), default=None)


_NEUTRAL: Final = {
    "string": "string",
    "bigint": "long",
    "int": "long",
    "smallint": "long",
    "tinyint": "long",
    "double": "double",
    "float": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
}
_STORED: Final = {"long": "BIGINT", "double": "DOUBLE"}


def _neutral(kind: Any, column: str) -> str:
    """The neutral type a computed column is stored as. BuildError for one that not every engine could read."""
    if isinstance(kind, types.ArrayType):
        return f"list<{_neutral(kind.elementType, column)}>"
    if isinstance(kind, types.StructType):
        return f"struct<{','.join(f'{field.name}:{_neutral(field.dataType, column)}' for field in kind.fields)}>"
    if isinstance(kind, types.DecimalType):
        return "double"
    neutral = _NEUTRAL.get(kind.simpleString())
    if neutral is None:
        raise BuildError(f"column {column} would have the type {kind.simpleString()}, which not every engine reads")
    return neutral


def _stored_column(name: str, neutral: str) -> str:
    wanted = _STORED.get(neutral)
    return f"CAST({quoted(name)} AS {wanted}) AS {quoted(name)}" if wanted else quoted(name)


def s3_file_system(environ: Mapping[str, str]) -> fs.FileSystem:
    """The store as the usual variables name it, to read the ends of files."""
    options: dict[str, Any] = {
        "access_key": environ.get("AWS_ACCESS_KEY_ID"),
        "secret_key": environ.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": environ.get("AWS_SESSION_TOKEN"),
        "region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
        "endpoint_override": environ.get("AWS_ENDPOINT_URL"),
    }
    return fs.S3FileSystem(**{name: value for name, value in options.items() if value})
