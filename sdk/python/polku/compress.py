"""How bodies are compressed: gzip from the standard library, zstd where this Python or a package has it."""

import zlib
from collections.abc import Callable
from typing import Any


def compressor(name: str | None, level: int) -> Callable[[bytes], bytes]:
    """A function that compresses one body. Raises ImportError for an encoding that is not to be had here."""
    if name is None:
        return lambda body: body
    if name == "gzip":
        return lambda body: zlib.compress(body, level, wbits=31)
    compress: Callable[[bytes, int], bytes] = _zstd()
    return lambda body: compress(body, level)


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
    except ImportError:
        import zstandard

        return lambda body, level: zstandard.ZstdCompressor(level=level).compress(body)
    return zstd.compress
