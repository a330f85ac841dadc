"""What the package shows, and what it pulls into the host program."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
import types
from pathlib import Path

import polku
from tests.docs.blocks import tables_of

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


NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    """Lines with code: neither blank, nor a comment, nor a docstring (of an attribute, too)."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(found)


def test_lines_of_code_are_counted_without_what_is_said_about_them() -> None:
    assert code_lines('"""Text.\n\nMore."""\n\nx = 1  # why\n# a comment\n"""Of x."""\ny = f(\n    1,\n)\n') == 4


def test_the_core_is_as_small_as_the_architecture_says() -> None:
    """And each bound is near: one that is far says nothing."""
    table = tables_of(ROOT / "docs" / "architecture.md")["How large the SDK's core is"]
    modules: set[str] = set()
    for what, (_, named, bound) in table.items():
        if not bound.isdigit():
            continue  # the head of the table
        modules |= set(re.findall(r"`(\w+)`", named))
        lines = sum(code_lines((PACKAGE / f"{module}.py").read_text()) for module in modules)
        assert 0.95 * int(bound) < lines <= int(bound), f"{what}: {lines}"
    loaded = {name for name in loaded_after("import polku; polku.Client('k', 'http://c')") if name.startswith("polku")}
    assert {name.partition(".")[2] or "__init__" for name in loaded} == modules
