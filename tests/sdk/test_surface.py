"""What the package shows, and what it pulls into the host program."""

import ast
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import polku

LATER = {"AsyncClient", "delivered", "delivering"}
"""Loaded when they are asked for."""

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sdk" / "python" / "polku"


def test_all_names_everything_that_is_public() -> None:
    public = {
        name
        for name, value in vars(polku).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public | {"__version__", *LATER} == {*polku.__all__, *(public & LATER)}
    assert all(getattr(polku, name).__doc__ for name in (*public, *LATER))


def test_the_version_is_that_of_the_distribution() -> None:
    assert polku.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_sdk_imports_the_standard_library_msgspec_and_httpx_only() -> None:
    allowed = {*sys.stdlib_module_names, "polku", "msgspec", "httpx"}
    # Whoever imports that middleware has Django, and asgiref with it.
    of_django = {"django", "asgiref"}
    allowed |= {"compression", "backports"}  # the first is Python 3.14's, for it stands the second: only for zstd
    seen = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                modules = [node.module or ""]
            else:
                continue
            if file.name == "planned.py":  # the one door to the plan, for who asks for it
                modules = [module for module in modules if module.partition(".")[0] != "polku_schemas"]
            seen |= {module.partition(".")[0] for module in modules}
            extra = of_django if file == PACKAGE / "middleware" / "django.py" else set()
            assert {module.partition(".")[0] for module in modules} <= allowed | extra, file
    assert {"msgspec", "httpx"} <= seen


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_and_construction_load_no_http_no_tls_and_no_event_loop() -> None:
    """And tracking loads them in the background only."""
    heavy = {"httpx", "httpcore", "anyio", "ssl", "socket", "asyncio", "http.client", "email", "gzip", "numpy"}
    loaded = loaded_after("import polku; polku.Client('k', 'http://c')")
    assert not heavy & loaded
    assert not {name for name in loaded if name.startswith("polku.middleware")}
    assert "msgspec" in loaded
    assert "httpx" not in loaded_after("import polku.cli")


def test_a_middleware_loads_no_framework_but_its_own() -> None:
    frameworks = {"starlette", "fastapi", "flask", "werkzeug", "django", "asgiref"}
    assert not frameworks & loaded_after("import polku.middleware.asgi, polku.middleware.wsgi")
    assert "asyncio" not in loaded_after("import polku.middleware.wsgi")
