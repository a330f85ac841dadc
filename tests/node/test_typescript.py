"""The generated TypeScript under real compilers and in Node.

`make test-node` installs the compilers and runs this folder; a plain `pytest` does not come here.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from polku_schemas import Checked, builtin_plan_path, compile_plan, load_plan
from polku_schemas.generate import typescript_source
from tests.docs.blocks import ROOT, blocks_of
from tests.schemas.generate.test_python import HOSTILE_TEXTS, hostile
from tests.schemas.generate.world import SHOP

HERE = Path(__file__).parent
COMPILERS = ("typescript", "typescript-oldest")
STRICT = (
    "--strict",
    "--skipLibCheck",  # the compiler's own and the libraries' declarations: three seconds a run
    "--noUncheckedIndexedAccess",
    "--exactOptionalPropertyTypes",
    "--noPropertyAccessFromIndexSignature",
    "--isolatedModules",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--moduleResolution",
    "nodenext",
)


class Workspace:
    """A folder with generated and hand-written modules, and the tools of this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        modules = HERE / "node_modules"
        assert modules.is_dir(), "the npm packages are not installed: run `make test-node`"
        (folder / "node_modules").symlink_to(modules)
        self.add("package.json", '{"type": "module"}')

    def add(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def copy(self, *names: str) -> None:
        for name in names:
            shutil.copy(HERE / name, self.folder)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            ["node", *command], cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def compile(self, *arguments: str, compiler: str = "typescript") -> str:
        return self.run(f"node_modules/{compiler}/lib/tsc.js", *STRICT, *arguments)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.add("events.ts", typescript_source(SHOP))
    return workspace


@pytest.mark.parametrize("compiler", COMPILERS)
def test_right_uses_compile_and_wrong_ones_do_not(workspace: Workspace, compiler: str) -> None:
    workspace.copy("right.ts", "wrong.ts")
    workspace.add("builtin.ts", typescript_source(load_plan(builtin_plan_path())))
    workspace.add("builtin_types.ts", typescript_source(load_plan(builtin_plan_path()), types_only=True))
    files = ("right.ts", "wrong.ts", "builtin.ts", "builtin_types.ts")
    assert workspace.compile("--noEmit", *files, compiler=compiler) == ""


def test_the_examples_of_the_page_compile(workspace: Workspace) -> None:
    page = ROOT / "docs" / "plan-generate.md"
    blocks = [block.text for block in blocks_of(page) if block.language == "ts"]
    assert len(blocks) == 2
    workspace.add("events.ts", typescript_source(load_plan(builtin_plan_path())))
    for number, text in enumerate(blocks):
        workspace.add(f"block{number}.ts", text)
    assert workspace.compile("--noEmit", *(f"block{number}.ts" for number in range(len(blocks)))) == ""


def test_the_libraries_of_today_fit_with_the_types_they_have(workspace: Workspace) -> None:
    workspace.copy("clients.ts")
    assert workspace.compile("--noEmit", "clients.ts") == ""


@pytest.mark.parametrize("compiler", COMPILERS)
def test_nothing_a_plan_says_becomes_code(workspace: Workspace, compiler: str) -> None:
    said = [f"said {number}" for number in range(len(HOSTILE_TEXTS))]
    workspace.add("hostile.ts", typescript_source(hostile(*HOSTILE_TEXTS)))
    workspace.add("harmless.ts", typescript_source(hostile(*said)))
    # All values of an enum are in the types as they are in the plan.
    values = [f"export const value{number}: List = {json.dumps(text)};" for number, text in enumerate(HOSTILE_TEXTS)]
    workspace.add("values.ts", "\n".join(["import type { List } from './hostile.js';", *values]))
    files = ("hostile.ts", "harmless.ts", "values.ts")
    assert workspace.compile("--removeComments", "--outDir", "out", *files, compiler=compiler) == ""
    scripts = [(workspace.folder / "out" / name).read_text() for name in ("hostile.js", "harmless.js")]
    assert scripts[0] == scripts[1] != ""


def test_types_alone_leave_nothing_to_run(workspace: Workspace) -> None:
    workspace.add("event_types.ts", typescript_source(SHOP, types_only=True))
    workspace.compile("--removeComments", "--outDir", "out", "event_types.ts")
    assert (workspace.folder / "out" / "event_types.js").read_text().strip() == "export {};"


def test_calls_reach_the_client_as_they_are(workspace: Workspace) -> None:
    workspace.compile("events.ts")
    workspace.copy("sends.mjs")
    told = json.loads(workspace.run("sends.mjs"))
    order = {
        "order_id": "O-1",
        "products": [{"product_id": "P-1"}],
        "revenue": 12.5,
        "coupon": None,
        "delivered_at": "1970-01-01T00:00:00.000Z",
    }
    assert told["calls"] == [
        ["track", "order_completed", order, {"anonymousId": "a"}],
        ["track", "logged_out"],
        ["page", "Home", {"page_type": "home"}],
        ["screen", "Main", {"screen_name": "main"}],
        ["identify", "u", {"email": "a@b.c"}],
        # A client without these calls is told by the name of the event.
        ["track", "page_viewed", {"page_type": "cart"}, {"anonymousId": "a"}],
        ["track", "screen_viewed", {"screen_name": "main"}],
    ]
    assert told["returned"] == "track done"
    assert told["count"] == 1
    accepts("order_completed", order)


def test_segments_server_library_sends_what_the_collector_accepts(workspace: Workspace, server: Any) -> None:
    workspace.compile("events.ts")
    workspace.copy("segment.mjs")
    workspace.run("segment.mjs", f"http://127.0.0.1:{server.server_port}")
    [body] = server.bodies
    [item] = json.loads(body)["batch"]
    assert (item["type"], item["event"], item["userId"]) == ("track", "order_completed", "u")
    accepts(item["event"], item["properties"])


def accepts(name: str, properties: dict[str, Any]) -> None:
    event = compile_plan(SHOP).find("track", name)
    assert event is not None
    checked = event.check(json.dumps(properties).encode())
    assert isinstance(checked, Checked), checked
    assert checked.unplanned == {}


class _Recording(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Recording)
    server.bodies = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
