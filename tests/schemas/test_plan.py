"""Reading a plan: everything wrong is found at once, each thing with its file and line."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import polku_schemas
from polku_schemas import PlanError, builtin_plan_path, load_plan

WritePlan = Callable[..., Path]


def findings_of(folder: Path) -> list[str]:
    with pytest.raises(PlanError) as caught:
        load_plan(folder)
    return [f"{finding.file}:{finding.line}: {finding.message}" for finding in caught.value.findings]


def event(text: str, *, name: str = "paid") -> str:
    """An event file of 9 fixed lines followed by `text`."""
    return f"""\
name: {name}
version: "1.0"
owner: shop
description: Somebody paid.
stage: purchase
touchpoint: till
properties: {{amount: {{}}}}
examples: [{{}}]
{text}"""


def test_a_good_plan_is_read(write_plan: WritePlan) -> None:
    plan = load_plan(write_plan())
    assert (plan.name, plan.version, plan.stages) == ("small", "1.0", ("interest", "purchase"))
    paid = plan.events["paid"]
    assert paid.aliases == ("Paid",)
    assert paid.properties["amount"].required
    assert paid.properties["amount"].minimum == 0
    assert not paid.properties["count"].required
    assert paid.examples == ({"amount": 5},)
    assert plan.traits["email"].privacy == "personal"


def test_all_findings_come_at_once_in_the_order_of_files_and_lines(write_plan: WritePlan) -> None:
    folder = write_plan(
        {
            "events/paid.yaml": """\
name: paid
version: 1.0
owner: shop
stage: nowhere
touchpoint: till
properties:
  amount: {required: true, minimum: 1, colour: red}
  unknown: {}
examples:
  - {amount: 0.5}
