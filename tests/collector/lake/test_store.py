"""A stored file is durable; a store that lets two writers create one object is refused."""

from __future__ import annotations

import errno
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import msgspec
import pytest
from deltalake import DeltaTable, write_deltalake

from polku_collector.errors import LakeError, SettingsError, StoreUnreachable, StoreUntrusted
from polku_collector.files import Files
from polku_collector.lake import s3_store
from polku_collector.lake.handover import Note, note_key, read_notes
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.open_store import open_store
from polku_collector.lake.probe import probe_commits, prove_single_winner
from polku_collector.lake.s3_store import S3Store
from polku_collector.settings import S3, load
from tests.s3_server import requests_in, s3_server

BUCKET = "lake"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A real HTTP server that speaks S3 and enforces If-None-Match."""
    with s3_server() as address:
        client(address).create_bucket(Bucket=BUCKET)
        yield address


class Proxy(BaseHTTPRequestHandler):
    """Passes every request on without its If-None-Match: a store that has never heard of it."""

    protocol_version = "HTTP/1.1"
    upstream = ""

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("if-none-match", "connection", "expect")
        }
        upstream = http.client.HTTPConnection(self.upstream)
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)
        upstream.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 - http.server asks for these names

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def forgetful(endpoint: str) -> Iterator[str]:
    """The same store behind a proxy that drops If-None-Match."""
    handler = type("Handler", (Proxy,), {"upstream": endpoint.removeprefix("http://")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-north-1",
    }


def client(endpoint: str):  # type: ignore[no-untyped-def]  # boto3 ships no types
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def remaining(endpoint: str, prefix: str = "") -> list[str]:
    listed = client(endpoint).list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in listed.get("Contents", [])]


class Recording(Files):
    """Notes what was made durable, in order, relative to `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.effects: list[str] = []

    def note(self, what: str, path: Path) -> None:
        name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        self.effects.append(f"{what} {name}")

    def sync_file(self, path: Path) -> None:
        if path.is_dir():
            self.note("sync directory", path)
        else:
            self.note("sync", path)
        super().sync_file(path)

    def sync(self, descriptor: int) -> None:
        self.effects.append("sync open file")
        super().sync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self.note("rename to", new)
        super().rename(old, new)


# A local lake


def test_a_local_file_and_the_entries_that_lead_to_it_are_durable(tmp_path: Path) -> None:
    files = Recording(tmp_path)
    store = LocalStore(tmp_path / "lake", files)
    (tmp_path / "scratch.parquet").write_bytes(b"data")
    files.effects.clear()
    store.put(tmp_path / "scratch.parquet", "events/event_date=2026-01-01/a.parquet")
    assert files.effects == [
        "sync directory lake",
        "sync directory lake/events",
        "sync scratch.parquet",
        "rename to lake/events/event_date=2026-01-01/a.parquet",
        "sync directory lake/events/event_date=2026-01-01",
    ]
    assert (tmp_path / "lake/events/event_date=2026-01-01/a.parquet").read_bytes() == b"data"
    assert store.exists("events/event_date=2026-01-01/a.parquet")
    assert not store.exists("events/other")


def test_a_scratch_folder_on_another_file_system_is_copied_from(tmp_path: Path) -> None:
    class Elsewhere(Recording):
        def rename(self, old: Path, new: Path) -> None:
            if old.parent != new.parent:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            super().rename(old, new)

    files = Elsewhere(tmp_path)
    store = LocalStore(tmp_path / "lake", files)
    source = tmp_path / "scratch.parquet"
    source.write_bytes(b"data" * 1_000_000)
    store.put(source, "events/a.parquet")
    assert files.effects[-3:] == [
        "sync open file",
        "rename to lake/events/a.parquet",
        "sync directory lake/events",
    ]
    assert [path.name for path in (tmp_path / "lake/events").iterdir()] == ["a.parquet"]
    assert (tmp_path / "lake/events/a.parquet").stat().st_size == 4_000_000
    assert not source.exists()


def test_putting_again_after_a_lost_answer_is_harmless(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "lake")
    (tmp_path / "a").write_bytes(b"data")
    store.put(tmp_path / "a", "events/a")
    store.put(tmp_path / "a", "events/a")
    with pytest.raises(StoreUnreachable, match="could not be stored"):
        store.put(tmp_path / "never there", "events/b")


def test_a_commit_and_its_checkpoint_are_made_durable(tmp_path: Path) -> None:
    import pyarrow as pa

    files = Recording(tmp_path)
    store = LocalStore(tmp_path / "lake", files)
    write_deltalake(store.uri("events"), pa.table({"x": [1]}))
    table = DeltaTable(store.uri("events"))
    table.create_checkpoint()
    files.effects.clear()
    store.sync_log("events", table.version())
    log = "lake/events/_delta_log"
    assert files.effects == [
        f"sync {log}/00000000000000000000.json",
        f"sync {log}/_last_checkpoint",
        f"sync {log}/00000000000000000000.checkpoint.parquet",
        f"sync directory {log}",
        "sync directory lake/events",
        "sync directory lake",
    ]


class Removing(Recording):
    """Notes what is removed, too."""

    def remove(self, path: Path) -> None:
        self.note("remove", path)
        super().remove(path)


def test_a_log_is_trimmed_to_the_checkpoint_that_a_version_needs(tmp_path: Path) -> None:
    files = Removing(tmp_path)
    store = LocalStore(tmp_path / "lake", files)
    log = tmp_path / "lake" / "events" / "_delta_log"
    log.mkdir(parents=True)
    for version in range(10):
        (log / f"{version:020d}.json").touch()
    for version in (2, 5, 8):
        (log / f"{version:020d}.checkpoint.parquet").touch()
    for other in ("_last_checkpoint", ".torn-1-00000000000000000001.json", "00000000000000000001.json#1"):
        (log / other).touch()
    files.effects.clear()
    store.trim_log("events", -490)
    store.trim_log("events", 1)
    assert files.effects == [], "nothing that a version may need is removed"
    store.trim_log("events", 7)
    removed = [0, 1, 2, 2, 3, 4]
    assert [int(effect.rpartition("/")[2][:20]) for effect in files.effects] == removed, "the oldest first"
    left = {*range(5, 10)}
    assert {int(path.name[:20]) for path in log.glob("0*.json")} == left
    assert len([*log.iterdir()]) == len(left) + len((5, 8)) + 3


@pytest.mark.parametrize("damage", ["torn", "missing"])
def test_commits_beyond_a_damaged_one_go_with_it(tmp_path: Path, damage: str) -> None:
    """Two writers had each one that was not durable yet, and the power cut took the first."""
    import pyarrow as pa

    store = LocalStore(tmp_path / "lake")
    for number in range(5):
        write_deltalake(store.uri("events"), pa.table({"x": [number]}), mode="append")
    log = tmp_path / "lake" / "events" / "_delta_log"
    broken = log / f"{3:020d}.json"
    broken.write_text('{"add"') if damage == "torn" else broken.unlink()
    assert len(store.mend_log("events")) == (2 if damage == "torn" else 1)
    assert DeltaTable(store.uri("events")).version() == 2
    assert store.mend_log("events") == []


def test_a_damaged_commit_that_a_checkpoint_holds_takes_nothing_with_it(tmp_path: Path) -> None:
    import pyarrow as pa

    store = LocalStore(tmp_path / "lake")
    for number in range(4):
        write_deltalake(store.uri("events"), pa.table({"x": [number]}), mode="append")
        if number == 2:
            DeltaTable(store.uri("events")).create_checkpoint()
    (tmp_path / "lake" / "events" / "_delta_log" / f"{1:020d}.json").write_text("")
    assert store.mend_log("events") == []
    assert DeltaTable(store.uri("events")).version() == 3


def test_a_local_directory_passes_the_probe_and_nothing_is_left(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "lake")
    store.probe()
    assert list((tmp_path / "lake").iterdir()) == []


def killed_in_a_probe(uri: str, at: str, environ: dict[str, str]) -> None:
    """A process that is killed in the middle of a probe, when it comes to `at`."""
    script = (
        "import os, signal, sys; from polku_collector.lake import open_store, probe, s3_store\n"
        "def end(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{at} = end\n"
        "open_store.open_store(sys.argv[1]).probe()"
    )
    done = subprocess.run([sys.executable, "-c", script, uri], env=os.environ | environ, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_probe_left_is_cleared_by_a_later_one_when_it_is_old(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    killed_in_a_probe(str(lake), "probe.prove_single_winner", {})
    (left,) = lake.iterdir()
    assert left.name.startswith("_polku_probe-") and (left / "_delta_log").is_dir()
    LocalStore(lake).probe()
    assert [*lake.iterdir()] == [left], "it may be somebody's who is at it just now"
    os.utime(left, (time.time() - 2 * s3_store.LEFT_PROBE_SECONDS,) * 2)
    (lake / "events").mkdir()
    LocalStore(lake).probe()
    assert [path.name for path in lake.iterdir()] == ["events"]


def test_a_directory_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match=r"lake directory .* cannot be used") as refused:
        LocalStore(tmp_path / "file" / "lake")
    assert refused.value.exit_code == 2


def test_a_directory_that_may_not_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # these tests may run as root, who may everything
    with pytest.raises(LakeError, match="cannot be used: no permission to write"):
        LocalStore(tmp_path)


@pytest.mark.parametrize("key", ["/etc/passwd", "../outside", "events/../../outside"])
def test_no_key_leads_out_of_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a key inside the store"):
        LocalStore(tmp_path).exists(key)


# Addresses


def test_addresses(tmp_path: Path) -> None:
    assert open_store(str(tmp_path / "lake")).uri("events") == str(tmp_path / "lake" / "events")
    assert open_store(f"file://{tmp_path}/a%20b").uri("events") == str(tmp_path / "a b" / "events")
    store = open_store("s3://bucket/some/prefix/", {})
    assert store.uri("events") == "s3://bucket/some/prefix/events"
    assert open_store("s3://bucket", {}).uri("events") == "s3://bucket/events"


@pytest.mark.parametrize("uri", ["gs://bucket/lake", "s3:///lake", "https://example.com/lake"])
def test_an_address_that_cannot_be_used_is_one_clear_sentence(uri: str) -> None:
    with pytest.raises(LakeError, match="The lake address"):
        open_store(uri, {})


def test_deltalake_is_told_the_same_store_and_to_keep_its_guard() -> None:
    plain = S3Store("b", "", {"AWS_ENDPOINT_URL": "http://localhost:9000", "AWS_ACCESS_KEY_ID": "k"}).storage_options()
    assert plain["AWS_ALLOW_HTTP"] == "true"
    assert plain["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] == "false"
    assert plain["AWS_ACCESS_KEY_ID"] == "k"
    assert plain["conditional_put"] == "etag"
    assert plain["AWS_S3_ALLOW_UNSAFE_RENAME"] == "false"
    amazon = S3Store("b", "", {"AWS_DEFAULT_REGION": "eu-north-1"}).storage_options()
    assert amazon["AWS_REGION"] == "eu-north-1"
    assert "AWS_ALLOW_HTTP" not in amazon
    assert "AWS_ENDPOINT_URL" not in amazon
    secure = S3Store("b", "", {"AWS_ENDPOINT_URL_S3": "https://s3.example.fi"}).storage_options()
    assert secure["AWS_ENDPOINT_URL"] == "https://s3.example.fi"
    assert "AWS_ALLOW_HTTP" not in secure


# An S3-compatible store


def test_files_small_and_large_reach_the_bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "MULTIPART_BYTES", 6 * 1024 * 1024)
    store = open_store(f"s3://{BUCKET}/files", environment(endpoint))
    for name, size in (("small", 10), ("large", 13 * 1024 * 1024)):
        content = bytes(range(256)) * (size // 256 + 1)
        (tmp_path / name).write_bytes(content)
        assert not store.exists(f"events/event_date=2026-01-01/{name}")
        store.put(tmp_path / name, f"events/event_date=2026-01-01/{name}")
        assert store.exists(f"events/event_date=2026-01-01/{name}")
        assert not (tmp_path / name).exists()
        stored = client(endpoint).get_object(Bucket=BUCKET, Key=f"files/events/event_date=2026-01-01/{name}")
        assert stored["Body"].read() == content


def test_deltalake_writes_where_the_store_says(endpoint: str) -> None:
    import pyarrow as pa

    store = open_store(f"s3://{BUCKET}/tables", environment(endpoint))
    write_deltalake(store.uri("events"), pa.table({"x": [1]}), storage_options=store.storage_options())
    store.sync_log("events", 0)
    assert store.exists("events/_delta_log/00000000000000000000.json")


def test_a_store_that_enforces_if_none_match_is_trusted_and_left_clean(endpoint: str) -> None:
    open_store(f"s3://{BUCKET}/probed", environment(endpoint)).probe()
    assert remaining(endpoint, "probed") == []


def test_what_a_killed_probe_left_in_a_bucket_is_cleared_by_a_later_one_when_it_is_old(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{BUCKET}/killed"
    killed_in_a_probe(uri, "s3_store.probe_commits", environment(endpoint))
    client(endpoint).put_object(Bucket=BUCKET, Key="killed/events/part.parquet", Body=b"rows")
    left = remaining(endpoint, "killed")
    assert len(left) > 1
    open_store(uri, environment(endpoint)).probe()
    assert remaining(endpoint, "killed") == left, "it may be somebody's who is at it just now"
    monkeypatch.setattr(s3_store, "LEFT_PROBE_SECONDS", -60.0)  # the server dates its objects itself
    open_store(uri, environment(endpoint)).probe()
    assert remaining(endpoint, "killed") == ["killed/events/part.parquet"]


def test_a_store_that_ignores_if_none_match_is_refused_in_a_clear_sentence(endpoint: str, forgetful: str) -> None:
    store = open_store(f"s3://{BUCKET}/refused", environment(forgetful))
    with pytest.raises(StoreUntrusted, match=r"does not honour If-None-Match.*Use a store with") as refused:
        store.probe()
    assert not refused.value.transient
    assert refused.value.exit_code == 2
    assert remaining(endpoint, "refused") == []


def test_the_commits_of_deltalake_are_probed_on_their_own(forgetful: str) -> None:
    """What boto3 is granted says nothing of how deltalake asks."""
    options = S3Store(BUCKET, "", environment(forgetful)).storage_options()
    with pytest.raises(StoreUntrusted, match="does not honour If-None-Match"):
        probe_commits(f"s3://{BUCKET}/commits", options, where="the store")


def test_a_winner_whose_object_was_overwritten_is_noticed(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may answer one writer with yes and keep another's bytes."""
    store = S3Store(BUCKET, "overwritten", environment(endpoint))
    connect = store._connect

    def lying(attempts: int):  # type: ignore[no-untyped-def]
        made = connect(attempts)
        real = made.get_object
        made.get_object = lambda **names: {**real(**names), "Body": __import__("io").BytesIO(b"somebody else")}
        return made

    monkeypatch.setattr(store, "_connect", lying)
    with pytest.raises(StoreUntrusted, match="had overwritten the object"):
        store.probe()


def test_a_note_that_the_store_does_not_give_is_bad_and_the_others_are_not(endpoint: str) -> None:
    """As by a policy of the bucket, or with a key that was encrypted by another: 403 for one object."""

    class Strict(Proxy):
        upstream = endpoint.removeprefix("http://")

        def forward(self) -> None:
            if self.command != "GET" or "/_handover/b/" not in self.path:
                super().forward()
                return
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 - http.server asks for these names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Strict)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        store = open_store(f"s3://{BUCKET}/notes", environment(f"http://127.0.0.1:{server.server_address[1]}"))
        for stream in ("a", "b", "c"):
            note = Note(1, "t", {stream: 0}, {stream: 3}, 0.0, [], [])
            assert store.create(note_key(note.before), msgspec.json.encode(note))
        found = read_notes(store)
        assert [key.split("/")[1] for key in found.good] == ["a", "c"]
        [(key, why)] = found.bad.items()
        assert key.split("/")[1] == "b"
        assert "could not be read" in why and "403" in why
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_store_that_does_not_answer_is_worth_another_try(tmp_path: Path) -> None:
    store = open_store(f"s3://{BUCKET}/x", environment("http://127.0.0.1:9"))
    with pytest.raises(StoreUnreachable, match=r"s3://lake at http://127.0.0.1:9 did not let us") as unreachable:
        store.probe()
    assert unreachable.value.transient
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(StoreUnreachable):
        store.put(tmp_path / "a", "events/a")
    assert (tmp_path / "a").exists(), "nothing is lost: it is put again later"


def test_a_missing_bucket_is_named(endpoint: str) -> None:
    with pytest.raises(StoreUnreachable, match="NoSuchBucket"):
        open_store("s3://nowhere/x", environment(endpoint)).probe()


def test_a_round_that_nobody_wins_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="asked again"):
        prove_single_winner(lambda _: [], "the store")
    rounds = iter([[], [3], [], [1], [0]])
    prove_single_winner(lambda _: next(rounds), "the store")
    assert list(rounds) == []
    with pytest.raises(StoreUntrusted, match="2 of 8 writers"):
        prove_single_winner(lambda number: [number] if number < 2 else [1, 2], "the store")


# Encryption

KMS = S3(sse="aws:kms", kms_key_id="arn:aws:kms:us-east-1:111122223333:key/1")


@pytest.mark.parametrize("s3", [S3(sse="AES256"), KMS])
def test_every_object_asks_for_the_encryption_of_the_settings_by_boto3_and_by_deltalake(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data in one part and in many, notes, commits, a checkpoint, and what the probe makes and deletes."""
    import pyarrow as pa

    monkeypatch.setattr(s3_store, "MULTIPART_BYTES", 6 * 1024 * 1024)
    record = tmp_path / "requests"
    with s3_server(record) as address:
        client(address).create_bucket(Bucket=BUCKET)
        store = open_store(f"s3://{BUCKET}/shop", environment(address), s3=s3)
        store.probe()
        for name, size in (("small.parquet", 10), ("large.parquet", 7 * 1024 * 1024)):
            (tmp_path / name).write_bytes(b"x" * size)
            store.put(tmp_path / name, f"events/{name}")
        assert store.create("_handover/note", b"{}")
        for number in range(2):
            write_deltalake(
                store.uri("events"), pa.table({"x": [number]}), mode="append", storage_options=store.storage_options()
            )
        DeltaTable(store.uri("events"), storage_options=store.storage_options()).create_checkpoint()
        listed = client(address).list_objects_v2(Bucket=BUCKET)["Contents"]
        kinds = {Path(entry["Key"]).suffix for entry in listed}
        assert kinds == {".parquet", ".json", ""} and any("checkpoint.parquet" in entry["Key"] for entry in listed)
        for entry in listed:
            head = client(address).head_object(Bucket=BUCKET, Key=entry["Key"])
            assert (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")) == (s3.sse, s3.kms_key_id), entry["Key"]
        made = [request for request in requests_in(record) if request.creates]
    assert any("_polku_probe" in request.path for request in made)
    assert any(request.method == "POST" for request in made), "no upload in parts"
    for request in made:
        assert request.headers.get("x-amz-server-side-encryption") == s3.sse, request.path
        assert request.headers.get("x-amz-server-side-encryption-aws-kms-key-id") == s3.kms_key_id, request.path


def test_without_the_setting_no_encryption_is_asked_for() -> None:
    assert not [name for name in open_store("s3://bucket", {}).storage_options() if "SSE" in name or "ENCRYP" in name]


def test_everything_that_opens_a_lake_hands_the_settings_of_its_store_on() -> None:
    """A store that is opened without them would write objects that are not encrypted as they should be."""
    calls = [
        (path.name, given)
        for path in Path(s3_store.__file__).parents[1].rglob("*.py")
        for given in re.findall(r"(?<!def )\bopen_store\(([^)]*)\)", path.read_text())
    ]
    assert len(calls) > 7
    assert [call for call in calls if not call[1].endswith("lake.s3")] == [], "give it s3=settings.lake.s3"


@pytest.mark.parametrize("sse", ["", 'sse = "AES256"\n'])
def test_a_key_without_kms_is_told_at_the_start(sse: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[sources.web]\nkeys = ["k"]\n[lake.s3]\n{sse}kms_key_id = "k"\n')
    with pytest.raises(SettingsError, match=r'\[lake.s3\] has a kms_key_id, which only sse = "aws:kms" uses'):
        load(tmp_path / "c.toml", {}, {})
