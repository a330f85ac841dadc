"""A mirror that is killed at a step of its own: before or after the n-th file or commit it makes."""

import os
import signal
from pathlib import Path
from typing import Any

from pyiceberg.io.pyarrow import PyArrowFileIO

from .world import SmallLake


def catch_up_and_die(root: Path, calls: int) -> None:
    """Mirror the lake at `root`; SIGKILL comes at the `calls`-th write, either side of it counted."""
    lake = SmallLake(root)
    mirror = lake.mirror()
    catalog = mirror._catalog()
    left = [calls]

    def tick() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            tick()
            result = function(*arguments, **options)
            tick()
            return result

        return counted

    PyArrowFileIO.new_output = around(PyArrowFileIO.new_output)  # type: ignore[method-assign]
    catalog.commit_table = around(catalog.commit_table)  # type: ignore[method-assign]
    catalog.create_table_transaction = around(catalog.create_table_transaction)  # type: ignore[method-assign]
    mirror.catch_up()
