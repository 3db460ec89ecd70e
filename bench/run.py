"""Run routers on a suite and write leaderboard, decisions, figures and page.

python -m bench.run --routers all --split ood
"""

import datetime
import json
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import behaviour, results, show, spread
from bench.audit import audit_run, audit_suite
from bench.config import RunConfig, alphas
from bench.engines.pool import ENGINES
from bench.evaluate import evaluate, usable
from bench.findings import ordered, records, refuse_fatal, show_errors
from bench.live import Source, comparison, live_config, open_live
from bench.metrics import rows
from bench.suites import DEFAULT, names, open_suite
from leaderboard.build import build, checkout_page
from routers.base import Accounting
from routers.registry import RouterSpec, registered, select
from tasks.cli import Parser, console, run
from tasks.errors import InputError, one_of
from tasks.files import whole_directory, write_whole
from tasks.scenarios import SCENARIOS, Scenario, scenario
from tasks.suite import Suite
from tasks.types import Domain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    args = _parse(argv)
    out = console()
    if args.list:
        _list(out)
        return 0
    full = open_suite(args.suite)
    suite = _subset(full, args.models)
    specs, named = select(args.routers, suite.pool)
    config = _config(args, suite, specs)
    fitted_on = suite if config.refit else full
    routers, skipped = usable(suite, fitted_on, specs, named)
    findings = audit_suite(suite)
    refuse_fatal(findings, args.allow_audit_errors)
    target = args.out or Path("results") / suite.manifest.name / config.run_id
    command = shlex.join(["python", "-m", "bench.run", *(sys.argv[1:] if argv is None else argv)])
    with whole_directory(target, marker="run.json") as scratch:
        if config.live is None:
            with _Spinner(len(routers)) as tick:
                everything = evaluate(suite, fitted_on, routers, config, args.jobs, tick, between=config.between)
            routed = [one for one in everything if one.scenario in config.scenarios]
            beside = [one for one in everything if one.scenario not in config.scenarios]
        else:
            source = Source(args.pool, args.data_dir, args.agents, args.loaded)
            with open_live(suite, config.live, source, target.with_name(f"{target.name}.live")) as live:
                routed, beside = evaluate(suite, fitted_on, routers, config, live=live), []
            compared = comparison(routed, suite)
            write_whole(scratch / "live.json", json.dumps(compared, indent=1, ensure_ascii=False) + "\n")
        findings = ordered([*findings, *audit_run(suite, behaviour.of_routed(routed))])
        refuse_fatal(findings, args.allow_audit_errors)
        found = rows(routed, suite, config)
        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        made = results.provenance(config, command, created) | {"audit": records(findings)}
        results.write(scratch, made, suite, config, routed, found, skipped)
        if beside:
            unranked = config.model_copy(update={"scenarios": config.between, "bootstrap": 0})
            sure = spread.table(everything if config.bootstrap else [], suite, config)
            results.write_alphas(scratch, suite, found, rows(beside, suite, unranked), sure)
        build([scratch], [scratch / "index.html"])
    show.leaderboard(out, suite, config, found, skipped)
    if config.live is not None:
        show.comparison(out, compared, target / "live.json")
    show_errors(out, findings, target)
    out.print(f"run:  {target}\npage: {_page(target)}", soft_wrap=True)
    return 0


def _page(target: Path) -> Path:
    """Return where to look: the checkout's own page, brought up to date, or the run's where there is none to write."""
    page = checkout_page()
    if page is None or not os.access(page.parent, os.W_OK):
        return target / "index.html"
    write_whole(page, (target / "index.html").read_bytes())
    return page


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = Parser("bench.run", __doc__.splitlines()[0])
    add = parser.add_argument
    add("--routers", default="all", metavar="all|A,B", help="routers to run (default all); reference rows always run")
    add("--suite", default=DEFAULT, metavar="NAME|DIR", help=f"suite to run on (default {DEFAULT})")
    add("--scenario", default=None, metavar="|".join([*SCENARIOS, "all"]), help="default all")
    add(
        "--alpha",
        default=None,
        metavar="A|FROM:TO:N",
        help="any preference factor in [0, 1] instead of a scenario, or N of them: 0:1:21 is 0, .05 … 1",
    )
    add("--split", default="all", metavar="id|ood|all", help="in-domain or out-of-domain test queries (default all)")
    add("--models", default=None, metavar="A,B,C", help="a subset of the pool, two models or more")
    add("--no-refit", action="store_true", help="with --models: keep what was fitted on the full pool")
    add("--seeds", type=int, default=1, metavar="N", help="seeds 0 … N−1, averaged (default 1)")
    add(
        "--accounting",
        default="paper",
        metavar="|".join(["paper", *Accounting]),
        help="which calls are paid for (default paper: as each router's authors charge it)",
    )
    add("--bootstrap", type=int, default=2000, metavar="N", help="resamples of the intervals (default 2000; 0: none)")
    add("--average", default="macro", metavar="macro|micro", help="mean over data sets (default) or over queries")
    add("--out", type=Path, default=None, metavar="DIR", help="default results/SUITE/RUN")
    add("--jobs", type=int, default=1, metavar="N", help="routers to run at a time (default 1)")
    add("--live", action="store_true", help="ask real models about the test queries instead of replaying their answers")
    add("--engine", default=None, metavar="|".join(ENGINES), help="with --live (default: that of the recording)")
    add("--dtype", default=None, metavar="auto|bfloat16|float32", help="with --live (default: that of the recording)")
    add("--pool", type=Path, default=None, metavar="FILE", help="with --live: where the models are (as bench.collect)")
    add("--data-dir", type=Path, default=None, metavar="DIR", help="with --live: local questions of public data sets")
    add("--agents", type=Path, default=None, metavar="DIR", help="with --live: trained agents (as bench.collect)")
    add("--loaded", type=int, default=1, metavar="N", help="with --live: models kept in memory at a time (default 1)")
    add("--allow-audit-errors", action="store_true", help="rank although the audit found something fatal")
    add("--list", action="store_true", help="list routers, suites and scenarios, and stop")
    return parser.parse_args(argv)


