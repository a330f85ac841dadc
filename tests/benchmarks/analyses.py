"""Analyses: building the journeys of a large lake, at once and after 1 % more events; then what analysts ask of it.

Funnel, retention, sessions and paths are asked of Polku's tables, and beside it of chdb (`windowFunnel`, `retention`)
and of DuckDB in SQL written by hand for just this question, over one narrow Parquet file of the same rows, sorted by
person and time. All answer with two threads, in turns; the best of several turns counts, and answers must be equal.

`--seconds 20` makes 1 million events of 50,000 people, 200 make 10 million, 600 make 30.
"""

from __future__ import annotations

import datetime
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from polku_analytics.analyses.funnel import funnel_question, run_funnel
from polku_analytics.analyses.paths import LEFT, PathsQuestion, run_paths
from polku_analytics.analyses.retention import retention_question, run_retention
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_schemas import builtin_plan_path, load_plan

from .figures import Figure, NotAsExpected
from .histories import EVENTS_A_VISIT, add_events, events_sql

_EVENTS_PER_SECOND = 50_000
_LEAST_EVENTS = 8_000
_EVENTS_A_PERSON = 20
_NEW_SHARE = 0.01
_DAYS = 90
_THREADS = 2
_FULL_SIZE = 10_000_000
"""What the targets of the build are meant for."""
_ROUNDS = 5
_BUILD_SECONDS = 90.0
_BUILD_GIB = 6.0
_LOOK_SECONDS = 5.0
"""Of `polku build --watch`."""
_BEHIND_SECONDS = 60.0

_STEPS = ("product_viewed", "product_added", "checkout_started", "order_completed")
_WINDOW_SECONDS = 7 * 86_400
_WEEKS = 8
_PATH_STEPS = 5
_WEEK_MICROSECONDS = 7 * 86_400 * 1_000_000
_FIRST_WEEK = datetime.datetime(2025, 12, 29, tzinfo=datetime.UTC)
"""The Monday before the first event."""

Answer = dict[tuple[Any, ...], tuple[Any, ...]]


class _Took(msgspec.Struct, frozen=True):
    """What an answer cost."""

    seconds: float
    cpu_seconds: float


