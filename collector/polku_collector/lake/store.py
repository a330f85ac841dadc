"""Where the lake's files live: a local directory or an S3-compatible bucket, behind one small seam.

A store makes data files durable, says how deltalake reaches the same place, and proves (`probe`) that two
writers cannot overwrite each other's commits there. Tables, names and commits are others' business.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from polku_collector.errors import FileUnreadable, LakeError, StoreUnreachable
from polku_collector.files import DISK, Files
from polku_collector.lake.probe import PROBE_WRITERS, at_once, probe_commits, prove_single_winner, untrusted
from polku_collector.settings import S3

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

PROBE_PREFIX = "_polku_probe"
# What a probe that was killed has left is taken for that when it is so old; a probe takes seconds.
LEFT_PROBE_SECONDS = 3600.0

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
MULTIPART_BYTES = 16 * 1024 * 1024
_COPY_BYTES = 1024 * 1024
_TRY_AGAIN = (408, 429)  # of the answers that blame a request, those that mean "later"
_KEYS_A_REQUEST = 1000  # what S3 deletes at once

# What is asked of a store without settings.
_PLAIN = S3()

# How many commits at the end of a log may not be durable yet: each writer has one, until he has settled it.
UNSETTLED_COMMITS = 32

# Of a table's log: a commit or a checkpoint.
_ENTRY = re.compile(r"\d{20}\.(json|checkpoint\.parquet)")


class StoredFile(Struct, frozen=True):
    """A file below a table: its path there, as the log would name it."""

    path: str
    size_bytes: int
    modified: float


class Unfinished(Struct, frozen=True):
    """An upload in parts that was begun: the object's name in the bucket, and the upload's."""

    object: str
    upload: str
    begun: float


class Store(Protocol):
    """A place for the lake's files. Keys are relative, with `/` between their parts."""

    commits_are_durable: bool
    """A commit that deltalake reports is durable: `sync_log` has nothing to add."""

    def put(self, local_path: Path, key: str) -> None:
        """Move a finished file into the store; durable on return. Putting it again is harmless."""

    def exists(self, key: str) -> bool: ...

    def create(self, key: str, data: bytes) -> bool:
        """Store a small file that nobody else can have stored; durable on return. False: the key is taken."""

    def read(self, key: str) -> bytes | None:
        """A small file; None if it is not there. Raises FileUnreadable when it alone cannot be had."""

    def names(self, folder: str) -> list[str]:
        """The keys below a folder, in order."""

    def local(self, key: str, folder: Path) -> Path:
        """A path on this machine with the file's bytes, in `folder` if it has to be brought here. Not to be changed."""

    def stored(self, table: str) -> list[StoredFile]:
        """The data files that stand below a table, its own or left over; the log and what others put there are none."""

    def remove(self, keys: Sequence[str]) -> None:
        """Delete files; durable on return. One that is not there is no error."""

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Delete what killed writers have left beside the tables' files, older than `before`; returns the keys.

        That is probes of the store, and what was to become a note or a part of a log and was never given its name.
        """

    def unfinished(self, table: str) -> list[Unfinished]:
        """Uploads below a table that were begun and not finished: no file shows them, and their parts take space."""

    def abandon(self, uploads: Sequence[Unfinished]) -> None:
        """End them, so that their parts are deleted."""

    def now(self) -> float:
        """The time by the clock that dates the store's files, in seconds since 1970."""

    def uri(self, table: str) -> str:
        """What deltalake opens a table by."""

    def storage_options(self) -> dict[str, str]:
        """What deltalake needs to reach the store."""

    def sync_log(self, table: str, version: int, first: int | None = None) -> None:
        """Make commits that deltalake wrote durable, up to a version from `first` on (or this one alone).

        The older ones go first, a checkpoint of that version last.
        """

    def trim_log(self, table: str, version: int) -> None:
        """Remove the entries of a table's log that nobody needs who reads `version` or a later one.

        Where it takes longer to list the log the longer it is. The checkpoint that begins it has to be durable.
        """

    def mend_log(self, table: str) -> list[str]:
        """Move aside what a power cut left half-written at the end of a table's log; returns the names.

        Nothing in it was acknowledged to the journal, which still holds the events.
        """

    def probe(self) -> None:
        """Prove that one key can be created by one writer only; and clear away what a probe that was killed has left.

        Raises StoreUntrusted when it is disproved, StoreUnreachable (try again) when there was no answer.
        """


