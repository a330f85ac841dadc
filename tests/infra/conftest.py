"""Tests of infra/ with the programs it is for: Prometheus and its promtool, systemd, a clean environment of pip.

They run when they are named (`pytest tests/infra`, which is what `make test-infra` does) and are no part of a plain
`pytest`. When they are named and Prometheus is missing, they fail.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests out of a run whose arguments do not lead into this folder."""
    named = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True
