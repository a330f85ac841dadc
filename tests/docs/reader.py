"""A reader who does what a page says, in order, in an empty directory: shells, one Python, background commands."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from tests.collector.world import free_port
from tests.docs.blocks import Block

SECONDS = 90
DEFAULT_PORT = "8080"

# What stands in for `python` at the prompt: runs each piece as it comes and says when it is done.
_SESSION = r"""
import json, sys, traceback
scope = {"__name__": "__main__"}
for line in sys.stdin:
    ended = "done"
    try:
        exec(compile(json.loads(line), "<page>", "exec"), scope)
    except BaseException:
        traceback.print_exc()
        ended = "failed"
    sys.stderr.flush()
    print("\x04" + ended, flush=True)
"""


class Reader:
    """Follows one page. The port 8080 of the pages becomes a free one, unseen by the commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = str(free_port())
        own = {name: value for name, value in os.environ.items() if not name.startswith(("POLKU_", "AWS_"))}
        self.environment = own | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "POLKU_PORT": self.port,
            "COLUMNS": "120",
        }
        self._background: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._python: subprocess.Popen[str] | None = None
        self._printed = ""
        self._repeated: Block | None = None

    def follow(self, block: Block) -> None:
        """Do one step; fail with the place in the page."""
        if block.verb == "run":
            self._repeated = block if block.argument == "until it shows" else None
        match block.verb:
            case "run" if block.argument.startswith("background "):
                self._start(block, block.argument.removeprefix("background "))
            case "run" if block.language == "python":
                self._printed = self._run_python(block)
            case "run":
                self._printed = self._run_shell(block)
            case "file":
                path = self.root / block.argument
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            case "output":
                self._compare(block)
            case "stop":
                self._stop(block)

    def close(self) -> None:
        """End what a failed page left running."""
        if self._python is not None:
            self._python.kill()
            self._python.communicate()
        for process, _ in self._background.values():
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _here(self, text: str) -> str:
        return text.replace(f":{DEFAULT_PORT}", f":{self.port}")

    def _there(self, text: str) -> str:
        return text.replace(f":{self.port}", f":{DEFAULT_PORT}")

    def _run_shell(self, block: Block) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._here(block.text)],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        expected = int(block.argument.removeprefix("exit ")) if block.argument.startswith("exit ") else 0
        # What is repeated until it shows may fail at first: the collector has not made its tables yet.
        if block.argument != "until it shows":
            assert done.returncode == expected, f"{block.place}: ended with {done.returncode}:\n{done.stdout}"
        return self._there(done.stdout)

    def _run_python(self, block: Block) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-u", "-c", _SESSION],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        pipe_in, pipe_out = _pipes(self._python)
        pipe_in.write(json.dumps(self._here(block.text)) + "\n")
        pipe_in.flush()
        printed = ""
        for line in pipe_out:
            if line.startswith("\x04"):
                assert line.strip() == "\x04done", f"{block.place}: failed:\n{printed}"
                return self._there(printed)
            printed += line
        raise AssertionError(f"{block.place}: the interpreter ended:\n{printed}")

    def _start(self, block: Block, name: str) -> None:
        log = self.root / f".{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", "exec " + self._here(block.text.strip())],
                cwd=self.root,
                env=self.environment | {"PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=file,
            )
        self._background[name] = process, log

        def ready() -> bool:
            assert process.poll() is None, f"{block.place}: ended:\n{log.read_text()}"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        _wait(ready, f"{block.place}: is not ready")

    def _stop(self, block: Block) -> None:
        process, log = self._background.pop(block.argument)
        process.send_signal(signal.SIGINT)
        code = process.wait(SECONDS)
        assert code == 0, f"{block.place}: ended with {code}:\n{log.read_text()}"

    def _compare(self, block: Block) -> None:
        if not block.argument:

            def shown() -> bool:
                if not shows(self._printed, block.text) and self._repeated is not None:
                    self._printed = self._run_shell(self._repeated)
                return shows(self._printed, block.text)

            assert shown() or self._repeated is not None, f"{block.place}: came instead:\n{self._printed}"
            _wait(shown, lambda: f"{block.place}: came instead:\n{self._printed}")
            return
        log = self._background[block.argument][1]
        _wait(lambda: shows(self._there(log.read_text()), block.text), lambda: f"{block.place}: {log.read_text()}")


def shows(printed: str, expected: str) -> bool:
    """Whether all expected lines are among the printed ones, in order. Times and `…` may be anything."""
    lines = iter(printed.splitlines())
    return all(
        any(re.fullmatch(pattern, line.strip()) for line in lines)
        for wanted in expected.splitlines()
        if wanted.strip() and (pattern := _pattern(wanted.strip()))
    )


def _pattern(line: str) -> str:
    loose = re.sub(r"\d\d:\d\d:\d\d", "…", line)
    return ".*".join(re.escape(part) for part in loose.split("…"))


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _wait(condition: Any, explain: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, explain() if callable(explain) else explain
        time.sleep(0.1)
