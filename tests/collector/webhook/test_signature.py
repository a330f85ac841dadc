"""Signatures as known senders make them, and what is wrong with those that others do."""

import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from polku_collector.settings import WebhookHmac
from polku_collector.webhook.signature import why_not_signed

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp())).encode()
BODY = b'{"a":1}'
SECRET = b"secret"


def checked(settings: WebhookHmac, **headers: bytes) -> str | None:
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return why_not_signed(settings, (b"other", SECRET), given, BODY, NOW)


GITHUB = WebhookHmac(header="X-Hub-Signature-256", prefix="sha256=")
GITHUB_OLD = WebhookHmac(header="X-Hub-Signature", prefix="sha1=", algorithm="sha1")
SLACK = WebhookHmac(
    header="X-Slack-Signature",
    prefix="v0=",
    signed="v0:{timestamp}:{body}",
    timestamp_header="X-Slack-Request-Timestamp",
)


def test_signatures_of_known_senders_are_believed() -> None:
    assert (
        checked(GITHUB, x_hub_signature_256=b"sha256=" + hmac.new(SECRET, BODY, "sha256").hexdigest().encode()) is None
    )
    upper = hmac.new(SECRET, BODY, "sha256").hexdigest().upper().encode()
    assert checked(GITHUB, x_hub_signature_256=b"sha256=" + upper) is None
    assert checked(GITHUB_OLD, x_hub_signature=b"sha1=" + hmac.new(SECRET, BODY, "sha1").hexdigest().encode()) is None
    signed = hmac.new(SECRET, b"v0:" + STAMP + b":" + BODY, "sha256").hexdigest().encode()
    assert checked(SLACK, x_slack_signature=b"v0=" + signed, x_slack_request_timestamp=STAMP) is None


@pytest.mark.parametrize("stamp", [None, b"", b"-1", b"1e9", b"9" * 30, "²".encode("latin-1"), b"12 "])
def test_a_time_that_is_none_is_refused(stamp: bytes | None) -> None:
    headers: dict[str, Any] = {} if stamp is None else {"x_slack_request_timestamp": stamp}
    signed = hmac.new(SECRET, b"v0:" + (stamp or b"") + b":" + BODY, "sha256").hexdigest().encode()
    assert "time" in (checked(SLACK, x_slack_signature=b"v0=" + signed, **headers) or "")


def test_without_its_prefix_a_signature_is_none() -> None:
    bare = hmac.new(SECRET, BODY, "sha256").hexdigest().encode()
    assert "not right" in (checked(GITHUB, x_hub_signature_256=bare) or "")


def test_what_is_refused_says_nothing_of_what_would_be_right() -> None:
    right = hmac.new(SECRET, BODY, "sha256").hexdigest()
    for wrong in (b"", b"sha256=", b"sha256=zz", b"sha256=" + b"0" * 64):
        reason = checked(GITHUB, x_hub_signature_256=wrong)
        assert reason is not None
        assert right[:8] not in reason
