"""A mapping file that cannot be meant is refused with file, line and remedy, all findings at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polku_collector.errors import SettingsError
from polku_collector.settings import load
from polku_collector.webhook.mapping import WebhookMapping, events_of
from polku_collector.webhook.mapping_file import read_webhook_mapping
from polku_collector.webhook.places import Delivery, find, read_place


def read(tmp_path: Path, text: str) -> WebhookMapping:
    (tmp_path / "map.yaml").write_text(text)
    return read_webhook_mapping(tmp_path / "map.yaml")


BROKEN = {
    "events: {}\nid: $.id": "makes no event",
    "evens: {}": "`evens` is not known here",
    "events:\n  x: {user_id: $.u}": "map.yaml:2: .*no `id`.*second event",
    "id: $.a[\nevents: {x: {}}": r"map.yaml:1: .*`\$\.a\[` is no path",
    "id: $.a[*]\nevents: {x: {}}": "is no path",
    "id: $..a\nevents: {x: {}}": "is no path",
    "id: []\nevents: {x: {}}": "the list is empty",
    "id: '@.id'\nevents: {x: {}}": "no list is gone through",
    "id: $.a\nevents:\n  x:\n    call: buy": "map.yaml:4: .*'buy' is no call",
    "id: $.a\nevents:\n  x:\n    userid: $.u": "map.yaml:4: .*`userid` is not known",
    "id: $.a\nevents:\n  x:\n    properties: {a: {from: $.a, cast: money}}": "'money' is no type",
    "id: $.a\nevents:\n  x:\n    properties: {a: {from: $.a, divide: 0}}": "no number above 0",
    "id: $.a\nevents:\n  x:\n    properties: {a: {from: $.a, case: title}}": "none of upper and lower",
    "id: $.a\nevents:\n  x:\n    properties: {a: {cast: string}}": "does not say where",
    "id: $.a\nevents:\n  x:\n    properties: {a: [1]}": "is no value",
    "id: $.a\nevents:\n  x:\n    properties: {a: {value: [1]}}": "not a text, a number or a boolean",
    "id: $.a\nevents:\n  x:\n    properties: {a: '@.b'}": "no list is gone through",
    "id: $.a\nevents:\n  x:\n    properties: [a]": "names with a colon",
    "id: $.a\nevents:\n  x:\n    when: {$.a: {nor: 1}}": "`nor` is not known here",
    "id: $.a\nevents:\n  x:\n    when: {$.a: []}": "a value is compared with",
    "id: $.a\nevents:\n  x:\n    when: {a: 1}": "`a` is no path",
    "id: $.a\nevents:\n  x:\n    each: 5": "`5` is no path",
    "id: header:a b\nevents: {x: {}}": "is no path",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_mapping_says_where_what_and_what_instead(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=BROKEN[text]) as raised:
        read(tmp_path, text)
    assert "map.yaml" in str(raised.value)


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, "id: a\nevents:\n  x: {call: buy, user: $.u, when: {b: 1}}\n")
    assert str(raised.value).count("\n  ") == 4


CONFIG = """
[sources.web]
keys = ["k"]
[webhooks.shop]
mapping = "{mapping}"
source = "{source}"
[webhooks.shop.hmac]
header = "X-Signature"
{more}
"""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"source": "other"}, r"add \[sources.other\]"),
        ({"more": ""}, "POLKU_WEBHOOK_SHOP_SECRET, or secret_file"),
        ({"more": 'secret = "s"\nsigned = "x"'}, r"write \{body\} once"),
        ({"more": 'secret = "s"\nsigned = "{timestamp}{body}"'}, "go together"),
        ({"more": 'secret = "s"\ntimestamp_header = "T"'}, "go together"),
        ({"more": 'secret = "s"\nsigned = "{timestamp}{body}"\ntimestamp_field = "t"'}, "goes with field"),
        ({"more": 'secret = "s"\nalgorithm = "md5"'}, "md5"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, changes: dict[str, str], complaint: str) -> None:
    text = CONFIG
    for name, value in ({"mapping": "m.yaml", "source": "web", "more": 'secret = "s"'} | changes).items():
        text = text.replace("{" + name + "}", value)
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(SettingsError, match=complaint):
        load(tmp_path / "c.toml", {}, {})


def test_the_secret_comes_from_the_variable_of_the_webhook(tmp_path: Path) -> None:
    text = CONFIG.replace("webhooks.shop", "webhooks.my-shop").replace("{more}", "").replace("{source}", "web")
    (tmp_path / "c.toml").write_text(text)
    webhook = load(tmp_path / "c.toml", {"POLKU_WEBHOOK_MY_SHOP_SECRET": "s1"}, {}).webhooks["my-shop"]
    assert webhook.hmac is not None
    assert webhook.hmac.secret == "s1"


def test_the_command_ends_with_2_and_names_file_line_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("id: $.id\nevents:\n  x:\n    user_id: $.u[\n")
    (tmp_path / "c.toml").write_text(
        '[sources.web]\nkeys = ["k"]\n[webhooks.a]\nmapping = "map.yaml"\nsource = "web"\n'
    )
    command = [sys.executable, "-m", "polku.cli", "collector", "c.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "map.yaml:4:" in done.stderr
    assert "Write a path" in done.stderr


NAMES = st.text(st.characters(blacklist_characters="'\\", blacklist_categories=["Cs"]), min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(NAMES | st.integers(0, 3), max_size=5), st.integers())
def test_a_path_leads_to_where_it_says(steps: list[str | int], value: int) -> None:
    payload: Any = value
    for step in reversed(steps):
        payload = {step: payload} if isinstance(step, str) else [None] * step + [payload]
    text = "$" + "".join(f"['{step}']" if isinstance(step, str) else f"[{step}]" for step in steps)
    place = read_place(text)
    assert place is not None
    assert find(place, Delivery(payload, {})) == value
    for other in (None, 5, "x", [], {}):
        assert find(place, Delivery(other, {})) is None or not steps


EVERYTHING = """
id: [$.id, header:X-Id]
events:
  bought:
    each: $.items
    when: {"$.kind": [a, b], "@.gone": null}
    user_id: $.user
    timestamp: {from: $.at, cast: {to: date-time, unit: seconds}}
    properties:
      price: {from: "@.price", cast: number, divide: 100, default: 0}
      name: {from: "@.name", case: lower}
      note: {value: "$5"}
      deep: {properties: {a: $.a, b: {each: $.list, properties: {c: "@.c"}}}}
  seen: {call: page, id: body, user_id: $.user, properties: $.page}
