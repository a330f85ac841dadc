"""The catalogue's copy-paste calls: one call whatever an example holds, and each arrives in the lake."""

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polku_schemas import Event, Plan, builtin_plan_path, load_plan
from polku_schemas.catalogue.calls import SETUP, Calls, event_calls
from tests.collector.world import collector, rows, wait_until
from tests.schemas.catalogue.plans import HOSTILE

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def builtin() -> Plan:
    return load_plan(builtin_plan_path())


def calls_of(properties: dict[str, Any]) -> Calls:
    return event_calls(
        Event(name="seen", version="1.0", owner="", description="", stage=(), touchpoint=(), examples=(properties,))
    )


@settings(max_examples=60)
@given(st.dictionaries(st.text(), values, max_size=5))
def test_a_python_call_is_one_call_with_the_values_of_the_example(properties: dict[str, Any]) -> None:
    program = ast.parse(calls_of(properties).python)
    first, second = program.body
    assert ast.unparse(first) == "import polku"
    assert isinstance(second, ast.Expr) and isinstance(second.value, ast.Call)
    call = second.value
    assert (ast.unparse(call.func), [keyword.arg for keyword in call.keywords]) == ("polku.track", ["user_id"])
    assert [ast.literal_eval(argument) for argument in call.args] == ["seen", *([properties] if properties else [])]


@settings(max_examples=60)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=5))
def test_a_curl_call_is_one_command_with_the_example_as_json(properties: dict[str, Any]) -> None:
    name, *arguments = shlex.split(calls_of(properties).curl)
    assert (name, arguments[:2]) == ("curl", ["-u", "${POLKU_WRITE_KEY:-dev}:"])
    assert arguments[2:4] == ["${POLKU_ENDPOINT:-http://127.0.0.1:8080}/v1/track", "-d"]
    (body,) = arguments[4:]
    assert json.loads(body) == {"userId": "user-1", "event": "seen", "properties": properties}


@settings(max_examples=60)
@given(values)
def test_a_call_shows_all_it_does(value: Any) -> None:
    """No control character, no mark that turns a line's direction: what is pasted is what was seen."""
    calls = calls_of({"value": value})
    for text in (calls.python, calls.javascript, calls.curl):
        assert all(line.isprintable() for line in text.split("\n")), text


def test_a_shell_runs_nothing_of_a_hostile_example(tmp_path: Path) -> None:
    """By a real shell, with a curl that says how it was called."""
    for text in HOSTILE:
        shown = "curl() { printf '%s\\0' \"$@\"; }; " + calls_of({"query": text}).curl
        done = subprocess.run(["bash", "-euc", shown], cwd=tmp_path, capture_output=True, check=True)
        *_, body, end = done.stdout.decode().split("\0")
        assert (json.loads(body)["properties"]["query"], end, done.stderr) == (text, "", b"")
    assert list(tmp_path.iterdir()) == []


def test_short_values_stand_on_one_line_and_long_ones_are_broken(builtin: Plan) -> None:
    event = builtin.events["store_order_completed"]
    calls = event_calls(replace(event, examples=({"order_id": "O-1", "products": [{"product_id": "P"}], "tax": None},)))
    assert calls.python == (
        "import polku\n"
        "\n"
        'polku.track("store_order_completed", {\n'
        '    "order_id": "O-1",\n'
        '    "products": [{"product_id": "P"}],\n'
        '    "tax": None\n'
        '}, user_id="user-1")\n'
    )
    long = event_calls(replace(event, examples=({"products": [{"product_id": "P" * 50}, {"product_id": "Q" * 50}]},)))
    assert f'    "products": [\n        {{"product_id": "{"P" * 50}"}},\n' in long.javascript


