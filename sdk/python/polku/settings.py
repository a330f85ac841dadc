"""The settings of a client: one frozen, closed record, checked as a whole when the client is made.

Nothing here reads the environment by itself; `from_environment` is given it.
"""

import os
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from polku.compress import has_zstd
from polku.errors import SettingsError

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
MaybeNone = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
MaybeNoSeconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every option of `Client`, with its default and reason."""

    write_key: str
    """Names the source to the collector; sent as the user name of Basic authentication."""
    endpoint: str
    """Address of the collector, with a path prefix where it has one; `/v1/batch` is added."""

    batch_events: Count = 500
    """A batch is sent when it has this many events …"""
    batch_bytes: Count = 1_000_000
    """… or this many bytes before compression (under the 1 MiB that proxies commonly allow) …"""
    batch_age_seconds: MaybeNoSeconds = 0.5
    """… or when its first event is this old."""

    queue_events: Count = 100_000
    """Events kept in memory at most, those being sent included."""
    queue_bytes: Count = 32 * 1024 * 1024
    """Encoded bytes kept in memory at most, those being sent included."""
    max_event_bytes: Count = 256 * 1024
    """A larger event is dropped where it is made: it would only be refused later."""
    full_queue: Literal["drop_newest", "drop_oldest", "block", "spill"] = "drop_newest"
    """When the queue is full: drop the new event, drop the oldest, wait for room (imports, scripts), use the spool."""
    block_seconds: MaybeNoSeconds = 30.0
    """With `full_queue="block"`: how long one call waits for room before its event is dropped after all."""

    spool: str | None = None
    """A directory that keeps events on disk until they are acknowledged. With `full_queue="spill"` only those that find
    no room in memory, or are not delivered at the end; else every event, in the call. Any number of processes may share
    it: who starts next delivers what others left."""
    spool_bytes: Count = 256 * 1024 * 1024
    """All that is kept there at most; beyond it an event waits in memory, and then `full_queue` says what is done."""

    compression: Literal["gzip", "zstd"] | None = "gzip"
    """How bodies are compressed. A collector that does not know zstd is sent gzip."""
    compression_level: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    """1 is several times cheaper than 6 and leaves events about a fifth larger."""

    timeout_seconds: Seconds = 10.0
    """Longest wait for a connection, and for the answer to one request."""
    retry_base_seconds: Seconds = 0.5
    """The first retry waits a random time up to this; the bound doubles with each attempt …"""
    retry_cap_seconds: Seconds = 30.0
    """… up to this."""
    max_retry_after_seconds: Seconds = 300.0
    """A `Retry-After` beyond this is taken as this."""
    give_up_after_seconds: MaybeNoSeconds = 900.0
    """A batch that could not be delivered for this long since its first attempt is given up."""
    close_timeout_seconds: MaybeNoSeconds = 5.0
    """How long `close()` or a normal exit of the interpreter may take to deliver what is queued."""

    proxy: str | None = None
    """Address of a proxy; else the usual variables (`HTTPS_PROXY`, `NO_PROXY` …) say whether there is one."""
    ca_file: str | None = None
    """Certificates to trust instead of the usual ones, as a PEM file; else `SSL_CERT_FILE` is honoured."""

    consent: str | None = None
    """The purpose that an event needs consent to, such as `"analytics"`: without it nothing leaves or is spooled."""
    consent_buffer_events: MaybeNone = 0
    """So many events are kept in memory while it is not known what the person agrees to; the oldest make room."""
    consent_ping: bool = False
    """Each decision that `consent()` brings is counted by the collector: the day and the decision, nothing else."""
    sample_people: Share = 1.0
    """The share of people whose events are sent: all of a person's or none. The weight goes with each event."""
    sample_events: dict[str, Share] = {}
    """The share of single events that are sent, by the event's name. The weight goes with each."""
    enabled: bool = True
    """False: every call returns None at once, no thread, no file, no connection."""
    debug: bool = False
    """Print each event and each verdict to standard error as they come."""

    strict: bool = False
    """For development and tests: raise `InvalidEvent` where a warning would be logged."""


def settings_from(write_key: object, endpoint: object, options: Mapping[str, Any]) -> Settings:
    """Check everything a client was given and return it as one record; `SettingsError` lists all findings."""
    given = {"write_key": write_key, "endpoint": endpoint, **options}
    types = get_type_hints(Settings, include_extras=True)
    findings: list[str] = []
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in types:
            import difflib  # only here, as is urllib: what an import costs is felt at the start of every program

            near = difflib.get_close_matches(name, types, n=1)
            findings.append(f"unknown option {name!r}" + (f", did you mean {near[0]!r}?" if near else ""))
            continue
        try:
            values[name] = msgspec.convert(os.fspath(value) if isinstance(value, os.PathLike) else value, types[name])
        except msgspec.ValidationError as error:
            findings.append(f"option {name!r}: {error}")
    if "write_key" in values:
        findings += _write_key_findings(values["write_key"])
    if "endpoint" in values:
        findings += _endpoint_findings(values["endpoint"])
    if values.get("full_queue") == "spill" and values.get("spool") is None:
        findings.append("option 'full_queue': \"spill\" needs a directory: give 'spool'")
    if values.get("spool") == "":
        findings.append("option 'spool' is empty: give a directory, or None")
    if values.get("consent_ping") and values.get("consent") is None:
        findings.append("option 'consent_ping' counts decisions about a purpose: give 'consent'")
    if values.get("compression") == "zstd" and not has_zstd():
        findings.append("option 'compression': zstd needs Python 3.14 or pip install 'polku[zstd]'")
    if values.get("spool") and sys.platform == "win32":
        findings.append("option 'spool' needs the file locks of Linux or macOS")
    if findings:
        raise SettingsError(findings)
    return Settings(**values)


def from_environment(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Write key and endpoint from `POLKU_WRITE_KEY` and `POLKU_ENDPOINT`, None if one of them is missing."""
    write_key, endpoint = environ.get("POLKU_WRITE_KEY"), environ.get("POLKU_ENDPOINT")
    return (write_key, endpoint) if write_key and endpoint else None


def switches(environ: Mapping[str, str]) -> dict[str, Any]:
    """What an operator may say without a change of the program: `POLKU_DISABLED=1`, `POLKU_DEBUG=1`."""
    off, on = ("", "0", "false", "no"), {}
    if environ.get("POLKU_DISABLED", "").lower() not in off:
        on["enabled"] = False
    if environ.get("POLKU_DEBUG", "").lower() not in off:
        on["debug"] = True
    return on


def _write_key_findings(write_key: str) -> list[str]:
    if not write_key:
        return ["option 'write_key' is empty: use the key of a source of the collector"]
    if ":" in write_key or not write_key.isprintable():
        # It travels as the user name of Basic authentication, which ends at the first colon.
        return ["option 'write_key' must not contain a colon or control characters"]
    return []


_PLAIN_ADDRESS = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._/-]*)?")


def _endpoint_findings(endpoint: str) -> list[str]:
    if _PLAIN_ADDRESS.fullmatch(endpoint):
        return []
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if usable and not parts.query and not parts.fragment:
        return []
    return [f"option 'endpoint' is not an address like https://collect.example.com: {endpoint!r}"]
