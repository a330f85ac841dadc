"""`polku plan infer`: reads events, drafts a plan, proves that it loads, writes it, and tries it on the same events."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from msgspec import Struct

from polku_analytics.contract.collect import Collected
from polku_analytics.contract.draft_files import Files, completed_files, draft_files
from polku_analytics.contract.events import Batch
from polku_analytics.contract.infer import Draft, draft_plan
from polku_analytics.contract.trial import Trial, Trying
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_schemas import Plan, compile_plan, load_plan

_SHOWN_FILES = 5


class Drafted(Struct, frozen=True):
    """A plan that was drafted and written."""

    draft: Draft
    plan: Plan
    files: list[str]
    """Written files, by their path in the plan's folder."""
    by_hand: list[str]
    """What could not be written into files that people keep."""
    trial: Trial
    """What the drafted plan makes of the events it was drafted from."""


def draft_from(
    events: Callable[[], Iterator[Batch]],
    out: Path,
    origin: str,
    words: Plan,
    *,
    complete: Path | None = None,
    names: Collection[str] = (),
    force: bool = False,
) -> Drafted | None:
    """Draft a plan into the folder `out`; `events` is read twice. None if there is nothing to add to `complete`.

    Descriptions are taken from `words` where it has the same names. AnalyticsError if there is no event, or if
    a file that is there already would be changed without `force`.
    """
    base = None if complete is None else load_plan(complete)
    collected = Collected(None if base is None else compile_plan(base), _wanted(names))
    for batch in events():
        collected.take(batch)
    if not collected.read:
        raise AnalyticsError(f"no events in {origin}: there is nothing to draft a plan from")
    if names and not collected.events:
        raise UnknownNameError("event", ", ".join(names), collected.passed_over)
    if complete is None and not collected.events:
        raise AnalyticsError(f"only identify, group and alias calls in {origin}: a plan needs an event of its own")
    draft = draft_plan(collected, words)
    by_hand: list[str] = []
    if complete is None:
        files = draft_files(draft, out.resolve().name, origin, words)
    else:
        files, by_hand = completed_files(draft, complete)
        if not files and not by_hand:
            return None
    plan = _write(files, out, complete, force=force)
    trying = Trying(plan)
    for batch in events():
        if _wanted(names)(batch.name, batch.name):
            trying.take(batch)
    return Drafted(draft, plan, sorted(files), by_hand, trying.result())


def _wanted(names: Collection[str]) -> Callable[[str, str], bool]:
    return lambda sent, name: not names or sent in names or name in names


def _write(files: Files, out: Path, complete: Path | None, *, force: bool) -> Plan:
    """Put the files in place once it is proven that they make a plan that loads."""
    with tempfile.TemporaryDirectory(prefix="polku-draft-") as scratch:
        whole = Path(scratch) / "plan"
        if complete is not None:
            shutil.copytree(complete, whole)
        for name, text in files.items():
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            (whole / name).write_text(text, encoding="utf-8")
        plan = load_plan(whole)
        written = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
        changed = [file for file in written if not _is_same(out / file, whole / file)]
        in_the_way = [str(file) for file in changed if (out / file).exists()]
        if in_the_way and not force:
            listed = ", ".join(in_the_way[:_SHOWN_FILES]) + (" …" if len(in_the_way) > _SHOWN_FILES else "")
            raise AnalyticsError(f"{out} has {listed} already: give another --out, or --force to write over them")
        for file in changed:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(whole / file, out / file)
    return plan


def _is_same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()
