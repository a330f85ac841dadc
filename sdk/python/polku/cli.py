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
    try:
        _answer(argv)
    except BrokenPipeError:
        sys.exit(1)
    finally:
        _let_go_of_a_closed_pipe()


def _answer(argv: Sequence[str] | None) -> NoReturn:
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


def _let_go_of_a_closed_pipe() -> None:
    """`polku … | head` ends without a word: what nobody reads any more is not an error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    needs = f"needs {package!r}, which is not installed or too old" if package else f"cannot be loaded ({error})"
    return f"the command {point.name!r} {needs}: {_how_to_install(point)}", USAGE_ERROR


def _how_to_install(point: EntryPoint) -> str:
    """Honest while Polku is on no package index: an extra can only come from the sources."""
    extras = f"[{','.join(point.extras)}]" if point.extras else ""
    return f"pip install '.{extras}' in a checkout of Polku"


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
    lines += [f"  {name:<{width}}  {_sentence(commands[name])}".rstrip() for name in sorted(commands)]
    return "\n".join([*lines, "", "`polku COMMAND --help` explains one."])


def _sentence(point: EntryPoint) -> str:
    """What a command does, in its own words, or what it lacks here."""
    try:
        command: Any = point.load()
    except ImportError:
        return f"(not installed: {_how_to_install(point)})"
    text = " ".join((getattr(command, "help", None) or "").partition("\n\n")[0].split())
    first, stop, _ = text.partition(". ")
    return first + stop.strip()


def _fail(text: str, code: int = USAGE_ERROR) -> NoReturn:
    print(f"polku: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