def test_page_and_screen_calls_carry_the_name_beside_the_properties(builtin: Plan) -> None:
    page = event_calls(builtin.events["page_viewed"])
    assert page.python.endswith('polku.page("Home", {\n    "page_type": "home"\n}, user_id="user-1")\n')
    assert page.javascript == 'polku.page("Home", {\n    "page_type": "home"\n});\n'
    assert "/v1/page" in page.curl and '"name": "Home"' in page.curl
    nameless = event_calls(replace(builtin.events["page_viewed"], examples=({"page_type": "home"},)))
    assert nameless.python.endswith('polku.page(properties={\n    "page_type": "home"\n}, user_id="user-1")\n')
    assert nameless.javascript.startswith("polku.page(undefined, {")
    bare = event_calls(replace(builtin.events["page_viewed"], examples=({},)))
    assert bare.python.endswith('polku.page(user_id="user-1")\n')


EXAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "order_completed": (),  # the plan's own
    "survey_answered": (),
    "store_visited": (),
    "page_viewed": ({"page_name": HOSTILE[1], "page_type": "home"}, {"page_name": HOSTILE[4]}),
    "screen_viewed": (),
    "products_searched": tuple({"query": text, "results_count": 3} for text in HOSTILE),
    "review_submitted": ({"rating": 4.5, "review_body": 'She said "sweet" & it\'s 100 % \\ fine: 好, ไทย, 🇫🇮'},),
    "product_list_viewed": ({"products": [{"product_id": "P'1", "name": '$HOME `id` "x"'}, {"product_id": "P 2"}]},),
}


def test_the_calls_in_python_and_curl_arrive_in_the_lake_as_their_examples_say(builtin: Plan, tmp_path: Path) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    scripts, commands = [], []
    for name, examples in EXAMPLES.items():
        event = builtin.events[name]
        for example in examples or event.examples:
            calls = event_calls(replace(event, examples=(example,)))
            scripts.append(calls.python)
            commands.append(calls.curl)
            sent.append((name, example))
    with collector(tmp_path / "collector") as process:
        python, curl = (
            setup.replace("http://127.0.0.1:8080", process.url)
            .replace('"dev"', '"web-key"')
            .replace("=dev", "=web-key")
            for setup in (SETUP.python, SETUP.curl)
        )
        subprocess.run([sys.executable, "-c", "\n".join([python, *scripts])], cwd=tmp_path, check=True)
        done = subprocess.run(
            ["bash", "-euc", "\n".join([curl, *commands])],
            cwd=tmp_path,
            env=os.environ | {"PATH": _path_with_curl(tmp_path)},
            capture_output=True,
            check=True,
        )
        assert done.stdout.count(b'"accepted":1,"rejected":[]') == len(sent), done.stdout
        wait_until(lambda: len(rows(process.lake, "events", "event_id")) == 2 * len(sent), 60, process.log)
        columns = ["library", "user_id", "event_name", "sequence", *sorted({name for _, e in sent for name in e})]
        stored = [dict(zip(columns, row, strict=True)) for row in rows(process.lake, "events", ", ".join(columns))]
        assert rows(process.lake, "quarantine", "code") == []
    assert not (tmp_path / "taken").exists()
    for by_sdk in (True, False):
        arrived = [row for row in stored if (row["library"] is not None) == by_sdk]
        for name, example in sent:
            assert [row for row in arrived if row["event_name"] == name and _has(row, example)], (by_sdk, name, example)
        assert {row["user_id"] for row in arrived} == {"user-1"}


def _path_with_curl(folder: Path) -> str:
    """The search path; with a curl of our own on it where the machine has none."""
    path = os.environ["PATH"]
    if shutil.which("curl") is not None:
        return path
    stand_in = folder / "bin" / "curl"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f"#!{sys.executable}\nimport sys, httpx\n_, _, user, url, _, body = sys.argv\n"
        "print(httpx.post(url, auth=(user[:-1], ''), content=body.encode()).text)\n"
    )
    stand_in.chmod(0o755)
    return f"{stand_in.parent}:{path}"


def _has(row: dict[str, Any], example: dict[str, Any]) -> bool:
    """Whether a row holds the values of an example; lists of objects by the fields that the example has."""
    for name, value in example.items():
        stored = row[name]
        if isinstance(value, list):
            stored = [{key: item[key] for key in known} for item, known in zip(stored, value, strict=True)]
        if stored != value:
            return False
    return True
