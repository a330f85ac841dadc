"""The steps of a build, in order. Every table is computed before the first one is replaced; a build that is killed
leaves what readers see as it was."""

from __future__ import annotations

import datetime
import hashlib
import inspect
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct, structs

import polku_analytics.build.affected as affected
import polku_analytics.build.compute as compute_models
import polku_analytics.build.identity as identity
import polku_analytics.build.identity_traits as identity_traits
import polku_analytics.build.news as news
from polku_analytics.build.affected import COPIES as OLD_COPIES
from polku_analytics.build.affected import LINKS as OLD_LINKS
from polku_analytics.build.affected import gather_affected
from polku_analytics.build.changes import (
    Change,
    change_of,
    read_before,
    sum_change_of,
    whole_change_of,
)
from polku_analytics.build.compute import (
    COPIES,
    LINKS,
    Computed,
    compute,
    count,
    count_events_once,
    newest_counted,
    read_as,
    run_models,
)
from polku_analytics.build.identity import KeptKeys, resolve_identity
from polku_analytics.build.identity_traits import join_columns
from polku_analytics.build.news import IS_NEW, files_since, read_marks, why_not_incremental
from polku_analytics.build.publish import change_table, place_files, replace_table
from polku_analytics.build.record import BuildRecord, BuiltTable, Counts, Mark, append_record, newest_record
from polku_analytics.build.reference import READ_BY_KEY, attach_reference_tables, downstream, find_changed_keys
from polku_analytics.errors import BuildError
from polku_analytics.fillings import EVENT_ROW, expected_event_columns, fillings
from polku_analytics.lake import Lake, TableSnapshot, attach, connect
from polku_analytics.model_files import Filling, chosen, fill, read_models, run_order
from polku_analytics.period import Period
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules
from polku_schemas import Plan

EVENTS = "events"

MANY_PEOPLE: Final = 1 / 3
"""If what was loaded concerns a greater share of all people, building everything costs less."""


class Build(Struct, frozen=True, kw_only=True):
    """What a build did."""

    build_id: str
    kind: str
    """`full`, `incremental`, or `nothing new`."""
    why_full: str | None
    """Why everything was built anew; None if it was not."""
    tables: tuple[BuiltTable, ...]
    """Those that are in the lake now."""
    steps: tuple[BuiltTable, ...]
    """What was computed on the way and not kept."""
    events: int
    """Events that count: bots and second copies left out."""
    new_events: int
    """Events that were not built in before, whatever they are."""
    people: int
    """People that were computed."""
    bot_events: int
    duplicate_events: int
    unplaced_events: Mapping[str, int]
    """Event names of the lake that the plan does not know, with their counts."""
    as_of: datetime.datetime | None
    """The time of the newest event; None when there are no events."""
    loaded: tuple[str, ...]
    """The reference tables from which something else follows than in the build before; none if all was built."""
    sessions: SessionRules
    """The rules by which sessions end in these tables."""
    seconds: float


