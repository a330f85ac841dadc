"""The named points of the protocol at which a process is killed: operations on its disk, and requests to the store.

A point on disk is armed by a file in a folder that the collector's processes look into (`injected/sitecustomize.py`); a
point in the store by the proxy, which sees each request before and after its effect. A point fires once.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from .proxy import Moment, Request

DiskMoment = Literal["before", "middle", "after"]


class DiskPoint(Struct, frozen=True):
    """A process of a role, before, in the middle of or after an operation on a path that the pattern finds."""

    role: str
    operation: str
    pattern: str
    moment: DiskMoment
    skip: int = 0
    error: str = ""
    """the name of an errno that the operation raises, each time; empty: SIGKILL, once"""
    provoked_by: str = ""
    """the role whose death brings somebody to this point"""


class StorePoint(Struct, frozen=True):
    """Whoever asks for this, before or after the store has done it."""

    method: str
    pattern: str
    moment: Moment
    provoked_by: str = ""


_SEGMENT = r"/streams/\w+/\d+\.journal$"
_LOG = r"/_delta_log/\d+\.json$"
_DATA = r"date=[\d-]+/[^/]+\.parquet$"

# Intake: protocol.md, 2. Each is a place where an answer is, or is not yet, allowed.
INTAKE_POINTS = {
    "stream made, not named": DiskPoint("intake", "rename", r"/streams/\w+$", "before", provoked_by="intake"),
    "stream named, not durable": DiskPoint("intake", "rename", r"/streams/\w+$", "after", provoked_by="intake"),
    "segment made, without a header": DiskPoint("intake", "create", _SEGMENT, "after", provoked_by="intake"),
    "header or block half written": DiskPoint("intake", "write", _SEGMENT, "middle"),
    "block half written": DiskPoint("intake", "write", _SEGMENT, "middle", skip=3),
    "block written, not fsynced": DiskPoint("intake", "sync", _SEGMENT, "before", skip=2),
    "block fsynced, not answered": DiskPoint("intake", "sync", _SEGMENT, "after", skip=2),
    "first block of a segment, directory not fsynced": DiskPoint(
        "intake", "sync_directory", r"/streams/\w+$", "before"
    ),
    "first block of a segment, directory fsynced": DiskPoint("intake", "sync_directory", r"/streams/\w+$", "after"),
}

# The committer, whatever the lake is: streams taken over and trimmed, the index of ids.
COMMITTER_POINTS = {
    "dead stream taken over, not fsynced": DiskPoint(
        "committer", "sync_file", _SEGMENT, "before", provoked_by="intake"
    ),
    "dead stream fsynced, not published": DiskPoint(
        "committer", "sync_directory", r"/streams/\w+$", "after", provoked_by="intake"
    ),
    "stream not bound to its table yet": DiskPoint(
        "committer", "rename", r"/streams/\w+/table$", "before", provoked_by="intake"
    ),
    "stream bound to its table": DiskPoint(
        "committer", "rename", r"/streams/\w+/table$", "after", provoked_by="intake"
    ),
    "committed, ids not remembered": DiskPoint("committer", "create", r"/ids/[^/]+$", "before"),
    "run of ids half written": DiskPoint("committer", "write", r"/ids/[^/]+$", "middle"),
    "run of ids written, manifest old": DiskPoint("committer", "rename", r"/ids/manifest", "before"),
    "ids remembered, journal not trimmed": DiskPoint("committer", "rename", r"/ids/manifest", "after"),
    "before a segment is trimmed": DiskPoint("committer", "remove", _SEGMENT, "before"),
    "after a segment is trimmed": DiskPoint("committer", "remove", _SEGMENT, "after"),
    "drained stream removed": DiskPoint("committer", "sync_directory", r"/streams$", "before", provoked_by="intake"),
}

# The committer on a local lake: protocol.md, 3.4. What comes before the fsync of a commit comes after the commit.
LOCAL_POINTS = {
    "data file of events not moved": DiskPoint("committer", "rename", rf"/events/event_{_DATA}", "before"),
    "data file of events moved, not durable": DiskPoint("committer", "rename", rf"/events/event_{_DATA}", "after"),
    "data file of events durable, not committed": DiskPoint(
        "committer", "sync_directory", r"/events/event_date=[\d-]+$", "after"
    ),
    "data file of quarantine durable, not committed": DiskPoint(
        "committer", "sync_directory", r"/quarantine/received_date=[\d-]+$", "after"
    ),
    "quarantine committed, not fsynced": DiskPoint("committer", "sync_file", rf"/quarantine{_LOG}", "before"),
    "quarantine committed and fsynced": DiskPoint("committer", "sync_file", rf"/quarantine{_LOG}", "after"),
    "events committed, not fsynced": DiskPoint("committer", "sync_file", rf"/events{_LOG}", "before"),
    "events committed and fsynced": DiskPoint("committer", "sync_directory", r"/events$", "after"),
    "checkpoint of events not fsynced": DiskPoint("committer", "sync_file", r"/events/.*_last_checkpoint$", "before"),
    "checkpoint of events fsynced": DiskPoint("committer", "sync_file", r"/events/.*\.checkpoint.*$", "after"),
}

# Whoever merges files, which takes the same steps as a commit.
MAINTENANCE_POINTS = {
    "merged file there, not committed": DiskPoint(
        "maintenance", "sync_directory", r"/events/event_date=[\d-]+$", "after"
    ),
    "merge committed, not fsynced": DiskPoint("maintenance", "sync_file", rf"/events{_LOG}", "before"),
    "merge committed and fsynced": DiskPoint("maintenance", "sync_file", rf"/events{_LOG}", "after"),
}

# The staging folder on another disk than the lake: files are copied, not moved.
COPY_POINTS = {
    "copy half written": DiskPoint("committer", "write", r"\.partial$", "middle"),
    "copy written, not moved": DiskPoint("committer", "rename", rf"/events/event_{_DATA}", "before"),
}

# Whoever speaks with an object store: protocol.md, 3.1 and 3.2.
STORE_POINTS = {
    "before a data file of events is there": StorePoint("PUT", r"/events/event_date=", "before"),
    "data file of events there, not committed": StorePoint("PUT", r"/events/event_date=", "after"),
    "before a data file of quarantine is there": StorePoint("PUT", r"/quarantine/received_date=", "before"),
    "data file of quarantine there, not committed": StorePoint("PUT", r"/quarantine/received_date=", "after"),
    "before the commit to quarantine": StorePoint("PUT", rf"/quarantine{_LOG}", "before"),
    "committed to quarantine, not known": StorePoint("PUT", rf"/quarantine{_LOG}", "after"),
    "before the commit to events": StorePoint("PUT", rf"/events{_LOG}", "before"),
    "committed to events, not known": StorePoint("PUT", rf"/events{_LOG}", "after"),
    "looking at what was committed": StorePoint("GET", rf"/events{_LOG}", "after"),
    "before a checkpoint": StorePoint("PUT", r"/events/_delta_log/.*checkpoint.*parquet", "before"),
    "checkpoint there, not pointed to": StorePoint("PUT", r"/events/_delta_log/.*checkpoint.*parquet", "after"),
    "checkpoint pointed to": StorePoint("PUT", r"/events/_delta_log/_last_checkpoint", "after"),
    "in the probe of the store": StorePoint("PUT", r"_polku_probe", "after", provoked_by="committer"),
}

# A node that hands over, at what it leaves for whoever commits.
HAND_OVER_POINTS = {
    "data file there, no note of it": StorePoint("PUT", r"/events/event_date=", "after"),
    "before a note is there": StorePoint("PUT", r"/_handover/", "before"),
    "note there, not known": StorePoint("PUT", r"/_handover/", "after"),
    "looking for notes of an earlier life": StorePoint("GET", r"prefix=.*_handover", "after", provoked_by="committer"),
}

# Whoever commits what is handed over.
TAKE_OVER_POINTS = {
    "notes listed": StorePoint("GET", r"prefix=.*_handover", "after", provoked_by="handover"),
    "note read": StorePoint("GET", r"/_handover/.*\.json", "after"),
    "notes committed to quarantine, not known": StorePoint("PUT", rf"/quarantine{_LOG}", "after"),
    "notes committed, not removed": StorePoint("POST", r"\?delete", "before"),
    "notes removed, not known": StorePoint("POST", r"\?delete", "after"),
}


class DiskPoints:
    """The points on disk of one node: arms one at a time, and sees which have fired."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._number = 0

    def arm(self, point: DiskPoint) -> Path:
        self._number += 1
        armed = self.folder / f"arm-{self._number}"
        unready = self.folder / f"new-{self._number}"
        unready.write_bytes(msgspec.json.encode(point))
        unready.rename(armed)
        return armed

    def has_fired(self, armed: Path) -> bool:
        """Whether it has killed; of one that gives errors, whether it has given one."""
        return any((self.folder / armed.name.replace("arm-", kind)).exists() for kind in ("fired-", "hit-"))

    def disarm(self, armed: Path) -> bool:
        """Whether it had fired."""
        armed.unlink(missing_ok=True)
        return self.has_fired(armed)


class StorePoints:
    """The point in the store that one node is to be killed at next; asked by its proxy's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: StorePoint | None = None

    def arm(self, point: StorePoint) -> None:
        with self._lock:
            self._armed = point

    def disarm(self) -> bool:
        """Whether it had fired."""
        with self._lock:
            fired, self._armed = self._armed is None, None
            return fired

    def has_fired(self) -> bool:
        return self._armed is None

    def take(self, moment: Moment, request: Request) -> bool:
        """Whether the armed point is here; it is disarmed then."""
        with self._lock:
            point = self._armed
            if point is None or (point.method, point.moment) != (request.method, moment):
                return False
            if re.search(point.pattern, "/" + request.key) is None:
                return False
            self._armed = None
            return True
