"""A plan is read from a folder or from a git revision of one, from wherever one stands, and nothing of it is run."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from polku_schemas import PlanError
from polku_schemas.errors import SourceError
from polku_schemas.sources import open_plan
from tests.schemas.conftest import SMALL_PLAN

WritePlan = Callable[..., Path]


class Repository:
    """A git repository with the small plan in `shop/plan`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = folder / "shop" / "plan"

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def set_version(self, version: str) -> None:
        text = SMALL_PLAN["plan.yaml"].replace('"1.0"', f'"{version}"')
        (self.plan / "plan.yaml").write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which versions 1.0, 1.1 (tagged) and 1.2 of the plan are committed."""
    made = Repository(tmp_path_factory.mktemp("template"))
    for name, text in SMALL_PLAN.items():
        (made.plan / name).parent.mkdir(parents=True, exist_ok=True)
        (made.plan / name).write_text(text, encoding="utf-8")
    made.git("init", "-q", "-b", "main")
    for version in ("1.0", "1.1", "1.2"):
        made.set_version(version)
        made.commit(version)
    made.git("tag", "-a", "v1.1", "-m", "annotated", "main~1")
    return made.folder


@pytest.fixture
def repository(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(shutil.copytree(template, tmp_path / "repository"))
    monkeypatch.chdir(made.folder)
    return made


def test_a_folder_is_read_as_it_is(repository: Repository) -> None:
    repository.set_version("1.3")
    assert open_plan("shop/plan").version == "1.3"


@pytest.mark.parametrize(
    ("revision", "version"),
    [
        ("main:shop/plan", "1.2"),
        ("main:shop/plan/", "1.2"),
        ("main:./shop/plan", "1.2"),
        ("HEAD~1:shop/plan", "1.1"),
        ("v1.1:shop/plan", "1.1"),
        ("HEAD^{/1.0}:shop/plan", "1.0"),
        ("main~2", "1.0"),
        ("HEAD^{/1.1}", "1.1"),
    ],
)
def test_a_revision_is_written_as_git_show_writes_it(repository: Repository, revision: str, version: str) -> None:
    repository.set_version("9.9")
    assert open_plan(revision).version == version


def test_an_id_is_a_revision(repository: Repository) -> None:
    assert open_plan(repository.git("rev-parse", "main~2")).version == "1.0"
    assert open_plan(repository.git("rev-parse", "--short", "main~1") + ":shop/plan").version == "1.1"


def test_it_works_from_anywhere_inside(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.plan)
    assert open_plan("main~2").version == "1.0"
    assert open_plan("main~1:./").version == "1.1"
    monkeypatch.chdir(repository.plan / "events")
    assert open_plan("main~2:../").version == open_plan("main~2", "..").version == "1.0"


def test_a_revision_alone_means_the_folder_it_is_given(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository.folder / "app"
    shutil.copytree(repository.plan, other)
    repository.commit("a second plan")
    (other / "plan.yaml").write_text((other / "plan.yaml").read_text().replace('"1.2"', '"7.0"'))
    repository.commit("7.0")
    assert open_plan("main", "app").version == "7.0"
    assert open_plan("main", other).version == "7.0"
    with pytest.raises(SourceError, match=r"does not say which .* Write main:app or main:shop/plan"):
        open_plan("main")
    monkeypatch.chdir(repository.plan.parent)
    assert open_plan("main", "../app").version == "7.0"
    assert open_plan("main", "plan").version == "1.2"


def test_a_folder_that_is_gone_can_still_be_named(repository: Repository) -> None:
    repository.git("mv", "shop/plan", "tracking")
    repository.commit("moved")
    assert open_plan("main~1", "shop/plan").version == "1.2"
    with pytest.raises(SourceError, match=r"`main:shop/plan` is no plan.* Write main:tracking"):
        open_plan("main", "shop/plan")


def test_the_folder_says_which_repository(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert open_plan("main~1", repository.plan).version == "1.1"
    assert open_plan("main~1:shop/plan", repository.plan).version == "1.1"


def test_a_folder_goes_before_a_revision_of_its_name(repository: Repository) -> None:
    repository.git("branch", "shop/plan", "main~2")
    assert open_plan("shop/plan").version == "1.2"
    assert open_plan("shop/plan:shop/plan").version == "1.0"


def test_a_plan_at_the_top_of_a_repository_is_read_without_the_rest(
    tmp_path: Path, write_plan: WritePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan({"README.md": "hello", "src/link.py": "1"})
    (plan / "src" / "link").symlink_to("nowhere")
    monkeypatch.chdir(plan)
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@e", "commit", "-qm", "m"],
    ):
        subprocess.run(["git", *arguments], check=True)
    assert open_plan("HEAD").name == open_plan("HEAD:").name == "small"


def test_a_hook_may_ask(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """git tells its hooks where the repository is, relative to where they start."""
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_PREFIX", "elsewhere/")
    assert open_plan("main~1", "shop/plan").version == "1.1"


# What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nope", "there is no folder `nope`, and `nope` is no revision"),
        ("nope:shop/plan", "`nope` is no revision"),
        ("main~9", "`main~9` is no revision"),
        ("main..main", "`main..main` is no revision"),
        ("main:nope", "`main:nope` is no plan: it has no plan.yaml. Write main:shop/plan"),
        ("main:shop", "`main:shop` is no plan"),
        ("main:shop/plan/plan.yaml", "is no plan"),
        ("main:../../etc", "is no plan"),
        (":shop/plan", "`:shop/plan` is no revision"),
        ("", "`` is no revision"),
        ("--help", "`--help` is no revision"),
        ("--output=x:y", "`--output=x` is no revision"),
        ("-h", "`-h` is no revision"),
    ],
)
def test_what_is_not_there_is_said(repository: Repository, source: str, said: str) -> None:
    before = sorted(repository.folder.iterdir())
    with pytest.raises(SourceError) as caught:
        open_plan(source)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert sorted(repository.folder.iterdir()) == before


def test_outside_a_repository_git_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"there is no folder `main`.* not a git repository"):
        open_plan("main")


def test_without_git_it_says_so(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="git, which is not installed"):
        open_plan("main")


def test_the_findings_of_an_old_plan_name_the_revision(repository: Repository) -> None:
    (repository.plan / "traits.yaml").write_text("email: {}\n")
    repository.commit("broken")
    with pytest.raises(PlanError, match="the tracking plan in main:shop/plan cannot be used") as caught:
        open_plan("main", "shop/plan")
    assert {finding.file for finding in caught.value.findings} == {"traits.yaml"}


def test_a_link_in_a_plan_is_not_followed(repository: Repository, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    (repository.plan / "events" / "paid.yaml").unlink()
    (repository.plan / "events" / "paid.yaml").symlink_to(secret)
    repository.commit("a link")
    with pytest.raises(SourceError, match=r"`main:shop/plan/events/paid.yaml` is no regular file"):
        open_plan("main", "shop/plan")


def test_nothing_of_a_repository_runs(repository: Repository, tmp_path: Path) -> None:
    """Filters, hooks and monitors that a repository configures stay asleep, and no file of it changes."""
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    (repository.folder / ".gitattributes").write_text("*.yaml filter=trap diff=trap export-ignore\n")
    repository.commit("attributes")
    for key in ("filter.trap.smudge", "filter.trap.clean", "diff.trap.textconv", "core.fsmonitor", "core.pager"):
        repository.git("config", key, str(trap))
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        (repository.folder / ".git" / "hooks" / hook).symlink_to(trap)
    before = sorted(path.stat().st_mtime_ns for path in repository.folder.rglob("*"))
    assert open_plan("main", "shop/plan").version == "1.2"
    assert not (tmp_path / "sprung").exists()
    assert sorted(path.stat().st_mtime_ns for path in repository.folder.rglob("*")) == before
