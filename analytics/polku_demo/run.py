"""The demo from start to finish: collector, SDK, models, report, and the proof that all of it arrived."""

import shlex
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from polku_analytics.build import build
from polku_analytics.lake import Lake
from polku_analytics.report import write_report
from polku_analytics.report.data import Link, ReportContext
from polku_demo.collector_process import Collector
from polku_demo.datasets import Dataset
from polku_demo.errors import DemoError, FiguresDifferError, InterruptedDemoError
from polku_demo.lake_figures import Found, find, row_count, table
from polku_demo.progress import Progress
from polku_demo.sending import Sent, send
from polku_schemas import builtin_plan_path, load_plan

MANIFEST = "demo.json"
REPORT = "report.html"


class Outcome(msgspec.Struct, frozen=True):
    """What a run of one data set came to. Everything of it stays: `lake` is ready to be queried."""

    dataset: str
    lake: Path
    report: Path
    sent: Sent
    rows_before: int
    rows_after: int
    found: tuple[Found, ...]
    seconds: float

    @property
    def rows_added(self) -> int:
        """Rows that this run brought; 0 when everything had been there before."""
        return self.rows_after - self.rows_before


def run(datasets: Sequence[Dataset], out: Path, stream: TextIO = sys.stdout) -> list[Outcome]:
    """Run the data sets one after the other below `out`.

    Raises DemoError when something fails, InterruptedDemoError for Ctrl-C, FiguresDifferError when a figure in the
    lake is not the known one.
    """
    for dataset in datasets:
        check_directory(dataset, out / dataset.name)
    try:
        outcomes = [run_dataset(dataset, out, stream, peers=datasets) for dataset in datasets]
    except KeyboardInterrupt:
        raise InterruptedDemoError("interrupted; run the same command again: it adds no row twice") from None
    _say(stream, "", *_farewell(datasets, outcomes))
    different = [
        f"{outcome.dataset}: {item.figure.name}" for outcome in outcomes for item in outcome.found if not item.equal
    ]
    if different:
        raise FiguresDifferError(f"the lake differs from the source in: {'; '.join(different)}")
    return outcomes


def run_dataset(dataset: Dataset, out: Path, stream: TextIO, peers: Sequence[Dataset] = ()) -> Outcome:
    """One data set: send, drain, build, report, compare."""
    started = time.monotonic()
    directory = (out / dataset.name).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST).write_bytes(_manifest(dataset))
    collector = Collector(directory, dataset.sources)
    lake_uri = str(collector.lake)
    before = row_count(lake_uri)
    _say(stream, f"{dataset.title} ({dataset.name})", *_wrapped(dataset.about))
    with collector:
        _say(stream, f"  a collector listens on {collector.endpoint}, its log is {directory / 'collector.log'}")
        keys = {source: collector.write_key(source) for source in dataset.sources}
        with Progress("sending", dataset.events, stream) as progress:
            sent = send(dataset.calls(), collector.endpoint, keys, progress)
    after = row_count(lake_uri)
    _say(stream, f"  {_what_arrived(sent, before, after)}")
    plan = load_plan(builtin_plan_path())
    lake = Lake(lake_uri)
    built = build(lake, plan)
    _say(stream, f"  built {len(built.tables)} tables from them in {built.seconds:.1f} s")
    report = directory / REPORT
    write_report(lake, plan, report, _context(dataset, out, peers))
    found = find(lake_uri, dataset.figures)
    _say(stream, *table(found), "")
    return Outcome(
        dataset=dataset.name,
        lake=collector.lake,
        report=report,
        sent=sent,
        rows_before=before,
        rows_after=after,
        found=found,
        seconds=time.monotonic() - started,
    )


def check_directory(dataset: Dataset, directory: Path) -> None:
    """Refuse to mix two different runs in one lake, whose figures would then be those of neither."""
    try:
        there = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DemoError(f"{directory / MANIFEST} cannot be read: {error.strerror}") from None
    if there != _manifest(dataset):
        raise DemoError(
            f"{directory} holds another run ({there.decode(errors='replace')}): "
            f"choose another directory with --out, or delete it"
        )


def _manifest(dataset: Dataset) -> bytes:
    return msgspec.json.encode({"dataset": dataset.name, **dataset.parameters})


def _context(dataset: Dataset, out: Path, peers: Sequence[Dataset]) -> ReportContext:
    """Head of the report; the other report is linked when it is there or will be."""
    others = {peer.name: peer.title for peer in peers if peer.name != dataset.name}
    for other in ("retail", "webshop"):
        if other != dataset.name and (out / other / REPORT).is_file():
            others.setdefault(other, f"the other data set ({other})")
    return ReportContext(
        title=dataset.title,
        notes=(dataset.about,),
        links=tuple(Link(title, f"../{name}/{REPORT}") for name, title in others.items()),
        not_collected=dataset.not_collected,
        time_zone=dataset.time_zone,
    )


def _what_arrived(sent: Sent, before: int, after: int) -> str:
    added = after - before
    text = f"{sent.delivered:,} events acknowledged ({sent.events_per_second:,.0f}/s in {sent.requests} requests)"
    if before == 0:
        return f"{text}, {after:,} rows committed, the collector is drained and stopped"
    return f"{text}; {before:,} rows were there before, {added:,} added: an id counts once"


def _farewell(datasets: Sequence[Dataset], outcomes: Sequence[Outcome]) -> list[str]:
    lines = ["Reports, to be opened in a browser:"]
    lines += [f"  {outcome.report.as_uri()}" for outcome in outcomes]
    lines.append("Go on from here:")
    for dataset, outcome in zip(datasets, outcomes, strict=True):
        lake = _short(outcome.lake)
        lines += [f"  {command.format(lake=lake)}" for command in dataset.next_commands]
    return lines


def _short(path: Path) -> str:
    """The path as one would type it here, quoted if the shell needs that."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="  ")


def _say(stream: TextIO, *lines: str) -> None:
    for line in lines:
        stream.write(f"{line}\n")
    stream.flush()
