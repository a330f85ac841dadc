"""The committer's streams: each is bound to the table it goes to before a line of it is read."""

from pathlib import Path
from typing import Any

import pytest

from polku_collector.compose_committer import _Streams
from polku_collector.errors import TableMismatch
from polku_collector.files import DISK
from polku_collector.journal.stream import streams_directory

from .journal.world import append, writer


def test_a_stream_that_the_disk_did_not_let_us_bind_is_bound_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = writer(tmp_path)
    append(journal, "1")
    nothing: Any = None  # nothing is counted here
    streams = _Streams(tmp_path, "table 1", nothing)
    with monkeypatch.context() as full:
        full.setattr(DISK, "rename", _no_space)
        with pytest.raises(OSError, match="no space"):
            streams()
    assert [*streams()] == [journal.stream_id]
    assert (streams_directory(tmp_path) / journal.stream_id / "table").read_text() == "table 1"
    with pytest.raises(TableMismatch):
        _Streams(tmp_path, "table 2", nothing)()
    journal.close()


def test_a_start_with_the_wrong_lake_binds_nothing_to_it(tmp_path: Path) -> None:
    """Its own intake begins streams too. Were one bound, neither lake would be the right one any more."""
    old = writer(tmp_path)
    append(old, "1")
    nothing: Any = None
    assert [*_Streams(tmp_path, "table 1", nothing)()] == [old.stream_id]
    new = [writer(tmp_path) for _ in range(8)]
    with pytest.raises(TableMismatch, match="table 1"):
        _Streams(tmp_path, "table 2", nothing)()
    assert {*_Streams(tmp_path, "table 1", nothing)()} == {journal.stream_id for journal in (old, *new)}
    for journal in (old, *new):
        journal.close()


def _no_space(old: Path, new: Path) -> None:
    raise OSError(28, "no space left")
