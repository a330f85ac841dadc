"""The lake in an S3-compatible bucket."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polku_collector.errors import FileUnreadable, StoreUnreachable
from polku_collector.lake.probe import PROBE_WRITERS, at_once, probe_commits, prove_single_winner, untrusted
from polku_collector.lake.store import LEFT_PROBE_SECONDS, PROBE_PREFIX, StoredFile, Unfinished, checked, is_data
from polku_collector.settings import S3

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
MULTIPART_BYTES = 16 * 1024 * 1024
_TRY_AGAIN = (408, 429)  # of the answers that blame a request, those that mean "later"
_KEYS_A_REQUEST = 1000  # what S3 deletes at once

PLAIN = S3()
"""What is asked of a store without settings."""


class S3Store:
    """A bucket, or a part of one, reached as the usual `AWS_…` variables in `environ` say."""

    commits_are_durable = True

    def __init__(self, bucket: str, prefix: str, environ: Mapping[str, str], s3: S3 = PLAIN) -> None:
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
                    if is_data(name) and not any(folder.startswith(("_", ".")) for folder in folders):
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
        return f"{self.prefix}/{checked(key)}" if self.prefix else checked(key)

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


def _time_of(answer: Mapping[str, Any]) -> float:
    """When the store gave an answer, by its own clock. Any: boto3 ships no types."""
    stated = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(stated).timestamp() if stated else time.time()


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
