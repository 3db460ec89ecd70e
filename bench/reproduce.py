"""The reproduction report: what our routers reach in the simulated paper, what was published, and what was possible.

python -m bench.reproduce --out REPRODUCTION.md
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from bench import simulate
from bench.config import RunConfig
from bench.evaluate import Routed, evaluate, unusable
from bench.markdown import render
from bench.metrics import Row, rows
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for
from routers.base import FloatArray, IntArray, PredictiveRouter, best_utility
from routers.frugalgpt import FrugalGPTRouter
from routers.registry import built_in
from routers.scorers import log_loss
from tasks.cli import Parser, console, run
from tasks.errors import InputError
from tasks.files import write_whole
from tasks.scenarios import BALANCE, SCENARIOS, utility, weighted_mean
from tasks.suite import Suite
from tasks.types import Domain

REIMPLEMENTED = ("routellm", "frugalgpt", "automix", "forc", "graphrouter")
BARS = ("best_single", "knn")
# What was possible with what a router sees: the reference row that knows the true posterior of it.
BOUNDS = {
    "routellm": "bayes_query/small",
    "knn": "bayes_query/small",
    "graphrouter": "bayes_query/small",
    "forc": "bayes_query/large",
    "frugalgpt": "bayes_cascade",
}
_ALWAYS = ("oracle", "oracle_utility", *dict.fromkeys(BOUNDS.values()))
_SWEEP = np.linspace(0.0, 2.0, 201)
_OVERCONFIDENT = (1.0, 2.0, 4.0, 8.0)

Table = list[dict[str, Any]]
Found = dict[tuple[str, str, str], Row]  # by router, split and scenario
Step = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What came out on one suite: rows, and what every router did in balance in-domain, for a second look at it."""

    suite: Suite
    rows: Found
    routed: dict[str, Routed]

    def utility(self, router: str, scenario: str, split: str = "id") -> float | None:
        """Return a router's utility, or None where it did not run."""
        row = self.rows.get((router, split, scenario))
        return None if row is None else row.utility


def measure(suite: Suite, fitted_on: Suite, splits: Sequence[Domain], step: Step) -> Run:
    """Run the reimplemented routers, the bars and the bounds on a suite, in every scenario.

    A router whose pool may not change without a refit is left out where `fitted_on` has another one.
    """
    specs = [built_in()[name] for name in (*REIMPLEMENTED, *BARS, *_ALWAYS)]
    built = [(spec, spec.build()) for spec in specs]
    routers = [(spec, router) for spec, router in built if unusable(router, suite, fitted_on) is None]
    config = RunConfig(
        suite=suite.manifest.name,
        suite_sha256=suite.sha256 or "",
        routers=tuple(spec.name for spec, _ in routers),
        scenarios=(
            *(s for s in SCENARIOS.values() if s != BALANCE),
            BALANCE,
        ),  # the last is what routers stay fitted for
        splits=tuple(splits),
        models=suite.pool.names,
        refit=fitted_on is suite,
        bootstrap=0,
    )
    routed = evaluate(suite, fitted_on, routers, config, progress=step)
    found = {(row.router, row.split, str(row.scenario)): row for row in rows(routed, suite, config)}
    return Run(suite, found, {one.spec.name: one for one in routed if (one.split, one.scenario) == ("id", BALANCE)})


def against_published(run: Run, split: Domain) -> Table:
    """Return one line a router and scenario: published utility, ours and its bound's, and the differences."""
    found: Table = []
    for name in (*REIMPLEMENTED, *BARS, "oracle_utility"):
        for scenario in SCENARIOS:
            row, bound = run.rows.get((name, split, scenario)), run.utility(BOUNDS.get(name, ""), scenario, split)
            if row is not None:
                published = row.published_utility
                found.append(
                    {
                        "router": name,
                        "scenario": scenario,
                        "published": published,
                        "ours": row.utility,
                        "more": None if published is None else row.utility - published,
                        "bound": bound,
                        "below": None if bound is None else bound - row.utility,
                    }
                )
    return found


