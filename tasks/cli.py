"""What all command lines share: one-line errors, exit statuses, one console."""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from rich.console import Console

from tasks.errors import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr and exit status 2."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(f"python -m {prog}", None, description, epilog, formatter_class=layout, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the allowed arguments stand."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def console() -> Console:
    """Return a console on stdout; piped output keeps 160 columns, so that tables are whole in a log."""
    # what is printed holds names of models and files: data, whatever brackets and colons stand in them
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, emoji=False)


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a command line and exit: 0 when all is well, 2 for what the user can mend, 130 when interrupted.

    Anything else is a defect of ours: it keeps its traceback and exits with status 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an α on a terminal that has none is a question mark, not an error
    try:
        status = main(None)
    except InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        status = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was written\n")
        status = 130
    sys.exit(status)
