"""Where one session of a person ends and the next begins, for events that come without a client's session id."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polku_analytics.period import zone
from polku_analytics.result import window_text


class SessionRules(Struct, frozen=True, kw_only=True):
    """The rules of `polku build`. A lake keeps them; other rules make everything new."""

    gap_seconds: int = 30 * 60
    """A session ends when more than this passes without an event."""
    new_at_gap: bool = False
    """Exactly that long ends it, too."""
    new_on_campaign: bool = False
    """An event that names another campaign than the last one named begins a session."""
    midnight: str | None = None
    """Midnight in this time zone ends a session."""
    client_ids: bool = True
    """Events with a session id of the client belong to the session of that id, whatever the other rules say."""

    def __post_init__(self) -> None:
        if self.midnight is not None:
            zone(self.midnight)

    @property
    def words(self) -> str:
        """The rules in a sentence."""
        gap = window_text(self.gap_seconds)
        ends = [f"{gap} pass without an event" if self.new_at_gap else f"more than {gap} pass without an event"]
        ends += ["another campaign is named"] if self.new_on_campaign else []
        ends += [f"it is midnight in {self.midnight}"] if self.midnight else []
        client = "the client's session id where it sends one; else it" if self.client_ids else "one that"
        return f"{client} ends when {', or when '.join(ends)}"


DEFAULT_RULES: Final = SessionRules()