def run(work: Path, seconds: float) -> list[Figure]:
    """The build, and each analysis beside its peers."""
    events = max(_LEAST_EVENTS, int(seconds * _EVENTS_PER_SECOND)) // EVENTS_A_VISIT * EVENTS_A_VISIT
    people = events // _EVENTS_A_PERSON
    lake = work / "analyses-lake"
    made = add_events(lake, events_sql(events, people, days=_DAYS))
    full, report = _build(lake)
    if report["events"] != made or report["kind"] != "full":
        raise NotAsExpected(f"{made} events were made, a {report['kind']} build counted {report['events']}")
    figures = [_full_figure(full, report, events), _memory_figure(full, events)]
    figures += _answers(lake, work / "rows.parquet", events)
    in_order = _alone(lake)
    new = events_sql(int(events * _NEW_SHARE), people, first=events // EVENTS_A_VISIT, begin_day=_DAYS, days=1)
    made += add_events(lake, new)
    tables = [table["name"] for table in report["tables"]]
    before = {name: _files(lake, name) for name in tables}
    more, report = _build(lake)
    if report["events"] != made or report["kind"] != "incremental":
        raise NotAsExpected(f"{made} events were made, a {report['kind']} build counted {report['events']}")
    gone = {name: before[name] - _files(lake, name) for name in tables}
    figures.insert(2, _incremental_figure(more, full, report, events))
    figures.insert(3, _beside_the_least(more, full, _least(lake, gone), sum(map(len, gone.values()))))
    figures.insert(4, _behind_figure(more, events))
    return figures + [
        Figure(
            subject="analyses",
            what=f"{name} after the build of what is new",
            value=seconds,
            unit="s",
            baseline=in_order[name],
            baseline_what="after that of everything",
            lower_is_better=True,
        )
        for name, seconds in _alone(lake).items()
    ]


def _files(lake: Path, table: str) -> frozenset[str]:
    opened = Lake(lake, environ={})
    return frozenset(opened.local_paths(opened.snapshot(table).files))


def _least(lake: Path, gone: dict[str, frozenset[str]]) -> float:
    """Seconds for what no build can leave out that adds to such tables: files do not change, so those with a row that
    does are read and written again, here without looking at a row; and whom it concerns, and which events are copies,
    is seen from the ids of all events."""
    connection = duckdb.connect(config={"threads": _THREADS})
    connection.execute("SET enable_progress_bar = false")
    target = lake.with_suffix(".least.parquet")
    events = ", ".join(f"'{path}'" for path in sorted(_files(lake, "events")))
    started = time.perf_counter()
    connection.execute(
        f"SELECT MAX(HASH(user_id, anonymous_id, source, event_id)) FROM read_parquet([{events}])"
    ).fetchall()
    for paths in gone.values():
        if paths:
            listed = ", ".join(f"'{path}'" for path in sorted(paths))
            connection.execute(
                f"COPY (SELECT * FROM read_parquet([{listed}])) TO '{target}' "
                "(FORMAT parquet, COMPRESSION zstd, DICTIONARY_SIZE_LIMIT 3000)"
            ).fetchall()
    return time.perf_counter() - started


def _beside_the_least(more: _Process, full: _Process, least: float, files: int) -> Figure:
    return Figure(
        subject="analyses",
        what=f"the same beside the least there is to do: all ids read, {files} files written again",
        value=more.seconds,
        unit="s",
        baseline=least,
        baseline_what="that alone",
        lower_is_better=True,
        note=f"that alone is {least / full.seconds:.2f} of building everything",
    )


class _Process(msgspec.Struct, frozen=True):
    """What a finished process used."""

    seconds: float
    cpu_seconds: float
    peak_gib: float


def _build(lake: Path) -> tuple[_Process, dict[str, Any]]:
    """`polku build` as a process, and the report that it prints."""
    started = time.perf_counter()
    output = lake.with_suffix(".json")
    with output.open("wb") as out, lake.with_suffix(".log").open("wb") as log:
        command = [sys.executable, "-m", "polku.cli", "build", "--lake", str(lake), "--json"]
        process = subprocess.Popen(command, stdout=out, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise NotAsExpected(f"the build failed: {lake.with_suffix('.log').read_text()[-1_000:]}")
    taken = _Process(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)
    return taken, msgspec.json.decode(output.read_bytes())


def _full_figure(taken: _Process, report: dict[str, Any], events: int) -> Figure:
    slow = sorted(report["tables"], key=lambda table: -table["seconds"])[:3]
    is_full_size = events >= _FULL_SIZE
    return Figure(
        subject="analyses",
        what=f"polku build of {events:,} events, everything",
        value=taken.seconds,
        unit="s",
        target=_BUILD_SECONDS * events / _FULL_SIZE if is_full_size else None,
        lower_is_better=True,
        note=f"{taken.cpu_seconds:.0f} CPU s; "
        + ", ".join(f"{table['name']} {table['seconds']:.1f} s" for table in slow),
    )


def _memory_figure(taken: _Process, events: int) -> Figure:
    return Figure(
        subject="analyses",
        what="the most memory that it took",
        value=taken.peak_gib,
        unit="GiB",
        target=_BUILD_GIB if events >= _FULL_SIZE else None,
        lower_is_better=True,
    )


def _behind_figure(more: _Process, events: int) -> Figure:
    """An event that comes just after a build has begun waits for its end, for the next look, and for the next build."""
    return Figure(
        subject="analyses",
        what="the same, watched: the longest that tables are behind an event",
        value=2 * more.seconds + _LOOK_SECONDS,
        unit="s",
        target=_BEHIND_SECONDS if events >= _FULL_SIZE else None,
        lower_is_better=True,
        note=f"two such builds and the {_LOOK_SECONDS:g} s between two looks",
    )


def _incremental_figure(more: _Process, full: _Process, report: dict[str, Any], events: int) -> Figure:
    return Figure(
        subject="analyses",
        what=f"polku build after {_NEW_SHARE:.0%} more events",
        value=more.seconds,
        unit="s",
        baseline=full.seconds,
        baseline_what="everything",
        target=full.seconds / 10 if events >= _FULL_SIZE else None,
        lower_is_better=True,
        note=f"{more.cpu_seconds:.1f} of {full.cpu_seconds:.1f} CPU s; {report['people']:,} people computed again",
    )


def _answers(lake: Path, rows: Path, events: int) -> list[Figure]:
    """Each analysis beside its peers. Opening the tables is not in the figures, reading the question is."""
    journeys = open_journeys(Lake(lake, environ={}), load_plan(builtin_plan_path()))
    journeys.connection.execute(f"SET threads = {_THREADS}")
    journeys.connection.execute(
        "COPY (SELECT person_key, touchpoint_number, session_key, event_time, event_name, touchpoint FROM touchpoints "
        f"ORDER BY person_key, touchpoint_number) TO '{rows}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION V2)"
    )
    peers = _Peers(rows)
    size = f"{events:,} events"
    return [
        _compared(
            f"4-step 7-day funnel, {size}",
            lambda: _funnel(journeys),
            {"DuckDB by hand": peers.funnel} | peers.of_chdb({"chdb windowFunnel": peers.window_funnel}),
            target=1.1,
        ),
        _compared(
            f"weekly retention, {size}",
            lambda: _retention(journeys),
            {
                "DuckDB by hand": peers.retention,
                "DuckDB by hand, window": peers.retention_by_window,
            }
            | peers.of_chdb({"chdb retention": peers.chdb_retention, "chdb by hand": peers.chdb_retention_by_hand}),
            target=1.2,
        ),
        _compared(
            f"sessions of each week, {size}",
            lambda: _sessions(journeys),
            {"DuckDB by hand": peers.sessions},
            target=1.2,
        ),
        _compared(
            f"paths, {_PATH_STEPS} steps, {size}", lambda: _paths(journeys), {"DuckDB by hand": peers.paths}, target=1.2
        ),
    ]


def _alone(lake: Path) -> dict[str, float]:
    """The seconds of each analysis that reads touchpoints in their order, in the lake as it is."""
    journeys = open_journeys(Lake(lake, environ={}), load_plan(builtin_plan_path()))
    journeys.connection.execute(f"SET threads = {_THREADS}")
    took: dict[str, float] = {}
    for name, ask in (("funnel", _funnel), ("retention", _retention), ("paths", _paths)):
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            ask(journeys)
            took[name] = min(took.get(name, float("inf")), time.perf_counter() - started)
    return took


def _compared(what: str, ask: Callable[[], Answer], peers: dict[str, Callable[[], Answer]], target: float) -> Figure:
    """Ask all in turns; a peer that answers a part of the question must agree on that part."""
    costs: dict[str, list[_Took]] = {name: [] for name in ("Polku", *peers)}
    for _ in range(_ROUNDS):
        expected: Answer = {}
        for name, question in {"Polku": ask, **peers}.items():
            cpu, clock = _cpu_seconds(), time.perf_counter()
            found = question()
            costs[name].append(_Took(time.perf_counter() - clock, _cpu_seconds() - cpu))
            if name == "Polku":
                expected = found
            elif wrong := _difference(expected, found):
                raise NotAsExpected(f"{what}: {name} answers otherwise: {wrong}")
    best = {name: min(took, key=lambda one: one.seconds) for name, took in costs.items()}
    cpu_best = {name: min(one.cpu_seconds for one in took) for name, took in costs.items()}
    peer = min(peers, key=lambda name: best[name].seconds)
    cpu_peer = min(peers, key=lambda name: cpu_best[name])
    others = [f"{name} {best[name].seconds:.2f} s" for name in peers if name != peer]
    ratio = cpu_best["Polku"] / max(cpu_best[cpu_peer], 1e-9)
    return Figure(
        subject="analyses",
        what=what,
        value=best["Polku"].seconds,
        unit="s",
        baseline=best[peer].seconds,
        baseline_what=peer,
        target=best[peer].seconds * target,
        lower_is_better=True,
        note="; ".join(
            [f"CPU {cpu_best['Polku']:.2f} s of {cpu_best[cpu_peer]:.2f} ({cpu_peer}): ratio {ratio:.2f}", *others]
        ),
    )


def _difference(expected: Answer, found: Answer) -> str:
    """The first key on which two answers differ; empty if none. Only what `found` answers is looked at."""
    if not expected or not found:
        return "there is no answer"
    for key, figures in found.items():
        if expected.get(key, ())[: len(figures)] != figures:
            return f"{key}: {expected.get(key)} and {figures}"
    return ""


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _funnel(journeys: Journeys) -> Answer:
    question = funnel_question(journeys, _STEPS, window_seconds=_WINDOW_SECONDS)
    return {(row[0],): (row[2],) for row in run_funnel(journeys, question).rows}


def _retention(journeys: Journeys) -> Answer:
    """Who came back of those that began in a week, so many weeks later."""
    question = retention_question(journeys, None, None, intervals=_WEEKS)
    found: Answer = {}
    for _, cohort, _, later, count, *_ in run_retention(journeys, question).rows:
        if cohort != "(all)" and count:
            begun = datetime.datetime.fromisoformat(cohort).replace(tzinfo=datetime.UTC)
            found[(begun - _FIRST_WEEK).days // 7, later] = (count,)
    return found


def _sessions(journeys: Journeys) -> Answer:
    """Of the sessions that began in a week: how many, their events, how long they took together."""
    rows = journeys.rows(
        f"SELECT {_week('started_at')} AS week, COUNT(*), SUM(events), SUM(EPOCH_US(ended_at) - EPOCH_US(started_at)) "
        "FROM sessions GROUP BY week"
    )
    return {(int(week),): tuple(map(int, figures)) for week, *figures in rows}


def _paths(journeys: Journeys) -> Answer:
    """From one touchpoint to the next in a session: how often, how many people, the median of the seconds between."""
    result = run_paths(journeys, PathsQuestion(max_steps=_PATH_STEPS))
    return {(step, one, other): (count, people, seconds) for step, one, other, count, people, seconds in result.rows}


def _week(time: str) -> str:
    """The number of a moment's week in DuckDB; cheaper than its calendar, which knows time zones."""
    begin = int(_FIRST_WEEK.timestamp()) * 1_000_000
    return f"((EPOCH_US({time}) - {begin}) // {_WEEK_MICROSECONDS})"


class _Peers:
    """The same questions over the file of rows, each in the best SQL we know."""

    def __init__(self, rows: Path) -> None:
        self._rows = f"read_parquet('{rows}')"
        self._file = f"file('{rows}', Parquet)"
        self._duckdb = duckdb.connect()
        self._duckdb.execute(f"SET threads = {_THREADS}")
        self._chdb: Any = None
        if find_spec("chdb") is not None:
            from chdb.session import Session  # hundreds of megabytes, which no other subject needs

            self._chdb = Session()

    def of_chdb(self, questions: dict[str, Callable[[], Answer]]) -> dict[str, Callable[[], Answer]]:
        """The questions, if chdb is installed (group `bench`)."""
        return questions if self._chdb is not None else {}

    def funnel(self) -> Answer:
        """The latest start that each step can still be counted to, as far as it has come, in a window a step."""
        names = ", ".join(f"'{step}'" for step in _STEPS)
        windows = f"SELECT person_key, event_name, event_time FROM {self._rows} WHERE event_name IN ({names})"
        for number, step in enumerate(_STEPS):
            start = "event_time"
            if number:
                held = f"start_{number}"
                start = f"CASE WHEN event_time - {held} <= INTERVAL {_WINDOW_SECONDS} SECOND THEN {held} END"
            windows = (
                f"SELECT *, MAX(CASE WHEN event_name = '{step}' THEN {start} END) OVER so_far AS start_{number + 1} "
                f"FROM ({windows}) WINDOW so_far AS (PARTITION BY person_key ORDER BY event_time)"
            )
        counts = ", ".join(
            f"COUNT(DISTINCT CASE WHEN start_{number + 1} IS NOT NULL THEN person_key END)"
            for number in range(len(_STEPS))
        )
        found = self._duckdb.execute(f"SELECT {counts} FROM ({windows})").fetchall()[0]
        return {(step,): (count,) for step, count in enumerate(found, start=1)}

    def window_funnel(self) -> Answer:
        """ClickHouse's own; it takes a whole number as time, so microseconds."""
        steps = ", ".join(f"event_name = '{step}'" for step in _STEPS)
        names = ", ".join(f"'{step}'" for step in _STEPS)
        levels = self._clickhouse(
            f"SELECT level, COUNT() FROM (SELECT person_key, windowFunnel({_WINDOW_SECONDS * 1_000_000})"
            f"(toUInt64(toUnixTimestamp64Micro(event_time)), {steps}) AS level FROM {self._file} "
            f"WHERE event_name IN ({names}) GROUP BY person_key) GROUP BY level"
        )
        return {
            (step,): (sum(count for level, count in levels if level >= step),) for step in range(1, len(_STEPS) + 1)
        }

    def retention(self) -> Answer:
        """Active weeks of each person, joined to the first."""
        return self._retained(
            f"""
            WITH weeks AS (
              SELECT person_key, {_week("event_time")} AS week, MIN(event_time) AS first, MAX(event_time) AS last
              FROM {self._rows} GROUP BY ALL
            ),
            begun AS (SELECT person_key, MIN(week) AS cohort, MIN(first) AS began FROM weeks GROUP BY person_key)
            SELECT cohort, week - cohort AS later, COUNT(*) FILTER (last > began)
            FROM weeks JOIN begun USING (person_key) WHERE later <= {_WEEKS} GROUP BY ALL
            """
        )

    def retention_by_window(self) -> Answer:
        """The same with a window in the place of the join."""
        return self._retained(
            f"""
            WITH weeks AS (
              SELECT person_key, {_week("event_time")} AS week, MIN(event_time) AS first, MAX(event_time) AS last
              FROM {self._rows} GROUP BY ALL
            ),
            begun AS (
              SELECT week, last, MIN(week) OVER person AS cohort, MIN(first) OVER person AS began
              FROM weeks WINDOW person AS (PARTITION BY person_key)
            )
            SELECT cohort, week - cohort AS later, COUNT(*) FILTER (last > began)
            FROM begun WHERE later <= {_WEEKS} GROUP BY ALL
            """
        )

    def chdb_retention(self) -> Answer:
        """ClickHouse's own function; it cannot say who came back within the first week."""
        weeks = ", ".join(f"week = {number}" for number in range(_DAYS // 7 + 2))
        return self._later(
            f"""
            SELECT first - 1, later, COUNT() FROM (
              SELECT indexOf(active, 1) AS first,
                arrayJoin(arrayFilter((n, x) -> x = 1, arrayEnumerate(active), active)) - first AS later
              FROM (
                SELECT arraySlice(retention(1, {weeks}), 2) AS active
                FROM (SELECT person_key, {self._clickhouse_week()} AS week FROM {self._file}) GROUP BY person_key
              )
            ) WHERE later BETWEEN 1 AND {_WEEKS} GROUP BY first, later
            """
        )

    def chdb_retention_by_hand(self) -> Answer:
        """The weeks of each person as a set."""
        return self._later(
            f"""
            SELECT first, later, COUNT() FROM (
              SELECT arrayMin(weeks) AS first, arrayJoin(weeks) - first AS later
              FROM (
                SELECT groupUniqArray(week) AS weeks
                FROM (SELECT person_key, {self._clickhouse_week()} AS week FROM {self._file}) GROUP BY person_key
              )
            ) WHERE later BETWEEN 1 AND {_WEEKS} GROUP BY first, later
            """
        )

    def sessions(self) -> Answer:
        """Visits by the gap of 30 minutes, from the events."""
        rows = self._duckdb.execute(
            f"""
            WITH gaps AS (
              SELECT person_key, touchpoint_number, event_time,
                event_time - LAG(event_time) OVER person > INTERVAL 30 MINUTE AS begins
              FROM {self._rows} WINDOW person AS (PARTITION BY person_key ORDER BY touchpoint_number)
            ),
            numbered AS (
              SELECT person_key, event_time, SUM(CASE WHEN begins THEN 1 ELSE 0 END) OVER (
                PARTITION BY person_key ORDER BY touchpoint_number ROWS UNBOUNDED PRECEDING
              ) AS visit
              FROM gaps
            ),
            visits AS (
              SELECT MIN(event_time) AS started_at, MAX(event_time) AS ended_at, COUNT(*) AS events
              FROM numbered GROUP BY person_key, visit
            )
            SELECT {_week("started_at")} AS week, COUNT(*), SUM(events), SUM(EPOCH_US(ended_at) - EPOCH_US(started_at))
            FROM visits GROUP BY week
            """
        ).fetchall()
        return {(int(week),): tuple(map(int, figures)) for week, *figures in rows}

    def paths(self) -> Answer:
        """Steps of each session without repeats; lists in the place of the windows take longer."""
        rows = self._duckdb.execute(
            f"""
            WITH moves AS (
              SELECT session_key, person_key, touchpoint_number, event_time, touchpoint,
                LAG(touchpoint) OVER (PARTITION BY session_key ORDER BY touchpoint_number) AS previous
              FROM {self._rows}
            ),
            steps AS (
              SELECT person_key, touchpoint, event_time, ROW_NUMBER() OVER visit AS step,
                LEAD(touchpoint) OVER visit AS following, LEAD(event_time) OVER visit AS following_time
              FROM moves WHERE previous IS DISTINCT FROM touchpoint
              WINDOW visit AS (PARTITION BY session_key ORDER BY touchpoint_number)
            )
            SELECT step, touchpoint, following, COUNT(*), COUNT(DISTINCT person_key),
              MEDIAN(EPOCH_US(following_time) - EPOCH_US(event_time))
            FROM steps WHERE step < {_PATH_STEPS} GROUP BY ALL
            """
        ).fetchall()
        return {
            (step, one, other or LEFT): (count, people, None if gap is None else round(gap / 1e6, 6))
            for step, one, other, count, people, gap in rows
        }

    def _retained(self, sql: str) -> Answer:
        rows = self._duckdb.execute(sql).fetchall()
        return {(int(cohort), int(later)): (count,) for cohort, later, count in rows if count}

    def _later(self, sql: str) -> Answer:
        return {(cohort, later): (count,) for cohort, later, count in self._clickhouse(sql)}

    def _clickhouse_week(self) -> str:
        begin = int(_FIRST_WEEK.timestamp()) * 1_000_000
        return f"intDiv(toUnixTimestamp64Micro(event_time) - {begin}, {_WEEK_MICROSECONDS})"

    def _clickhouse(self, sql: str) -> Sequence[tuple[int, ...]]:
        # Parquet's columns may be null, these never are; functions of nullable columns are slower.
        settings = f"SETTINGS max_threads = {_THREADS}, schema_inference_make_columns_nullable = 0"
        text = str(self._chdb.query(f"{sql} {settings}", "CSV"))
        return [tuple(map(int, line.split(","))) for line in text.splitlines()]
