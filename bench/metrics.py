"""From scored decisions to the rows of the leaderboard: accuracy, cost, utility, strata, shares, ranks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.stats import rankdata

from bench.config import RunConfig
from bench.evaluate import Routed, Scores, draws, score
from bench.field_metrics import METRICS
from bench.significance import with_intervals
from routers.base import Accounting, FloatArray
from tasks.errors import InputError
from tasks.scenarios import query_weights, utility, weighted_mean
from tasks.suite import Suite


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard: router × scenario × split. None is "does not apply" or "was not recorded", never 0.

    Accuracy, cost and utility have no unit and are means over data sets (or over queries, with average micro);
    `cost` and all that follows from it is under `accounting`; strata are pooled over queries. `cost_usd` and
    `latency_s` are means for one query, `overhead_us` is the router's own time for one query in microseconds.
    Intervals and differences are those of `bench.significance`; `utility_seed_sd` is the standard deviation over the
    seeds of a router that depends on them. `metrics` are those of `bench.field_metrics` that belong to a row.
    """

    router: str
    reference: bool
    scenario: str | None
    alpha: float
    alpha_used: float
    split: str
    pool: list[str]
    n_queries: int
    n_seeds: int
    per_seed: list[dict[str, float]]
    accuracy: float
    cost: float
    utility: float
    utility_low: float | None
    utility_high: float | None
    utility_percentile_low: float | None
    utility_percentile_high: float | None
    utility_seed_sd: float | None
    rank: int | None
    rank_every_call: int | None
    rank_group: int | None
    rank_group_every_call: int | None
    versus_best_single: dict[str, Any] | None
    versus_best: dict[str, Any] | None
    percent_of_oracle: float | None
    accounting: str
    cost_final: float
    cost_every_call: float
    utility_every_call: float
    utility_every_call_low: float | None
    utility_every_call_high: float | None
    cost_usd: float | None
    latency_s: float | None
    overhead_us: float
    easy_cost: float | None
    hard_cost: float | None
    unsolvable_cost: float | None
    solved_by_all_cost: float | None
    share: dict[str, float]
    per_task: dict[str, dict[str, float]]
    metrics: dict[str, float | None]
    published_accuracy: float | None
    published_cost: float | None
    published_utility: float | None
    fit_seconds: float
    route_seconds: float


def rows(routed: Sequence[Routed], suite: Suite, config: RunConfig) -> list[Row]:
    """Return one row for every router × scenario × split, ranked, best first and reference rows last."""
    groups: dict[tuple[Any, ...], list[Routed]] = defaultdict(list)
    for one in routed:
        groups[one.scenario.alpha, one.split, one.spec.name].append(one)
    found, gains = [], {}
    for key, seeds in groups.items():
        row, gains[key] = _row(seeds, suite, config)
        found.append(row)
    ranked: list[Row] = []
    for scenario in config.scenarios:
        for split in config.splits:
            ranked += _ranked([row for row in found if row.alpha == scenario.alpha and row.split == split])
    return with_intervals(ranked, gains, suite, config) if config.bootstrap else ranked


def _row(seeds: Sequence[Routed], suite: Suite, config: RunConfig) -> tuple[Row, FloatArray]:
    """Return the row of a router, means over seeds, and the (2, n) utilities of the queries that it comes from."""
    first = seeds[0]
    scored = [score(routed, suite) for routed in seeds]
    measured = [_measure(routed, scores, suite, config) for routed, scores in zip(seeds, scored, strict=True)]
    charged = (accounting_of(first, config), Accounting.EVERY_CALL)
    gains = np.mean(
        [[utility(s.correct, s.cost[way], first.scenario.alpha) for way in charged] for s in scored], axis=0
    )
    if not np.isfinite(gains).all():
        unknown = int((~np.isfinite(gains)).any(axis=0).sum())
        raise InputError(
            f"router {first.spec.name}: the utility of {unknown} of {len(first.rows)} {first.split} queries is not a "
            "number; record correctness and cost of every call that it makes"
        )
    published = next(
        (
            p
            for p in suite.manifest.published
            if (p.router, p.split, p.scenario) == (first.spec.name, first.split, first.scenario.name)
            and set(p.pool) == set(suite.pool.names)
        ),
        None,
    )
    settled: dict[str, Any] = dict.fromkeys(field.name for field in fields(Row))
    row = Row(
        **settled
        | {
            "router": first.spec.name,
            "reference": first.spec.reference,
            "scenario": first.scenario.name,
            "alpha": first.scenario.alpha,
            "alpha_used": first.alpha_used,
            "split": first.split,
            "pool": list(suite.pool.names),
            "n_queries": len(first.rows),
            "n_seeds": len(seeds),
            "per_seed": [
                {"seed": routed.seed} | {name: m[name] for name in ("accuracy", "cost", "utility")}
                for routed, m in zip(seeds, measured, strict=True)
            ],
            "accounting": accounting_of(first, config).value,
            "published_accuracy": published and published.accuracy,
            "published_cost": published and published.cost,
            "published_utility": published and published.utility,
        }
        | _average(measured)
    )
    varies = len(seeds) > 1 and first.shares is None and draws(first.router)
    spread = float(np.std([m["utility"] for m in measured], ddof=1)) if varies else None
    arena = METRICS["arena_score"].function(row.accuracy, row.cost_usd)
    return replace(row, utility_seed_sd=spread, metrics=row.metrics | {"arena_score": arena}), gains


