"""Log lines: JSON on standard error; readable lines when a person starts the collector with --dev.

Everything a process says goes this way, also what libraries log, Python's warnings, and what would end a process or a
thread with a traceback. What compiled code writes by itself (a panic, out of memory) is beyond us.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

log = structlog.get_logger("polku")


def configure(*, readable: bool) -> None:
    """Set up structlog and the standard library's logging for this process, and what reports its death."""
    renderer: Any = (  # Any: structlog's processors share no narrower type
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if readable else structlog.processors.JSONRenderer()
    )
    known: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_colours,
    ]
    last: list[Any] = [renderer] if readable else [structlog.processors.format_exc_info, renderer]
    structlog.configure(
        processors=[*known, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # One write a line: several processes share standard error, and a line in two parts could be torn by another's.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _take_in_standard_logging(known, last)
    if not readable:
        sys.excepthook = _died
        threading.excepthook = _thread_died
        sys.unraisablehook = _unraisable


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """What deltalake says, as one line: it colours and breaks its errors, wherever they go."""
    return " ".join(_COLOUR.sub("", text).split()) if _COLOUR.search(text) else text


def _without_colours(logger: object, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What stands in a log is read by programs, and one line."""
    if isinstance(reason := entry.get("reason"), str):
        entry["reason"] = plain(reason)
    return entry


def _take_in_standard_logging(known: list[Any], last: list[Any]) -> None:
    """uvicorn, asyncio, botocore and Python's warnings, from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*known, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _died(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """For `sys.excepthook`."""
    log.critical("the process ends by an error", reason=str(error), exc_info=(kind, error, traceback))


def _thread_died(args: threading.ExceptHookArgs) -> None:
    """For `threading.excepthook`."""
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else None
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("a thread ended by an error", thread=name, reason=str(args.exc_value), exc_info=exc_info)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    """For `sys.unraisablehook`: a finaliser that failed, say."""
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    log.error("an error nobody could be told of", where=args.err_msg, reason=str(args.exc_value), exc_info=exc_info)
