"""How a batch travels: compressed as the collector takes it, through a proxy, to a certificate of one's own."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import polku
from polku import compress

from .conftest import RecordingCollector


def sent(client: polku.Client, count: int = 20) -> polku.Stats:
    for n in range(count):
        client.track("x", {"n": n}, user_id="u")
    client.close()
    return client.stats()


def test_zstd_is_sent_where_it_is_asked_for(collector: Any) -> None:
    stats = sent(polku.Client("k", collector.url, compression="zstd"))
    assert stats.delivered == 20
    assert [request.headers["content-encoding"] for request in collector.received] == ["zstd"]
    assert [item["properties"]["n"] for item in collector.taken] == list(range(20))


def test_a_collector_that_does_not_know_zstd_is_sent_gzip_from_then_on(collector: Any, reply: Any) -> None:
    collector.script = [reply(415)]
    client = polku.Client("k", collector.url, compression="zstd")
    client.track("first", user_id="u")
    assert client.flush()
    assert sent(client).lost == {}
    assert [request.headers["content-encoding"] for request in collector.received] == ["zstd", "gzip", "gzip"]
    assert len(collector.taken) == 21


def test_zstd_that_is_not_to_be_had_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polku.settings.has_zstd", lambda: False)
    with pytest.raises(polku.SettingsError, match=r"polku\[zstd\]"):
        polku.Client("k", "http://c", compression="zstd")
    monkeypatch.undo()
    assert compress.has_zstd()


def test_a_proxy_is_asked_for_the_collector(collector: Any) -> None:
    """The collector of this test is the proxy: what it is asked for is the whole address."""
    stats = sent(polku.Client("k", "http://collect.invalid:81/prefix", proxy=collector.url))
    assert stats.delivered == 20
    assert {request.path for request in collector.received} == {"http://collect.invalid:81/prefix/v1/batch"}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[RecordingCollector, Path]]:
    """A collector whose certificate nobody else knows, and that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a collector")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, secret = tmp_path / "ca.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem, secret)
    recording = RecordingCollector(tls)
    yield recording, pem
    recording.close()


def test_a_certificate_of_one_s_own_is_trusted_when_it_is_given_and_not_before(
    own: tuple[RecordingCollector, Path], caplog: pytest.LogCaptureFixture
) -> None:
    collector, pem = own
    refused = sent(polku.Client("k", collector.url, close_timeout_seconds=0.5), 1)
    assert refused.lost == {"close_timeout": 1}
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert sent(polku.Client("k", collector.url, ca_file=str(pem))).delivered == 20

    async def program() -> int:
        async with polku.AsyncClient("k", collector.url, ca_file=str(pem)) as client:
            client.track("x", user_id="u")
            await client.flush()
            return client.stats().delivered

    assert asyncio.run(program()) == 1