def accounting_of(routed: Routed, config: RunConfig) -> Accounting:
    """Return how a router is charged in a run."""
    return routed.router.accounting if config.accounting == "paper" else Accounting(config.accounting)


def _measure(routed: Routed, scores: Scores, suite: Suite, config: RunConfig) -> dict[str, Any]:
    alpha, task = routed.scenario.alpha, suite.task[routed.rows]
    weights = query_weights(task, config.average)
    cost = scores.cost[accounting_of(routed, config)]

    def average(values: FloatArray) -> float:
        return float(weighted_mean(values, weights))

    def known(values: FloatArray) -> float | None:
        return None if np.isnan(values).any() else average(values)

    accuracy, every_call = average(scores.correct), average(scores.cost[Accounting.EVERY_CALL])
    shares = np.eye(len(suite.pool))[routed.chosen] if routed.shares is None else routed.shares
    strata = {name: cost[mask[routed.rows]] for name, mask in suite.strata.items()}
    return {
        "accuracy": accuracy,
        "cost": average(cost),
        "utility": utility(accuracy, average(cost), alpha),
        "cost_final": average(scores.cost[Accounting.FINAL]),
        "cost_every_call": every_call,
        "utility_every_call": utility(accuracy, every_call, alpha),
        "cost_usd": known(scores.cost_usd),
        "latency_s": known(scores.latency_s),
        "overhead_us": 1e6 * routed.route_seconds / len(routed.rows),
        **{f"{name}_cost": float(values.mean()) if len(values) else None for name, values in strata.items()},
        "share": dict(zip(suite.pool.names, weighted_mean(shares, weights).tolist(), strict=True)),
        "per_task": {
            t.name: _task_means(task == i, scores.correct, cost, alpha)
            for i, t in enumerate(suite.manifest.tasks)
            if (task == i).any()
        },
        "metrics": {
            name: METRICS[name].function(routed.predicted, suite.correct[routed.rows].astype(np.float64))
            for name in ("calibration_error", "auroc")
            if getattr(routed.router, "calibrated", True) or name == "auroc"
        }
        | {"robustness": METRICS["robustness"].function(routed.chosen, suite.originals(routed.rows))},
        "fit_seconds": routed.fit_seconds,
        "route_seconds": routed.route_seconds,
    }


def _task_means(mine: Any, correct: FloatArray, cost: FloatArray, alpha: float) -> dict[str, float]:
    accuracy, spent = float(correct[mine].mean()), float(cost[mine].mean())
    return {"accuracy": accuracy, "cost": spent, "utility": utility(accuracy, spent, alpha)}


def _average(values: Sequence[Any]) -> Any:
    """Return the mean over seeds of numbers in nested dictionaries; None stays None."""
    if isinstance(values[0], dict):
        return {key: _average([value[key] for value in values]) for key in values[0]}
    return None if any(value is None for value in values) else float(np.mean(values))


def _ranked(found: Sequence[Row]) -> list[Row]:
    """Rank the rows of one scenario and split by utility, ties alike; reference rows are not ranked."""
    by_name = {row.router: row for row in found}
    reached = {name: row.utility for name, row in by_name.items()}
    competing = [row for row in found if not row.reference]
    ranks: dict[str, Any] = {
        name: rankdata([-round(getattr(row, name), 12) for row in competing], method="min") if competing else []
        for name in ("utility", "utility_every_call")
    }
    done = [
        replace(row, rank=int(rank), rank_every_call=int(honest))
        for row, rank, honest in zip(competing, ranks["utility"], ranks["utility_every_call"], strict=True)
    ]
    ordered = sorted(done, key=lambda row: (row.rank or 0, row.router)) + [row for row in found if row.reference]
    return [_against(row, reached) for row in ordered]


def _against(row: Row, reached: Mapping[str, float]) -> Row:
    percent = METRICS["percent_of_oracle"].function(row.utility, reached.get("oracle"), reached.get("best_single"))
    regret = METRICS["regret"].function(row.utility, reached.get("oracle_utility"))
    told = row.metrics | {"percent_of_oracle": percent, "regret": regret}
    order = [name for name, metric in METRICS.items() if not metric.curve]
    return replace(row, percent_of_oracle=percent, metrics={name: told.get(name) for name in order})
