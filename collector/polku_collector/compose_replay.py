"""A replay put together: intake's judgement, the mapping and the lake's steps, over one lake.

With the other `compose_*` modules the only place where the stages meet.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from deltalake.exceptions import DeltaError, TableNotFoundError

from polku_schemas import Plan, ProblemCode, compile_plan
from polku_schemas.privacy import as_stored

from .batch import REPLAY_STREAM, Block, Context, Line, QuarantineLine, Run
from .errors import LakeError, StoreUnreachable
from .intake.judged import Arrival
from .intake.protect import protected_item
from .intake.validate import Validator
from .intake.wire import Body, Unreadable, context_of, parse_single
from .journal.writer import encoded_runs
from .lake.columns import ColumnsStep
from .lake.enrich import UserAgents
from .lake.open_store import open_store
from .lake.store import Store
from .lake.table import QUARANTINE_COLUMNS, Table
from .logs import plain
from .planned import events_table_columns, plan_of, protection_of, schemas_of
from .replay.lines import item_of, line_of
from .replay.mapping import Mapping, Unmendable, mend
from .replay.report import Report
from .replay.rows import Quarantined, Selection, Stays
from .replay.run import Replay
from .settings import Settings, Source

# For a source that the settings file does not name, or without a file. What was refused for not being in the plan came
# from a source that takes nothing else: it is not let in because nobody said so.
_DEFAULTS = Source(keys=[])
_STRICT = Source(keys=[], unplanned="quarantine")
_UNPLANNED = (ProblemCode.UNKNOWN_EVENT, ProblemCode.UNKNOWN_PROPERTY)


def replay(
    settings: Settings,
    selection: Selection,
    mapping: Mapping,
    *,
    dry_run: bool,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Replay the selected rows of a lake's `quarantine`. Raises CollectorError when it cannot work or go on."""
    uri = settings.lake.uri
    local = uri.removeprefix("file://")
    if "://" not in local and not Path(local).is_dir():
        raise LakeError(f"There is no lake at {uri}: give the --lake of a collector.")
    plan = plan_of(settings)
    if settings.lake.scratch:
        Path(settings.lake.scratch).mkdir(parents=True, exist_ok=True)
    with _reached(uri), tempfile.TemporaryDirectory(prefix="polku-replay-", dir=settings.lake.scratch) as scratch:
        store = open_store(uri, s3=settings.lake.s3)
        opened = _open(store, plan, is_named=settings.plan is not None, dry_run=dry_run)
        if opened is None:
            return Report(dry_run=dry_run)
        events, quarantine = opened
        spill = settings.lake.spill_max_bytes
        columns = ColumnsStep(Path(scratch) / "files", UserAgents().table, spill_max_bytes=spill)
        judge = Judge(plan, settings, mapping)
        try:
            report = Replay(
                store=store,
                events=events,
                quarantine=quarantine,
                columns=columns,
                judge=judge,
                make_block=block_maker(plan),
                selection=selection,
                dry_run=dry_run,
                scratch=Path(scratch),
                progress=progress,
            ).run()
        finally:
            columns.close()
        report.unused_entries = sorted(judge.unused)
        return report


