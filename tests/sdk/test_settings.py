"""Construction is where the SDK may raise, and then it names everything at once; the module-level client."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import polku
import polku.default
from polku.settings import Settings


def test_all_findings_are_reported_at_once() -> None:
    with pytest.raises(polku.SettingsError) as caught:
        polku.Client("", "collect.example.com", batch_event=5, queue_bytes=0, full_queue="spill", timeout_seconds="x")
    text = str(caught.value)
    for part in ("'write_key' is empty", "'endpoint'", "did you mean 'batch_events'", "'queue_bytes'", "'full_queue'"):
        assert part in text
    assert "'timeout_seconds'" in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("endpoint", ["", "ftp://c", "http://", "http://c?x=1", "http://[", "http://c:99999", None, 5])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: Any) -> None:
    with pytest.raises(polku.SettingsError, match="endpoint"):
        polku.Client("k", endpoint)


@pytest.mark.parametrize("key", ["a:b", "a\nb", "", None, 5])
def test_a_write_key_that_cannot_travel_is_refused(key: Any) -> None:
    with pytest.raises(polku.SettingsError, match="write_key"):
        polku.Client(key, "http://c")


def test_a_spool_may_be_a_path_and_is_not_left_empty(tmp_path: Path) -> None:
    """An empty text is a variable that was not set; as a path it would be the folder one happens to stand in."""
    client = polku.Client("k", "http://c", spool=tmp_path, transport=polku.MemoryTransport())
    assert client.settings.spool == str(tmp_path)
    client.close()
    with pytest.raises(polku.SettingsError, match="'spool' is empty"):
        polku.Client("k", "http://c", spool="")


def test_a_context_without_json_form_is_refused() -> None:
    with pytest.raises(polku.SettingsError, match="context"):
        polku.Client("k", "http://c", context={"x": object()})


def test_the_docs_list_every_setting_with_its_default() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "sdk-python.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", docs, re.MULTILINE))
    expected = {}
    for field in msgspec.structs.fields(Settings):
        if field.default is not msgspec.NODEFAULT:
            expected[field.name] = f"`{field.default!r}`"
    assert {name: listed.get(name) for name in expected} == expected


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("POLKU_WRITE_KEY", raising=False)
    monkeypatch.delenv("POLKU_ENDPOINT", raising=False)
    monkeypatch.setattr(polku.default, "_client", None)
    monkeypatch.setattr(polku.default, "_dropped_before", 0)
    yield
    if polku.default._client is not None:
        polku.default._client.close(0)


@pytest.mark.usefixtures("unconfigured")
def test_unconfigured_calls_drop_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert polku.track("x", user_id="u") is None
    assert polku.flush() is True
    assert polku.stats() is None
    assert caplog.text.count("polku.configure") == 1


@pytest.mark.usefixtures("unconfigured")
def test_a_bad_environment_drops_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLKU_WRITE_KEY", "k")
    monkeypatch.setenv("POLKU_ENDPOINT", "nonsense")
    for _ in range(3):
        assert polku.track("x", user_id="u") is None
    assert caplog.text.count("POLKU_ENDPOINT") == 1


@pytest.mark.usefixtures("unconfigured")
def test_configure_says_what_is_missing() -> None:
    with pytest.raises(polku.SettingsError, match="POLKU_ENDPOINT"):
        polku.configure("k")


@pytest.mark.usefixtures("unconfigured")
def test_all_calls_go_to_the_configured_client() -> None:
    transport = polku.MemoryTransport()
    polku.configure("k", "http://c", transport=transport)
    polku.track("x", user_id="u")
    polku.identify("u")
    polku.page("home", user_id="u")
    polku.screen("home", user_id="u")
    polku.group("g", user_id="u")
    polku.alias("a", "u")
    assert polku.flush()
    assert [event["type"] for event in transport.events] == ["track", "identify", "page", "screen", "group", "alias"]
    stats = polku.stats()
    assert stats is not None
    assert stats.delivered == 6
    again = polku.MemoryTransport()
    polku.track("late", user_id="u")
    polku.configure("k", "http://c", transport=again)
    assert transport.events[-1]["event"] == "late"
    polku.track("x", user_id="u")
    assert polku.close()
    assert len(again.events) == 1
