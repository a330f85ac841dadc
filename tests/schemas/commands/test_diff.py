"""`polku plan diff`: folders, git revisions and real Delta tables; four formats; exit codes that CI can use."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest
import yaml
from deltalake import DeltaTable, Schema

from polku.cli import main
from polku_schemas import load_plan
from polku_schemas.column_types import Clash, delta_field
from polku_schemas.columns import ENVELOPE_COLUMNS, EXTRA_COLUMN, table_columns
from polku_schemas.compare import TableDiff, compare_table
from tests.s3_server import s3_server
from tests.schemas.conftest import SMALL_PLAN

PAID = SMALL_PLAN["events/paid.yaml"].replace("{amount: 5}", "{amount: 5, count: 1}")
PROPERTIES = SMALL_PLAN["properties.yaml"]
NOTE = "note:\n  type: string\n  description: A note.\n  privacy: none\n"

ADDED = {
    "properties.yaml": PROPERTIES + NOTE,
    "events/paid.yaml": PAID.replace("  count: {}", "  count: {}\n  note: {}").replace('"1.0"', '"1.1"'),
    "plan.yaml": SMALL_PLAN["plan.yaml"].replace('"1.0"', '"1.1"'),
}
"""A compatible change with its version numbers."""

BROKEN = {"events/paid.yaml": PAID.replace("count: {}", "count: {required: true}")}
"""A breaking change that keeps its version."""

BROKEN_RIGHT = {
    "events/paid.yaml": BROKEN["events/paid.yaml"].replace('version: "1.0"', 'version: "2.0"'),
    "plan.yaml": ADDED["plan.yaml"],
}
RETYPED = {
    "properties.yaml": PROPERTIES.replace("integer", "string"),
    "events/paid.yaml": PAID.replace('version: "1.0"', 'version: "2.0"').replace("count: 1", "count: one"),
    "plan.yaml": ADDED["plan.yaml"],
}
"""Another type under the same name: no version makes that right."""

WritePlan = Callable[..., str]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def write(tmp_path: Path) -> WritePlan:
    """Writes the small plan with some files changed, under a name."""

    def write(name: str, files: dict[str, str] | None = None) -> str:
        for file, text in {**SMALL_PLAN, "events/paid.yaml": PAID, **(files or {})}.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs `polku plan diff …` where the plans are."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main(["plan", "diff", *arguments])
        code = ended.value.code
        assert isinstance(code, int)
        return Answer(code, *capsys.readouterr())

    return run


Diff = Callable[..., Answer]


def table(place: str, columns: dict[str, str], **options: str) -> None:
    fields = [delta_field(name, kind) for name, kind in columns.items()]
    DeltaTable.create(
        place, Schema.from_json(json.dumps({"type": "struct", "fields": fields})), storage_options=options
    )


def columns_of(plan: str) -> dict[str, str]:
    return {**ENVELOPE_COLUMNS, **table_columns(load_plan(plan)), EXTRA_COLUMN: "string"}


# Two plans --------------------------------------------------------------------------------------------------------


def test_equal_plans_pass(diff: Diff, write: WritePlan) -> None:
    assert diff(write("old"), write("new")) == Answer(0, "small 1.0 → 1.0\n\n✓ the plans do not differ\n", "")


def test_a_compatible_change_with_its_versions_passes(diff: Diff, write: WritePlan) -> None:
    answer = diff(write("old"), write("new", ADDED))
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "small 1.0 → 1.1",
        "",
        "paid 1.0 → 1.1",
        "  ✓ `note` is new: string, optional",
        "",
        "✓ no breaking change, the versions say enough",
    ]


def test_contents_that_change_under_their_old_version_do_not_pass(diff: Diff, write: WritePlan) -> None:
    new = write("new", {**ADDED, "events/paid.yaml": ADDED["events/paid.yaml"].replace("1.1", "1.0")})
    answer = diff(write("old"), new)
    assert answer.code == 1
    assert "paid 1.0 → 1.0  ✗ needs 1.1" in answer.out
    assert answer.out.endswith("✗ no breaking change, 1 version too low\n")


def test_a_breaking_change_says_why_and_the_way_out(diff: Diff, write: WritePlan) -> None:
    answer = diff(write("old"), write("new", BROKEN))
    assert answer.code == 1
    assert answer.out.splitlines() == [
        "small 1.0 → 1.0  ✗ needs 1.1",
        "",
        "paid 1.0 → 1.0  ✗ needs 2.0",
        "  ✗ `count` is required, was optional",
        "      why: who leaves it out, as was allowed, is refused",
        "      instead: leave it optional, with a `default` where the table shall never be empty",
        "",
        "✗ 1 breaking change, 2 versions too low",
    ]


def test_a_breaking_change_with_its_major_passes_loudly(diff: Diff, write: WritePlan) -> None:
    old, new = write("old"), write("new", BROKEN_RIGHT)
    answer = diff(old, new)
    assert answer.code == 0
    assert "✗ `count` is required" in answer.out
    assert answer.out.endswith("! 1 breaking change, the versions say enough\n")
    assert diff(old, new, "--breaking-fails").code == 1


def test_another_type_passes_under_no_version(diff: Diff, write: WritePlan) -> None:
    answer = diff(write("old"), write("new", RETYPED))
    assert answer.code == 1
    assert "`count` is string, was integer" in answer.out
    assert answer.out.endswith("✗ 1 breaking change, 1 of them possible under no version, the versions say enough\n")


def test_one_edit_in_the_dictionary_is_told_once(diff: Diff, write: WritePlan) -> None:
    names = [f"paid_{letter}" for letter in "abcd"]
    more = {f"events/{name}.yaml": PAID.replace("name: paid", f"name: {name}").replace("Paid", name) for name in names}
    more = {file: text.replace("aliases:", "# aliases:") for file, text in more.items()}
    narrow = {"properties.yaml": PROPERTIES.replace("minimum: 0", "minimum: 1")}
    answer = diff(write("old", more), write("new", {**more, **narrow}))
    assert answer.code == 1
    assert answer.out.count("`amount` has minimum 1, was 0") == 1
    assert "in 5 events: paid, paid_a, paid_b, paid_c, paid_d\n" in answer.out
    assert "  ✗ paid, paid_a, paid_b, paid_c, paid_d: 1.0, needs 2.0\n" in answer.out


# Formats ----------------------------------------------------------------------------------------------------------


def test_json_has_everything(diff: Diff, write: WritePlan) -> None:
    answer = diff(write("old"), write("new", BROKEN), "--format", "json")
    found = json.loads(answer.out)
    assert (answer.code, found["passed"], found["old"], found["new"]) == (1, False, "old", "new")
    assert found["plans"]["differences"] == [
        {
            "kind": "became_required",
            "subject": "property",
            "event": "paid",
            "name": "count",
            "needs": "major",
            "breaking": True,
            "message": "`count` is required, was optional",
            "reason": "who leaves it out, as was allowed, is refused",
            "way_out": "leave it optional, with a `default` where the table shall never be empty",
        }
    ]
    assert found["plans"]["versions"] == [
        {"event": None, "old": "1.0", "new": "1.0", "needed": "1.1", "met": False},
        {"event": "paid", "old": "1.0", "new": "1.0", "needed": "2.0", "met": False},
    ]
    assert found["plans"]["old_fingerprint"] == load_plan("old").fingerprint


def test_github_points_at_the_lines_of_the_new_plan(diff: Diff, write: WritePlan) -> None:
    answer = diff(write("old"), write("new", BROKEN), "--format", "github")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[0].startswith("::error file=new/events/paid.yaml,line=10,title=became_required::paid: `count` is")
    assert lines[1:] == [
        "::error file=new/plan.yaml,line=2,title=version too low::the plan: 1.0, needs 1.1",
        "::error file=new/events/paid.yaml,line=3,title=version too low::paid: 1.0, needs 2.0",
        "::notice title=tracking plan::1 breaking change, 2 versions too low",
    ]


def test_plans_written_as_json_are_compared_and_pointed_at(diff: Diff, write: WritePlan) -> None:
    write("old")
    new = Path(write("new", BROKEN))
    for stem in ("plan", "events/paid"):
        value = yaml.safe_load((new / f"{stem}.yaml").read_text())
        (new / f"{stem}.json").write_text(json.dumps(value, indent=1))
        (new / f"{stem}.yaml").unlink()
    assert diff("old", "new", "--format", "github").out.splitlines()[1:3] == [
        "::error file=new/plan.json,line=3,title=version too low::the plan: 1.0, needs 1.1",
        "::error file=new/events/paid.json,line=6,title=version too low::paid: 1.0, needs 2.0",
    ]


def test_github_points_at_the_dictionary_for_what_is_there(diff: Diff, write: WritePlan) -> None:
    gone = {"events/left.yaml": PAID.replace("name: paid", "name: left").replace("[Paid]", "[Left]")}
    new = write("new", {"traits.yaml": SMALL_PLAN["traits.yaml"] + "  max_length: 5\n"})
    lines = diff(write("old", gone), new, "--format", "github").out.splitlines()
    assert lines[0].startswith("::error file=new/plan.yaml,title=event_removed::left: the event is gone")
    assert lines[1].startswith("::error file=new/traits.yaml,line=1,title=constraint_tightened::trait: ")
    names = ("a", "b", "c")
    more = {
        f"events/{name}.yaml": PAID.replace("name: paid", f"name: {name}").replace("Paid", name * 2) for name in names
    }
    narrow = {"properties.yaml": PROPERTIES.replace("minimum: 0", "minimum: 1")}
    lines = diff(write("many", more), write("fewer", {**more, **narrow}), "--format", "github").out.splitlines()
    assert [line.partition("::")[2].partition(",title")[0] for line in lines] == [
        "error file=fewer/properties.yaml,line=1",
        "error file=fewer/plan.yaml,line=2",
        "error file=fewer/plan.yaml,line=2",
        "notice title=tracking plan::4 breaking changes, 5 versions too low",
    ]


def test_github_warns_of_what_is_allowed(diff: Diff, write: WritePlan) -> None:
    old, new = write("old"), write("new", BROKEN_RIGHT)
    assert diff(old, new, "--format", "github").out.startswith("::warning file=new/events/paid.yaml,line=10,")
    assert diff(old, new, "--format", "github", "--breaking-fails").out.startswith("::error ")


def test_markdown_is_for_the_pull_request(diff: Diff, write: WritePlan) -> None:
    narrow = {**ADDED, "traits.yaml": SMALL_PLAN["traits.yaml"] + '  pattern: "a|b"\n'}
    answer = diff(write("old"), write("new", narrow), "--format", "markdown")
    assert answer.code == 1
    assert answer.out.startswith("### ❌ Tracking plan: 1 breaking change, 1 version too low\n")
    assert "- the plan: 1.1, needs 2.0\n" in answer.out
    assert '| trait | the trait `email` has pattern "a\\|b", was without | values that were allowed' in answer.out
    assert "<details><summary>1 compatible change</summary>" in answer.out
    assert "\x1b" not in answer.out


# Git --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_branch_beside_the_working_folder(diff: Diff, write: WritePlan, tmp_path: Path) -> None:
    write("plan")
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    write("plan", BROKEN)
    answers = {
        diff("main", "plan"),
        diff("HEAD", "./plan"),
        diff("main:plan", "plan"),
        diff("main", "plan", "--folder", "plan"),
        diff("HEAD:plan", str(tmp_path / "plan")),
    }
    (answer,) = answers
    assert answer.code == 1
    assert "✗ `count` is required" in answer.out
    assert diff("plan", "main").code == 1
    assert diff("main", "HEAD").out.endswith("the plans do not differ\n")


# A real table -----------------------------------------------------------------------------------------------------


def test_a_table_says_which_columns_it_gets(diff: Diff, write: WritePlan) -> None:
    columns = columns_of(write("old")) | {"former": "date"}
    del columns["consent"]
    table("lake/events", columns)
    new = write("new", ADDED)
    answer = diff("lake", new)
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "the table of events in lake",
        "  ✓ `consent` will be added, list<string>",
        "  ✓ `note` will be added, string",
        "  · no property of this plan fills `former`; they stay",
        "",
        "✓ the table can take the plan",
    ]
    assert diff("lake/events", new).code == 0
    assert diff(f"file://{Path('lake').resolve()}", new).code == 0


def test_a_type_conflict_is_refused_before_an_event_arrives(diff: Diff, write: WritePlan) -> None:
    table("lake/events", columns_of(write("old")))
    new = write("new", RETYPED)
    answer = diff("lake", new)
    assert answer.code == 1
    assert "✗ the plan gives `count` the type string, the table has long" in answer.out
    assert answer.out.endswith("✗ 1 column cannot be\n")
    github = diff("lake", new, "--format", "github").out
    assert github.startswith("::error file=new/properties.yaml,line=6,title=column type::")


def test_two_plans_and_the_table_at_once(diff: Diff, write: WritePlan) -> None:
    """What an older plan gave the table is not in the plan before this one."""
    table("lake/events", columns_of(write("old")) | {"note": "long"})
    answer = diff("old", write("new", ADDED), "--lake", "lake", "--format", "json")
    found = json.loads(answer.out)
    assert (answer.code, found["plans"]["differences"][0]["kind"]) == (1, "property_added")
    assert found["table"]["clashes"] == [{"column": "note", "wanted": "string", "present": "long", "other": ""}]
    assert "1 column cannot be" in diff("old", "new", "--lake", "lake", "--format", "markdown").out


def test_a_lake_in_an_object_store(diff: Diff, write: WritePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    write("old")
    with s3_server() as address:
        for name, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="shop")
        store = {**keys, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}
        table("s3://shop/lake/events", columns_of("old"), **store)
        answer = diff("s3://shop/lake", write("new", ADDED))
        assert (answer.code, "✓ `note` will be added, string" in answer.out) == (0, True)
        assert diff("s3://shop/lake/", write("newer", RETYPED)).code == 1
        nothing = diff("s3://shop/elsewhere", "new")
    assert nothing.code == 2
    assert "there is no table in s3://shop/elsewhere" in nothing.err


def test_the_members_of_structs_are_columns_too(
    write: WritePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = "lines:\n  type: array\n  description: d\n  privacy: none\n  items:\n    type: object\n    properties:\n"
    lines += "      count: {}\n      amount: {}\n"
    monkeypatch.chdir(tmp_path)
    event = PAID.replace("  count: {}", "  lines: {}").replace(", count: 1", "")
    plan = load_plan(write("plan", {"properties.yaml": PROPERTIES + lines, "events/paid.yaml": event}))
    have = columns_of("plan") | {"lines": "list<struct<count:long,former:string>>"}
    assert compare_table(have, plan) == TableDiff(
        added={},
        widened={"lines": (have["lines"], "list<struct<count:long,former:string,amount:double>>")},
        clashes=(),
        unused=("lines.former",),
    )
    other = columns_of("plan") | {"lines": "list<struct<count:string,amount:double>>"}
    assert compare_table(other, plan).clashes == (Clash("lines.count", "long", "string"),)
    scalar = columns_of("plan") | {"lines": "string"}
    assert [clash.column for clash in compare_table(scalar, plan).clashes] == ["lines"]


# What goes wrong --------------------------------------------------------------------------------------------------


def test_what_cannot_be_compared_ends_with_2(diff: Diff, write: WritePlan) -> None:
    write("plan")
    write("broken", {"traits.yaml": "email: {}\n"})
    cases: list[tuple[list[str], str]] = [
        (["nowhere", "plan"], "there is no folder `nowhere`"),
        (["plan", "broken"], "the tracking plan in broken cannot be used"),
        (["plan", "plan", "--lake", "nowhere"], "there is no table in nowhere: give the lake"),
        (["plan", "s3://bucket/lake"], "is a table: only OLD can be one"),
        (["gs://bucket/lake", "plan"], "cannot be read as a lake: give a folder, or s3://BUCKET/PREFIX"),
        (["s3://", "plan"], "cannot be read as a lake"),
        (["--", "--help", "plan"], "there is no folder `--help`"),
        (["plan"], "Missing argument 'NEW'"),
        (["plan", "plan", "--format", "xml"], "'xml' is not one of"),
    ]
    for arguments, said in cases:
        answer = diff(*arguments)
        assert (answer.code, answer.out) == (2, ""), arguments
        assert said in answer.err
        assert "Traceback" not in answer.err


def test_a_damaged_table_is_said_in_one_line(diff: Diff, write: WritePlan, tmp_path: Path) -> None:
    log = tmp_path / "lake" / "events" / "_delta_log" / "00000000000000000000.json"
    log.parent.mkdir(parents=True)
    log.write_text("not a commit\n")
    answer = diff("lake", write("plan"))
    assert answer.code == 2
    assert answer.err.startswith("polku: the table lake/events cannot be read: ")
    assert answer.err.count("\n") == 1


def test_two_plans_are_compared_without_a_reader_of_tables() -> None:
    """deltalake is large, and `polku plan check` and a diff of two folders need none of it."""
    code = "import polku_schemas.commands.diff, sys; print('deltalake' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
