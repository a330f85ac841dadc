"""Files that one node uploads and another commits: the note between them, and both sides of it.

A node that hands over does all of a flush but the commit; then it stores a note of the files, and of where they stand
in its streams. Whoever takes over commits the notes of many nodes at once, in the order of their streams, and removes
them. A note is committed only where every one of its streams stands where the note begins: so nothing is committed
twice, however often a node dies, and with whatever files it comes back. Journals are trimmed behind the table's
watermark only: what a note speaks of is in the journal until it is in the table.

A note that cannot be read, or says what no node says, is passed over and reported, and never deleted: its own node
waits, the others do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from ..batch import REPLAY_STREAM
from ..errors import CommitUncertain, FileUnreadable, TableMismatch
from .columns import Written
from .commit import commit
from .fenced import STALE_SECONDS
from .loop import Check, Committer
from .parquet import DataFile
from .store import Store
from .table import NewFile, Table

log = structlog.get_logger("polku.lake")

FOLDER = "_handover"
_FORMAT = 1

# Notes in one commit; what is left is taken at once after it.
MOST_NOTES = 200
# The files of a note this old are looked for before they are committed: a vacuum may have taken them for left-overs.
SUSPECT_AFTER_SECONDS = STALE_SECONDS
# How often a node looks whether a note that is not committed yet is still there.
LOOK_EVERY_SECONDS = 60.0
_UNSURE_SECONDS = 1.0
_PAUSE_SECONDS = 0.2


class HandedFile(Struct, frozen=True):
    """A data file that stands in its table's folder already."""

    key: str
    partition: str
    size_bytes: int
    rows: int
    statistics: str
    places: tuple[str, ...] | None = None
    """Where it holds values (`types.places`); None in notes of older nodes: the file's footer tells."""


class Note(Struct, frozen=True):
    """The blocks of some streams of one node, as files: for each stream those beyond `before` up to `after`."""

    format: int
    table_id: str
    before: dict[str, int]
    after: dict[str, int]
    written_at: float
    events: list[HandedFile]
    quarantine: list[HandedFile]


_decode = msgspec.json.Decoder(Note).decode


class Notes(Struct, frozen=True):
    """What stands where notes are stored."""

    good: dict[str, Note]
    bad: dict[str, str]
    """By key, why it cannot be taken for a note."""


def note_key(before: Mapping[str, int]) -> str:
    """Where a note is stored, create-only: there is one at a time for what follows a position of a stream."""
    stream = min(before)
    return f"{FOLDER}/{stream}/{before[stream]:020d}.json"


def flaw(key: str, note: Note) -> str | None:
    """What about a note is not as a node writes it; None if nothing. Pure."""
    if note.format != _FORMAT:
        return f"its format is {note.format}, this version knows {_FORMAT}"
    if not note.before or key != note_key(note.before):
        return "it is not of the stream or the position of its name"
    if note.before.keys() != note.after.keys() or any(note.after[name] < at for name, at in note.before.items()):
        return "its streams do not go on from where they begin"
    for file in (*note.events, *note.quarantine):
        if not file.key or file.key.startswith("/") or ".." in file.key.split("/"):
            return f"{file.key!r} is no file of a table"
        if not _is_object(file.statistics):
            return f"the statistics of {file.key} are cut"
    return None


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


class Choice(Struct, frozen=True):
    """Which notes are committed next, in order, and which never will be."""

    taken: list[str]
    stale: list[str]


def choose(notes: Mapping[str, Note], watermarks: Mapping[str, int], most: int = MOST_NOTES) -> Choice:
    """Notes that follow each other from where their streams stand. Pure.

    Stale are those that begin before their streams stand: what they speak of was committed otherwise.
    """
    stale = [key for key, note in notes.items() if any(watermarks[name] > at for name, at in note.before.items())]
    position = dict(watermarks)
    left = {key: note for key, note in sorted(notes.items()) if key not in stale}
    taken: list[str] = []
    progress = True
    while progress:
        progress = False
        for key, note in list(left.items()):
            if len(taken) < most and all(position[name] == at for name, at in note.before.items()):
                position |= note.after
                taken.append(key)
                del left[key]
                progress = True
    return Choice(taken, stale)


