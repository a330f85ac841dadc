"""What is told when settings cannot be used: every mistake at once, where it stands and what would be right."""

from pathlib import Path
from typing import Any

import pytest

from polku_collector.errors import SettingsError
from polku_collector.settings import load

WRONG = """
dev = "yes"
[server]
prot = 1
[lake]
s3 = 3
commit = "me"
[lake.iceberg.properties]
uri = 1
[journal]
max_bytes = "4GB"
[maintenance.retention.events]
page_viewed = 0
[sources.web]
keys = ["k"]
ip = "no"
cookie = {nam = "x"}
[sources.app]
rate_events_per_second = 0
[webhooks.shop]
mapping = "shop.yaml"
[lakes]
"""


def refusal(tmp_path: Path, text: str, environ: dict[str, str] | None = None, **flags: Any) -> str:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "c.toml", environ or {}, flags)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_each_mistake_of_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    assert set(refusal(tmp_path, WRONG).split("; c.toml: ")) == {
        "c.toml: dev: Expected `bool`, got `str`",
        "server.prot: there is no such setting, did you mean `port`?",
        "lake.s3: Expected `object`, got `int`",
        "lake.commit: Invalid enum value 'me'; write one of 'self', 'hand_over', 'for_all'",
        "lake.iceberg.properties.uri: Expected `str`, got `int`",
        "journal.max_bytes: Expected `int`, got `str`",
        "maintenance.retention.events.page_viewed: Expected `int` >= 1",
        "sources.web.ip: Invalid enum value 'no'; write one of 'drop', 'truncate', 'keep', 'hash'",
        "sources.web.cookie.nam: there is no such setting, did you mean `name`?",
        "sources.app.keys: must be given",
        "sources.app.rate_events_per_second: Expected `float` > 0.0",
        "webhooks.shop.source: must be given",
        "lakes: there is no such setting, did you mean `lake`?",
    }


def test_who_said_it_is_named(tmp_path: Path) -> None:
    """The file is right, and would be searched in vain."""
    right = '[sources.web]\nkeys = ["k"]\n'
    assert refusal(tmp_path, right, {"POLKU_FLUSH_SECONDS": "-1"}) == "POLKU_FLUSH_SECONDS: Expected `float` > 0.0"
    assert refusal(tmp_path, right, {"POLKU_PORT": "1"}, workers=0) == "--workers: Expected `int` >= 1"
    assert refusal(tmp_path, right, {"POLKU_PORT": "many"}) == "POLKU_PORT='many' is no whole number"


@pytest.mark.parametrize("uri", ["", "gs://bucket/x", "s3://", "s3:///", "ftp://x/y"])
def test_a_lake_that_cannot_be_is_refused_before_anything_starts(tmp_path: Path, uri: str) -> None:
    said = refusal(tmp_path, f'[sources.web]\nkeys = ["k"]\n[lake]\nuri = "{uri}"\n')
    assert said == f"c.toml: [lake] uri: {uri!r}; give a directory, or s3://BUCKET/PREFIX"


@pytest.mark.parametrize("uri", ["lake %41", "/srv/a#b", "what?", "file:///srv/a%2341"])
def test_a_path_that_readers_take_for_an_address_is_refused(tmp_path: Path, uri: str) -> None:
    said = refusal(tmp_path, f'[sources.web]\nkeys = ["k"]\n[lake]\nuri = "{uri}"\n')
    assert said.startswith(f"c.toml: [lake] uri: {uri!r}; ")


@pytest.mark.parametrize(
    "origin", ["https://www.example.com/", "www.example.com", "https://Example.com", "https://a/b", ""]
)
def test_an_origin_that_no_browser_says_is_refused(tmp_path: Path, origin: str) -> None:
    said = refusal(tmp_path, f'[sources.web]\nkeys = ["k"]\ncors = ["{origin}", "http://localhost:8080", "null"]\n')
    assert said == (
        f"c.toml: [sources.web] cors: {origin!r} is no origin; write it as browsers do, https://www.example.com"
    )


@pytest.mark.parametrize("number", ["inf", "nan"])
def test_a_number_must_be_one(tmp_path: Path, number: str) -> None:
    for place, name in (
        ("limits", "idle_seconds"),
        ("lake", "dedup_window_days"),
        ("sources.web", "rate_events_per_second"),
    ):
        web = "" if place == "sources.web" else '[sources.web]\nkeys = ["k"]\n'
        keys = 'keys = ["k"]\n' if place == "sources.web" else ""
        assert f"{place}.{name}: Expected" in refusal(tmp_path, f"{web}[{place}]\n{keys}{name} = {number}\n")


def test_a_flush_is_no_larger_than_what_can_be_read_at_once(tmp_path: Path) -> None:
    said = refusal(tmp_path, f'[sources.web]\nkeys = ["k"]\n[lake]\nflush_bytes = {2**30 + 1}\n')
    assert said == "c.toml: lake.flush_bytes: Expected `int` <= 1073741824"


@pytest.mark.parametrize("uri", ["lake", "/srv/lake", "file:///srv/lake", "s3://bucket", "s3://bucket/prefix"])
def test_a_lake_may_be_a_directory_or_a_bucket(tmp_path: Path, uri: str) -> None:
    (tmp_path / "c.toml").write_text('[sources.web]\nkeys = ["k"]\n')
    assert load(tmp_path / "c.toml", {}, {"lake": uri}).lake.uri == uri


def test_a_key_that_stands_twice_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path, '[sources.web]\nkeys = ["k", "k"]\n') == "c.toml: [sources.web] has a key twice"
    two = '[sources.web]\nkeys = ["k"]\n[sources.app]\nkeys = ["k"]\n'
    assert "[sources.app] shares a key with [sources.web]" in refusal(tmp_path, two)
