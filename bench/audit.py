"""Look for what would make a suite's or a run's ranks untrue: leaks, broken recordings, collapse, labels in reach.

python -m bench.audit pocket
python -m bench.audit results/pocket/7816312d8498

A suite is a name or a directory, a run a directory that holds run.json; a run's suite is audited with it. Exit status
0: nothing above a warning; 1: an error, or something fatal; 2: the suite or the run cannot be read. `bench.run` audits
too: it prints errors, keeps everything in run.json, and does not rank where something is fatal.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import behaviour, leakage, soundness
from bench.behaviour import Decided
from bench.bundle import open_run
from bench.findings import Finding, ordered, records, show
from bench.suites import open_suite
from tasks.cli import Parser, console, run
from tasks.suite import Suite

OF_SUITES: tuple[Callable[[Suite], Iterator[Finding]], ...] = (
    leakage.same_questions,
    leakage.near_questions,
    leakage.reachable_labels,
    soundness.constant_outcomes,
    soundness.token_counts,
    soundness.prices,
)
OF_RUNS: tuple[Callable[[Suite, Sequence[Decided]], Iterator[Finding]], ...] = (
    behaviour.label_signals,
    behaviour.near_oracle,
    behaviour.collapsed,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Audit a suite or a run from the command line; returns 1 where an error was found, or worse."""
    parser = Parser("bench.audit", __doc__.splitlines()[0], __doc__.split("\n\n", 2)[2])
    parser.add_argument("what", metavar="SUITE|RUN", help="a suite by name or directory, or the directory of a run")
    parser.add_argument("--suite", metavar="NAME|DIR", help="of a run: its suite (default: where its command found it)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = parser.parse_args(argv)
    if (Path(args.what) / "run.json").is_file():
        bundle = open_run(Path(args.what), args.suite)
        findings = ordered([*audit_suite(bundle.suite), *audit_run(bundle.suite, behaviour.of_bundle(bundle))])
    elif args.suite is not None:
        parser.error(f"--suite goes with a run, but {args.what} holds no run.json")
    else:
        findings = audit_suite(open_suite(args.what))
    if args.json:
        sys.stdout.write(json.dumps(records(findings), indent=1, ensure_ascii=False) + "\n")
    else:
        show(console(), findings)
    return 1 if any(one.severity in ("fatal", "error") for one in findings) else 0


def audit_suite(suite: Suite) -> list[Finding]:
    """Return what is wrong with a suite, the worst first."""
    return ordered(found for check in OF_SUITES for found in check(suite))


def audit_run(suite: Suite, decided: Sequence[Decided]) -> list[Finding]:
    """Return what is wrong with the decisions that routers made on a suite, the worst first."""
    return ordered(found for check in OF_RUNS for found in check(suite, decided))


if __name__ == "__main__":
    run(main)