def open_store(uri: str, environ: Mapping[str, str] = os.environ, files: Files = DISK, s3: S3 = _PLAIN) -> Store:
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


class LocalStore:
    """A directory. Nothing counts as stored before it and the entries that lead to it are fsynced."""

    commits_are_durable = False

    def __init__(self, root: Path, files: Files = DISK) -> None:
        self.root = root.absolute()
        self._files = files
        try:
            files.make_directory(self.root)
        except OSError as error:
            raise LakeError(f"The lake directory {self.root} cannot be used: {error.strerror}.") from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise LakeError(f"The lake directory {self.root} cannot be used: no permission to write there.")

    def put(self, local_path: Path, key: str) -> None:
        target = self.root / _checked(key)
        try:
            self._files.make_directory(target.parent)
            try:
                self._files.sync_file(local_path)
                self._files.rename(local_path, target)
            except FileNotFoundError:
                if not target.exists():
                    raise
                self._files.sync_file(target)  # put before, and the answer was lost
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(local_path, target)
            self._files.sync_directory(target.parent)
        except OSError as error:
            raise StoreUnreachable(f"{target} could not be stored: {error.strerror}.") from error

    def exists(self, key: str) -> bool:
        return (self.root / _checked(key)).exists()

    def create(self, key: str, data: bytes) -> bool:
        target = self.root / _checked(key)
        partial = target.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            self._files.make_directory(target.parent)
            descriptor = self._files.create(partial)
            try:
                self._files.write(descriptor, [data])
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)
            try:
                self._files.link(partial, target)  # whole or not at all, and never in the place of another
            except FileExistsError:
                return False
            finally:
                self._files.remove(partial)
            self._files.sync_directory(target.parent)
        except OSError as error:
            raise StoreUnreachable(f"{target} could not be stored: {error.strerror}.") from error
        return True

    def read(self, key: str) -> bytes | None:
        path = self.root / _checked(key)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileUnreadable(f"{path} could not be read: {error.strerror}.") from error

    def names(self, folder: str) -> list[str]:
        paths = (self.root / _checked(folder)).rglob("*")
        return sorted(
            str(path.relative_to(self.root)) for path in paths if not path.name.startswith(".") and path.is_file()
        )

    def local(self, key: str, folder: Path) -> Path:
        path = self.root / _checked(key)
        if not path.exists():
            raise StoreUnreachable(f"{path} is not there.")
        return path

    def stored(self, table: str) -> list[StoredFile]:
        root = self.root / _checked(table)
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(("_", "."))]
            for name in names:
                path = Path(folder) / name
                if _is_data(name):
                    with contextlib.suppress(FileNotFoundError):  # another vacuum was faster
                        status = path.stat()
                        relative = path.relative_to(root).as_posix()
                        found.append(StoredFile(relative, status.st_size, status.st_mtime))
        return found

    def remove(self, keys: Sequence[str]) -> None:
        paths = [self.root / _checked(key) for key in keys]
        try:
            for path in paths:
                self._files.remove(path)
            for folder in {path.parent for path in paths}:
                if folder.exists():
                    self._files.sync_directory(folder)
        except OSError as error:
            raise StoreUnreachable(f"{error.filename} could not be deleted: {error.strerror}.") from error

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        probes = [path for path in self.root.glob(f"{PROBE_PREFIX}-*") if _is_older(path, before)]
        halves = [
            path
            for pattern in ("_handover/*/.*.partial", "*/_delta_log/*")
            for path in self.root.glob(pattern)
            if _is_half(path.name) and _is_older(path, before)
        ]
        keys = sorted(str(path.relative_to(self.root)) for path in [*probes, *halves])
        if not dry_run:
            for path in probes:
                shutil.rmtree(path, ignore_errors=True)
            self.remove([str(path.relative_to(self.root)) for path in halves])
        return keys

    def unfinished(self, table: str) -> list[Unfinished]:
        return []

    def abandon(self, uploads: Sequence[Unfinished]) -> None: ...

    def now(self) -> float:
        return time.time()

    def uri(self, table: str) -> str:
        return str(self.root / _checked(table))

    def storage_options(self) -> dict[str, str]:
        return {}

    def sync_log(self, table: str, version: int, first: int | None = None) -> None:
        log = self.root / _checked(table) / "_delta_log"
        names = [f"{number:020d}.json" for number in range(version if first is None else first, version + 1)]
        # Each by its name: to look for them would take longer with each commit.
        names += ["_last_checkpoint", f"{version:020d}.checkpoint.parquet"]
        for name in names:
            if (log / name).exists():
                self._files.sync_file(log / name)
        # deltalake made these directories, so their entries are ours to settle too.
        for directory in (log, log.parent, self.root):
            self._files.sync_directory(directory)

    def trim_log(self, table: str, version: int) -> None:
        log = self.root / _checked(table) / "_delta_log"
        entries = sorted((int(path.name[:20]), path) for path in log.iterdir() if _ENTRY.fullmatch(path.name))
        begins = max((number for number, path in entries if path.suffix == ".parquet" and number <= version), default=0)
        for number, path in entries:  # from the oldest on: what is left has no gap, wherever this is cut off
            if number < begins:
                self._files.remove(path)

    def mend_log(self, table: str) -> list[str]:
        log = self.root / _checked(table) / "_delta_log"
        torn = [path for path in sorted(log.glob("*.checkpoint.parquet"))[-1:] if not _is_parquet(path)]
        whole = [path for path in sorted(log.glob("*.checkpoint.parquet"))[-2:] if path not in torn]
        reached = int(whole[-1].name.partition(".")[0]) if whole else None
        torn += _beyond_damage(log, reached)
        pointer = log / "_last_checkpoint"
        if pointer.exists() and (torn or not _points_to_a_file(pointer)):
            torn.append(pointer)  # only a hint: without it the log is listed
        for path in torn:
            self._files.rename(path, path.with_name(f".torn-{uuid.uuid4().hex[:8]}-{path.name}"))
        if torn:
            self._files.sync_directory(log)
        return [path.name for path in torn]

    def probe(self) -> None:
        scratch = f"{PROBE_PREFIX}-{uuid.uuid4()}"
        try:
            probe_commits(self.uri(scratch), self.storage_options(), where=str(self.root))
        finally:
            self._remove_probes(scratch)

    def _remove_probes(self, own: str) -> None:
        """Best effort: what a failed probe leaves is small, named, and in nobody's way."""
        for path in self.root.glob(f"{PROBE_PREFIX}-*"):
            with contextlib.suppress(OSError):  # somebody else was faster
                if path.name == own or path.stat().st_mtime < time.time() - LEFT_PROBE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)

    def _copy(self, source: Path, target: Path) -> None:
        """The scratch folder is on another file system: copy beside the target, then rename."""
        partial = target.with_name(f".{target.name}.partial")
        self._files.remove(partial)
        descriptor = self._files.create(partial)
        try:
            with source.open("rb") as file:
                while chunk := file.read(_COPY_BYTES):
                    self._files.write(descriptor, [chunk])
            self._files.sync(descriptor)
        finally:
            self._files.close(descriptor)
        self._files.rename(partial, target)
        self._files.remove(source)


