"""The tables of the reference pages are complete, and what a page names exists."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import click
import msgspec
import pytest

from polku_collector.cli import collector
from polku_collector.metrics import METRICS
from polku_collector.settings import Limits, Settings, Source, load
from polku_schemas import DESCRIPTIONS, builtin_plan_path, load_plan
from tests.docs.blocks import PAGES, ROOT, blocks_of, prose_of, tables_of

DOCS = ROOT / "docs"
COLLECTOR = ROOT / "collector" / "polku_collector"
MINIMAL = ROOT / "infra" / "collector.minimal.toml"
REFERENCE = ROOT / "infra" / "collector.reference.toml"
INFRA = ROOT / "infra" / "README.md"


def settings_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its place in the file, with its default; `...` if it is required."""
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        kind = hints[field.name]
        tables = [one for one in get_args(kind) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
        if get_origin(kind) is dict and tables:
            yield from settings_of(tables[0], f"{prefix}{field.name}.NAME.")
        elif get_origin(kind) is dict and kind != dict[str, str]:  # of plain values
            yield f"{prefix}{field.name}.NAME", None
        elif tables:  # a table that may be left out
            yield f"{prefix}{field.name}", field.default
            yield from settings_of(tables[0], f"{prefix}{field.name}.")
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from settings_of(kind, f"{prefix}{field.name}.")
        elif field.default is not msgspec.NODEFAULT:
            yield f"{prefix}{field.name}", field.default
        elif field.default_factory is not msgspec.NODEFAULT:
            yield f"{prefix}{field.name}", field.default_factory()
        else:
            yield f"{prefix}{field.name}", ...


def shown(default: Any) -> str:
    if default is None:
        return "none"
    return "required" if default is ... else f"`{msgspec.json.encode(default).decode()}`"


# Settings ---------------------------------------------------------------------------------------------------------


def test_the_page_has_every_setting_with_its_default() -> None:
    table = tables_of(DOCS / "operations.md")["Settings"]
    listed = {name: cells[1] for name, cells in table.items() if name != "setting"}
    assert listed == {name: shown(default) for name, default in settings_of(Settings)}


def test_the_page_has_every_flag_and_variable() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8") + REFERENCE.read_text(encoding="utf-8")
    source = (COLLECTOR / "settings.py").read_text(encoding="utf-8")
    flags = re.findall(r'^    "(\w+)": \(\(', source, re.MULTILINE)
    assert len(flags) > 5
    assert "POLKU_PRIVACY_KEY" in text
    for flag in flags:
        assert f"--{flag.replace('_', '-')}" in text
        assert f"POLKU_{flag.upper()}" in text


def test_the_help_of_the_collector_says_the_defaults() -> None:
    settings = load(MINIMAL, {}, {})
    away = load(MINIMAL, {}, {"lake": "s3://bucket"})
    told = {
        "lake": settings.lake.uri,
        "journal": settings.journal.directory,
        "host": settings.server.host,
        "port": settings.server.port,
        "workers": settings.server.workers,
        "flush_seconds": f"{settings.flush_seconds:g} on a local lake, {away.flush_seconds:g} on S3",
    }
    helps = {option.name: option.help for option in collector.params if isinstance(option, click.Option)}
    for name, default in told.items():
        assert f"[default: {default}]" in str(helps[name]), name


def test_the_minimal_and_the_reference_file_are_the_defaults() -> None:
    minimal, reference = load(MINIMAL, {}, {}), load(REFERENCE, {}, {})
    sources = {"web": Source(keys=["replace-me-with-a-long-random-key"], channel="web")}
    assert minimal == reference == Settings(sources=sources)


def test_the_reference_file_has_every_setting() -> None:
    """Those without a value by default are commented out: TOML has no null."""
    text = REFERENCE.read_text(encoding="utf-8")
    document = tomllib.loads(text)
    for place, default in settings_of(Settings):
        if place == "maintenance.retention.events.NAME":
            assert "page_viewed = 90" in text
            continue
        *path, name = place.replace("NAME", "web").split(".")
        here: Any = document
        for part in path:
            here = here.get(part, {})
        if not here or (default is None and isinstance(here.get(name, {}), dict)):  # none, or a table that is none
            table = rf"# \[{re.escape('.'.join([*path, name]))}\]$"
            assert re.search(rf"^# {name} = |^{table}", text, re.MULTILINE), place
        elif default is None and name not in here:
            assert re.search(rf"^# {name} = ", text, re.MULTILINE), place
        else:
            assert name in here, place


def test_a_commented_setting_can_be_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^# (plan|flush_seconds|scratch) = ", r"\1 = ", REFERENCE.read_text(), flags=re.MULTILINE)
    (tmp_path / "collector.toml").write_text(text)
    settings = load(tmp_path / "collector.toml", {}, {})
    assert (settings.plan, settings.lake.flush_seconds) == ("./plan", 1.0)
    assert settings.lake.scratch == "./polku-data/journal/staging"


def test_the_tables_that_may_be_left_out_can_be_uncommented(tmp_path: Path) -> None:
    head, _, tables = (
        REFERENCE.read_text(encoding="utf-8")
        .replace('cors = ["*"]', 'cors = ["https://a"]')
        .rpartition("# [sources.web.cookie]")
    )
    given = re.sub(r"^# (?=\[|\w+ = )", "", f"# [sources.web.cookie]{tables}", flags=re.MULTILINE)
    given = re.sub(r"^timestamp_\w+ = .*$|^secret_file = .*$", "", given, flags=re.MULTILINE)  # these need each other
    (tmp_path / "collector.toml").write_text(head + given)
    settings = load(tmp_path / "collector.toml", {"POLKU_WEBHOOK_WEB_SECRET": "s"}, {})
    assert settings.sources["web"].cookie is not None
    assert settings.webhooks["web"].hmac is not None


def test_the_page_has_every_key_of_a_webhooks_mapping_and_its_examples_are_ones(tmp_path: Path) -> None:
    from polku_collector.webhook.mapping_file import FOUND_KEYS, KEYS, read_webhook_mapping

    page = DOCS / "webhooks.md"
    table = tables_of(page)["The mapping file"]
    keys = {name for cell in table for name in re.split("`, `", cell)}
    assert keys >= KEYS | set(FOUND_KEYS) - {"from"}
    for block in blocks_of(page):
        if block.verb == "file" and block.argument in ("shop.yaml", "payments.yaml"):
            (tmp_path / block.argument).write_text(block.text, encoding="utf-8")
            assert len(read_webhook_mapping(tmp_path / block.argument).entries) > 0
    payments = _text(ROOT / "tests" / "collector" / "webhook" / "stripe.yaml").partition("\n")[2]
    assert payments == (tmp_path / "payments.yaml").read_text(encoding="utf-8")


def test_the_limits_that_pages_state_in_words_are_those_of_the_code() -> None:
    from polku_collector.batch import MAX_ID
    from polku_collector.intake.clock import SKEW_SECONDS
    from polku_collector.intake.take import RETRY_AFTER_SECONDS
    from polku_collector.intake.validate import MAX_WARNINGS
    from polku_collector.intake.wire import MAX_EVENT_ID
    from polku_collector.lake.dedup_runs import ENTRY_BYTES
    from polku_collector.lake.gather import FILE_ROWS
    from polku_collector.supervisor import EXIT_DRAINED, EXIT_HOPELESS, EXIT_NOT_DRAINED

    readme, wire = _text(ROOT / "README.md"), _text(DOCS / "wire-format.md")
    operations, guarantees = _text(DOCS / "operations.md"), _text(DOCS / "guarantees.md")
    settings = Settings()
    assert (EXIT_DRAINED, EXIT_NOT_DRAINED, EXIT_HOPELESS) == (0, 75, 2)
    assert {"0", "75", "2"} < set(tables_of(DOCS / "operations.md")["Start and stop"])
    for page in (readme, operations, guarantees):
        assert f"`Retry-After: {RETRY_AFTER_SECONDS}`" in page
    assert settings.journal.max_bytes == 4 << 30 and "up to 4 GiB" in readme
    assert (settings.lake.dedup_window_days, settings.lake.dedup_max_bytes) == (7, 1 << 30)
    assert "7 days or 1 GiB" in readme and "(7)" in guarantees and "(1 GiB)" in guarantees
    assert f"up to {MAX_EVENT_ID} characters" in wire and f"up to {MAX_ID:,} characters" in wire
    assert f"more than {SKEW_SECONDS} seconds off" in wire and f"at most {MAX_WARNINGS};" in wire
    assert f"{ENTRY_BYTES} bytes an event" in operations and f"{FILE_ROWS:,} rows" in operations
    assert Limits().max_quarantine_bytes == 64 << 10 and "cut at 64 KiB" in guarantees
    local, remote = (load(MINIMAL, {}, {"lake": uri}).flush_seconds for uri in ("x", "s3://x"))
    assert f"({local:g} s on a local lake, {remote:g} s on S3)" in readme


# Metrics, codes, errors -------------------------------------------------------------------------------------------


def test_the_page_has_every_metric() -> None:
    table = tables_of(DOCS / "operations.md")["Metrics"]
    kinds = {"newest": "gauge"}
    expected = {
        name: [
            f"`{name}`",
            kinds.get(metric.kind, metric.kind),
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        ]
        for name, metric in METRICS.items()
    }
    assert {name: cells for name, cells in table.items() if name != "metric"} == expected


def test_the_metrics_that_are_not_set_are_those_the_page_names() -> None:
    used = "".join(_text(file) for file in COLLECTOR.rglob("*.py") if file.name != "metrics.py")
    unset = {name for name in METRICS if f'"{name}"' not in used}
    sentence = re.search(r"^Not set yet, so without a value: (.*)\.$", _text(DOCS / "operations.md"), re.MULTILINE)
    assert unset == set(re.findall(r"`(\w+)`", sentence[1] if sentence else ""))


def test_the_page_has_every_code_with_its_sentence() -> None:
    table = tables_of(DOCS / "wire-format.md")["Codes"]
    listed = {name: cells[1] for name, cells in table.items() if name != "code"}
    assert listed == {code.value: sentence for code, sentence in DESCRIPTIONS.items()}


def test_the_page_has_every_error() -> None:
    source = "".join(
        _text(file) for file in sorted((*(COLLECTOR / "intake").glob("*.py"), *(COLLECTOR / "webhook").glob("*.py")))
    )
    raised = set(re.findall(r'(?:Refused|answer|__init__)\(\s*(\d+),\s*"(\w+)"', source)) | {("404", "not_found")}
    raised |= set(re.findall(r'RefusedBySource\([^)]*?(\d+), "(\w+)"', source))
    assert 'Refused(400, f"invalid_{self._encoding}"' in source and '"rate_limited"' in source
    raised |= {("400", f"invalid_{encoding}") for encoding in ("gzip", "zstd", "deflate")}
    raised |= {(str(status), "rate_limited") for status in get_args(get_type_hints(Source)["rate_status"])}
    codes = re.search(r'code = "(\w+)" if .* else "(\w+)"', source)
    assert codes is not None and "Refused(503, code" in source
    raised |= {("503", code) for code in codes.groups()}
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", _text(DOCS / "wire-format.md"), re.MULTILINE)
    assert set(rows) == raised


def test_the_page_has_every_endpoint() -> None:
    from polku_collector.intake.paths import PATHS
    from polku_collector.intake.pixel import MEMBERS

    text = _text(DOCS / "wire-format.md")
    assert [path for path in sorted(PATHS) if f"`{path}`" not in text and f"POST {path}`" not in text] == []
    for path in ("GET /v1/pixel.gif", "POST /v1/webhook/NAME", "GET /v1/openapi.json"):
        assert f"`{path}`" in text
    fields = set(tables_of(DOCS / "wire-format.md")["The pixel"]) - {"field of the query"}
    assert {name for cell in fields for name in re.split("`, `", cell)} == {*MEMBERS, "writeKey", "p.NAME", "data"}


def test_the_page_has_every_key_of_a_mapping_file_and_its_example_is_one(tmp_path: Path) -> None:
    from polku_collector.casts import CastType
    from polku_collector.closed_file import OPTIONS
    from polku_collector.replay.mapping import Mended
    from polku_collector.replay.mapping_file import read_mapping
    from polku_collector.replay.report import Group

    page = DOCS / "replay.md"
    tables = tables_of(page)
    assert [name for name in tables["Steps"] if name != "step"] == list(Mended.__struct_fields__)
    casts = dict(tables["Casts"])
    options = {name: cells[1] for name, cells in casts.items() if name in OPTIONS}
    assert options == {name: ", ".join(f"`{to}`" for to in types) for name, types in OPTIONS.items()}
    assert set(casts) - {"to", "option"} - set(options) == set(get_args(CastType))
    assert set(tables["The report"]) - {"column"} <= set(Group.__struct_fields__)
    (example,) = (block.text for block in blocks_of(page) if block.language == "yaml" and not block.verb)
    (tmp_path / "map.yaml").write_text(example, encoding="utf-8")
    mapping = read_mapping(tmp_path / "map.yaml")
    assert list(mapping.events) == ["Order Completed", "*"]
    used = [getattr(mapping.events["Order Completed"], step) for step in Mended.__struct_fields__]
    assert all(used), "the example shows every step"


def test_the_page_has_every_option_of_its_command() -> None:
    from polku_collector.lake_cli import replay
    from polku_schemas.commands.docs import docs

    for command, page in ((replay, "replay.md"), (docs, "plan-catalogue.md")):
        text = _text(DOCS / page)
        options = [name for option in command.params for name in option.opts if name.startswith("--")]
        assert [name for name in options if not re.search(rf"`{name}\b", text)] == []


# Words, commands, dependencies ------------------------------------------------------------------------------------


def test_the_glossary_has_the_stages_of_the_plan_in_their_order_and_in_finnish() -> None:
    rows = tables_of(DOCS / "glossary.md")["The seven stages"]
    stages = [name for name in rows if name != "stage"]
    assert tuple(stages) == load_plan(builtin_plan_path()).stages
    finnish = [rows[name][1] for name in stages]
    assert finnish == [
        *("tietoisuus", "kiinnostus", "vertailu", "ostopäätös"),
        *("asiakassuhde", "paluu (uusintaosto)", "suosittelu"),
    ]


def test_every_make_target_is_explained() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", _text(ROOT / "Makefile"), re.MULTILINE)
    assert targets is not None
    table = tables_of(DOCS / "contributing.md")["Set-up"]
    assert {name.removeprefix("make ") for name in table if name != "command"} == set(targets[1].split())


def test_every_dependency_has_a_reason_and_no_other() -> None:
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for group in [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]:
        wanted += group
    names = {re.split(r"[\[<>=; ]", requirement)[0] for requirement in wanted} - {"polku"}
    cells = [row[0] for name, row in tables_of(DOCS / "architecture.md")["Dependencies"].items()]
    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} == names


