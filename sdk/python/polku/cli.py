"""The `polku` command: finds the subcommand it is asked for among the installed ones, loads that one and runs
it.

Subcommands are click commands in the entry-point group `polku.commands`; this module itself needs the
standard library only, so that `polku` answers fast and says what to install when a part is not there. What
ends a command with one sentence and no traceback: an exception with an `exit_code`, a missing package, a
failing file or directory.
"""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

from polku.version import __version__

GROUP = "polku.commands"
USAGE_ERROR = 2
INTERRUPTED = 130
"""128 and the number of SIGINT, as shells do."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run `polku ARGV…` and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {point.name: point for point in entry_points(group=GROUP)}
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_overview(commands))
        sys.exit(0)
    if name == "--version":
        print(f"polku {__version__}")
        sys.exit(0)
    if name not in commands:
        _fail(_unknown(name, commands))
    point = commands[name]
    # For whoever works on Polku itself: every failure with its traceback.
    wants_traceback = bool(os.environ.get("POLKU_TRACEBACK"))
    try:
        code = _run(point, arguments[1:])
    except (Exception, KeyboardInterrupt) as error:
        if wants_traceback:
            raise
        ending = _ending(error, point)
        if ending is None:
            raise
        text, code = ending
        if text:
            _fail(text, code)
    sys.exit(code)


def _run(point: EntryPoint, arguments: list[str]) -> int:
    command: Any = point.load()
    # Not standalone: click would print "Aborted!" and exit 1 for an interrupt, and hide the rest from us.
    result = command.main(args=arguments, prog_name=f"polku {point.name}", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _ending(error: BaseException, point: EntryPoint) -> tuple[str, int] | None:
    """The sentence (empty: already said) and exit code for an exception, None if it is a fault of ours."""
    interrupted = isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
    if interrupted:
        return "", INTERRUPTED
    if isinstance(error, ImportError):
        return _missing_package(error, point)
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        show: Callable[[], None] | None = getattr(error, "show", None)
        if show is None:
            return str(error) or type(error).__name__, exit_code
        show()  # a click exception prints itself, with the usage line
        return "", exit_code
    if isinstance(error, OSError):
        return _os_error_text(error), USAGE_ERROR
    if type(error).__name__ == "Abort":  # click, at the end of input
        return "aborted", 1
    return None


def _missing_package(error: ImportError, point: EntryPoint) -> tuple[str, int] | None:
    package = (error.name or "").partition(".")[0]
    if package in sys.stdlib_module_names:
        return None
    if package.startswith("polku") and not isinstance(error, ModuleNotFoundError):
        return None  # a fault in our own code, which a sentence about installing would hide
    extra = f"[{','.join(point.extras)}]" if point.extras else ""
    needs = f"needs {package!r}, which is not installed or too old" if package else f"cannot be loaded ({error})"
    return f"the command {point.name!r} {needs}: pip install 'polku{extra}'", USAGE_ERROR


def _os_error_text(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _unknown(name: str, commands: dict[str, EntryPoint]) -> str:
    what = "option" if name.startswith("-") else "command"
    near = difflib.get_close_matches(name, commands, n=1)
    return f"unknown {what} {name!r}" + (f", did you mean {near[0]!r}?" if near else "; `polku` lists the commands")


def _overview(commands: dict[str, EntryPoint]) -> str:
    width = max(map(len, commands), default=0)
    lines = ["Usage: polku COMMAND [OPTIONS] …", "       polku --version", "", "Commands:"]
    for name in sorted(commands):
        extras = ",".join(commands[name].extras)
        needs = f"needs pip install 'polku[{extras}]'" if extras else ""
        lines.append(f"  {name:<{width}}  {needs}".rstrip())
    return "\n".join([*lines, "", "`polku COMMAND --help` explains one."])


def _fail(text: str, code: int = USAGE_ERROR) -> NoReturn:
    print(f"polku: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
