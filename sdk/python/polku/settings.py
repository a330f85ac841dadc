"""The settings of a client: one frozen, closed record, checked as a whole when the client is made.

Nothing here reads the environment by itself; `from_environment` is given it.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec

from polku.errors import SettingsError

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
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
    full_queue: Literal["drop", "block"] = "drop"
    """What a call does when the queue is full: drop its event, or wait for room (imports, scripts)."""
    block_seconds: MaybeNoSeconds = 30.0
    """With `full_queue="block"`: how long one call waits for room before its event is dropped after all."""

    compression: Literal["gzip"] | None = "gzip"
    """How bodies are compressed."""
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
            near = difflib.get_close_matches(name, types, n=1)
            findings.append(f"unknown option {name!r}" + (f", did you mean {near[0]!r}?" if near else ""))
            continue
        try:
            values[name] = msgspec.convert(value, types[name])
        except msgspec.ValidationError as error:
            findings.append(f"option {name!r}: {error}")
    if "write_key" in values:
        findings += _write_key_findings(values["write_key"])
    if "endpoint" in values:
        findings += _endpoint_findings(values["endpoint"])
    if findings:
        raise SettingsError(findings)
    return Settings(**values)


def from_environment(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Write key and endpoint from `POLKU_WRITE_KEY` and `POLKU_ENDPOINT`, None if one of them is missing."""
    write_key, endpoint = environ.get("POLKU_WRITE_KEY"), environ.get("POLKU_ENDPOINT")
    return (write_key, endpoint) if write_key and endpoint else None


def _write_key_findings(write_key: str) -> list[str]:
    if not write_key:
        return ["option 'write_key' is empty: use the key of a source of the collector"]
    if ":" in write_key or not write_key.isprintable():
        # It travels as the user name of Basic authentication, which ends at the first colon.
        return ["option 'write_key' must not contain a colon or control characters"]
    return []


def _endpoint_findings(endpoint: str) -> list[str]:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if usable and not parts.query and not parts.fragment:
        return []
    return [f"option 'endpoint' is not an address like https://collect.example.com: {endpoint!r}"]
