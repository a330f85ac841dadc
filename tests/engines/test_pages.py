"""The pages on other engines run as they stand."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from polku_analytics.lake import Lake
from tests.docs.blocks import ROOT, blocks_of
from tests.engines.test_answers import commands


@pytest.mark.parametrize("name", ["engines", "spark", "clickhouse"])
def test_a_page_runs_as_it_stands(
    name: str,
    lake: Lake,
    spark_remote: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "polku-data").mkdir()
    # A copy, because a page builds.
    shutil.copytree(lake.uri, tmp_path / "polku-data" / "lake")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARK_REMOTE", spark_remote)
    scope: dict[str, Any] = {}
    blocks = [block for block in blocks_of(ROOT / "docs" / "query" / f"{name}.md") if block.verb == "run"]
    assert blocks
    for block in blocks:
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), scope)  # noqa: S102, it is our own documentation
            assert capfd.readouterr().out.strip()
        else:
            for line in block.text.splitlines():
                _, command, *arguments = shlex.split(line.replace("$SPARK_REMOTE", spark_remote))
                result = CliRunner().invoke(commands()[command], arguments, standalone_mode=False)
                assert result.exception is None, f"{line}: {result.exception}"