# Links and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, INFRA], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", [*PAGES, INFRA], ids=lambda page: page.stem)
def test_files_and_tests_that_a_page_names_exist(page: Path) -> None:
    top = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"polku-data", "polku-demo"}
    for named in re.findall(r"`([\w.-]+/[\w./*-]*(?:::\w+)?)`", prose_of(page)):
        path, _, test = named.partition("::")
        if path.partition("/")[0] not in top:
            continue
        assert (ROOT / path).exists(), f"{page.name} names {path}"
        if test:
            assert re.search(rf"^(async )?def {test}\b", _text(ROOT / path), re.MULTILINE), f"{page.name} names {named}"


def test_the_short_names_of_modules_in_the_architecture_exist() -> None:
    """`intake/split.py` means the collector's."""
    named = re.findall(r"`((?:intake|journal|lake)/\w+\.py)`", _text(DOCS / "architecture.md"))
    assert named
    assert [name for name in named if not (COLLECTOR / name).exists()] == []


def test_every_promise_names_a_test() -> None:
    sections = re.split(r"^## ", _text(DOCS / "guarantees.md"), flags=re.MULTILINE)
    numbered = [section for section in sections if re.match(r"\d+\. ", section)]
    assert len(numbered) >= 19
    for section in numbered:
        assert re.search(r"\*Tests\.\* `tests/[^`]+::test_\w+`", section), section.splitlines()[0]


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)", _text(ROOT / "README.md")))
    assert {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md")} == linked


def _anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
