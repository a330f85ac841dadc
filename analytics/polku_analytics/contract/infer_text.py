"""What `polku plan infer` says of a draft: what it holds, what to look at, what to run next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polku_analytics.contract.drafting import Drafted
from polku_analytics.contract.infer import Draft
from polku_analytics.contract.ndjson import BadLine
from polku_analytics.contract.trial_text import break_table

_MAX_LINES = 10
_MAX_NOTES = 40


def explained(drafted: Drafted | None, out: Path, origin: str, bad: Sequence[BadLine]) -> str:
    """The whole report."""
    parts = [_bad_lines(bad)] if bad else []
    if drafted is None:
        return "\n\n".join([*parts, f"everything in {origin} is planned: nothing was written"])
    trial = drafted.trial
    parts.append(f"{trial.events:,} events read from {origin}\nwrote {out}: {_contents(drafted.draft)}")
    notes = [f"  {note.kind:<5}  {note.text}" for note in drafted.draft.notes]
    notes += [f"  by hand  {text}" for text in drafted.by_hand]
    if notes:
        more = [f"  … and {len(notes) - _MAX_NOTES} more"] if len(notes) > _MAX_NOTES else []
        parts.append("\n".join(["to look at:", *notes[:_MAX_NOTES], *more]))
    if trial.would_break:
        tried = f"{trial.would_break:,} of the {trial.events:,} events break the draft: the data contradict themselves"
        parts.append(f"{tried}\n{break_table(trial.breaks)}")
    else:
        parts.append(f"all {trial.events:,} events are accepted by the draft")
    parts.append(f"next: look at every line marked `review`, then run\n  polku plan check {out}")
    return "\n\n".join(parts)


def _contents(draft: Draft) -> str:
    if draft.base is None:
        counts = [(len(draft.events), "event"), (len(draft.properties), "property"), (len(draft.traits), "trait")]
        return ", ".join(_counted(*count) for count in counts)
    counts = [
        (len(draft.events), "new event"),
        (len(draft.additions), "event with new properties"),
        (len(draft.properties), "new property"),
        (len(draft.traits), "new trait"),
        (len(draft.fields) + len(draft.trait_fields), "object with new fields"),
    ]
    return ", ".join(_counted(*count) for count in counts if count[0])


_PLURALS = {
    "property": "properties",
    "new property": "new properties",
    "event with new properties": "events with new properties",
    "object with new fields": "objects with new fields",
}


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word if count == 1 else _PLURALS.get(word, f'{word}s')}"


def _bad_lines(bad: Sequence[BadLine]) -> str:
    lines = [f"  line {line.number}: {line.reason}" for line in bad[:_MAX_LINES]]
    more = [f"  … and {len(bad) - _MAX_LINES} more"] if len(bad) > _MAX_LINES else []
    return "\n".join(
        [f"passed over {len(bad):,} that {'is no event' if len(bad) == 1 else 'are no events'}:", *lines, *more]
    )