def predictions(run: Run) -> Table:
    """Return how near predicted probabilities come to the true posterior of the signal that a router sees.

    Log-loss in nats and area under the ROC curve, means over models, of all in-domain test queries, in balance.
    """
    found: Table = []
    test = run.suite.rows("test", "id")
    correct, queries = run.suite.correct[test], query_view(run.suite, test)
    for name, routed in run.routed.items():
        if isinstance(routed.router, PredictiveRouter):
            p = routed.router.predict_correctness(queries)
            true = run.suite.posteriors[BOUNDS[name].removeprefix("bayes_")][test]
            ours, best = ((log_loss(correct, known), _auc(correct, known)) for known in (p, true))
            found.append({"router": name, "signal": BOUNDS[name].removeprefix("bayes_"), "ours": ours, "true": best})
    return found


def _auc(correct: FloatArray, p: FloatArray) -> float:
    """Return the mean over models; raises `InputError` where one is always right, or never."""
    if (np.ptp(correct, axis=0) == 0.0).any():
        raise InputError("a model is always right, or never, on a world this small; raise --scale")
    return float(np.mean([roc_auc_score(mine >= 0.5, theirs) for mine, theirs in zip(correct.T, p.T, strict=True)]))


def headroom(run: Run, router: str) -> list[float | None]:
    """Return the share of what its bound has above the best single model that a router realises, by scenario.

    None where there is nothing above it.
    """
    found: list[float | None] = []
    for scenario in SCENARIOS:
        ours, single, bound = (run.utility(name, scenario) for name in (router, "best_single", BOUNDS[router]))
        assert ours is not None and single is not None and bound is not None  # noqa: S101, PT018  (all of them ran)
        found.append((ours - single) / (bound - single) if bound > single + 1e-6 else None)
    return found


def at_published_cost(run: Run) -> Table:
    """Return how ours come from the published utility: by more accuracy at the same cost, then by standing elsewhere.

    A predictive router is moved along its frontier by another alpha, FrugalGPT by a budget on validation.
    """
    found: Table = []
    for name in ("forc", "graphrouter", "frugalgpt"):
        for scenario, alpha in ((s, SCENARIOS[s].alpha) for s in SCENARIOS):
            row = run.rows.get((name, "id", scenario))
            if row is None or row.published_accuracy is None or row.published_cost is None:
                continue
            accuracy, cost = _frontier(run, name, row.published_cost)
            published, there = (
                utility(right, spent, alpha)
                for right, spent in ((row.published_accuracy, row.published_cost), (accuracy, cost))
            )
            found.append(
                {
                    "router": name,
                    "scenario": scenario,
                    "published": (row.published_accuracy, row.published_cost),
                    "there": (accuracy, cost),
                    "chosen": (row.accuracy, row.cost),
                    "signal": there - published,
                    "choice": row.utility - there,
                }
            )
    return found


def _frontier(run: Run, name: str, cost: float) -> tuple[float, float]:
    """Return accuracy and cost of the point on a router's frontier that lies nearest to `cost`."""
    router = run.routed[name].router
    test = run.suite.rows("test", "id")
    queries, costs = query_view(run.suite, test), run.suite.pool.costs
    if isinstance(router, FrugalGPTRouter):
        moved = copy.copy(router).set_params(budget=cost)
        env = ReplayEnv(recorded_for(run.suite, test, router.signals, "balance"), router.signals, Ledger(len(test)))
        return _means(run.suite, test, moved.route(queries, env, BALANCE))
    assert isinstance(router, PredictiveRouter)  # noqa: S101  (the three that are asked for)
    p = router.predict_correctness(queries)
    points = [_means(run.suite, test, best_utility(p, costs, float(alpha))) for alpha in _SWEEP]
    return min(points, key=lambda point: abs(point[1] - cost))


