"""What `polku plan infer` says of a draft: what it holds, what to look at, what to run next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polku_analytics.contract.drafting import Drafted
from polku_analytics.contract.infer import Draft
from polku_analytics.contract.ndjson import BadLine
from polku_analytics.contract.trial_text import break_table
from polku_schemas.amounts import counted

_MAX_LINES = 10
_MAX_NOTES = 40


def explained(drafted: Drafted | None, out: Path, origin: str, bad: Sequence[BadLine]) -> str:
    """The whole report."""
    parts = [_bad_lines(bad)] if bad else []
    if drafted is None:
        return "\n\n".join([*parts, f"everything in {origin} is planned: nothing was written"])
    trial = drafted.trial
    read = counted(trial.events, "event")
    parts.append(f"{read} read from {origin}\nwrote {out}: {_contents(drafted.draft)}")
    notes = [f"  {note.kind:<5}  {note.text}" for note in drafted.draft.notes]
    notes += [f"  by hand  {text}" for text in drafted.by_hand]
    if notes:
        more = [f"  … and {len(notes) - _MAX_NOTES} more"] if len(notes) > _MAX_NOTES else []
        parts.append("\n".join(["to look at:", *notes[:_MAX_NOTES], *more]))
    if trial.would_break:
        verb = "breaks" if trial.would_break == 1 else "break"
        tried = f"{trial.would_break:,} of {read} {verb} the draft: the data contradict themselves"
        parts.append(f"{tried}\n{break_table(trial.breaks)}")
    else:
        parts.append(
            "the event is accepted by the draft" if trial.events == 1 else f"all {read} are accepted by the draft"
        )
    parts.append(f"next: look at every line marked `review`, then run\n  polku plan check {out}")
    return "\n\n".join(parts)


def _contents(draft: Draft) -> str:
    if draft.base is None:
        properties = counted(len(draft.properties), "property", "properties")
        return f"{counted(len(draft.events), 'event')}, {properties}, {counted(len(draft.traits), 'trait')}"
    counts = [
        (len(draft.events), "new event", "new events"),
        (len(draft.additions), "event with new properties", "events with new properties"),
        (len(draft.properties), "new property", "new properties"),
        (len(draft.traits), "new trait", "new traits"),
        (len(draft.fields) + len(draft.trait_fields), "object with new fields", "objects with new fields"),
    ]
    return ", ".join(counted(*count) for count in counts if count[0])


def _bad_lines(bad: Sequence[BadLine]) -> str:
    lines = [f"  line {line.number}: {line.reason}" for line in bad[:_MAX_LINES]]
    more = [f"  … and {len(bad) - _MAX_LINES} more"] if len(bad) > _MAX_LINES else []
    return "\n".join(
        [f"passed over {len(bad):,} that {'is no event' if len(bad) == 1 else 'are no events'}:", *lines, *more]
    )
