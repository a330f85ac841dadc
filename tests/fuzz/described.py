"""`python -m tests.fuzz.described`: schemathesis reads our OpenAPI description and tries a real collector by it.

What it makes differs from what the fuzzer does: it knows only what a stranger knows, and holds us to our own words:
every status, media type and schema of an answer is one that the description has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.collector.world import collector

from .in_process import MAPPING

# `positive_data_acceptance` and `negative_data_rejection` do not hold here on purpose: events that break the plan are
# taken, and answered with a verdict each. `ignored_auth`: the key may stand in three places, and in the body.
_CHECKS = [
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "unsupported_method"),
]

_LONG_FORMS = r"^(/v1/(batch|track|identify|pixel\.gif|webhook/.*|consent|openapi\.json)|/[a-z]+)$"

_CONFIG = """
[sources.web]
keys = ["key"]
[webhooks.shop]
mapping = "{mapping}"
source = "web"
"""


def main() -> int:
    """Run; schemathesis' exit code, or 1 if a process of the collector died."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.described")
    parser.add_argument("--examples", type=int, default=50, help="of each operation")
    parser.add_argument("--all", action="store_true", help="short forms and old addresses too, which are the same code")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polku-described-") as text:
        folder = Path(text)
        (folder / "map.yaml").write_text(MAPPING)
        with collector(folder, config=_CONFIG.format(mapping=folder / "map.yaml")) as process:
            command = [sys.executable, "-m", "schemathesis.cli", "run", f"{process.url}/v1/openapi.json"]
            command += ["--checks", ",".join(_CHECKS), "--max-examples", str(options.examples)]
            command += ["--seed", str(options.seed), "--header", "Authorization: Bearer key", "--no-color"]
            if not options.all:
                command += ["--include-path-regex", _LONG_FORMS]
            code = subprocess.run(command, cwd=folder, check=False).returncode
            died = "child died" in process.log()
            drained = process.stop() == 0
    if died or not drained:
        print("a process of the collector died, or it did not drain")
    return code or int(died or not drained)


if __name__ == "__main__":
    sys.exit(main())