def _means(suite: Suite, test: IntArray, chosen: IntArray) -> tuple[float, float]:
    weight = query_view(suite, test).weight
    right = suite.correct[test, chosen].astype(np.float64)
    return float(weighted_mean(right, weight)), float(weighted_mean(suite.pool.costs[chosen], weight))


def overconfident(run: Run) -> Table:
    """Return FORC's utility with the log-odds of its probabilities multiplied: the same ranking, less calibrated."""
    router = run.routed["forc"].router
    assert isinstance(router, PredictiveRouter)  # noqa: S101  (FORC is one)
    test = run.suite.rows("test", "id")
    p = np.clip(router.predict_correctness(query_view(run.suite, test)), 1e-9, 1.0 - 1e-9)
    found: Table = []
    for factor in _OVERCONFIDENT:
        utilities = []
        for scenario in SCENARIOS.values():
            chosen = best_utility(expit(factor * logit(p)), run.suite.pool.costs, scenario.alpha)
            accuracy, cost = _means(run.suite, test, chosen)
            utilities.append(utility(accuracy, cost, scenario.alpha))
        found.append({"factor": f"{factor:g}", "utilities": utilities})
    return found


def view(scale: float, step: Step) -> dict[str, Any]:
    """Return all that the report says, as plain values; the world is simulated at `scale` of its published size."""
    shared, own = (simulate.simulate(external_specificity=s, scale=scale) for s in (0.0, 1.0))
    five = measure(shared, shared, ("id", "ood"), lambda name: step(f"five models: {name}"))
    three = measure(shared.subset(simulate.THREE_MODELS), shared, ("id",), lambda name: step(f"three models: {name}"))
    specific = measure(own, own, ("id",), lambda name: step(f"own margins: {name}"))
    above = [
        f"{name} in {scenario}"
        for name in REIMPLEMENTED
        for scenario in SCENARIOS
        if (published := five.rows[name, "id", scenario].published_utility) is not None
        and published > five.rows["best_single", "id", scenario].utility + 0.005
    ]
    return {
        "names": list(SCENARIOS),
        "scenarios": [f"{name} (α = {s.alpha:g})" for name, s in SCENARIOS.items()],
        "size": "" if scale == 1.0 else f" (this one at {scale:g} of the published sizes)",
        "bounds": BOUNDS,
        "n_test": f"{len(shared.rows('test')):,}",
        "five": against_published(five, "id"),
        "ood": against_published(five, "ood"),
        "three": against_published(three, "id"),
        "left_out": [name for name in REIMPLEMENTED if three.utility(name, "balance") is None],
        "predictions": predictions(five),
        "headroom": [{"router": name, "shares": headroom(five, name)} for name in ("forc", "frugalgpt")],
        "frontier": at_published_cost(five),
        "overconfident": overconfident(five),
        "ends": [
            {"router": name}
            | {end: [of.utility(name, s) for s in SCENARIOS] for end, of in (("shared", five), ("own", specific))}
            for name in (*REIMPLEMENTED, *BARS, *dict.fromkeys(BOUNDS.values()))
        ],
        "above": above,
        "low": len(REIMPLEMENTED) * len(SCENARIOS) - len(above),
        "n_published": len(REIMPLEMENTED) * len(SCENARIOS),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report."""
    parser = Parser("bench.reproduce", __doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write it, as Markdown")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="F", help="share of the published sizes (default 1)"
    )
    args = parser.parse_args(argv)
    if args.out.is_dir() or not args.out.absolute().parent.is_dir():
        raise InputError(f"{args.out} cannot be written: a file in a folder that there is, is wanted")
    with Progress(console=Console(stderr=True)) as progress:
        job = progress.add_task("simulating", total=3 * len((*REIMPLEMENTED, *BARS, *_ALWAYS)))

        def step(what: str) -> None:
            progress.update(job, description=what, advance=1)

        text = render("reproduction.md.j2", view(args.scale, step))
    write_whole(args.out, text.encode())
    console().print(f"the reproduction report is in {args.out}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    run(main)
