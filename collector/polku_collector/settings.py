"""The collector's settings: one closed, typed place. Flags beat environment, which beats file, which beats default.

`load` is pure in its arguments (path, environment, overrides); nothing else in the package reads the environment,
except the `AWS_…` variables that boto3 and deltalake read themselves.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct, field

from .errors import SettingsError
from .settings_findings import findings_in
from .write_keys import HASHED, digest_of, is_hashed

MIB = 1024 * 1024
DEV_KEY = "dev"

Positive = Annotated[int, Meta(ge=1)]
PositiveNumber = Annotated[float, Meta(gt=0, le=1e12)]  # `inf` is a number in TOML, and no JSON


class IdCookie(Struct, frozen=True, forbid_unknown_fields=True):
    """The anonymous id in a cookie that the collector sets: browsers drop those of scripts after seven days."""

    name: str = "polku_id"
    domain: str | None = None  # default: the collector's own host; give the site's, so that its pages see the cookie
    max_age_days: Annotated[int, Meta(ge=1, le=400)] = 365  # browsers cap it at 400
    consent: str = "analytics"  # what an event's `consent` must hold
    http_only: bool = False  # true: no script sees it
    secure: bool = True


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """One sender: the write keys it may use and how its events are treated."""

    keys: list[str]
    channel: str | None = None  # where this sender meets the customer: web, app, store, …
    unplanned: Literal["accept", "quarantine"] = "accept"
    cors: list[str] = field(default_factory=lambda: ["*"])  # browser origins that may send; others are refused
    historical: bool = False  # may bring the past: event times are taken as they are
    max_past_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    max_future_minutes: Annotated[int, Meta(ge=1, le=525_600)] = 60
    rate_events_per_second: PositiveNumber | None = None  # of this source, over all workers of the node
    burst: Positive | None = None  # events that may come at once; default: those of one second
    rate_status: Literal[429, 503] = 503  # many clients drop their events on a 429
    bots: Literal["flag", "refuse"] = "flag"
    ip: Literal["drop", "truncate", "keep", "hash"] = "drop"  # what is stored of the client's address
    cookie: IdCookie | None = None  # none: the collector sets no cookie
    # When a request is answered: after the journal's fsync, or only after the commit to the table.
    ack: Literal["journal", "lake"] = "journal"


class WebhookHmac(Struct, frozen=True, forbid_unknown_fields=True):
    """How a webhook's sender signs what it sends."""

    header: str  # that carries the signature
    secret_file: str | None = None  # one secret a line; several while it is changed
    secret: str | None = None  # meant for POLKU_WEBHOOK_<NAME>_SECRET; a settings file is no place for a secret
    algorithm: Literal["sha256", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""  # before the signature, such as "sha256="
    signed: str = "{body}"  # what is signed; may hold {timestamp} too
    field: str | None = None  # of a header of pairs ("t=1,v1=ab"): the name of the signature
    timestamp_field: str | None = None  # the name of the time among these pairs
    timestamp_header: str | None = None  # or the header that carries the time, in seconds since 1970
    tolerance_seconds: PositiveNumber = 300.0  # a time further off is refused


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/webhook/NAME: whose events these are, and the file that says how they are made of what is sent."""

    mapping: str
    source: str
    hmac: WebhookHmac | None = None  # none: the request must carry a write key of the source


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the collector listens and with how many intake processes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    trusted_proxies: list[str] = []  # networks whose word on the client's address is believed
    client_address_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    path_prefixes: list[str] = []  # the endpoints are also below these
    script_path: str = "/polku.js"  # of the browser SDK, its add-ons beside it; "" serves none


class Iceberg(Struct, frozen=True, forbid_unknown_fields=True):
    """The mirror of `events` and `quarantine` in an Iceberg catalog. Without a catalog there is none."""

    catalog: str | None = None  # its name, as pyiceberg knows it
    properties: dict[str, str] = {}  # what pyiceberg's load_catalog is given: type, uri, …
    namespace: str = "polku"
    events_table: str = "events"
    quarantine_table: str = "quarantine"
    location: str | None = None  # where metadata is kept; default: `_iceberg` in the lake
    interval_seconds: PositiveNumber = 60.0
    keep_snapshots_hours: PositiveNumber = 6.0


class S3(Struct, frozen=True, forbid_unknown_fields=True):
    """What a lake on S3 asks of its store, beside the `AWS_…` variables."""

    sse: Literal["AES256", "aws:kms"] | None = None  # asked for with every object; default: as the bucket is set up
    kms_key_id: str | None = None  # of sse = "aws:kms"; default: the account's own key for S3


class Lake(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the tables live and how often they are committed."""

    uri: str = "./polku-data/lake"
    flush_seconds: PositiveNumber | None = None  # default: 1 on a local disk, 10 on an object store
    # Journal bytes read for one flush. Its rows are in memory, and Arrow joins the texts of a column up to 2 GiB.
    flush_bytes: Annotated[int, Meta(ge=1, le=1024 * MIB)] = 64 * MIB
    dedup_window_days: PositiveNumber = 7.0
    dedup_max_bytes: Positive = 1024 * MIB
    checkpoint_commits: Positive = 20  # a checkpoint and a fresh table handle every so many commits
    scratch: str | None = None  # default: `staging` inside the journal directory
    spill_max_bytes: Positive = 4096 * MIB  # of DuckDB's own files there, when a replay does not fit into memory
    # Who commits: this node, another one (this one uploads files and leaves notes), or this one for others too.
    commit: Literal["self", "hand_over", "for_all"] = "self"
    s3: S3 = S3()
    iceberg: Iceberg = Iceberg()


class JournalSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The durable log on local disk."""

    directory: str = "./polku-data/journal"
    max_bytes: Positive = 4096 * MIB  # beyond it requests are answered 503 with Retry-After
    segment_bytes: Positive = 64 * MIB
    reserve_bytes: Positive = 256 * MIB  # disk kept free, so that the committer can always drain the journal


class Retention(Struct, frozen=True, forbid_unknown_fields=True):
    """How many days rows are kept after their day is over. Events are kept for ever unless something is said here."""

    events_days: Positive | None = None
    quarantine_days: Positive = 30
    events: dict[str, Positive] = {}  # by event name; goes before events_days


class Maintenance(Struct, frozen=True, forbid_unknown_fields=True):
    """How the tables are looked after."""

    enabled: bool = True
    compact_files: Annotated[int, Meta(ge=10)] = 1000  # files are merged when a table has more than this
    target_file_bytes: Annotated[int, Meta(ge=MIB)] = 128 * MIB
    vacuum_retention_hours: Annotated[int, Meta(ge=1, le=8760)] = 24  # how long files stay that left a table
    interval_seconds: PositiveNumber | None = None  # default: 10 on a local disk, 60 on an object store
    retention: Retention = Retention()


class PrivacySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The secret behind the pseudonyms of a plan whose `privacy` asks for them."""

    key_file: str | None = None
    key: str | None = None  # meant for POLKU_PRIVACY_KEY; a settings file is no place for a secret


class Traces(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry spans of requests and flushes. Without an endpoint there are none."""

    endpoint: str | None = None  # OTLP over HTTP, the whole address: http://127.0.0.1:4318/v1/traces
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01  # of requests whose client does not say it
    service_name: str = "polku-collector"


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one request may bring."""

    max_body_bytes: Positive = 10 * MIB  # after decompression
    max_ratio: Positive = 200  # a compressed body beyond 1 MiB may be so many times larger than it came
    max_batch_events: Positive = 10_000
    max_event_bytes: Positive = MIB
    max_depth: Annotated[int, Meta(ge=4, le=100)] = 64  # of objects and lists in one event
    max_keys: Positive = 2_000  # of all objects of one event
    max_quarantine_bytes: Positive = 64 * 1024  # of one rejected event kept as `original`
    max_quarantine_bytes_a_day: Positive = 4096 * MIB  # of rejected events of one source; beyond it they are counted
    body_seconds: PositiveNumber = 30.0  # a body that takes longer to arrive is refused
    # What follows holds for each worker and its connections.
    max_held_bytes: Positive = 512 * MIB  # of large bodies on their way, together
    max_header_bytes: Annotated[int, Meta(ge=1024, le=MIB)] = 32 * 1024
    header_seconds: PositiveNumber = 10.0  # until a connection has sent the head of a request
    idle_seconds: PositiveNumber = 75.0  # longer than proxies keep theirs, so that it is they who close
    max_connections: Positive = 4_096
    max_connections_per_address: Positive | None = None  # trusted proxies are not counted
    ack_lake_seconds: PositiveNumber = 30.0  # how long a request of a source with ack = "lake" waits for the commit
    drain_seconds: PositiveNumber = 60.0  # how long SIGTERM waits for the last commits


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a collector is told. `plan` is a folder; none means the built-in plan."""

    sources: dict[str, Source] = {}
    webhooks: dict[str, Webhook] = {}
    plan: str | None = None
    watch_plan: bool = True  # take a changed plan without being told; SIGHUP always tells
    dev: bool = False
    server: Server = Server()
    lake: Lake = Lake()
    journal: JournalSettings = JournalSettings()
    limits: Limits = Limits()
    maintenance: Maintenance = Maintenance()
    privacy: PrivacySettings = PrivacySettings()
    traces: Traces = Traces()

    @property
    def flush_seconds(self) -> float:
        """The commit interval in force."""
        if self.lake.flush_seconds is not None:
            return self.lake.flush_seconds
        return 10.0 if self.is_remote else 1.0

    @property
    def maintenance_seconds(self) -> float:
        """How often the tables are looked at."""
        return self.maintenance.interval_seconds or (60.0 if self.is_remote else 10.0)

    @property
    def is_remote(self) -> bool:
        """Whether the lake is on an object store."""
        return "://" in self.lake.uri and not self.lake.uri.startswith("file://")


# flag → place in the file; POLKU_<FLAG> is the environment variable of the same name.
_OVERRIDES: dict[str, tuple[tuple[str, ...], type]] = {
    "lake": (("lake", "uri"), str),
    "journal": (("journal", "directory"), str),
    "plan": (("plan",), str),
    "host": (("server", "host"), str),
    "port": (("server", "port"), int),
    "workers": (("server", "workers"), int),
    "flush_seconds": (("lake", "flush_seconds"), float),
}

# These have a variable and no flag: everybody on a machine can read its command lines.
_SECRETS: dict[str, tuple[tuple[str, ...], type]] = {"privacy_key": (("privacy", "key"), str)}


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Read and check the settings. Raises SettingsError with the place and the remedy."""
    document = _read(path)
    origins: dict[tuple[str, ...], str] = {}
    for name, (place, kind) in {**_OVERRIDES, **_SECRETS}.items():
        given = flags.get(name)
        origin = f"--{name.replace('_', '-')}"
        if given is None and (text := environ.get(f"POLKU_{name.upper()}")):
            origin = f"POLKU_{name.upper()}"
            try:
                given = kind(text)
            except ValueError:
                raise SettingsError(f"{origin}={text!r} is no {'whole ' if kind is int else ''}number") from None
        if given is not None:
            _set(document, place, given, origin)
            origins[place] = origin
    if flags.get("dev"):
        document["dev"] = True
    _set_webhook_secrets(document, environ)
    try:
        settings = msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        findings = [
            f"{origins[place]}: {text}" if place in origins else f"{path or 'settings'}: {'.'.join(place)}: {text}"
            for place, text in findings_in(document, Settings)
        ]
        raise SettingsError("; ".join(findings) or f"{path or 'settings'}: {error}") from None
    return _checked(settings, path)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None


def _set(document: dict[str, Any], place: tuple[str, ...], value: object, origin: str) -> None:
    for part in place[:-1]:
        document = document.setdefault(part, {})
        if not isinstance(document, dict):
            raise SettingsError(f"{origin} cannot be set: `{part}` is not a table in the file")
    document[place[-1]] = value


def _set_webhook_secrets(document: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Each webhook's secret has a variable of its own."""
    webhooks = document.get("webhooks")
    for name, webhook in webhooks.items() if isinstance(webhooks, dict) else ():
        signed = webhook.get("hmac") if isinstance(webhook, dict) else None
        if isinstance(signed, dict) and (secret := environ.get(webhook_secret_variable(name))):
            signed["secret"] = secret


def webhook_secret_variable(name: str) -> str:
    """`POLKU_WEBHOOK_MY_SHOP_SECRET` for the webhook `my-shop`."""
    return f"POLKU_WEBHOOK_{name.upper().replace('-', '_')}_SECRET"


def _webhook_findings(name: str, webhook: Webhook, sources: Mapping[str, Source]) -> list[str]:
    findings = []
    if not _WEBHOOK_NAME.fullmatch(name):
        findings.append(f"[webhooks.{name}] is a part of an address: use small letters, digits, - and _")
    if webhook.source not in sources:
        findings.append(f"[webhooks.{name}] names the source {webhook.source!r}; add [sources.{webhook.source}]")
    signed = webhook.hmac
    if signed is None:
        return findings
    place = f"[webhooks.{name}.hmac]"
    if signed.secret is None and signed.secret_file is None:
        findings.append(f"{place} has no secret; give {webhook_secret_variable(name)}, or secret_file")
    if not _HEADER_NAME.fullmatch(signed.header):
        findings.append(f"{place} header: {signed.header!r} is no header's name")
    if signed.signed.count("{body}") != 1:
        findings.append(f'{place} signed: write {{body}} once, as in "{{timestamp}}.{{body}}"')
    timed = signed.timestamp_field is not None or signed.timestamp_header is not None
    if timed != ("{timestamp}" in signed.signed):
        findings.append(
            f"{place}: a time protects only if it is signed: {{timestamp}} in `signed` and one of timestamp_header, "
            "timestamp_field go together"
        )
    if signed.timestamp_field is not None and (signed.field is None or signed.timestamp_header is not None):
        findings.append(f"{place}: timestamp_field goes with field, and without timestamp_header")
    return findings


def _cookie_findings(name: str, source: Source) -> list[str]:
    cookie = source.cookie
    findings: list[str] = []
    if cookie is None:
        return findings
    place = f"[sources.{name}.cookie]"
    if "*" in source.cors:
        findings.append(f'{place} needs the origins of your pages: cors = ["https://www.example.com"] without "*"')
    if not _COOKIE_NAME.fullmatch(cookie.name):
        findings.append(f"{place} name: {cookie.name!r}; use letters, digits, - and _")
    if cookie.domain is not None and not _DOMAIN.fullmatch(cookie.domain):
        findings.append(f"{place} domain: {cookie.domain!r} is no domain; write it as example.com")
    return findings


_WEBHOOK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SCRIPT_PATH = re.compile(r"/[A-Za-z0-9._~/-]+\.js")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\sA-Z]+")
_NOT_IN_A_PATH = frozenset("%#?")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)


def _checked(settings: Settings, path: Path | None) -> Settings:
    findings: list[str] = []
    owners: dict[bytes, str] = {}
    for name, source in settings.sources.items():
        if not source.keys:
            findings.append(f'[sources.{name}] has no keys; add keys = ["a-long-random-write-key"]')
        for key in source.keys:
            if key.startswith(HASHED) and not is_hashed(key):
                findings.append(f"[sources.{name}] has the key {key!r}; after sha256: come 64 hexadecimal digits")
            elif not is_hashed(key) and (not key or ":" in key or not key.isascii() or not key.isprintable()):
                findings.append(f"[sources.{name}] has the key {key!r}; use printable ASCII without a colon")
            digest = digest_of(key)
            if owners.get(digest) == name:
                findings.append(f"[sources.{name}] has a key twice")
            elif digest in owners:
                findings.append(f"[sources.{name}] shares a key with [sources.{owners[digest]}]; keys must differ")
            owners[digest] = name
        findings += _cookie_findings(name, source)
        findings += [
            f"[sources.{name}] cors: {origin!r} is no origin; write it as browsers do, https://www.example.com"
            for origin in source.cors
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin)
        ]
        if source.ack == "lake" and settings.limits.ack_lake_seconds <= settings.flush_seconds:
            findings.append(
                f'[sources.{name}] has ack = "lake", and limits.ack_lake_seconds is not longer than the '
                f"{settings.flush_seconds:g} seconds between two commits; make it at least three times as long"
            )
        if source.burst is not None and source.rate_events_per_second is None:
            findings.append(f"[sources.{name}] has a burst and no rate_events_per_second; give both or none")
    for name, webhook in settings.webhooks.items():
        findings += _webhook_findings(name, webhook, settings.sources)
    for network in settings.server.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            findings.append(f"[server] trusted_proxies: {error}; give networks such as 10.0.0.0/8")
    script_path = settings.server.script_path
    if script_path and (not _SCRIPT_PATH.fullmatch(script_path) or script_path.startswith("/v1/")):
        findings.append(f"[server] script_path: {script_path!r}; write it as /polku.js, and not below /v1/")
    findings += [
        f"[server] path_prefixes: {prefix!r} must begin with a slash and not end with one"
        for prefix in settings.server.path_prefixes
        if not prefix.startswith("/") or prefix.endswith("/")
    ]
    scheme, _, rest = settings.lake.uri.rpartition("://")
    if scheme not in ("", "file", "s3", "s3a") or rest.strip("/") == "":
        findings.append(f"[lake] uri: {settings.lake.uri!r}; give a directory, or s3://BUCKET/PREFIX")
    if scheme in ("", "file") and _NOT_IN_A_PATH.intersection(rest if scheme == "" else unquote(rest)):
        findings.append(
            f"[lake] uri: {settings.lake.uri!r}; readers of tables take %, # and ? in a path for an address's"
        )
    if not settings.journal.directory:
        findings.append("[journal] directory is empty; give a local directory")
    s3 = settings.lake.s3
    if s3.kms_key_id is not None and s3.sse != "aws:kms":
        findings.append('[lake.s3] has a kms_key_id, which only sse = "aws:kms" uses; set that too, or remove the key')
    if s3.kms_key_id is not None and not s3.kms_key_id.strip():
        findings.append("[lake.s3] kms_key_id is empty; give an id or ARN, or none for the account's key")
    endpoint = settings.traces.endpoint
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        findings.append(f"[traces] endpoint: {endpoint!r}; give the whole address, as http://127.0.0.1:4318/v1/traces")
    if settings.dev:
        if "dev" in settings.sources or digest_of(DEV_KEY) in owners:
            findings.append("--dev brings its own source `dev` with the key `dev`; rename yours")
        settings = msgspec.structs.replace(
            settings,
            sources={**settings.sources, "dev": Source(keys=[DEV_KEY], channel="web")},
            lake=msgspec.structs.replace(settings.lake, flush_seconds=settings.lake.flush_seconds or 1.0),
        )
    if not settings.sources:
        findings.append(
            'no source may send: start with --dev, or add to the file: [sources.web] keys = ["…"] channel = "web"'
        )
    if findings:
        raise SettingsError("; ".join(f"{path}: {finding}" if path else finding for finding in findings))
    return settings
