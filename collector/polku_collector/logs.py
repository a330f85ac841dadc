"""Log lines: JSON on standard error; readable lines when a person starts the collector with --dev."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure(*, readable: bool) -> None:
    """Set up structlog for this process."""
    renderer: Any = (  # Any: structlog's processors share no narrower type
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if readable else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not readable:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
