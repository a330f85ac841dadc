"""Traces, put together where the settings ask for them. OpenTelemetry is loaded here, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import SettingsError
from .settings import Settings

if TYPE_CHECKING:  # who only checks the settings, at every start, loads no web application
    from .app import Application
    from .batch import Commits, Journal
    from .tracing.flushes import FlushSpans
    from .tracing.spans import Spans


def check(settings: Settings) -> None:
    """Whether traces can be made. Raises SettingsError."""
    if settings.traces.endpoint is None:
        return
    try:
        from .tracing import spans  # noqa: F401
    except ImportError:
        raise SettingsError("[traces] needs OpenTelemetry: pip install 'polku[otel]'") from None


class TracedIntake:
    """The parts of an intake worker with their spans; without an endpoint they are what they were."""

    def __init__(self, settings: Settings) -> None:
        self._spans: Spans | None = None
        if settings.traces.endpoint is not None:
            from .tracing.spans import Spans, some_of

            self._spans = Spans(settings.traces, "intake", some_of(settings.traces.sample_ratio))

    @property
    def is_on(self) -> bool:
        """Whether there are spans."""
        return self._spans is not None

    def journal(self, journal: Journal, stream: str) -> Journal:
        """A journal whose appends are spans."""
        if self._spans is None:
            return journal
        from .tracing.requests import TracedJournal

        return TracedJournal(journal, stream, self._spans.tracer)

    def commits(self, commits: Commits) -> Commits:
        """Waits for the lake that are spans."""
        if self._spans is None:
            return commits
        from .tracing.requests import TracedCommits

        return TracedCommits(commits, self._spans.tracer)

    def application(self, application: Application) -> Application:
        """An application whose requests are spans."""
        if self._spans is None:
            return application
        from .tracing.requests import TracedApplication

        return TracedApplication(application, self._spans.tracer)

    def applications(self, applications: Mapping[str, Application]) -> dict[str, Application]:
        """The same of several."""
        return {path: self.application(application) for path, application in applications.items()}

    def close(self) -> None:
        """Send the last spans."""
        if self._spans is not None:
            self._spans.close()


class TracedFlushes:
    """The observers of a committer that make spans; none without an endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._spans: Spans | None = None
        self.observers: list[FlushSpans] = []
        if settings.traces.endpoint is not None:
            from .tracing.flushes import FlushSpans
            from .tracing.spans import Spans

            self._spans = Spans(settings.traces, "committer")
            self.observers = [FlushSpans(self._spans.tracer)]

    def close(self) -> None:
        """Send the last spans."""
        if self._spans is not None:
            self._spans.close()