class S3Store:
    """A bucket, or a part of one, reached as the usual `AWS_…` variables in `environ` say."""

    commits_are_durable = True

    def __init__(self, bucket: str, prefix: str, environ: Mapping[str, str], s3: S3 = _PLAIN) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self._environ = environ
        self._endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._s3 = s3
        # What boto3 says with each object that it makes; `storage_options` has the same for deltalake.
        self._encrypted = {
            name: value
            for name, value in (("ServerSideEncryption", s3.sse), ("SSEKMSKeyId", s3.kms_key_id))
            if value is not None
        }
        self._client = self._connect(attempts=4)

    def put(self, local_path: Path, key: str) -> None:
        from boto3.s3.transfer import TransferConfig

        # Two at a time: an upload shares its cores with the columns step.
        config = TransferConfig(multipart_threshold=MULTIPART_BYTES, max_concurrency=2)
        self._reach(
            f"upload {key}",
            lambda: self._client.upload_file(
                str(local_path), self.bucket, self._key(key), ExtraArgs=self._encrypted, Config=config
            ),
        )
        local_path.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        def head() -> bool:
            try:
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
            except ClientError as error:
                if _status(error) == 404:
                    return False
                raise
            return True

        return bool(self._reach(f"look for {key}", head))

    def create(self, key: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        def put() -> bool:
            try:
                self._client.put_object(
                    Bucket=self.bucket, Key=self._key(key), Body=data, IfNoneMatch="*", **self._encrypted
                )
            except ClientError as error:
                if _status(error) not in (409, 412):
                    raise
                # Perhaps by this very request, whose first answer was lost.
                return self.read(key) == data
            return True

        return bool(self._reach(f"store {key}", put))

    def read(self, key: str) -> bytes | None:
        from botocore.exceptions import ClientError

        def get() -> bytes | None:
            try:
                return bytes(self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read())
            except ClientError as error:
                if _status(error) == 404:
                    return None
                if 400 <= _status(error) < 500 and _status(error) not in _TRY_AGAIN:
                    raise FileUnreadable(f"s3://{self.bucket}/{self._key(key)} could not be read: {error}") from error
                raise

        found: bytes | None = self._reach(f"read {key}", get)
        return found

    def names(self, folder: str) -> list[str]:
        prefix = self._key(folder) + "/"
        start = len(self._key("x")) - 1

        def listed() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return sorted(entry["Key"][start:] for page in pages for entry in page.get("Contents", []))

        return list(self._reach(f"list {folder}", listed))

    def local(self, key: str, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.parquet"
        self._reach(f"read {key}", lambda: self._client.download_file(self.bucket, self._key(key), str(path)))
        return path

    def stored(self, table: str) -> list[StoredFile]:
        prefix = self._key(table) + "/"

        def listed() -> list[StoredFile]:
            found = []
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    path = entry["Key"].removeprefix(prefix)
                    *folders, name = path.split("/")
                    if _is_data(name) and not any(folder.startswith(("_", ".")) for folder in folders):
                        found.append(StoredFile(path, entry["Size"], entry["LastModified"].timestamp()))
            return found

        return list(self._reach(f"list {table}", listed))

    def remove(self, keys: Sequence[str]) -> None:
        from botocore.exceptions import ClientError

        for first in range(0, len(keys), _KEYS_A_REQUEST):
            some = [self._key(key) for key in keys[first : first + _KEYS_A_REQUEST]]
            listed = {"Objects": [{"Key": key} for key in some], "Quiet": True}
            try:
                done = self._client.delete_objects(Bucket=self.bucket, Delete=listed)
            except ClientError:  # not every store knows how to delete many at once
                done = {"Errors": [{"Key": key} for key in some]}
            for error in done.get("Errors", []):
                delete = functools.partial(self._client.delete_object, Bucket=self.bucket, Key=error["Key"])
                self._reach(f"delete {error['Key']}", delete)

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Probes only: an object has its name from the start, or it is an unfinished upload."""
        prefix, start = self._key(PROBE_PREFIX) + "-", len(self._key("x")) - 1

        def listed() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            entries = (entry for page in pages for entry in page.get("Contents", []))
            return sorted(entry["Key"][start:] for entry in entries if entry["LastModified"].timestamp() < before)

        keys = list(self._reach("list left probes", listed))
        if not dry_run:
            self.remove(keys)
        return keys

    def unfinished(self, table: str) -> list[Unfinished]:
        prefix = self._key(table) + "/"

        def listed() -> list[Unfinished]:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            return [
                Unfinished(entry["Key"], entry["UploadId"], entry["Initiated"].timestamp())
                for page in pages
                for entry in page.get("Uploads", [])
            ]

        return list(self._reach(f"list unfinished uploads of {table}", listed))

    def abandon(self, uploads: Sequence[Unfinished]) -> None:
        from botocore.exceptions import ClientError

        def abort(upload: Unfinished) -> None:
            try:
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=upload.object, UploadId=upload.upload)
            except ClientError as error:
                if _status(error) != 404:  # ended meanwhile
                    raise

        for upload in uploads:
            self._reach(f"end an upload of {upload.object}", functools.partial(abort, upload))

    def now(self) -> float:
        """By the store's own clock, as its answers are dated."""
        return _time_of(self._reach("ask", lambda: self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)))

    def uri(self, table: str) -> str:
        return f"s3://{self.bucket}/{self._key(table)}"

    def storage_options(self) -> dict[str, str]:
        options = {
            "AWS_REGION": self._region,
            # Said here so that no variable of the environment can switch the guard against lost commits off.
            "conditional_put": "etag",
            "AWS_S3_ALLOW_UNSAFE_RENAME": "false",
        }
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            if self._environ.get(name):
                options[name] = self._environ[name]
        if self._endpoint:
            options["AWS_ENDPOINT_URL"] = self._endpoint
            options["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = "false"
            if self._endpoint.startswith("http://"):
                options["AWS_ALLOW_HTTP"] = "true"
        if self._s3.sse is not None:
            options["AWS_SERVER_SIDE_ENCRYPTION"] = self._s3.sse
        if self._s3.kms_key_id is not None:
            options["AWS_SSE_KMS_KEY_ID"] = self._s3.kms_key_id
        return options

    def sync_log(self, table: str, version: int, first: int | None = None) -> None:
        """Nothing to do: an object store answers when an object is durable."""

    def trim_log(self, table: str, version: int) -> None:
        """Nothing to do: a listing begins at the newest checkpoint, and each removal would be a request."""

    def mend_log(self, table: str) -> list[str]:
        """Nothing to do: an object is there whole or not at all."""
        return []

    def probe(self) -> None:
        scratch = f"{PROBE_PREFIX}-{uuid.uuid4()}"
        try:
            self._probe_creates(scratch)
            probe_commits(self.uri(scratch), self.storage_options(), where=f"s3://{self.bucket}")
        finally:
            self._remove_probes(scratch)

    def _probe_creates(self, scratch: str) -> None:
        """Concurrent creates of one key through boto3: one may win, and the object is the winner's."""
        from botocore.exceptions import ClientError

        # A repeated request would meet its own object: every attempt is to be counted here.
        client = self._connect(attempts=1)

        def create(key: str, body: bytes) -> bool:
            try:
                client.put_object(Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*", **self._encrypted)
            except ClientError as error:
                if _status(error) in (409, 412):
                    return False
                if _status(error) == 501:
                    raise untrusted(f"s3://{self.bucket}", "it does not know conditional writes") from error
                raise
            return True

        def attempt(number: int) -> list[int]:
            key = self._key(f"{scratch}/create-{number}")
            bodies = [b"writer %d" % writer for writer in range(PROBE_WRITERS)]
            won = at_once([lambda body=body: create(key, body) for body in bodies])  # type: ignore[misc]
            winners = [writer for writer, win in enumerate(won) if win]
            if len(winners) == 1:
                found = client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
                if found != bodies[winners[0]]:
                    raise untrusted(f"s3://{self.bucket}", "a writer that was refused had overwritten the object")
            return winners

        where = f"s3://{self.bucket}"
        self._reach("probe it", lambda: prove_single_winner(attempt, where))

    def _remove_probes(self, own: str) -> None:
        """Best effort: what a failed probe leaves is small, named, and in nobody's way."""
        from botocore.exceptions import BotoCoreError, ClientError

        start = self._key(PROBE_PREFIX) + "-"
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start):
                left = _time_of(page) - LEFT_PROBE_SECONDS
                for entry in page.get("Contents", []):
                    if entry["Key"].startswith(self._key(own)) or entry["LastModified"].timestamp() < left:
                        self._client.delete_object(Bucket=self.bucket, Key=entry["Key"])
        except (BotoCoreError, ClientError):
            return

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{_checked(key)}" if self.prefix else _checked(key)

    def _connect(self, attempts: int) -> Any:  # boto3 ships no types
        import boto3
        from botocore.config import Config

        own: dict[str, Any] = {}
        if self._endpoint:
            # Buckets of local stores seldom have a host name of their own, and the checksums that boto3 sends
            # unasked are unknown to many of them.
            own = {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        config = Config(
            region_name=self._region,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            **own,
        )
        session = boto3.session.Session(
            aws_access_key_id=self._environ.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=self._environ.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=self._environ.get("AWS_SESSION_TOKEN"),
        )
        return session.client("s3", endpoint_url=self._endpoint, config=config)

    def _reach(self, what: str, call: Callable[[], Any]) -> Any:
        """Every failure of the store is a StoreUnreachable: what it refuses today an operator can allow."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
            place = f"s3://{self.bucket}" + (f" at {self._endpoint}" if self._endpoint else "")
            raise StoreUnreachable(f"The store {place} did not let us {what}: {error}") from error


def _beyond_damage(log: Path, checkpoint: int | None) -> list[Path]:
    """The newest commits from the first on that is half-written or missing; what a checkpoint holds is not needed.

    Several writers may each have had a commit that was not durable yet. Nobody relied on one beyond a damaged one: who
    makes a commit durable does so with those before it.
    """
    newest = sorted(path for path in log.glob("*.json") if path.stem.isdigit())[-UNSETTLED_COMMITS - 1 :]
    previous = None
    for number, path in enumerate(newest):
        version = int(path.stem)
        if checkpoint is None or version > checkpoint:
            follows = previous is None or version == previous + 1
            if not follows or not _is_commit(path):
                return newest[number:]
        previous = version
    return []


def _is_commit(path: Path) -> bool:
    """Whether a commit file is whole: every line of it is JSON, and there is one."""
    lines = path.read_bytes().splitlines()
    return bool(lines) and all(_is_json(line) for line in lines)


def _points_to_a_file(pointer: Path) -> bool:
    """Whether `_last_checkpoint` is whole and the checkpoint it names is there."""
    try:
        version = json.loads(pointer.read_bytes())["version"]
    except (ValueError, KeyError, TypeError):
        return False
    return any(pointer.parent.glob(f"{version:020d}.checkpoint*"))


def _is_data(name: str) -> bool:
    """A data file, or what a crash left of one that was being copied into place (`LocalStore._copy`)."""
    if name.startswith((".", "_")):
        return name.startswith(".") and name.endswith(".parquet.partial")
    return name.endswith(".parquet")


def _is_half(name: str) -> bool:
    """What was to become a note (`LocalStore.create`), or, by deltalake's writer, a file of a log."""
    stem, separator, number = name.rpartition("#")
    return name.endswith(".partial") or (bool(stem and separator) and number.isdecimal())


def _is_older(path: Path, before: float) -> bool:
    """Whether nobody has touched a file, or any in a folder, since."""
    try:
        return all(each.stat().st_mtime < before for each in [path, *path.rglob("*")])
    except FileNotFoundError:  # somebody is at it
        return False


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _is_parquet(path: Path) -> bool:
    data = path.read_bytes()
    return len(data) > 12 and data[:4] == data[-4:] == b"PAR1"


def _checked(key: str) -> str:
    """Keys come from our own code; one that climbs out of the store is a bug, not an input."""
    if key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"not a key inside the store: {key!r}")
    return key


def _time_of(answer: Mapping[str, Any]) -> float:
    """When the store gave an answer, by its own clock. Any: boto3 ships no types."""
    stated = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(stated).timestamp() if stated else time.time()


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
