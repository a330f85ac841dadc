"""The local copies of a remote lake's data files: immutable, downloaded once, bounded in bytes.

The files of a Delta table never change, so a copy is good for ever; the least recently used ones go when the bound
is reached. Settings: `POLKU_CACHE_DIR` and `POLKU_CACHE_BYTES`; the store itself is reached by the usual `AWS_…`
variables.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from polku_analytics.errors import LakeError

DEFAULT_CACHE_BYTES: Final = 20 * 1024**3

IN_USE_SECONDS: Final = 3600
"""A copy used within the last hour is not evicted: another process may be reading it."""

_DOWNLOADS_AT_ONCE: Final = 8


class FileCache:
    """Copies under `folder`, together at most `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.environ = environ

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FileCache:
        """The cache that the environment asks for."""
        home = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        folder = Path(environ.get("POLKU_CACHE_DIR") or Path(home) / "polku")
        text = environ.get("POLKU_CACHE_BYTES", str(DEFAULT_CACHE_BYTES))
        if not text.isdigit():
            raise LakeError(f"POLKU_CACHE_BYTES is {text!r}: give a whole number of bytes")
        return cls(folder, int(text), environ)

    def store(self, uri: str) -> ObjectStore:
        """The store behind a URI."""
        return ObjectStore(uri, self.environ)

    def fetch(self, files: Sequence[tuple[str, int]]) -> list[str]:
        """Local paths of `(uri, bytes)`, in order, downloading what is not there. LakeError if they do not fit."""
        needed = sum(size for _, size in files)
        if needed > self.max_bytes:
            raise LakeError(
                f"the files of this question are {needed:,} bytes and the cache may hold {self.max_bytes:,}: "
                "raise POLKU_CACHE_BYTES or ask about a shorter period"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = [self._path(uri) for uri, _ in files]
        missing = [(uri, path) for (uri, _), path in zip(files, paths, strict=True) if not path.exists()]
        if missing:
            self._evict(
                sum(size for (_, size), path in zip(files, paths, strict=True) if not path.exists()), set(paths)
            )
            store = self.store(missing[0][0])
            with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
                list(pool.map(lambda item: _download(store, *item), missing))
        now = time.time()
        for path in paths:
            os.utime(path, (now, now))
        return [str(path) for path in paths]

    def _path(self, uri: str) -> Path:
        return self.folder / (hashlib.sha256(uri.encode()).hexdigest()[:32] + ".parquet")

    def _evict(self, incoming: int, keep: set[Path]) -> None:
        copies = sorted(
            ((entry.stat().st_mtime, entry.stat().st_size, entry) for entry in self.folder.glob("*.parquet")),
            key=lambda copy: copy[0],
        )
        excess = sum(size for _, size, _ in copies) + incoming - self.max_bytes
        for used, size, path in copies:
            if excess <= 0:
                return
            if path not in keep and time.time() - used > IN_USE_SECONDS:
                path.unlink(missing_ok=True)
                excess -= size


class ObjectStore:
    """The few requests we make to an S3-compatible store ourselves."""

    def __init__(self, uri: str, environ: Mapping[str, str]) -> None:
        scheme = urlsplit(uri).scheme
        if scheme not in ("s3", "s3a"):
            raise LakeError(f"{uri}: only local folders and s3:// are read")
        self.bucket = urlsplit(uri).netloc
        self._client: Any = _client(environ)

    def folders(self, uri: str) -> list[str]:
        """The names of the folders directly under `uri`."""
        prefix = _key(uri) + "/" if _key(uri) else ""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            return [
                entry["Prefix"].removeprefix(prefix).rstrip("/")
                for page in pages
                for entry in page.get("CommonPrefixes", [])
            ]
        except Exception as error:
            raise LakeError(f"{uri} cannot be listed: {error}") from error

    def files(self, uri: str) -> list[tuple[str, int]]:
        """Every object below `uri`: its path from there and its bytes."""
        prefix = _key(uri) + "/"
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return [
                (entry["Key"].removeprefix(prefix), entry["Size"])
                for page in pages
                for entry in page.get("Contents", [])
            ]
        except Exception as error:
            raise LakeError(f"{uri} cannot be listed: {error}") from error

    def remove(self, uri: str) -> None:
        """Delete every object below `uri`."""
        for name, _ in self.files(uri):
            self._client.delete_object(Bucket=self.bucket, Key=f"{_key(uri)}/{name}")

    def download(self, uri: str, path: Path) -> None:
        """Write the object to `path`."""
        try:
            self._client.download_file(self.bucket, _key(uri), str(path))
        except Exception as error:
            raise LakeError(f"{uri} cannot be read: {error}") from error

    def upload(self, path: Path, uri: str) -> None:
        """Store the file as the object `uri`."""
        try:
            self._client.upload_file(str(path), self.bucket, _key(uri))
        except Exception as error:
            raise LakeError(f"{uri} cannot be written: {error}") from error


def _download(store: ObjectStore, uri: str, path: Path) -> None:
    # A reader must never see half a file: the name appears when the bytes are complete.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        store.download(uri, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _key(uri: str) -> str:
    return urlsplit(uri).path.strip("/")


def _client(environ: Mapping[str, str]) -> Any:
    import boto3  # only a remote lake needs it, and it is slow to import

    return boto3.client(
        "s3",
        endpoint_url=environ.get("AWS_ENDPOINT_URL") or None,
        region_name=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None,
        aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID") or None,
        aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY") or None,
        aws_session_token=environ.get("AWS_SESSION_TOKEN") or None,
    )
