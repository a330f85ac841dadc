"""The store of a lake's address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from polku_collector.errors import LakeError
from polku_collector.files import DISK, Files
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.s3_store import PLAIN, S3Store
from polku_collector.lake.store import Store
from polku_collector.settings import S3


def open_store(uri: str, environ: Mapping[str, str] = os.environ, files: Files = DISK, s3: S3 = PLAIN) -> Store:
    """The store of a lake address: a path, `file://…` or `s3://bucket/prefix`. Raises LakeError for others."""
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return LocalStore(Path(uri), files)
    parts = urlsplit(uri)
    if scheme == "file":
        return LocalStore(Path(unquote(parts.path)), files)
    if scheme in ("s3", "s3a"):
        if not parts.netloc:
            raise LakeError(f"The lake address {uri!r} names no bucket: write s3://BUCKET/PREFIX.")
        return S3Store(parts.netloc, parts.path.strip("/"), environ, s3)
    raise LakeError(f"The lake address {uri!r} cannot be used: give a directory, or s3://BUCKET/PREFIX.")
