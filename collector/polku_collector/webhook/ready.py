"""The webhooks of the settings with what their files hold, read once, before anything starts."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ..errors import SettingsError
from ..settings import Settings, Webhook, WebhookHmac
from .mapping import WebhookMapping
from .mapping_file import read_webhook_mapping


class ReadyWebhook(Struct, frozen=True):
    """A webhook, how its payloads become events, and the secrets by which its sender is known."""

    settings: Webhook
    mapping: WebhookMapping
    secrets: tuple[bytes, ...] = ()


def read_webhooks(settings: Settings) -> dict[str, ReadyWebhook]:
    """Every webhook, by name. Raises SettingsError with everything that is wrong."""
    ready: dict[str, ReadyWebhook] = {}
    complaints: list[str] = []
    for name, webhook in settings.webhooks.items():
        try:
            mapping = read_webhook_mapping(Path(webhook.mapping))
            ready[name] = ReadyWebhook(webhook, mapping, _secrets(name, webhook.hmac))
        except SettingsError as error:
            complaints.append(f"[webhooks.{name}] {error}")
    if complaints:
        raise SettingsError("\n".join(complaints))
    return ready


def _secrets(name: str, signed: WebhookHmac | None) -> tuple[bytes, ...]:
    """One a line, so that a sender's secret can be changed without a gap."""
    if signed is None:
        return ()
    text = signed.secret
    if text is None:
        assert signed.secret_file is not None  # noqa: S101  (the settings have one of them)
        try:
            text = Path(signed.secret_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SettingsError(f"secret_file: {signed.secret_file}: {reason}") from None
    found = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
    if not found:
        raise SettingsError(f"the secret of the webhook {name} is empty")
    return found