""",
            "traits.yaml": "email:\n  type: text\n  description: E-mail.\n  privacy: personal\n",
        }
    )
    assert findings_of(folder) == [
        "events/paid.yaml:1: `description` is missing",
        "events/paid.yaml:2: `version` is not a text",
        "events/paid.yaml:4: `nowhere` is not a known stage",
        "events/paid.yaml:7: `colour` is not known here",
        "events/paid.yaml:8: the property `unknown` is not in properties.yaml",
        "events/paid.yaml:10: the example breaks the plan at $.amount: expected at least 1, came the number 0.5",
        "traits.yaml:2: `type` is `text`",
    ]


def test_the_text_of_the_error_names_every_place_and_what_to_do(write_plan: WritePlan) -> None:
    folder = write_plan({"traits.yaml": None, "plan.yaml": "name: [\n"})
    with pytest.raises(PlanError) as caught:
        load_plan(folder)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert f"the tracking plan in {folder} cannot be used" in text
    assert "traits.yaml: the file is not there. Add it." in text
    assert "plan.yaml:2: this is not YAML" in text
    assert all(finding.remedy for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"events/paid.yaml": event("properties: {}\n")},
            "events/paid.yaml:9: `properties` stands here twice",
            id="a key twice",
        ),
        pytest.param(
            {"events/other.yaml": event("", name="paid")},
            "events/other.yaml:1: the name `paid` is not that of the file",
            id="name and file differ",
        ),
        pytest.param(
            {"events/identify.yaml": event("", name="identify")},
            "events/identify.yaml:1: `identify` is built in",
            id="a built-in name",
        ),
        pytest.param(
            {"events/other.yaml": event("aliases: [Bought, Paid]\n", name="other")},
            "events/paid.yaml:2: `Paid` already leads to events/other.yaml",
            id="an alias of two events",
        ),
        pytest.param(
            {
                "events/a.yaml": event("call: page\n", name="a"),
                "events/b.yaml": event("call: page\n", name="b"),
            },
            "events/b.yaml:9: `the call page` already leads to events/a.yaml",
            id="two events for the page call",
        ),
        pytest.param(
            {"events/note.txt": "remember"},
            "events/note.txt:None: this is not read as an event",
            id="a stray file",
        ),
        pytest.param(
            {"events/other.yaml": event("channel: pigeon\n", name="other")},
            "events/other.yaml:9: `pigeon` is not a known channel",
            id="an unknown channel",
        ),
        pytest.param(
            {"events/other.yaml": event("channel: [{when: first_order, channel: web}]\n", name="other")},
            "events/other.yaml:9: `when` cannot be read: unknown name `first_order`; known here: amount",
            id="history in a channel rule",
        ),
        pytest.param(
            {
                "events/other.yaml": event(
                    "channel: [{channel: web}, {when: amount > 1, channel: store}]\n", name="other"
                )
            },
            "events/other.yaml:9: `when` is missing",
            id="a rule nobody can reach",
        ),
        pytest.param(
            {"properties.yaml": "user_id: {type: string, description: Id., privacy: none}\n"},
            "properties.yaml:1: `user_id` is reserved: the table has a column of this name",
            id="a column of the envelope",
        ),
        pytest.param(
            {"properties.yaml": "trait_age: {type: string, description: Age., privacy: none}\n"},
            "properties.yaml:1: `trait_age` is reserved: the table has a column of this name",
            id="a column of a trait",
        ),
        pytest.param(
            {"properties.yaml": "order: {type: string, description: Order., privacy: none}\n"},
            "properties.yaml:1: `order` is a word of Python or SQL",
            id="a word of SQL",
        ),
        pytest.param(
            {"properties.yaml": "orderId: {type: string, description: Order., privacy: none}\n"},
            "properties.yaml:1: `orderId` cannot be a name",
            id="not snake case",
        ),
        pytest.param(
            {"properties.yaml": "a: {type: string, description: A., privacy: none, minimum: 1}\n"},
            "properties.yaml:1: `minimum` does not fit the type string",
            id="a constraint of another type",
        ),
        pytest.param(
            {"properties.yaml": "a: {type: string, description: A., privacy: none, pattern: '('}\n"},
            "properties.yaml:1: this is not a regular expression: missing ), unterminated subpattern at position 0",
            id="a broken pattern",
        ),
        pytest.param(
            {"properties.yaml": "a: {type: number, description: A., privacy: none, minimum: 2, maximum: 1}\n"},
            "properties.yaml:1: the minimum 2 is above the maximum 1",
            id="an empty range",
        ),
        pytest.param(
            {"properties.yaml": "a: {type: string, description: A., privacy: none, enum: [x], max_length: 1}\n"},
            "properties.yaml:1: an enum has other constraints beside it",
            id="an enum with more",
        ),
        pytest.param(
            {"properties.yaml": "a:\n  type: integer\n  description: A.\n  privacy: none\n  examples: [1, x]\n"},
            'properties.yaml:5: the example breaks the plan: expected an integer, came the string "x"',
            id="an example in the dictionary",
        ),
        pytest.param(
            {"properties.yaml": "a:\n  type: object\n  description: A.\n  privacy: none\n  properties: {b: {}}\n"},
            "properties.yaml:5: the field `b` is not a scalar of this dictionary",
            id="a field that is not in the dictionary",
        ),
        pytest.param(
            {"properties.yaml": "a: {type: array, description: A., privacy: none}\n"},
            "properties.yaml:1: `items` is missing",
            id="an array of nothing",
        ),
        pytest.param(
            {"journey/goals.yaml": "g:\n  description: G.\n  events: [paid, nothing]\n"},
            "journey/goals.yaml:3: there is no event `nothing`",
            id="a goal without event",
        ),
        pytest.param(
            {"journey/funnels.yaml": "f:\n  description: F.\n  window: 7 days\n  steps: [paid, paid]\n"},
            "journey/funnels.yaml:3: `7 days` is not a duration",
            id="a window that is no duration",
        ),
        pytest.param(
            {"journey/segments.yaml": "s:\n  description: S.\n  when: trait_age > 3\n"},
            "journey/segments.yaml:3: `when` cannot be read: unknown name `trait_age`; "
            "known here: known_person, orders, revenue, sessions, trait_email",
            id="a segment over an unknown trait",
        ),
        pytest.param(
            {"journey/targets.yaml": "t:\n  description: T.\n  measure: count\n  of: g\n  value: 1\n  period: day\n"},
            "journey/targets.yaml:4: there is no goal `g`",
            id="a target of an unknown goal",
        ),
        pytest.param(
            {"journey/changes.yaml": "c:\n  description: C.\n  kind: release\n  date: 1.2.2026\n"},
            "journey/changes.yaml:4: `1.2.2026` is not a date",
            id="a change on no date",
        ),
        pytest.param(
            {"journey/notes.yaml": "a: 1\n"},
            "journey/notes.yaml:None: this file is not read",
            id="a stray journey file",
        ),
    ],
)
def test_a_finding_says_where_and_what(write_plan: WritePlan, files: dict[str, str | None], expected: str) -> None:
    # A broken dictionary also breaks the event that uses it; only the line in question is looked at.
    assert expected in findings_of(write_plan(files))


@pytest.mark.parametrize("key", ["type: integer", "privacy: none", "items: {type: string}"])
def test_one_name_has_one_type_because_only_the_dictionary_gives_it(write_plan: WritePlan, key: str) -> None:
    text = event("").replace("{amount: {}}", f"{{amount: {{{key}}}}}")
    word = key.split(":")[0]
    expected = f"events/paid.yaml:7: `{word}` of `amount` is given in properties.yaml"
    assert expected in findings_of(write_plan({"events/paid.yaml": text}))


def test_an_event_may_narrow_a_property(write_plan: WritePlan) -> None:
    text = event("").replace("{amount: {}}", "{amount: {minimum: 10, description: At least ten.}}")
    paid = load_plan(write_plan({"events/paid.yaml": text})).events["paid"]
    assert paid.properties["amount"].minimum == 10
    assert paid.properties["amount"].description == "At least ten."


def test_a_folder_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    assert findings_of(tmp_path / "none") == [".:None: there is no such folder"]


def test_an_anchor_that_contains_itself_is_a_finding(write_plan: WritePlan) -> None:
    assert any("nested too deep" in line for line in findings_of(write_plan({"plan.yaml": "name: &a [*a]\n"})))


def test_bytes_that_are_not_text_are_a_finding(write_plan: WritePlan) -> None:
    folder = write_plan()
    (folder / "traits.yaml").write_bytes(b"\xff\xfe\x00")
    assert any(line.startswith("traits.yaml:None: the file cannot be read") for line in findings_of(folder))


def test_the_fingerprint_follows_the_content_and_not_the_writing(write_plan: WritePlan) -> None:
    folder = write_plan()
    first = load_plan(folder).fingerprint
    traits = folder / "traits.yaml"
    traits.write_text("# a comment\n" + traits.read_text())
    assert load_plan(folder).fingerprint == first
    traits.write_text(traits.read_text().replace("personal", "sensitive"))
    assert load_plan(folder).fingerprint != first
    assert len(first) == 16


def test_the_builtin_plan_is_found_in_a_checkout() -> None:
    assert (builtin_plan_path() / "plan.yaml").is_file()


def test_the_builtin_plan_is_found_inside_an_installed_package(tmp_path: Path) -> None:
    """A wheel carries the plan as `polku_schemas/builtin_plan`."""
    package = Path(polku_schemas.__file__).parent
    shutil.copytree(package, tmp_path / "polku_schemas")
    shutil.copytree(builtin_plan_path(), tmp_path / "polku_schemas" / "builtin_plan")
    code = "import polku_schemas as s; p = s.builtin_plan_path(); print(p); print(s.load_plan(p).fingerprint)"
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    path, fingerprint = output.stdout.decode().split()
    assert Path(path) == tmp_path / "polku_schemas" / "builtin_plan"
    assert fingerprint == load_plan(builtin_plan_path()).fingerprint