"""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", "price"]), inner),
    max_leaves=12,
)  # fmt: skip
known: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("user", "at", "a", "list", "page"), json_values),
    "kind": st.sampled_from(["a", "b"]),
    "id": st.integers() | st.text(max_size=200) | json_values,
    "items": st.lists(json_values) | json_values,
}
payloads = json_values | st.fixed_dictionaries({}, optional=known)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(payload=payloads, header=st.none() | st.binary(max_size=200))
def test_whatever_comes_each_event_is_json_with_an_id_of_its_own_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, payload: Any, header: bytes | None
) -> None:
    mapping = _everything(tmp_path_factory)
    body = json.dumps(payload).encode()
    headers = {} if header is None else {b"x-id": header}

    def made() -> list[Any]:
        return events_of(mapping, "w", Delivery(payload, headers), body, most=1000, most_bytes=10**7)

    once = made()
    assert once == made(), "a retry is the same events"
    ids = [json.loads(one.raw)["messageId"] for one in once if one.problem is None]
    assert len(set(ids)) == len(ids)
    assert all(len(event_id) <= 128 for event_id in ids)
    for one in once:
        if one.problem is not None:
            assert set(json.loads(one.raw)) == {"webhook", "entry", "payload"}


def test_two_deliveries_that_differ_in_their_ids_are_two_events(tmp_path: Path) -> None:
    mapping = read(tmp_path, "id: [$.a, $.b]\nevents:\n  x: {user_id: $.u}\n  'x:1': {user_id: $.u}\n")
    ids = set()
    pairs = [
        (1, "2:3"),
        ("1:2", 3),
        ("1%3A2", 3),
        (1, "2%3A3"),
        ("1:1", "2"),
        (1, "1:2"),
        ("x" * 200, 1),
        ("x" * 201, 1),
    ]
    for a, b in pairs:
        made = events_of(mapping, "w", Delivery({"a": a, "b": b}, {}), b"", most=9, most_bytes=10**6)
        ids |= {json.loads(one.raw)["messageId"] for one in made}
    assert len(ids) == 2 * len(pairs)


_CACHE: list[WebhookMapping] = []


def _everything(factory: pytest.TempPathFactory) -> WebhookMapping:
    if not _CACHE:
        _CACHE.append(read(factory.mktemp("mapping"), EVERYTHING))
    return _CACHE[0]
