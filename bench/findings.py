"""What an audit finds: one record for each kind of fault, with how bad it is, how often, where, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from tasks.errors import InputError

Severity = Literal["fatal", "error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
FEW = 20  # below so many queries, what looks constant may be chance
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One fault of a suite or a run.

    `fatal`: ranks made of it mean nothing. `error`: a figure is likely wrong, or hides something that has to be
    explained. `warning`: true, but read with care. `note`: worth knowing, or could not be checked. `count` is the
    number of queries, models or places concerned, `examples` the first of them by id.
    """

    severity: Severity
    what: str
    count: int
    examples: tuple[str, ...]
    advice: str


def finding(severity: Severity, what: str, found: Iterable[object], advice: str, count: int | None = None) -> Finding:
    """Return the finding about all of `found`, of which it keeps the first few; `count` where they are not one each."""
    named = [str(one) for one in found]
    return Finding(severity, what, len(named) if count is None else count, tuple(named[:_SHOWN]), advice)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the worst first."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))


def records(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as JSON."""
    return [asdict(one) | {"examples": list(one.examples)} for one in findings]


def refuse_fatal(findings: Sequence[Finding], allowed: bool) -> None:
    """Raise `InputError` with the first fatal finding, unless that is `allowed`."""
    fatal = [one for one in findings if one.severity == "fatal"]
    if fatal and not allowed:
        more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
        raise InputError(
            f"the audit found that ranks would mean nothing{more}: {fatal[0].what}: {fatal[0].count}, such as "
            f"{', '.join(fatal[0].examples[:3])}; {fatal[0].advice}; or rank all the same by --allow-audit-errors "
            "(python -m bench.audit shows everything)"
        )


def show(out: Console, findings: Sequence[Finding]) -> None:
    """Print every finding as a table."""
    table = Table("severity", "what", "count", "examples", "what to do", show_lines=True)
    styles = {"fatal": "bold red", "error": "red", "warning": "yellow"}
    for one in findings:
        cells = (one.severity, one.what, str(one.count), "\n".join(one.examples), one.advice)
        table.add_row(*cells, style=styles.get(one.severity))
    out.print(table)


def show_errors(out: Console, findings: Sequence[Finding], target: object) -> None:
    """Print the errors, a line each, and how many lesser findings there are in the run at `target`."""
    for one in findings:
        if one.severity in ("fatal", "error"):
            examples = f" ({', '.join(one.examples[:3])})" if one.examples else ""
            out.print(f"audit: {one.severity}: {one.what}: {one.count}{examples}; {one.advice}", soft_wrap=True)
    counts = {name: sum(one.severity == name for one in findings) for name in ("warning", "note")}
    if any(counts.values()):
        said = ", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in counts.items() if n)
        out.print(f"audit: {said}; see: python -m bench.audit {target}", soft_wrap=True)
