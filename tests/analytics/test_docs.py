"""The commands and snippets of docs/analytics.md run as they stand there."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from polku_analytics.commands import options
from polku_analytics.lake import Lake

DOCS = Path(__file__).parents[2] / "docs"


def blocks(language: str) -> list[str]:
    text = (DOCS / "analytics.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_command_and_snippet_runs(
    make_lake: Callable[..., Lake],
    event: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lake = make_lake(
        [
            event("ad_clicked", 0, anonymous_id="a"),
            event("product_viewed", 10, anonymous_id="a", price=60.0),
            event("order_completed", 60, anonymous_id="a", order_id="o1", revenue=20.0),
        ]
    )
    (tmp_path / "polku-data").mkdir()
    Path(lake.uri).rename(tmp_path / "polku-data" / "lake")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "load_plan", functools.cache(options.load_plan))

    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) > 10
    for line in commands:
        name, *arguments = shlex.split(line.split(" > ")[0] if "--csv" in line else line)[1:]
        (command,) = importlib.metadata.entry_points(group="polku.commands", name=name)
        result = CliRunner().invoke(command.load(), arguments, standalone_mode=False)
        assert result.exception is None, f"{line}: {result.exception}"
    snippets = blocks("python")
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, "docs/analytics.md", "exec"), {})  # noqa: S102, it is our own documentation
    assert "product_viewed" in capfd.readouterr().out
