"""What is wrong with one line of a file, as a value that travels on."""

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """Codes are those of verdicts (docs/wire-format.md), and `invalid_csv`."""

    code: str
    path: str
    message: str

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path != "$" else ""
        return f"{self.code}{where}: {self.message}"