class HandingCommitter(Committer):
    """Does what a Committer does, and leaves a note where that one commits."""

    def __init__(self, handed_over: Callable[[int], None] = lambda events: None, **parts: Any) -> None:
        """`parts`: those of a Committer. `handed_over` is told how many events are handed over and not committed."""
        super().__init__(**parts)
        self._tell = handed_over
        self._handed: dict[str, int] = {}
        self._open_notes: dict[str, Note] = {}
        # The notes of an earlier life, or one whose storing is in doubt: which ids they have is known when they are in
        # the table. Until then nothing is flushed.
        self._unsure = True
        self._bad: set[str] = set()
        self._looked_at = float("-inf")
        self._since_reopened = 0

    def flush(self) -> int:
        """One flush; returns the journal bytes it took. 0 also while notes of an earlier life are not committed.

        A note of an earlier life that cannot be read is waited for too: somebody has to remove it.
        """
        self._events.refresh()
        self._look()
        if self._unsure and (self._open_notes or self._bad):
            time.sleep(_PAUSE_SECONDS)
            return 0
        self._unsure = False
        size = super().flush()
        self._tell(sum(max(0, last - self._events.watermark(stream)) for stream, last in self._handed.items()))
        return size

    def _position(self, stream: str) -> int:
        """Behind what is committed, and behind what is handed over too."""
        return max(self._events.watermark(stream), self._handed.get(stream, 0))

    def _settle(
        self,
        written: Written,
        before: dict[str, int],
        after: dict[str, int],
        replayed: int,
        *,
        half_done: bool,
        check: Check,
    ) -> int | None:
        note = Note(
            format=_FORMAT,
            table_id=self._events.id,
            before={stream: before[stream] for stream in after},
            after=after,
            written_at=time.time(),
            events=[_handed(file) for file in written.events],
            # Of a half-done flush of this node, before it began to hand over, these are in the table.
            quarantine=[] if half_done else [_handed(file) for file in written.quarantine],
        )
        key = note_key(note.before)
        if not self._store.create(key, msgspec.json.encode(note)):
            self._unsure, self._looked_at = True, float("-inf")
            raise CommitUncertain(f"{key} is there already: waiting until it is committed")
        self._handed |= after
        self._open_notes[key] = note
        self._since_reopened += 1
        if self._since_reopened >= self._checkpoints.every_commits:
            self._since_reopened = 0
            self._reopen()
        return 1

    def _look(self) -> None:
        """Forget notes that are committed, find those of an earlier life, and notice one that is lost."""
        self._open_notes = {key: note for key, note in self._open_notes.items() if not self._is_committed(note)}
        now, every = time.monotonic(), _UNSURE_SECONDS if self._unsure else LOOK_EVERY_SECONDS
        if now - self._looked_at < every or not (self._unsure or self._open_notes):
            return
        self._looked_at = now
        there = read_notes(self._store, self._streams())
        self._events.refresh()  # after the notes: one that is gone because it was committed is seen as committed
        own = {key: note for key, note in there.good.items() if note.table_id == self._events.id}
        # One behind which its stream stands by now keeps nobody.
        bad = {key for key in there.bad if _position_of(key) >= self._events.watermark(key.split("/")[1])}
        if bad - self._bad:
            log.error("a note of this node cannot be read: it waits until that is removed", notes=sorted(bad))
        self._bad = bad
        lost = [
            key
            for key, note in self._open_notes.items()
            if key not in own and key not in there.bad and not self._is_committed(note)
        ]
        if self._unsure:
            # Those that can be committed. One that begins where no stream stands was overtaken: it will be stale.
            streams = {stream for note in own.values() for stream in note.before}
            chosen = choose(own, {stream: self._events.watermark(stream) for stream in streams}, len(own))
            self._open_notes = {key: own[key] for key in chosen.taken}
        if lost:
            log.error("notes are gone that were not committed: handing over anew", notes=lost)
            self._handed, self._open_notes, self._unsure = {}, {}, True
            self._looked_at = float("-inf")

    def _is_committed(self, note: Note) -> bool:
        return all(self._events.watermark(stream) >= last for stream, last in note.after.items())


