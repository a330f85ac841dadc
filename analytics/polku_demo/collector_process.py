"""A collector as a child process, as an operator would start it: a config file, a command, SIGTERM at the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from polku_demo.errors import DemoError

READY_SECONDS = 60.0
DRAIN_SECONDS = 120.0
INTERRUPTED_SECONDS = 4.0
"""How long somebody who pressed Ctrl-C is kept waiting for the last commit."""
TAIL_LINES = 15


class Collector:
    """`polku collector` over one directory, while the `with` block lasts.

    `sources` gives each source's channel; all are historical, because a demo brings the past. Leaving the block
    drains it: what was acknowledged is in the tables afterwards, or DemoError says what the collector said.
    """

    def __init__(self, directory: Path, sources: Mapping[str, str]) -> None:
        self.lake = directory / "lake"
        self.endpoint = ""
        self._directory = directory
        self._sources = sources
        self._log = directory / "collector.log"
        self._process: subprocess.Popen[bytes] | None = None

    def write_key(self, source: str) -> str:
        """The key of a source. Not a secret: the collector listens on this machine only, while the demo runs."""
        return f"demo-{source.replace('_', '-')}"

    def __enter__(self) -> "Collector":
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "collector.toml"
        config.write_text(self._config(), encoding="utf-8")
        port = _free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "polku.cli", "collector", str(config)]
        command += ["--lake", str(self.lake), "--journal", str(self._directory / "journal")]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command, nothing of it from outside
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=_without_settings(),
                # Ctrl-C in a terminal reaches the whole process group: the demo alone decides when this one ends.
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop(INTERRUPTED_SECONDS if isinstance(error, KeyboardInterrupt) else DRAIN_SECONDS)
        except DemoError:
            if error is None:
                raise

    def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """Let it finish requests and commit what it has; DemoError if it did not end with everything committed.

        After `seconds` it is killed. That loses nothing: what it acknowledged is in its journal.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise DemoError(f"the collector did not drain in {seconds:.0f} s\n{self._tail()}") from None
        if code != 0:
            raise DemoError(
                f"the collector ended with code {code}, so not all may be committed. What it has acknowledged is "
                f"safe in {self._directory / 'journal'}: run the demo again.\n{self._tail()}"
            )

    def _config(self) -> str:
        lines = ["# Written by `polku demo`; the sources of this data set.\n"]
        for source, channel in self._sources.items():
            lines.append(f"[sources.{source}]\n")
            lines.append(f"keys = [{json.dumps(self.write_key(source))}]\n")
            lines.append(f"channel = {json.dumps(channel)}\nhistorical = true\n")
        return "".join(lines)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            if process.poll() is not None:
                raise DemoError(f"the collector ended with code {process.returncode}\n{self._tail()}")
            try:
                with urllib.request.urlopen(f"{self.endpoint}/readyz", timeout=5):  # noqa: S310  # http, ours
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise DemoError(f"the collector was not ready after {READY_SECONDS:.0f} s\n{self._tail()}")

    def _tail(self) -> str:
        """The last lines of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"the end of {self._log}:", *lines])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _without_settings() -> dict[str, str]:
    """The environment without POLKU_… settings, which would be meant for another collector."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POLKU_")}
