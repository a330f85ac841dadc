"""Apache Spark itself, with Delta Lake: a Spark Connect server beside the tests, instead of Sail in their process."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.collector.world import free_port

DELTA: Final = "io.delta:delta-spark_4.1_2.13:4.1.0"
"""Of the minor version of Spark that the dependency group `spark-server` has."""
JAVA: Final = 17
START_SECONDS: Final = 600
"""The first start gets Delta's jars, and a machine may be busy."""

SETTINGS: Final = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.log.level": "WARN",
    # Few rows in many queries: what costs is to plan, compile and schedule them.
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.memory": "3g",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
}
"""All else is as Spark comes: it computes the ANSI way, and times are in UTC because the session says so."""


def java_complaint(environ: Mapping[str, str]) -> str | None:
    """Why Spark cannot be started here."""
    java = _java(environ)
    if java is None:
        return f"Apache Spark needs Java {JAVA} or newer: there is no java on PATH, nor in JAVA_HOME"
    told = subprocess.run([java, "-version"], env=dict(environ), capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA:
        return f"Apache Spark needs Java {JAVA} or newer: {java} is {told.strip().partition(chr(10))[0]}"
    return None


@contextlib.contextmanager
def spark_server(venv: Path, folder: Path) -> Iterator[str]:
    """Where it answers, until the end of the block. `venv` has PySpark with Spark, `folder` gets what it leaves."""
    home = next(venv.absolute().glob("lib/python3*/site-packages/pyspark"))
    port = free_port()
    settings = {
        **SETTINGS,
        "spark.connect.grpc.binding.port": str(port),
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        # Beside PySpark, so that the jars are fetched once a venv.
        "spark.jars.ivy": str(venv.absolute() / "ivy"),
    }
    command = [str(home / "bin" / "spark-submit"), "--master", "local[2]", "--packages", DELTA]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    environ = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}
    log = folder / "spark.log"
    with log.open("wb") as out:
        # spark-submit becomes java by exec: what is ended below is Spark itself.
        server = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=subprocess.STDOUT)
    try:
        _await(server, port, log)
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _java(environ: Mapping[str, str]) -> str | None:
    """The java that Spark's own scripts would take."""
    if "JAVA_HOME" in environ:
        return shutil.which("java", path=f"{environ['JAVA_HOME']}/bin")
    return shutil.which("java", path=environ.get("PATH", ""))


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"Spark ended with {server.returncode}:\n{log.read_text(errors='replace')[-4000:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise RuntimeError(f"Spark has not started:\n{log.read_text(errors='replace')[-4000:]}")
