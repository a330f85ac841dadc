"""How bodies are compressed: gzip by the standard library, zstd by that of Python 3.14 or by `polku[zstd]`."""

import sys
import zlib
from collections.abc import Callable
from typing import Any


def compressor(name: str | None, level: int) -> Callable[[bytes], bytes]:
    """A function that compresses one body."""
    if name is None:
        return lambda body: body
    if name == "gzip":
        return lambda body: zlib.compress(body, level, wbits=31)
    zstd: Any = _zstd()
    return lambda body: bytes(zstd.compress(body, level))


def has_zstd() -> bool:
    """Whether this Python can compress with zstd."""
    from importlib.util import find_spec

    return sys.version_info >= (3, 14) or (
        find_spec("backports") is not None and find_spec("backports.zstd") is not None
    )


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
