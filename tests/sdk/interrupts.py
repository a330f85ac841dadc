"""Code that runs in the middle of other code on the same thread, as signal handlers and finalisers do."""

from collections.abc import Callable
from types import FrameType
from typing import Any


def at_line(number: int, files: str, then: Callable[[], None]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that calls `then` before the `number`-th line run in the file, once."""
    left = [number]

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        if not frame.f_code.co_filename.endswith(files):
            return None
        if kind == "line":
            left[0] -= 1
            if left[0] == 0:
                then()
        return trace

    return trace
