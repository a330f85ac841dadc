"""Both clients of a bucket, boto3 and deltalake, sign with the same credentials: temporary ones, and an instance's."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from tests.s3_server import Request, requests_in, s3_server

# A process of its own: the variables are read there as a collector reads them, and nobody holds our interpreter's lock.
WRITES = """
import pyarrow
from deltalake import write_deltalake
from polku_collector.lake.open_store import open_store
store = open_store("s3://lake/shop")
assert store.create("note", b"{}")
write_deltalake(store.uri("events"), pyarrow.table({"x": [1]}), storage_options=store.storage_options())
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "requests"


@pytest.fixture(scope="module")
def address(record: Path) -> Iterator[str]:
    with s3_server(record) as address:
        boto3.client(
            "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        ).create_bucket(Bucket="lake")
        yield address


def written(record: Path, address: str, key: str, environ: dict[str, str]) -> list[Request]:
    """The requests of one process that writes by both, signed with a key's id."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    here = {"AWS_ENDPOINT_URL_S3": address, "AWS_DEFAULT_REGION": "eu-north-1", "AWS_CONFIG_FILE": os.devnull}
    code = WRITES.replace("shop", key)
    subprocess.run([sys.executable, "-c", code], env=plain | here | environ, check=True, timeout=120)
    found = [
        request for request in requests_in(record) if f"Credential={key}/" in request.headers.get("authorization", "")
    ]
    by_boto = [request for request in found if request.headers["user-agent"].startswith("Boto3")]
    assert 0 < len(by_boto) < len(found), "one of the clients did not sign with these credentials"
    assert all("/eu-north-1/s3/" in request.headers["authorization"] for request in found)
    return found


def test_a_session_token_of_the_environment_is_sent_by_both_clients(record: Path, address: str) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "TEMPORARY", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "token-1"}
    for request in written(record, address, "TEMPORARY", environ):
        assert request.headers.get("x-amz-security-token") == "token-1", request


def test_credentials_of_the_container_are_asked_for_by_both_clients(record: Path, address: str, tmp_path: Path) -> None:
    asked: list[str | None] = []

    class Credentials(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            body = json.dumps(
                {
                    "AccessKeyId": "CONTAINER",
                    "SecretAccessKey": "s",
                    "Token": "token-2",
                    "Expiration": "2099-01-01T00:00:00Z",
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    (tmp_path / "token").write_text("who-asks")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Credentials)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        environ = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_address[1]}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
        for request in written(record, address, "CONTAINER", environ):
            assert request.headers.get("x-amz-security-token") == "token-2", request
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert set(asked) == {"who-asks"} and len(asked) >= 2


def test_credentials_of_the_instance_are_asked_for_by_both_clients(record: Path, address: str) -> None:
    """As a virtual machine of AWS has them: a token is asked for first, and the role's keys with it."""
    role, asked = "/latest/meta-data/iam/security-credentials/", set[tuple[str, bool]]()

    class Instance(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer("who-asks" if self.path == "/latest/api/token" else "")

        def do_GET(self) -> None:
            asked.add((self.path, self.headers.get("X-aws-ec2-metadata-token") == "who-asks"))
            keys = {"Code": "Success", "AccessKeyId": "INSTANCE", "SecretAccessKey": "s", "Token": "token-3"}
            times = {"Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z"}
            self._answer({role: "collector", f"{role}collector": json.dumps(keys | times)}.get(self.path, ""))

        def _answer(self, text: str) -> None:
            self.send_response(200 if text else 404)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Instance)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        here = f"http://127.0.0.1:{server.server_address[1]}"
        # Either client has a name of its own for the address, which is 169.254.169.254 on an instance.
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": here, "AWS_METADATA_ENDPOINT": here}
        for request in written(record, address, "INSTANCE", environ):
            assert request.headers.get("x-amz-security-token") == "token-3", request
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (f"{role}collector", True) in asked and all(has_token for _, has_token in asked)
