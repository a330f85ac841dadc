"""How far each file was acknowledged, kept in a small JSON file that is replaced as a whole."""

import os
from pathlib import Path

import msgspec

from polku.errors import PolkuError
from polku.send.files import Position


class StateUnusable(PolkuError):
    """A state file is not one, or belongs to another import."""

    exit_code = 2


class _Document(msgspec.Struct):
    endpoint: str
    files: dict[str, Position] = {}


class State:
    """Remembers positions; with a file, over the end of the process."""

    def __init__(self, file: Path | None, endpoint: str) -> None:
        self._file = file
        self._document = _Document(endpoint)
        self.resumed = False
        """Whether there was one already."""
        if file is None or not file.exists():
            return
        try:
            self._document = msgspec.json.decode(file.read_bytes(), type=_Document)
        except msgspec.MsgspecError as error:
            raise StateUnusable(f"{file} is no state of `polku send`: {error}") from error
        if endpoint and self._document.endpoint != endpoint:
            raise StateUnusable(f"{file} is of an import to {self._document.endpoint}; use another --state")
        self.resumed = True

    def position(self, key: str) -> Position:
        """How far a file is done."""
        return self._document.files.get(key, Position())

    def advance(self, key: str, position: Position) -> None:
        """Note it, durably: what is acknowledged is not sent again after a kill."""
        self._document.files[key] = position
        if self._file is None:
            return
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(self._document))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
