"""Reading a plan: everything wrong is found at once, each thing with its file and line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import polku_schemas
from polku_schemas import PlanError, builtin_plan_path, load_plan, read_plan
from polku_schemas.documents import Document
from polku_schemas.located import Located
from polku_schemas.yaml_text import read_yaml
from tests.schemas.conftest import SMALL_PLAN

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


def test_all_findings_come_at_once_the_dictionaries_first(write_plan: WritePlan) -> None:
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
        "traits.yaml:2: `type` is `text`",
        "events/paid.yaml:1: `description` is missing",
        "events/paid.yaml:2: `version` is the number 1.0, not a text",
        "events/paid.yaml:4: `stage` is `nowhere`",
        "events/paid.yaml:7: `colour` is not a key of the format here",
        "events/paid.yaml:8: the property `unknown` is not in properties.yaml",
        "events/paid.yaml:10: the example breaks the plan at $.amount: expected at least 1, came the number 0.5",
    ]


def test_the_text_of_the_error_names_every_place_and_what_to_do(write_plan: WritePlan) -> None:
    folder = write_plan({"traits.yaml": None, "plan.yaml": "name: [\n"})
    with pytest.raises(PlanError) as caught:
        load_plan(folder)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert f"the tracking plan in {folder} cannot be used" in text
    assert "traits.yaml: the file is not there. Add it." in text
    assert "plan.yaml:1: this is not YAML" in text
    assert all(finding.remedy for finding in caught.value.findings)


def test_an_event_may_narrow_a_property(write_plan: WritePlan) -> None:
    text = event("").replace("{amount: {}}", "{amount: {minimum: 10, description: At least ten.}}")
    paid = load_plan(write_plan({"events/paid.yaml": text})).events["paid"]
    assert paid.properties["amount"].minimum == 10
    assert paid.properties["amount"].description == "At least ten."


def test_a_folder_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    assert findings_of(tmp_path / "none") == [".:None: there is no such folder"]


def test_a_report_has_the_plan_and_its_warnings(write_plan: WritePlan) -> None:
    report = read_plan(write_plan())
    assert report.plan == load_plan(write_plan())
    assert [(finding.code, finding.severity, finding.names) for finding in report.findings] == [
        ("unreached_stage", "warning", ("interest",))
    ]


def test_a_report_of_a_plan_with_errors_has_no_plan_and_the_error_has_no_warnings(write_plan: WritePlan) -> None:
    folder = write_plan({"traits.yaml": None})
    report = read_plan(folder)
    assert report.plan is None
    assert [finding.code for finding in report.findings] == ["unreached_stage", "missing_file"]
    with pytest.raises(PlanError) as caught:
        load_plan(folder)
    assert [finding.code for finding in caught.value.findings] == ["missing_file"]


def test_a_warning_can_be_accepted_with_a_reason(write_plan: WritePlan) -> None:
    plan = (
        SMALL_PLAN["plan.yaml"] + "accept:\n  - {code: unreached_stage, names: [interest], reason: It comes later.}\n"
    )
    report = read_plan(write_plan({"plan.yaml": plan}))
    assert report.findings == ()
    assert report.plan == load_plan(write_plan({"plan.yaml": SMALL_PLAN["plan.yaml"]}))


def test_what_is_accepted_does_not_change_the_fingerprint(write_plan: WritePlan) -> None:
    first = load_plan(write_plan()).fingerprint
    plan = (
        SMALL_PLAN["plan.yaml"] + "accept:\n  - {code: unreached_stage, names: [interest], reason: It comes later.}\n"
    )
    assert load_plan(write_plan({"plan.yaml": plan})).fingerprint == first


def test_a_plan_in_json_is_the_same_plan(write_plan: WritePlan, tmp_path: Path) -> None:
    """The built-in plan as JSON, with line ends of Windows and a byte order mark."""
    for file in builtin_plan_path().rglob("*.yaml"):
        target = tmp_path / "json" / file.relative_to(builtin_plan_path()).with_suffix(".json")
        target.parent.mkdir(parents=True, exist_ok=True)
        value = Document(file.name, read_yaml(file.read_text(encoding="utf-8"), Located(file.name, []))).value
        text = json.dumps(value, indent=2).replace("\n", "\r\n")
        target.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_plan(tmp_path / "json") == read_plan(builtin_plan_path())


def test_new_keys_of_a_property_are_read(write_plan: WritePlan) -> None:
    properties = SMALL_PLAN["properties.yaml"] + (
        "mail: {type: string, description: Where to., privacy: personal, format: email}\n"
        "gift: {type: boolean, description: Whether it is a gift., privacy: none, default: false}\n"
        "units: {type: integer, description: How many., privacy: none, default: 1, maximum: 9}\n"
    )
    event = (
        SMALL_PLAN["events/paid.yaml"]
        .replace("  count: {}\n", "  count: {}\n  mail: {}\n  gift: {required: true}\n  units: {default: 2}\n")
        .replace("{amount: 5}", "{amount: 5, gift: true}")
    )
    plan = load_plan(
        write_plan(
            {
                "plan.yaml": SMALL_PLAN["plan.yaml"] + "reserved: [password, card_number]\n",
                "properties.yaml": properties,
                "events/paid.yaml": event,
            }
        )
    )
    assert plan.reserved == ("password", "card_number")
    assert plan.properties["gift"].default is False
    paid = plan.events["paid"].properties
    assert paid["mail"].format == "email"
    assert paid["gift"].default is None, "a required property never takes the default of the dictionary"
    assert (plan.properties["units"].default, paid["units"].default, paid["units"].maximum) == (1, 2, 9)


def test_an_enum_in_an_event_takes_the_place_of_the_lengths_of_the_dictionary(write_plan: WritePlan) -> None:
    properties = SMALL_PLAN["properties.yaml"] + (
        "colour: {type: string, description: Which., privacy: none, max_length: 5}\n"
    )
    event = SMALL_PLAN["events/paid.yaml"].replace("  count: {}\n", "  count: {}\n  colour: {enum: [red, blue]}\n")
    plan = load_plan(write_plan({"properties.yaml": properties, "events/paid.yaml": event}))
    colour = plan.events["paid"].properties["colour"]
    assert (colour.enum, colour.max_length, plan.properties["colour"].max_length) == (("red", "blue"), None, 5)


def test_an_unreadable_dictionary_is_one_finding_and_not_one_for_each_use(write_plan: WritePlan) -> None:
    goals = "all:\n  description: All.\n  events: [paid]\n  when: amount > 3\n  value: amount\n"
    folder = write_plan({"properties.yaml": "amount: [\n", "journey/goals.yaml": goals})
    assert findings_of(folder) == [
        "properties.yaml:1: this is not YAML: did not find expected node content",
    ]


def test_an_unreadable_head_is_one_finding(write_plan: WritePlan) -> None:
    assert findings_of(write_plan({"plan.yaml": "name: 'x\n"})) == [
        "plan.yaml:1: this is not YAML: found unexpected end of stream"
    ]


def test_an_unreadable_event_is_no_unknown_event_of_a_goal_or_funnel(write_plan: WritePlan) -> None:
    files = {
        "events/paid.yaml": "name: [\n",
        "journey/goals.yaml": "all:\n  description: All.\n  events: [paid]\n  when: amount > 3\n  value: amount\n",
        "journey/funnels.yaml": "f: {description: F., window: 7d, steps: [paid, {event: paid, when: count = 1}]}\n",
    }
    assert findings_of(write_plan(files)) == [
        "events/paid.yaml:1: this is not YAML: did not find expected node content"
    ]


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


def test_a_target_of_money_may_name_a_currency_that_events_can_be_in(write_plan: WritePlan) -> None:
    """A plan whose targets name none has the fingerprint that it had before targets could."""
    currency = "currency: {type: string, description: Code., privacy: none, enum: [EUR, SEK]}\n"
    goals = "paying: {description: Paid., events: [paid], value: amount}\n"
    target = "a_week: {description: Money., measure: value, of: paying, value: 9, period: week"

    def written(more: str) -> Path:
        files = {"properties.yaml": SMALL_PLAN["properties.yaml"] + currency, "journey/goals.yaml": goals}
        paid = SMALL_PLAN["events/paid.yaml"].replace("  count: {}\n", "  count: {}\n  currency: {}\n")
        return write_plan({**files, "events/paid.yaml": paid, "journey/targets.yaml": target + more})

    without = load_plan(written("}\n"))
    named = load_plan(written(", currency: SEK}\n"))
    assert (without.targets["a_week"].currency, named.targets["a_week"].currency) == (None, "SEK")
    assert named.fingerprint != without.fingerprint and "currency" not in str(msgspec.to_builtins(without.targets))
    assert findings_of(written(", currency: EURO}\n")) == [
        "journey/targets.yaml:1: the property `currency` is never `EURO`"
    ]