def build(
    lake: Lake,
    plan: Plan,
    progress: Callable[[str], None] = lambda text: None,
    *,
    full: bool = False,
    select: Sequence[str] = (),
    since: datetime.date | None = None,
    sessions: SessionRules | None = None,
) -> Build:
    """Bring the journey tables up to date with the events. `progress` is told what comes next.

    What is new is built in where that can be told, else (or if `full`) everything is built anew; the tables are the
    same but for the person keys, which a full build numbers anew. `select`: only these tables and those they rest on;
    `since`: only events of this UTC day and later. Asked for otherwise than the build before, everything is built anew.
    `sessions`: where they end; None goes on with the rules of the build before, the first time with `DEFAULT_RULES`.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="polku-build-") as scratch:
        snapshot = lake.snapshot(EVENTS, Period(since) if since else None)
        before = newest_record(lake)
        rules = sessions or (DEFAULT_RULES if before is None else before.sessions)
        run = _Run(lake, plan, snapshot, before, Path(scratch), progress, started, select, since, rules)
        try:
            return run.build(full)
        except duckdb.Error as error:
            raise BuildError(f"the models could not be computed: {str(error).splitlines()[0]}") from error
        finally:
            run.connection.close()


class _Run:
    """One build: what all of its steps need."""

    def __init__(
        self,
        lake: Lake,
        plan: Plan,
        snapshot: TableSnapshot,
        before: BuildRecord | None,
        scratch: Path,
        progress: Callable[[str], None],
        started: float,
        select: Sequence[str],
        since: datetime.date | None,
        sessions: SessionRules,
    ) -> None:
        self.lake, self.plan, self.snapshot, self.before, self.scratch = lake, plan, snapshot, before, scratch
        self.progress, self.started, self.sessions = progress, started, sessions
        self.expected = expected_event_columns(plan)
        self.connection = connect(lake, [])
        # Of the limit of memory, kept and used again: a tenth of a build was the system's handing out fresh pages.
        self.connection.execute("SET block_allocator_memory = '20%'")
        self.held = attach(self.connection, lake, snapshot, self.expected, row_number=EVENT_ROW)
        self.reference = attach_reference_tables(self.connection, lake)
        self.models = run_order(chosen(read_models(), select))
        self.since = since
        self.columns = {row[0]: row[1] for row in self.connection.execute(f"DESCRIBE {EVENTS}").fetchall()}
        self.filled: dict[str, Filling] = fillings(plan, self.columns, sessions, self.held)
        # Not of what is held: the first event that tells a property does not change what was built before.
        self.fingerprint = self._fingerprint(fillings(plan, self.columns, sessions))
        self.build_id = uuid.uuid4().hex

    def build(self, full: bool) -> Build:
        before = self.before
        why = self._why_full(before, full)
        if before is None or why is not None:
            return self._full(before, why)
        loaded = [name for name, version in self.reference.items() if before.reference.get(name) != version]
        same_events = before.events_version == self.snapshot.version
        if same_events and not loaded:
            return self._told(before, "nothing new", None, (), 0, 0)
        loaded, touched, why = self._touch(before, loaded)
        new_events = 0
        if why is None and (touched or not same_events):
            self.progress("events: what is new")
            why = why_not_incremental(self.connection, before.marks)
        if why is not None:
            return self._full(before, why)
        if touched or not same_events:
            new_events = self._see_news(before)
        if not new_events and not touched:
            return self._others(before, loaded)
        return self._incremental(before, new_events, loaded)

    def _why_full(self, before: BuildRecord | None, full: bool) -> str | None:
        if full:
            return "it was asked for"
        if before is None:
            return "there was no build before"
        if before.plan != self.plan.fingerprint:
            return "the plan has changed"
        if before.sessions != self.sessions:
            return f"the rules of sessions have changed: now {self.sessions.words}"
        if before.models != self.fingerprint:
            return "the models, columns of the events or what was chosen have changed"
        return None

    def _fingerprint(self, filled: Mapping[str, Filling]) -> str:
        """Of everything that the tables follow from but the events and what was loaded."""
        parts = [
            str(self.since),
            inspect.getsource(identity),
            inspect.getsource(identity_traits),
            *(f"{m.name}{m.order}{fill(m.sql, filled)}" for m in self.models),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _touch(self, before: BuildRecord, loaded: Sequence[str]) -> tuple[list[str], int, str | None]:
        """Make `touched_people`, whose rows follow from what was loaded, and may be others now.

        Returns the reference tables from which anything follows, the number of these people, and why everything has to
        be built anew.
        """
        connection, differing = self.connection, []
        connection.execute("CREATE TEMP TABLE touched_people (person_key BIGINT)")
        for name in loaded:
            reached = downstream(self.models, [name])
            if all(model.increment == "whole" for model in reached):
                differing += [name] if reached else []
                continue
            reader, key = READ_BY_KEY.get(name, ("", ""))
            readers = [model for model in self.models if name in model.inputs]
            sql = " ".join(fill(model.sql, self.filled) for model in readers)
            versions = before.reference.get(name), self.reference[name]
            if [model.name for model in readers] != [reader] or not find_changed_keys(
                connection, self.lake, name, *versions, sql
            ):
                return differing, 0, f"the reference table {name} has changed"
            old = self.lake.snapshot(reader, version=before.tables[reader])
            attach(connection, self.lake, structs.replace(old, name=f"old_{reader}"), {})
            connection.execute(
                f"INSERT INTO touched_people SELECT DISTINCT person_key FROM old_{reader} "
                f"WHERE {key} IN (SELECT key FROM changed_keys)"
            )
            if connection.execute("SELECT 1 FROM touched_people LIMIT 1").fetchall():
                differing.append(name)
        touched = int(connection.execute("SELECT COUNT(DISTINCT person_key) FROM touched_people").fetchall()[0][0])
        if touched:
            links = self.lake.snapshot(LINKS.name, version=before.tables[LINKS.name])
            attach(connection, self.lake, structs.replace(links, name=OLD_LINKS), {})
            people = connection.execute(f"SELECT COUNT(DISTINCT person_key) FROM {OLD_LINKS}").fetchall()[0][0]
            if touched > MANY_PEOPLE * people:
                return differing, touched, f"{' and '.join(differing)} changed for {touched} of {people} people"
        return differing, touched, None

    def _others(self, before: BuildRecord, loaded: Sequence[str]) -> Build:
        """Only tables that are made whole of others and of what was loaded. Nobody is computed again."""
        models = downstream(self.models, loaded)
        made = {model.name for model in models}
        for name in sorted({name for model in models for name in model.inputs} & before.tables.keys() - made):
            attach(self.connection, self.lake, self.lake.snapshot(name, version=before.tables[name]), {})
        computed = run_models(self.connection, models, self.filled, self.scratch, self.progress)
        if computed:
            self.progress("publishing")
        placed = [(table, place_files(self.lake, table.model.name, table.files)) for table in computed]
        metadata = {"polku_build": self.build_id}
        versions = {
            table.model.name: change_table(self.lake, table.model.name, [], files, metadata) for table, files in placed
        }
        record = self._record(
            *(before, "incremental", before.as_of, before.marks, before.counts),
            {**before.tables, **versions},
            before.next_key,
        )
        if not computed:  # files were merged, or what was loaded is read by nobody
            return self._told(record, "nothing new", None, (), 0, 0)
        tables = tuple(BuiltTable(t.model.name, t.rows, round(t.seconds, 3), t.rows) for t in computed)
        return self._told(record, "incremental", None, tables, 0, 0, loaded=loaded)

    def _full(self, before: BuildRecord | None, why: str | None) -> Build:
        self.progress("events: counting each once")
        marks = read_marks(self.connection)
        copies = count_events_once(self.connection)
        counts, as_of = count(self.connection, self.plan, copies, EVENTS)
        computed = self._compute(None)
        stored = [table for table in computed if table.model.stored == "yes"]
        next_key = self.connection.execute("SELECT COALESCE(MAX(person_key), -1) + 1 FROM person_links").fetchall()
        self.progress("publishing")
        placed = [(table, place_files(self.lake, table.model.name, table.files)) for table in stored]
        metadata = {"polku_build": self.build_id}
        versions = {
            table.model.name: replace_table(self.lake, table.model.name, files, table.columns, metadata)
            for table, files in placed
        }
        record = self._record(before, "full", as_of, marks, counts, versions, int(next_key[0][0]))
        people = self.connection.execute("SELECT COUNT(DISTINCT person_key) FROM person_links").fetchall()[0][0]
        tables = tuple(BuiltTable(t.model.name, t.rows, round(t.seconds, 3)) for t in stored)
        steps = tuple(
            BuiltTable(t.model.name, t.rows, round(t.seconds, 3)) for t in computed if t.model.stored != "yes"
        )
        return self._told(record, "full", why, tables, counts.events + counts.bots + copies, people, steps)

    def _incremental(self, before: BuildRecord, new_events: int, loaded: Sequence[str]) -> Build:
        connection = self.connection
        old = {name: self.lake.snapshot(name, version=version) for name, version in before.tables.items()}
        local = {
            file.uri: path
            for snapshot in old.values()
            for file, path in zip(snapshot.files, self.lake.local_paths(snapshot.files), strict=True)
        }
        attach(connection, self.lake, structs.replace(old[LINKS.name], name=OLD_LINKS), {})
        attach(connection, self.lake, structs.replace(old[COPIES.name], name=OLD_COPIES), {})
        self.progress("whom it concerns")
        read = self._columns_read()
        nulls = {name: self.columns[name] for name in read if name not in self.held}
        gather_affected(connection, [name for name in read if name in self.held], nulls, join_columns(self.plan))
        counts = self._counted(before)
        computed = self._compute(
            KeptKeys(OLD_LINKS, before.next_key),
            f"UNION ALL SELECT * FROM {OLD_COPIES} "
            "WHERE (stream, sequence) NOT IN (SELECT stream, sequence FROM affected_events)",
        )
        next_key = connection.execute("SELECT COALESCE(MAX(person_key), -1) + 1 FROM person_links").fetchall()[0][0]
        people = connection.execute("SELECT COUNT(DISTINCT person_key) FROM person_links").fetchall()[0][0]

        as_of = newest_counted(connection, next(table for table in computed if table.model.name == COPIES.name))
        self.progress("what has changed")
        changes = self._changes(computed, old, local)
        self.progress("publishing")
        placed = [(change, place_files(self.lake, change.model.name, change.new)) for change in changes]
        metadata = {"polku_build": self.build_id}
        versions = {
            change.model.name: change_table(
                self.lake,
                change.model.name,
                [file for file in old[change.model.name].files if file.uri in set(change.kept)],
                files,
                metadata,
            )
            for change, files in placed
        }
        marks = before.marks | read_marks(connection)
        record = self._record(
            before, "incremental", as_of, marks, counts, versions, max(before.next_key, int(next_key))
        )
        tables = tuple(BuiltTable(c.model.name, c.rows, round(c.seconds, 3), c.changed_rows) for c in changes)
        steps = tuple(
            BuiltTable(t.model.name, t.rows, round(t.seconds, 3)) for t in computed if t.model.stored != "yes"
        )
        return self._told(record, "incremental", None, tables, new_events, people, steps, loaded)

    def _see_news(self, before: BuildRecord) -> int:
        """Make `new_events`; returns their number."""
        since = files_since(self.lake, self.snapshot, before)
        attach(self.connection, self.lake, structs.replace(since, name="events_of_new_files"), self.expected)
        self.connection.execute(
            "CREATE TEMP TABLE new_events AS "
            "SELECT e.source, e.event_id, e.user_id, e.anonymous_id, e.previous_id, e.order_id "
            f"FROM events_of_new_files AS e WHERE {IS_NEW}"
        )
        return int(self.connection.execute("SELECT COUNT(*) FROM new_events").fetchall()[0][0])

    def _columns_read(self) -> list[str]:
        """The columns of `events` that a model or a step names; a plan has many that nothing is made of."""
        steps = (affected, compute_models, identity, identity_traits, news)
        said = [
            *(fill(model.sql, self.filled) for model in self.models),
            *(inspect.getsource(step) for step in steps),
            *join_columns(self.plan),
        ]
        words = set(re.findall(r"\w+", " ".join(said)))
        return [name for name in self.columns if name in words or re.fullmatch(r"\w+", name) is None]

    def _counted(self, before: BuildRecord) -> Counts:
        """All events by what has become of them: those of the affected people are counted before and now."""
        connection = self.connection
        connection.execute("CREATE TEMP VIEW events_before AS SELECT * FROM affected_events WHERE NOT is_new")
        was, _ = count(connection, self.plan, count_events_once(connection, "events_before"), "events_before")
        now, _ = count(connection, self.plan, count_events_once(connection, "affected_events"), "affected_events")
        return before.counts.plus(was, -1).plus(now)

    def _compute(self, kept_keys: KeptKeys | None, more_copies: str = "") -> list[Computed]:
        """All models over `unique_events`; in an incremental build those that are written whole come later."""
        self.progress("identity")
        clock = time.perf_counter()
        joining = join_columns(self.plan)
        resolve_identity(
            self.connection, kept_keys, join_by=joining, join_users=self.plan.join_users, everything=EVENTS
        )
        links = compute(self.connection, LINKS, LINKS.sql, self.scratch, clock)
        copies = compute(self.connection, COPIES, COPIES.sql + more_copies, self.scratch, time.perf_counter())
        models = [model for model in self.models if kept_keys is None or model.increment != "whole"]
        return [links, copies, *run_models(self.connection, models, self.filled, self.scratch, self.progress)]

    def _changes(
        self, computed: Sequence[Computed], old: Mapping[str, TableSnapshot], local: Mapping[str, str]
    ) -> list[Change]:
        connection = self.connection
        stored = [table for table in computed if table.model.stored == "yes"]
        changes = []
        for table in stored:
            if table.model.increment == "person":
                name = table.model.name
                read_before(connection, table, [local[file.uri] for file in old[name].files])
                changes.append(change_of(connection, self.lake, old[name], table, self.scratch))
        for table in stored:
            if table.model.increment == "sum":
                paths = [local[file.uri] for file in old[table.model.name].files]
                changes.append(sum_change_of(connection, paths, table, self.filled, self.scratch))
        changes.extend(whole_change_of(table) for table in stored if table.model.increment == "whole")
        whole = [model for model in self.models if model.increment == "whole"]
        if whole:
            read = {name for model in whole for name in model.inputs}
            # The links of the affected people make place for those of all.
            connection.execute(f"DROP TABLE {LINKS.name}")
            for change in changes:
                if change.model.name in read:
                    read_as(connection, change.model.name, change.paths(local), change.columns)
            computed = run_models(connection, whole, self.filled, self.scratch, self.progress)
            changes.extend(whole_change_of(table) for table in computed)
        return changes

    def _record(
        self,
        before: BuildRecord | None,
        kind: str,
        as_of: datetime.datetime | None,
        marks: dict[str, Mark],
        counts: Counts,
        versions: dict[str, int],
        next_key: int,
    ) -> BuildRecord:
        record = BuildRecord(
            build_id=self.build_id,
            built_at=datetime.datetime.now(datetime.UTC),
            kind=kind,
            as_of=as_of,
            plan=self.plan.fingerprint,
            models=self.fingerprint,
            events_version=self.snapshot.version,
            marks=marks,
            counts=counts,
            tables=versions,
            next_key=next_key,
            sessions=self.sessions,
            reference=self.reference,
        )
        append_record(self.lake, record, None if before is None else before.build_id)
        return record

    def _told(
        self,
        record: BuildRecord,
        kind: str,
        why_full: str | None,
        tables: tuple[BuiltTable, ...],
        new_events: int,
        people: int,
        steps: tuple[BuiltTable, ...] = (),
        loaded: Sequence[str] = (),
    ) -> Build:
        counts = record.counts
        return Build(
            build_id=record.build_id,
            kind=kind,
            why_full=why_full,
            tables=tables,
            steps=steps,
            events=counts.events,
            new_events=new_events,
            people=people,
            bot_events=counts.bots,
            duplicate_events=counts.copies,
            unplaced_events=dict(sorted(counts.unplaced.items(), key=lambda item: (-item[1], item[0]))),
            as_of=record.as_of,
            loaded=tuple(loaded),
            sessions=record.sessions,
            seconds=time.perf_counter() - self.started,
        )
