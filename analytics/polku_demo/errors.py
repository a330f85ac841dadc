"""What can go wrong with a demo, as one small tree."""


class DemoError(Exception):
    """The demo cannot go on; the text says what failed and what to do next.

    The `polku` command prints it and ends with `exit_code`.
    """

    exit_code = 2


class InterruptedDemoError(DemoError):
    """Ctrl-C, or SIGINT from elsewhere."""

    exit_code = 130


class FiguresDifferError(DemoError):
    """The lake does not say what the source says: the one thing the demo exists to show did not hold."""

    exit_code = 1