class Taker:
    """Commits what others handed over. Two at once do no harm. Not thread-safe."""

    def __init__(
        self,
        store: Store,
        events: Table,
        quarantine: Table,
        checkpoint_commits: int,
        passed_over: Callable[[int], None] = lambda notes: None,
    ) -> None:
        """`passed_over` is told at each look how many notes cannot be committed, whatever is tried."""
        self._store, self._events, self._quarantine = store, events, quarantine
        self._checkpoint_commits, self._commits = checkpoint_commits, 0
        self._tell, self._bad = passed_over, dict[str, str]()

    def take(self) -> list[Note]:
        """Commit the notes that are there, in one commit a table; returns those that were."""
        found = read_notes(self._store)
        self._events.refresh()
        self._quarantine.refresh()
        notes = self._sound(found)
        streams = {stream for note in notes.values() for stream in note.before}
        watermarks = {stream: self._events.watermark(stream) for stream in streams}
        chosen = choose(notes, watermarks)
        taken: list[Note] = []
        for key in chosen.taken:
            if not self._has_files(key, notes[key]):
                break  # what follows in its streams waits for the node to hand it over anew
            taken.append(notes[key])
        if taken:
            self._commit(taken, watermarks)
        self._store.remove([*chosen.stale, *(note_key(note.before) for note in taken)])
        if taken:
            log.info("taken over", notes=len(taken), streams=len(streams), rows=sum(_rows(note) for note in taken))
        return taken

    def _sound(self, found: Notes) -> dict[str, Note]:
        """The notes that can be committed; the others are left alone, and reported once each."""
        bad = passed_over(found, self._events, self._quarantine)
        for key in bad.keys() - self._bad.keys():
            log.error("a note is passed over, its node has to wait", note=key, reason=bad[key])
        self._bad = bad
        self._tell(len(bad))
        return {key: note for key, note in found.good.items() if key not in bad}

    def _commit(self, notes: list[Note], watermarks: dict[str, int]) -> None:
        """`quarantine` first, as a Committer does: so the watermark of `events` tells what is in both."""
        refused = [note for note in notes if note.quarantine and not self._is_in_quarantine(note)]
        if refused:
            after = _after(refused)
            before = {stream: self._quarantine.watermark(stream) for stream in after}
            commit(self._quarantine, _adds(self._quarantine, [f for n in refused for f in n.quarantine]), before, after)
            self._quarantine.settle()
        after = _after(notes)
        before = {stream: watermarks[stream] for stream in after}
        fence = {REPLAY_STREAM: self._events.watermark(REPLAY_STREAM)}
        adds = _adds(self._events, [file for note in notes for file in note.events])
        commit(self._events, adds, before | fence, after | fence)
        self._events.settle()
        self._commits += 1
        if self._commits % self._checkpoint_commits == 0:
            for table in (self._events, self._quarantine):
                try:
                    table.checkpoint()
                except Exception as error:
                    log.warning("no checkpoint this time", table=table.name, reason=str(error))

    def _is_in_quarantine(self, note: Note) -> bool:
        """After a crash between the two commits."""
        return all(self._quarantine.watermark(stream) >= last for stream, last in note.after.items())

    def _has_files(self, key: str, note: Note) -> bool:
        if time.time() - note.written_at < SUSPECT_AFTER_SECONDS:
            return True
        named = [(self._events, file) for file in note.events] + [(self._quarantine, file) for file in note.quarantine]
        missing = [file.key for table, file in named if not self._store.exists(f"{table.name}/{file.key}")]
        if missing:
            log.error("files of an old note are gone, its node has to hand over anew", note=key, files=missing)
            self._store.remove([key])
        return not missing


def passed_over(found: Notes, events: Table, quarantine: Table) -> dict[str, str]:
    """The notes that cannot be committed, whatever is tried, each with the reason."""
    bad = dict(found.bad)
    for key, note in found.good.items():
        if note.table_id != events.id:
            bad[key] = "it is of another table"
        elif (why := _misfit(note, events, quarantine)) is not None:
            bad[key] = why
    return bad


def _misfit(note: Note, events: Table, quarantine: Table) -> str | None:
    """Why the tables would refuse a note's files, and all that is committed with them."""
    for table, files in ((events, note.events), (quarantine, note.quarantine)):
        try:
            table.check_places({file.key: _places(table, file) for file in files})
        except TableMismatch as error:
            return str(error)
    return None


def read_notes(store: Store, streams: Iterable[str] | None = None) -> Notes:
    """What stands where notes are stored, of some streams or of all. One that is bad keeps nobody from others."""
    wanted = None if streams is None else set(streams)
    found = Notes({}, {})
    for key in store.names(FOLDER):
        if key.endswith("/") or (wanted is not None and key.split("/")[1] not in wanted):
            continue
        try:
            data = store.read(key)
            if data is None:  # removed meanwhile
                continue
            note = _decode(data)
        except (FileUnreadable, ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, no note
            found.bad[key] = str(error) or type(error).__name__
            continue
        if (why := flaw(key, note)) is None:
            found.good[key] = note
        else:
            found.bad[key] = why
    return found


def _position_of(key: str) -> int:
    """Where a note begins, by its name."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return int(name) if name.isdecimal() else 0


def _handed(file: DataFile) -> HandedFile:
    return HandedFile(file.key, file.partition, file.size_bytes, file.rows, file.statistics, file.places)


def _after(notes: list[Note]) -> dict[str, int]:
    """Where the streams of notes, in order, stand at their end."""
    after: dict[str, int] = {}
    for note in notes:
        after |= note.after
    return after


def _rows(note: Note) -> int:
    return sum(file.rows for file in (*note.events, *note.quarantine))


def _adds(table: Table, files: list[HandedFile]) -> list[NewFile]:
    now = int(time.time() * 1000)
    return [
        NewFile(
            file.key,
            file.size_bytes,
            {table.partition_by: file.partition},
            now,
            True,
            file.statistics,
            places=_places(table, file),
        )
        for file in files
    ]


def _places(table: Table, file: HandedFile) -> Sequence[str]:
    return table.places_in(file.key, file.size_bytes) if file.places is None else file.places
