"""Errors for people: what was given, what is allowed, what to do."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line for the user; command lines print it and exit with status 2.
    """


def one_of(kind: str, given: str, allowed: Iterable[str]) -> str:
    """Return `given` if it is allowed, else raise `InputError` with the allowed names and the likeliest one."""
    names = list(allowed)
    if given in names:
        return given
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise InputError(f"unknown {kind} '{given}'{hint} (allowed: {', '.join(names)})")


def examples(items: Iterable[object], n: int = 3) -> str:
    """Return the first `n` items for an error message, and how many more there are."""
    values = [str(item) for item in items]
    more = f" and {len(values) - n} more" if len(values) > n else ""
    return ", ".join(values[:n]) + more