def _subset(full: Suite, models: str | None) -> Suite:
    if models is None:
        return full
    wanted = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if len(wanted) < 2:
        raise InputError(
            f"--models names {len(wanted) or 'no'} model{'s' * (len(wanted) != 1)}, but routing wants at least two "
            f"of: {', '.join(full.pool.names)}"
        )
    return full.subset(wanted)


def _config(args: Namespace, suite: Suite, specs: Sequence[RouterSpec]) -> RunConfig:
    for name, least in (("seeds", 1), ("jobs", 1), ("loaded", 1)):
        if getattr(args, name) < least:
            raise InputError(f"--{name} is {getattr(args, name)}, but must be at least {least}")
    if args.bootstrap != 0 and args.bootstrap < 100:
        raise InputError(f"--bootstrap is {args.bootstrap}, but intervals want at least 100 resamples; 0 is for none")
    if args.no_refit and args.models is None:
        raise InputError("--no-refit keeps what was fitted on the full pool, so it goes with --models A,B,C")
    given = [name for name in ("engine", "dtype", "pool", "data_dir") if getattr(args, name) is not None]
    if given and not args.live:
        raise InputError(f"--{given[0].replace('_', '-')} says how real models are asked, so it goes with --live")
    return RunConfig(
        suite=suite.manifest.name,
        suite_sha256=suite.sha256 or "",
        routers=tuple(sorted(spec.name for spec in specs)),
        scenarios=_scenarios(args),
        splits=_splits(args.split, suite),
        models=suite.pool.names,
        refit=not args.no_refit,
        seeds=tuple(range(args.seeds)),
        accounting=one_of("accounting", args.accounting, ["paper", *Accounting]),
        average=one_of("average", args.average, ["macro", "micro"]),
        bootstrap=args.bootstrap,
        live=live_config(suite, args.engine, args.dtype) if args.live else None,
    )


def _scenarios(args: Namespace) -> tuple[Scenario, ...]:
    if args.alpha is not None and args.scenario is not None:
        raise InputError("--alpha and --scenario exclude each other; give one of them")
    if args.alpha is not None:
        return tuple(Scenario(None, alpha) for alpha in alphas(args.alpha))
    if args.scenario in (None, "all"):
        return tuple(SCENARIOS.values())
    one_of("scenario", args.scenario, [*SCENARIOS, "all"])
    return (scenario(args.scenario),)


def _splits(given: str, suite: Suite) -> tuple[Domain, ...]:
    wanted: list[Domain] = ["id", "ood"]
    present: tuple[Domain, ...] = tuple(domain for domain in wanted if len(suite.rows("test", domain)))
    if one_of("split", given, [*wanted, "all"]) == "all":
        if not present:
            raise InputError(f"suite {suite.manifest.name} has no test queries")
        return present
    chosen: tuple[Domain, ...] = tuple(domain for domain in present if domain == given)
    if not chosen:
        raise InputError(
            f"suite {suite.manifest.name} has no test queries of split {given}; it has {', '.join(present) or 'none'}"
        )
    return chosen


class _Spinner:
    """A spinner on stderr that names the router at work; silent where nobody looks."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("routers", total=total)

    def __enter__(self) -> "_Spinner":
        self._progress.start()
        return self

    def __call__(self, name: str) -> None:
        self._progress.update(self._task, description=name, advance=1)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _list(out: Console) -> None:
    table = Table("router", "kind", "what it does", "extra", title="routers", title_justify="left")
    for spec in registered().values():
        table.add_row(spec.name, "reference" if spec.reference else "ranked", spec.summary, spec.extra or "")
    out.print(table)
    out.print(
        f"and single:MODEL for every model of the pool\nsuites: {', '.join(names())}\n"
        f"scenarios: {', '.join(f'{s.name} (alpha {s.alpha:g})' for s in SCENARIOS.values())}"
    )


if __name__ == "__main__":
    run(main)
