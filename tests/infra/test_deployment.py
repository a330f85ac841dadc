"""What the image, the compose file and the systemd unit promise, as far as it holds without an engine to run them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from polku_collector.settings import Settings
from tests.collector.world import free_port, wait_until
from tests.docs.blocks import ROOT

INFRA = ROOT / "infra"
CONTAINERFILE = (INFRA / "Containerfile").read_text()
DRAINS_WITHIN_SECONDS = 2 * Settings().limits.drain_seconds + 10
NOBODY = 10_001
EVENT = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "p"}}


def instruction(name: str) -> str:
    (found,) = re.findall(rf"^{name} (.*)$", CONTAINERFILE, re.MULTILINE)
    return str(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the image's user")
def test_the_image_s_steps_give_a_collector_that_runs_as_its_user_and_as_process_1(tmp_path: Path) -> None:
    """Installed as the Containerfile does, from the folders it copies; started by its ENTRYPOINT and health check."""
    source, code, state = tmp_path / "src", tmp_path / "opt", tmp_path / "state"
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE):
        *names, target = line.split()
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                source.mkdir(exist_ok=True)
                shutil.copy(ROOT / name, source / target)
    (install,) = re.findall(r"^RUN (python -m venv .*)$", CONTAINERFILE, re.MULTILINE)
    install = install.replace("python -m venv", f"{sys.executable} -m venv").replace("/opt/polku", str(code))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(["sh", "-ec", install], cwd=source, env=clean, check=True, capture_output=True)

    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
        folder.chmod(folder.stat().st_mode | 0o055)
    shutil.copy(INFRA / "collector.minimal.toml", tmp_path / "collector.toml")
    port = free_port()
    environment = clean | {
        "POLKU_PORT": str(port),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{code}/bin:{clean['PATH']}",
    }
    entry = [*json.loads(instruction("ENTRYPOINT")), str(tmp_path / "collector.toml")]
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    alone = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        alone = []  # the kernel does not allow it here
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*alone, *user, *entry], cwd=state, env=environment, stdout=log, stderr=log)
    try:
        health = json.loads(re.sub(r"^.*CMD ", "", instruction("HEALTHCHECK")))
        healthy = lambda: not subprocess.run(health, env=environment, capture_output=True, check=False).returncode  # noqa: E731
        wait_until(healthy, 120, (tmp_path / "log").read_text)
        key = "replace-me-with-a-long-random-key"
        sent = httpx.post(f"http://127.0.0.1:{port}/v1/batch", json={"batch": [EVENT]}, auth=(key, ""), timeout=30)
        assert sent.json()["accepted"] == 1
        supervisor = process.pid
        if alone:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            (supervisor,) = map(int, children)
            numbers = Path(f"/proc/{supervisor}/status").read_text()
            assert re.search(r"^NSpid:.*\t1$", numbers, re.MULTILINE)
        os.kill(supervisor, 15)
        assert process.wait(120) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    assert not healthy()
    assert {file.stat().st_uid for file in state.rglob("*")} == {NOBODY}
    assert (state / "polku-data" / "lake" / "events" / "_delta_log").is_dir()
    assert not any(file.stat().st_uid == NOBODY for file in code.rglob("*"))


def test_the_image_is_not_root_and_stops_as_the_supervisor_expects() -> None:
    assert instruction("USER") == f"{NOBODY}:{NOBODY}"
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert json.loads(instruction("VOLUME")) == ["/var/lib/polku"]
    assert "WORKDIR /var/lib/polku\n" in CONTAINERFILE


def test_the_compose_file_fits_the_collector_and_the_files_beside_it() -> None:
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"store", "bucket", "collector", "prometheus", "grafana"}
    for service in services.values():
        for volume in service.get("volumes", ()):
            place = volume.partition(":")[0]
            assert (INFRA / place).exists() if place.startswith(".") else place in compose["volumes"], volume
        for other in service.get("depends_on", ()):
            assert other in services
    collector = services["collector"]
    assert int(collector["stop_grace_period"].removesuffix("s")) >= DRAINS_WITHIN_SECONDS
    assert (INFRA / collector["build"]["context"] / collector["build"]["dockerfile"]).exists()
    scraped = yaml.safe_load((INFRA / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    assert [(job["job_name"], job["static_configs"][0]["targets"]) for job in scraped] == [
        ("polku", ["collector:8080"])
    ]


def test_the_unit_waits_for_the_drain_and_is_one_that_systemd_reads(tmp_path: Path) -> None:
    unit = (INFRA / "polku-collector.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert int(settings["TimeoutStopSec"]) >= DRAINS_WITHIN_SECONDS
    assert settings["KillMode"] == "mixed" and settings["RestartPreventExitStatus"] == "2"
    assert shlex.split(settings["ExecStart"])[1:] == ["collector", "/etc/polku/collector.toml"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    program = shlex.split(settings["ExecStart"])[0]
    (tmp_path / "polku-collector.service").write_text(unit.replace(f"ExecStart={program}", "ExecStart=/bin/true"))
    command = ["systemd-analyze", "verify", str(tmp_path / "polku-collector.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
