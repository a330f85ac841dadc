"""A contract test as text for people."""

from __future__ import annotations

from polku_analytics.contract.trial import Break, Trial
from polku_analytics.printing import aligned
from polku_schemas.amounts import counted

_MAX_ROWS = 40
_MAX_NAMES = 12


def explained(trial: Trial, read: str) -> str:
    """The whole result; `read` says what was read."""
    head = f"{trial.plan} {trial.version} ({trial.fingerprint}) tried on {counted(trial.events, 'event')} of {read}"
    parts = [head, _verdict(trial)]
    if trial.breaks:
        parts.append(break_table(trial.breaks))
    changed = [event for event in trial.by_event if event.becomes_planned or event.becomes_unplanned]
    if changed:
        columns = ["event", "events", "becomes planned", "becomes unplanned", "stays unplanned"]
        rows = [[e.event, e.events, e.becomes_planned, e.becomes_unplanned, e.stays_unplanned] for e in changed]
        parts.append(aligned(columns, rows))
    unplanned = [event.event for event in trial.by_event if event.stays_unplanned and event not in changed]
    if unplanned:
        parts.append(f"unplanned before and after: {_listed(unplanned)}")
    if trial.strict_sources:
        parts.append(f"sources that quarantine what is unplanned: {', '.join(trial.strict_sources)}")
    if trial.quarantine:
        columns = ["in quarantine", "source", "event", "code", "would pass", "cannot be told"]
        rows = [[q.events, q.source, q.event, q.code, q.would_pass, q.unknown] for q in trial.quarantine[:_MAX_ROWS]]
        parts.append("\n".join([aligned(columns, rows), *_more(len(trial.quarantine))]))
    parts += [
        f"{found.path} of {found.event} has no value in {counted(found.events, 'event')}: required, but may be null, "
        "and a column does not say whether null was sent"
        for found in trial.undecided
    ]
    if trial.nothing_seen:
        count = counted(len(trial.nothing_seen), "event")
        parts.append(f"nothing seen, so nothing proven, of {count}: {_listed(trial.nothing_seen)}")
    return "\n\n".join(parts)


def _verdict(trial: Trial) -> str:
    share = f" ({trial.would_break / trial.events:.1%})" if trial.would_break else ""
    lines = [f"would break: {trial.would_break:,} of {trial.events:,}{share}"]
    lines += [f"the table refuses the plan: {clash}" for clash in trial.clashes]
    return "\n".join(lines)


def break_table(breaks: list[Break]) -> str:
    """The events that would break, by source and reason."""
    columns = ["events", "source", "event", "code", "path", "library", "for example"]
    rows = [[b.events, b.source, b.event, b.code, b.path, _releases(b), b.example] for b in breaks[:_MAX_ROWS]]
    return "\n".join([aligned(columns, rows), *_more(len(breaks))])


def _releases(found: Break) -> str:
    return _listed([f"{release} ({count})" for release, count in found.releases.items()], most=3)


def _more(count: int) -> list[str]:
    return [f"… and {count - _MAX_ROWS} more: --json has all"] if count > _MAX_ROWS else []


def _listed(names: list[str], most: int = _MAX_NAMES) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
