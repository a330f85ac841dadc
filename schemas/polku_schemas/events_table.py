"""The columns that a table of events really has, read from its Delta log: no file of data is opened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from polku_schemas.column_types import neutral_type
from polku_schemas.errors import SourceError

_EVENTS: Final = "events"
"""The table of a lake that the plan gives its columns."""

_SCHEMES: Final = ("s3", "s3a", "file")
_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_PATIENCE: Final = {"connect_timeout": "5s", "timeout": "30s", "max_retries": "2"}
"""Somebody waits for the answer: deltalake itself would try for three minutes."""


def is_table(source: str) -> bool:
    """Whether an operand means a lake or its table of events, and not a plan."""
    return "://" in source or any((Path(source) / log).is_dir() for log in ("_delta_log", f"{_EVENTS}/_delta_log"))


def read_columns(uri: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The columns (name → neutral type) of a lake's table of events, or of the table that `uri` is itself.

    A lake is a folder, `file://…` or `s3://bucket/prefix`, reached as the usual `AWS_…` variables in `environ` say.
    SourceError says what is not there.
    """
    # Here, so that commands which look at no table need no deltalake and do not wait for it.
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    scheme, separator, _ = uri.partition("://")
    if separator and (scheme not in _SCHEMES or not (urlsplit(uri).netloc or scheme == "file")):
        raise SourceError(f"`{uri}` cannot be read as a lake: give a folder, or s3://BUCKET/PREFIX")
    options = _storage_options(environ) if scheme in ("s3", "s3a") else {}
    root = unquote(urlsplit(uri).path) if scheme == "file" else uri.rstrip("/")
    for address in (f"{root}/{_EVENTS}", root):
        try:
            schema = DeltaTable(address, storage_options=options).schema()
        except TableNotFoundError:
            continue
        except (DeltaError, OSError, ValueError) as error:
            raise SourceError(f"the table {address} cannot be read: {_reason(error)}") from error
        fields = json.loads(schema.to_json())["fields"]
        return {field["name"]: neutral_type(field["type"]) for field in fields}
    raise SourceError(
        f"there is no table in {uri}: give the lake, which holds `{_EVENTS}/_delta_log`, or a table, which holds "
        "`_delta_log`. A lake gets its tables when a collector starts"
    )


def _storage_options(environ: Mapping[str, str]) -> dict[str, str]:
    """What deltalake needs to reach an S3-compatible store, by the variables that the collector reads too."""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options = _PATIENCE | {"AWS_REGION": region} | {name: environ[name] for name in _KEYS if environ.get(name)}
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        options |= {"AWS_ENDPOINT_URL": endpoint, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
        if endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
    return options


def _reason(error: Exception) -> str:
    """What deltalake says, as one line: without its colours, arrows and stack trace."""
    lines = [_ORNAMENTS.sub("", line).strip() for line in str(error).splitlines()]
    return " ".join(line for line in takewhile(lambda line: _FRAME.match(line) is None, lines) if line)


_ORNAMENTS: Final = re.compile(r"\x1b\[\d+m|↳")
_FRAME: Final = re.compile(r"\d+: ")
