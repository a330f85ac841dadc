"""`make test-spark` says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.apache_spark import java_complaint


def test_without_java_it_says_so(tmp_path: Path) -> None:
    assert java_complaint({"PATH": str(tmp_path)}) == (
        "Apache Spark needs Java 17 or newer: there is no java on PATH, nor in JAVA_HOME"
    )


@pytest.mark.parametrize(
    ("told", "is_enough"),
    [('openjdk version "17.0.15" 2025-04-15', True), ('java version "1.8.0_402"', False), ("no such thing", False)],
)
def test_the_version_of_java_is_looked_at(tmp_path: Path, told: str, is_enough: bool) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    java.chmod(0o755)
    complaint = java_complaint({"JAVA_HOME": str(tmp_path)})
    assert complaint is None if is_enough else complaint is not None and complaint.endswith(f"{java} is {told}")
