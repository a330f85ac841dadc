"""`python -m polku_collector.operate FOLDER`: write the alerts and the dashboard of this version below a folder."""

import sys
from collections.abc import Callable
from pathlib import Path

from .alerts import rules_yaml
from .dashboard import dashboard_json

FILES: dict[str, Callable[[], str]] = {"prometheus/alerts.yaml": rules_yaml, "grafana/dashboard.json": dashboard_json}


def main(folder: Path) -> None:
    """Write all files, making what folders they need."""
    for name, made in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
