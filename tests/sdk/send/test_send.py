"""`polku send`, as a process beside a collector that records what it gets, and beside a real one."""

import contextlib
import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polku.send.casts import CAST_TYPES, Cast, Uncastable, cast_value
from polku_collector import casts as collector_casts
from tests.collector.world import collector as real_collector
from tests.collector.world import rows, wait_until


class Done:
    """How a run ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def start(collector: Any, tmp_path: Path) -> Any:
    """Starts the command in a folder of its own, with the recording collector in the environment."""

    def start(*arguments: str, url: str = "", key: str = "write-key") -> subprocess.Popen[str]:
        environment = {**os.environ, "POLKU_ENDPOINT": url or collector.url, "POLKU_WRITE_KEY": key}
        command = [sys.executable, "-m", "polku.cli", "send", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8"
        )

    return start


@pytest.fixture
def send(start: Any) -> Any:
    def send(*arguments: str, given: str = "", **options: Any) -> Done:
        process = start(*arguments, **options)
        out, err = process.communicate(given, timeout=60)
        return Done(process.returncode, out, err)

    return send


def item(number: int, **members: Any) -> dict[str, Any]:
    return {"type": "track", "event": "x", "userId": "u", "properties": {"n": number}, **members}


def ndjson(*items: Any) -> str:
    return "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in items)


def numbers(collector: Any) -> list[int]:
    return [one["properties"]["n"] for one in collector.taken]


def verdicts(*found: tuple[int, str]) -> bytes:
    rejected = [{"index": index, "code": code, "path": "$.properties.n", "message": "no"} for index, code in found]
    return json.dumps({"success": True, "accepted": 0, "rejected": rejected}).encode()


def test_items_are_sent_as_they_are_in_batches(collector: Any, send: Any, tmp_path: Path) -> None:
    items = [item(number, messageId=f"m-{number}", integrations={"All": True}) for number in range(1_100)]
    with gzip.open(tmp_path / "a.ndjson.gz", "wt") as file:
        file.write(ndjson(*items))
    done = send("a.ndjson.gz")
    assert done.code == 0, done.err
    assert collector.taken == items
    assert [len(got.items) for got in collector.received] == [500, 500, 100]
    assert done.out.startswith("1,100 accepted; ")


def test_ids_are_the_same_each_time_and_differ_by_line_text_and_seed(collector: Any, send: Any) -> None:
    lines = ndjson(item(1), item(1), item(2), item(3, messageId=None), item(4, properties={"messageId": 1}))
    for _ in range(2):
        assert send("-", given=lines).code == 0
    ids = [one["messageId"] for one in collector.taken]
    assert ids[:5] == ids[5:]
    assert len(set(ids)) == 5
    assert send("-", "--id-seed=other", given=lines).code == 0
    assert not {one["messageId"] for one in collector.taken[10:]} & set(ids)


def test_bad_lines_are_told_by_number_and_the_rest_goes_on(collector: Any, send: Any, tmp_path: Path) -> None:
    long = json.dumps(item(9, event="y" * 4_300_000))
    lines = ndjson(item(0), "{oops", "[1]", "", '{"a": 1}', "BAD", long, item(1)).encode().replace(b"BAD", b'"\xff"')
    (tmp_path / "a.ndjson").write_bytes(lines)
    done = send("a.ndjson", "--rejected=bad.ndjson")
    assert done.code == 1
    assert numbers(collector) == [0, 1]
    told = [line.split(": ")[0] + ":" + line.split(":")[2].split(" at")[0] for line in done.err.splitlines()]
    assert told == [
        "a.ndjson:2: invalid_json",
        "a.ndjson:3: not_an_object",
        "a.ndjson:5: missing_type",
        "a.ndjson:6: invalid_utf8",
        "a.ndjson:7: too_large",
    ]
    assert done.out.startswith("2 accepted, 5 not sent; ")
    kept = [json.loads(line) for line in (tmp_path / "bad.ndjson").read_text().splitlines()]
    assert [one["rejected"]["line"] for one in kept] == [2, 3, 5, 6, 7]
    assert kept[2]["original"] == '{"a": 1}'


def test_half_an_emoji_is_left_to_the_collector(collector: Any, send: Any) -> None:
    assert send("-", given='{"type": "track", "event": "x", "userId": "\\ud83d", "properties": {"n": NaN}}\n').code == 0
    [got] = collector.received
    assert b"\\ud83d" in got.body
    assert b'"n": null' in got.body


def test_rejected_events_are_listed_kept_and_can_be_sent_again(
    collector: Any, send: Any, reply: Any, tmp_path: Path
) -> None:
    collector.script = [reply(200, verdicts((1, "wrong_type"))), reply(200, verdicts((0, "too_long")))]
    done = send("-", "--batch-events=2", "--rejected=bad.ndjson", given=ndjson(*map(item, range(5))))
    assert done.code == 1
    assert "-:2: wrong_type at $.properties.n: no\n" in done.err
    assert "-:3: too_long at $.properties.n: no\n" in done.err
    assert done.out.startswith("3 accepted, 2 rejected; ")
    first = {one["properties"]["n"]: one["messageId"] for one in collector.taken}
    again = send("bad.ndjson")
    assert again.code == 0
    assert [(one["properties"]["n"], one["messageId"]) for one in collector.taken[5:]] == [(1, first[1]), (2, first[2])]


def test_pressure_of_the_collector_is_kept_to(collector: Any, send: Any, reply: Any) -> None:
    collector.script = [reply(429, headers={"Retry-After": "1"}), reply(503)]
    done = send("-", given=ndjson(item(1)))
    assert done.code == 0
    assert numbers(collector) == [1]
    first, second, _ = collector.received
    assert second.at - first.at >= 1
    assert "429" in done.err


def test_what_is_too_large_is_halved_and_one_event_alone_is_lost(collector: Any, send: Any, reply: Any) -> None:
    collector.answer = lambda body: reply(413) if b'"n":3' in body else reply(200, verdicts((0, "wrong_type")))
    done = send("-", given=ndjson(*(item(number, messageId=str(number)) for number in range(8))).replace(": ", ":"))
    assert done.code == 1
    assert "-:4: too_large: " in done.err
    # Of each part that was taken the first was rejected: its line is found through the halves.
    assert [line.split(":")[1] for line in done.err.splitlines() if "wrong_type" in line] == ["1", "3", "5"]
    assert done.out.startswith("4 accepted, 3 rejected, 1 lost; ")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(401, b"{}", "check the write key"), (200, b"<html>", "without a collector's reply")],
)
def test_where_the_next_batch_would_fare_no_better_it_stops(
    collector: Any, send: Any, reply: Any, tmp_path: Path, status: int, body: bytes, said: str
) -> None:
    (tmp_path / "a.ndjson").write_text(ndjson(*map(item, range(10))))
    collector.script = [reply(200), reply(status, body)]
    done = send("a.ndjson", "--batch-events=2", "--state=s")
    assert done.code == 1
    assert "stopped: " in done.err
    assert said in done.err
    assert done.out.startswith("2 accepted; ")
    assert send("a.ndjson", "--batch-events=2", "--state=s").code == 0
    assert sorted({*numbers(collector)}) == list(range(10))
    assert collector.received[2].items[0]["properties"]["n"] == 2


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.csv.gz", "-"])
def test_after_a_kill_the_rest_is_sent(
    collector: Any, start: Any, send: Any, reply: Any, tmp_path: Path, name: str
) -> None:
    """Killed while the third batch waits for its answer: the first two are not sent again."""
    if "csv" in name:
        text = "n,user\n" + "".join(f'"{number}","u\n"\n' for number in range(10))
        arguments = ["--event=x", "--user-id=user", "--type=n=integer"]
    else:
        text, arguments = ndjson(*map(item, range(10))), []
    if name != "-":
        (gzip.open if name.endswith(".gz") else open)(tmp_path / name, "wt").write(text)
    arguments += [name, "--batch-events=2", "--state=s"]
    # Asked to wait: it must not have gone on before it is looked at.
    collector.script = [reply(200), reply(200), reply(503, headers={"Retry-After": "60"})]
    process = start(*arguments)
    if name == "-":
        process.stdin.write(text)
        process.stdin.close()
    done_lines = 9 if "csv" in name else 4
    state = tmp_path / "s"
    wait_until(lambda: state.exists() and f'"line":{done_lines},' in state.read_text(), 60)
    wait_until(lambda: len(collector.received) >= 3, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate() if name != "-" else process.wait()
    collector.script = []
    collector.received.clear()
    done = send(*arguments, given=text if name == "-" else "")
    assert done.code == 0, done.err
    assert numbers(collector) == list(range(4, 10))
    assert send(*arguments, given=text if name == "-" else "").out.startswith("0 accepted; ")


def test_a_state_is_of_one_file_and_one_collector(collector: Any, send: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text(ndjson(item(1)))
    assert send("a.ndjson", "--state=s").code == 0
    with file.open("a") as more:
        more.write(ndjson(item(2)))
    assert send("a.ndjson", "--state=s").code == 0
    assert numbers(collector) == [1, 2]
    assert send("a.ndjson", "--state=s", url="http://127.0.0.1:9").code == 2
    file.write_text(ndjson(item(7), item(8)))
    done = send("a.ndjson", "--state=s")
    assert (done.code, "another file" in done.err) == (2, True)
    (tmp_path / "s").write_text("{}")
    assert send("a.ndjson", "--state=s").code == 2


def test_interrupted_it_says_how_far_it_is(collector: Any, start: Any, reply: Any, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(ndjson(*map(item, range(10))))
    collector.script = [reply(200), *[reply(503, headers={"Retry-After": "60"})] * 9]
    process = start("a.ndjson", "--batch-events=2", "--state=s")
    wait_until(lambda: len(collector.received) >= 2 and (tmp_path / "s").exists(), 30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out.startswith("interrupted: 2 accepted; ")
    assert "Traceback" not in err


CSV = '''order no,customer,when,total,pieces,note
O-1,c-1,24.12.2025 18:00,"1,50",2,
O-2,c-2,24.12.2025 18:01,"59,90",x,"a
""b"""
O-3,c-3,31.02.2025 18:01,"59,90",1,n
O-4,c-4
O-5,c-5,01.06.2025 18:01,3,1,n
'''


def test_a_csv_is_mapped_by_flags(collector: Any, send: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + CSV.encode())
    flags = ["--event=order_placed", "--user-id=customer", "--message-id=order no", "--timestamp=when"]
    flags += ["--timestamp-format=%d.%m.%Y %H:%M", "--timestamp-zone=Europe/Helsinki", "--type=pieces=integer"]
    done = send("a.csv", *flags)
    assert done.code == 1
    [first, last] = collector.taken
    assert first == {
        "type": "track",
        "event": "order_placed",
        "messageId": "O-1",
        "timestamp": "2025-12-24T16:00:00Z",
        "userId": "c-1",
        "properties": {"total": "1,50", "pieces": 2},
    }
    assert (last["messageId"], last["timestamp"]) == ("O-5", "2025-06-01T15:01:00Z")
    assert "a.csv:3: wrong_type at $.properties.pieces: " in done.err
    assert "a.csv:5: invalid_time at $.timestamp: " in done.err
    assert "a.csv:6: invalid_csv: 2 values for 6 columns" in done.err


def test_a_csv_is_mapped_by_a_file_and_flags_go_over_it(collector: Any, send: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "map.toml").write_text(
        """
event = {from = "note", case = "upper", default = "none"}
user_id = "customer"
[properties]
order_id = "order no"
revenue = {from = "total", cast = {to = "number", decimal = ","}, divide = 2}
currency = {value = "EUR"}
"""
    )
    done = send("a.csv", "--mapping=map.toml", "--anonymous-id=order no")
    assert done.code == 1
    assert [(one["event"], one["properties"]) for one in collector.taken] == [
        ("none", {"order_id": "O-1", "revenue": 0.75, "currency": "EUR"}),
        ('A\n"B"', {"order_id": "O-2", "revenue": 29.95, "currency": "EUR"}),
        ("N", {"order_id": "O-3", "revenue": 29.95, "currency": "EUR"}),
        ("N", {"order_id": "O-5", "revenue": 1.5, "currency": "EUR"}),
    ]
    assert collector.taken[0]["anonymousId"] == "O-1"


def test_a_column_that_has_a_default_may_be_absent(collector: Any, send: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who\nu-1\n")
    (tmp_path / "map.toml").write_text(
        'event = "x"\nuser_id = "who"\n[properties]\nn = {from = "pieces", default = 1}\n'
    )
    assert send("a.csv", "--mapping=map.toml").code == 0
    assert collector.taken[0]["properties"] == {"n": 1}


def test_lines_of_another_form_are_mapped_and_items_among_them_are_not(collector: Any, send: Any) -> None:
    lines = ndjson({"who": {"id": 7}, "name": "x", "n": 1, "at": 1_766_592_000}, item(2))
    flags = ["--event-column=name", "--user-id=who.id", "--timestamp=at", "--timestamp-unit=seconds", "--property=n=n"]
    assert send("-", *flags, given=lines).code == 0
    mapped, plain = collector.taken
    assert (mapped["userId"], mapped["event"], mapped["properties"]) == ("7", "x", {"n": 1})
    assert mapped["timestamp"] == "2025-12-24T16:00:00Z"
    assert plain["properties"] == {"n": 2}


def test_the_plan_says_the_types_and_a_dry_run_shows_and_judges(collector: Any, send: Any, tmp_path: Path) -> None:
    from polku_schemas import builtin_plan_path

    (tmp_path / "a.csv").write_text("user,product_id,price\nu,P-1,59.90\nu,P-2,cheap\nu,,1\n")
    flags = ["a.csv", "--event=product_viewed", "--user-id=user", f"--plan={builtin_plan_path()}"]
    done = send(*flags, "--dry-run")
    assert done.code == 1
    assert not collector.received
    assert [json.loads(line)["properties"] for line in done.out.splitlines()] == [
        {"product_id": "P-1", "price": 59.9},
        {"price": 1},
    ]
    assert "a.csv:3: wrong_type at $.properties.price: " in done.err
    assert "a.csv:4: missing_property at $.properties.product_id: " in done.err
    assert send(*flags).code == 1
    assert len(collector.taken) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "no such file"),
        (["a.csv"], "say what a row of CSV is"),
        (["a.csv", "--event=x"], "an event needs `user_id` or `anonymous_id`"),
        (["a.csv", "--event=x", "--user-id=u", "--type=p=money"], "'money' is none of string, "),
        (["a.csv", "--event=x", "--user-id=u", "--type=p"], "--type takes NAME="),
        (["a.csv", "--mapping=map.toml"], "evnt: is not known here; `event`?"),
        (["a.csv", "a.csv", "--event=x", "--user-id=u"], "named twice"),
        (["a.csv", "--event=x", "--user-id=u", "--timestamp-zone=UTC"], "go with --timestamp"),
        (["a.csv", "--event=x", "--user-id=u", "--timestamp=t", "--timestamp-zone=Mars"], "no time zone"),
        (["a.csv", "--event=x", "--user-id=u", "--batch-events=0"], "batch_events"),
        (["a.csv", "--nonsense"], "unrecognized arguments"),
        (["twice.csv", "--event=x", "--user-id=u"], "name each column once"),
        (["a.csv", "--event=x", "--user-id=u", "--plan=none"], "none"),
        (["a.csv", "--event=x", "--user-id=uu"], "a.csv: no column 'uu'; the first line names 'u', 'p'"),
        (["a.csv", "--event=x", "--user-id=u", "--timestamp=t", "--type=q=number"], "no column 't', 'q'; "),
        (["a.csv", "--event=x", "--user-id=u", "--property=n=m"], "no column 'm'; "),
        (["semicolons.csv", "--event=x", "--user-id=u"], "names 'u;p'; is --delimiter ';' meant?"),
    ],
)
def test_what_means_nothing_ends_with_2(send: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "a.csv").write_text("u,p\n")
    (tmp_path / "twice.csv").write_text("u,u\n")
    (tmp_path / "semicolons.csv").write_text("u;p\n1;2\n")
    (tmp_path / "map.toml").write_text('evnt = "x"\n')
    done = send(*arguments)
    assert (done.code, said in done.err) == (2, True), done.err
    assert "Traceback" not in done.err


def test_a_damaged_file_is_told_and_what_could_be_read_is_sent(collector: Any, send: Any, tmp_path: Path) -> None:
    whole = gzip.compress(ndjson(*(item(number, text=os.urandom(300).hex()) for number in range(400))).encode())
    (tmp_path / "a.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    done = send("a.ndjson.gz")
    assert done.code == 1
    assert "the rest of the file cannot be read" in done.err
    assert numbers(collector) == list(range(len(collector.taken)))
    assert len(collector.taken) > 20


VALUES = ["1", "1,5", " 1.5 ", "1e3", "x", "", "true", "No", "2026-01-31", "2026-02-30", "2026-01-31T10:00:00+02:00"]
VALUES += ["2026-01-31 10:00", "9" * 30, "0189b7a2-77f2-7ea6-b4a1-3c1b9f4f9f00", "1e999"]
OTHERS: list[Any] = [1, 1.5, 2.0, True, None, [], {}, 10**30, 1_766_592_000]


@pytest.mark.parametrize("to", CAST_TYPES)
def test_casts_are_those_of_the_collector(to: Any) -> None:
    def outcome(cast: Any, refusal: type[Exception], value: Any, how: Any) -> Any:
        try:
            return cast(value, how)
        except refusal:
            return "refused"

    for value in VALUES + OTHERS:
        for decimal in (".", ","):
            for unit in (None, "seconds") if not isinstance(value, str) else (None,):
                ours = outcome(cast_value, Uncastable, value, Cast(to, decimal, unit))
                how = collector_casts.Cast(to, decimal, unit)
                theirs = outcome(collector_casts.cast_value, collector_casts.Uncastable, value, how)
                assert (ours, type(ours)) == (theirs, type(theirs)), (value, to, decimal, unit)


def test_an_import_that_is_repeated_counts_once_in_the_lake(send: Any, tmp_path: Path) -> None:
    """Rows with the same text at two places are two events; the whole file again is none."""
    (tmp_path / "a.csv").write_text("user,when\n" + "u,2019-05-04T10:00:00Z\n" * 3)
    with real_collector(tmp_path / "world") as process:
        for _ in range(2):
            done = send(
                "a.csv", "--event=store_seen", "--user-id=user", "--timestamp=when", url=process.url, key="past-key"
            )
            assert done.code == 0, done.err
        assert process.stop() == 0
        found = rows(process.lake, "events", "event_id, CAST(event_time AS VARCHAR)")
    assert len(found) == len({event_id for event_id, _ in found}) == 3
    assert all(time.startswith("2019-05-04 10:00:00") for _, time in found)


def test_the_mapping_of_the_guide_works_and_its_flags_exist(collector: Any, send: Any, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "sdk-python.md").read_text()
    part = guide[guide.index("## Imports and shell scripts") :]
    [text] = re.findall(r"```toml\n(.*?)```", part, re.DOTALL)
    (tmp_path / "map.toml").write_text(text)
    (tmp_path / "orders.csv").write_text('order no,customer,date,total\nO-1,c-1,24.12.2025 18:00,"59,90"\n')
    assert send("orders.csv", "--mapping=map.toml").code == 0
    [got] = collector.taken
    assert got["properties"] == {"order_id": "O-1", "revenue": 59.9, "currency": "EUR"}
    (tmp_path / "orders.csv").write_text("customer,date,revenue\nc-1,2025-12-24T16:00:00Z,59.9\n")
    (tmp_path / "events.ndjson.gz").write_bytes(gzip.compress(ndjson(item(1)).encode()))
    commands = [shlex.split(line)[3:] for line in re.findall(r"^\$ polku send .*$", part, re.MULTILINE)]
    assert len(commands) == 2
    assert [send(*arguments).code for arguments in commands] == [0, 0]
    named = set(re.findall(r"`(--[a-z-]+)", part))
    assert named <= set(re.findall(r"--[a-z-]+", send("--help").out))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_on_a_terminal_a_bar_is_drawn_over_and_wiped(collector: Any, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(ndjson(*(item(n) for n in range(200)), "no JSON"))
    terminal, stderr = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "polku.cli", "send", "a.ndjson", "--batch-events=10"],
        cwd=tmp_path,
        env={**os.environ, "POLKU_ENDPOINT": collector.url, "POLKU_WRITE_KEY": "k"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )
    os.close(stderr)
    written = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while part := os.read(terminal, 10_000):
            written += part
    os.close(terminal)
    assert process.wait(60) == 1
    text = written.decode().replace("\r\n", "\n")
    wipe = "\r\x1b[K"
    bars = re.findall(r"a\.ndjson  \[(#*-*)\] (\d+)%  \d+ accepted(?:, 1 not sent)?  [\d,]+ events/s", text)
    assert bars
    assert all(len(bar) == 20 and bar.count("#") == int(percent) // 5 for bar, percent in bars)
    assert len(bars) == text.count("events/s") == text.count(wipe)
    # What stays on the screen: of each line what was written after it was wiped last.
    stays = [line.rpartition(wipe)[2] for line in text.split("\n")]
    assert "events/s" not in "".join(stays)
    assert any(line.startswith("a.ndjson:201: ") for line in stays)
    assert stays[-1] == ""