class Judge:
    """Judges one row of `quarantine` again: as the event it was, mended, against the plan of today."""

    def __init__(self, plan: Plan, settings: Settings, mapping: Mapping) -> None:
        self._sources, self._mapping = settings.sources, mapping
        self._protection = protection_of(plan, settings)
        self._validator = Validator(
            compile_plan(as_stored(plan)), settings.limits, new_id=lambda: "", protection=self._protection
        )
        self.unused = set(mapping.events)
        """The entries of the mapping that no event had a use for yet."""

    def __call__(self, row: Quarantined) -> Line | Stays:
        """The line it is now, or why it is none. Never raises for anything a client can have sent."""
        if row.original is None:
            return Stays("unreadable", "not UTF-8, or not kept because of the plan's `privacy`")
        if row.code == "duplicate_id":
            return Stays("taken", "duplicate_id")
        if row.code == "lost_by_client":
            return Stays("unreadable", "an SDK tells that it lost events: there is none")
        decided: Line | None = None
        original = row.original.encode()
        if row.code == "unconvertible":
            try:
                decided = line_of(row.original)
            except msgspec.MsgspecError:
                return _CUT
            original = item_of(decided)
        if self._protection:
            # All of `quarantine` is, but for what came before the plan asked for it. Before a mapping renames anything:
            # only the names that were sent say what may not be stored.
            protected = protected_item(self._protection, original)
            if protected is None:
                return _CUT
            original = protected
        call = row.event_type
        if (entry := self._mapping.entry(call, row.event_name)) is not None:
            self.unused.discard(entry)
            try:
                original = mend(original, self._mapping.events[entry], call)
            except Unmendable as error:
                return Stays("broken", f"mapping at {error.path}: {error}")
            except ValueError:
                return _CUT
        return self._judged(row, original, decided)

    def _judged(self, row: Quarantined, original: bytes, decided: Line | None) -> Line | Stays:
        try:
            context = context_of(row.context) if row.context is not None else None
            body = _body(original, row.event_type, context)
        except msgspec.MsgspecError:
            return Stays("unreadable", "the context of its batch was cut")
        except Unreadable:
            return _CUT
        for event in body.events if body.events is not None else [item.event for item in body.items or ()]:
            if event is not None and not event.message_id:
                event.message_id = row.made_id
        source = self._sources.get(row.source) or (_STRICT if row.code in _UNPLANNED else _DEFAULTS)
        sent_at = None if decided is not None else row.sent_at
        judged = self._validator.judge(body, Arrival(row.received_at, sent_at, row.source, source, original))
        (line,) = judged.lines
        if isinstance(line, QuarantineLine):
            return Stays("broken", f"{line.code} at {line.path}")
        if decided is not None:  # when it was accepted
            line.sent_at, line.event_time, line.time_adjusted = (
                decided.sent_at,
                decided.event_time,
                decided.time_adjusted,
            )
        return line


_CUT = Stays("unreadable", "no JSON object, or cut at limits.max_quarantine_bytes")


def _body(original: bytes, call: str | None, context: Context | None) -> Body:
    """One event of a request as intake would have read it."""
    body = parse_single(original, call)
    return msgspec.structs.replace(body, context=context)


def block_maker(plan: Plan) -> Callable[[list[Line], int], Block]:
    """Makes blocks of lines as a journal would, for the stream of what is replayed."""
    schemas = schemas_of(plan)

    def make_block(lines: list[Line], first: int) -> Block:
        encoded = encoded_runs(lines, first)
        offsets = itertools.accumulate((len(run.data) for run in encoded), initial=0)
        runs = [
            Run(run.name, offset, len(run.data), run.lines, run.traits)
            for run, offset in zip(encoded, offsets, strict=False)
        ]
        text = memoryview(b"".join(run.data for run in encoded))
        return Block(REPLAY_STREAM, first, first + len(lines) - 1, runs, text, schemas)

    return make_block


def _open(store: Store, plan: Plan, *, is_named: bool, dry_run: bool) -> tuple[Table, Table] | None:
    """The two tables; None when nothing was ever refused. Raises LakeError when the plan is hardly the lake's own.

    `is_named`: the settings say which plan. If not, the built-in one must have made the table, or its columns would be
    added to it for good, and the events of another plan would pass as unplanned ones.
    """
    try:
        events, quarantine = (Table(store, name, day, None) for name, day in (_EVENTS, _QUARANTINE))
    except TableNotFoundError:
        raise LakeError(f"There is no lake at {store.uri('')}: give the --lake of a collector.") from None
    if not is_named and not events_table_columns(plan).keys() <= events.columns.keys():
        raise LakeError(
            f"The lake {store.uri('')} was not made with the built-in plan: give the plan of its collector, "
            "with --plan or --config. If it was, with an older version of Polku, start the collector first."
        )
    if not dry_run:
        store.probe()
        events = Table(store, *_EVENTS, events_table_columns(plan))
        quarantine = Table(store, *_QUARANTINE, QUARANTINE_COLUMNS)
    return events, quarantine


_EVENTS = ("events", "event_date")
_QUARANTINE = ("quarantine", "received_date")


@contextmanager
def _reached(uri: str) -> Iterator[None]:
    """What deltalake raises when the store is away, in a sentence."""
    try:
        yield
    except (DeltaError, OSError) as error:
        raise StoreUnreachable(f"The lake {uri} could not be read or written: {plain(str(error))}") from error
