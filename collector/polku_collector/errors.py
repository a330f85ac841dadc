"""What can go wrong in the collector, as one tree.

    CollectorError
    ├── SettingsError          a setting cannot be used; all findings at once
    ├── JournalError           the journal on local disk
    │   ├── JournalFull        its bound, or the disk's, is reached; the client is asked to wait
    │   └── JournalBroken      a block could not be written or made durable
    └── LakeError              the tables
        ├── StoreUntrusted     the store does not honour `If-None-Match`: two writers would overwrite each other
        ├── StoreUnreachable   the store does not answer; tried again
        │   └── FileUnreadable it answers, and does not give one file that is there
        ├── TableMismatch      the table's columns and the plan's, or a file's, disagree; needs a person
        └── CommitUncertain    a commit failed and its outcome is not yet known; tried again with the same files

Bad *events* are never exceptions: they are lines of `quarantine` with a reason (`polku_schemas.ProblemCode`).
"""

from __future__ import annotations


class CollectorError(Exception):
    """Base of all. `transient`: trying again can help. `exit_code`: what a command ends with."""

    transient = False
    exit_code = 2


class SettingsError(CollectorError):
    """A setting cannot be used. The text lists every finding with its place."""


class JournalError(CollectorError):
    """The journal on local disk cannot do what was asked."""


class JournalFull(JournalError):
    """The journal's bound is reached: nothing was stored, the client should wait and send again."""

    transient = True


class JournalBroken(JournalError):
    """A block could not be written or made durable: nothing of it was acknowledged."""

    transient = True


class LakeError(CollectorError):
    """The tables cannot do what was asked."""


class StoreUntrusted(LakeError):
    """The object store does not enforce `If-None-Match`; writing to it could lose commits silently."""


class StoreUnreachable(LakeError):
    """The object store did not answer; the journal keeps everything meanwhile."""

    transient = True


class FileUnreadable(StoreUnreachable):
    """The store answered, and did not give this one file: forbidden, or damaged. Others may well be read."""


class TableMismatch(LakeError):
    """A table and the plan disagree on a column's type, a file has columns that the table lacks, or the journal belongs
    to another table."""


class CommitUncertain(LakeError):
    """A commit failed and the table does not (yet) show it; the same files are committed again."""

    transient = True
