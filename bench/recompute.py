"""Every figure of a leaderboard row once more, from what bench.scored finds and apart from bench.metrics.

A figure is a function in `FIGURES` (of one row) or in `STANDINGS` (of a row among its competitors), under its key in
leaderboard.json: a new key wants one entry here.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.recompute_intervals import KEYS, intervals
from bench.scored import Bools, Group, Measured, prompt
from tasks.scenarios import SCENARIOS
from tasks.suite import SOLVED

TIMINGS = frozenset({"overhead_us", "fit_seconds", "route_seconds"})  # measured once, and never the same again
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Panel:
    """The rows of one alpha and split, which are held against each other."""

    groups: tuple[Group, ...]

    @property
    def unknown(self) -> bool:
        """Whether a ranked row's figures cannot be recomputed, so that nobody's standing can."""
        return any(g.unknown and not g.facts.reference for g in self.groups)

    def utility_of(self, router: str) -> float | None:
        """Return a router's utility, None where it did not run."""
        return next((g.utilities["utility"] for g in self.groups if g.router == router), None)

    @cached_property
    def intervals(self) -> dict[str, dict[str, Any]]:
        """By router, what follows from resampling."""
        return intervals(self.groups)


def _of(name: str) -> Callable[[Group], float | None]:
    """Return the figure that is the mean of a recorded amount, None where it is unknown of one query."""

    def figure(g: Group) -> float | None:
        return g.over_seeds(lambda s: None if np.isnan(getattr(s, name)).any() else g.mean(getattr(s, name)))

    return figure


def _cost(accounting: str | None = None) -> Callable[[Group], float | None]:
    return lambda g: g.over_seeds(lambda s: g.mean(s.costs[accounting or g.accounting]))


def _stratum(wanted: Callable[[Bools], Bools]) -> Callable[[Group], float | None]:
    """Return the figure that is the mean cost over the queries that are `wanted`, judged by the full pool's (n, K)."""

    def figure(g: Group) -> float | None:
        suite = g.bundle.suite
        everyone = suite.correct if suite.full_correct is None else suite.full_correct
        mask = wanted(everyone[g.rows] >= SOLVED)
        return g.over_seeds(lambda s: float(s.costs[g.accounting][mask].mean())) if mask.any() else None

    return figure


def _cheaper_half(solved: Bools) -> Bools:
    return _any(solved[:, : -(-solved.shape[1] // 2)])


def _any(solved: Bools) -> Bools:
    return np.asarray(solved.any(axis=1))


def _share(g: Group) -> dict[str, float | None]:
    names = g.bundle.suite.pool.names
    return {name: g.over_seeds(lambda s, m=m: g.mean(s.share[:, m])) for m, name in enumerate(names)}  # type: ignore[misc]


def _per_task(g: Group) -> dict[str, Any]:
    found = {}
    for t, task in enumerate(g.bundle.suite.manifest.tasks):
        mine = g.task == t
        if mine.any():
            accuracy = float(np.mean([s.correct[mine].mean() for s in g.seeds]))
            cost = float(np.mean([s.costs[g.accounting][mine].mean() for s in g.seeds]))
            found[task.name] = {"accuracy": accuracy, "cost": cost, "utility": accuracy - g.scenario.alpha * cost}
    return found


def _per_seed(g: Group) -> list[dict[str, float]]:
    return [
        {
            "seed": s.seed,
            "accuracy": g.mean(s.correct),
            "cost": g.mean(s.costs[g.accounting]),
            "utility": g.utility_of(s, g.accounting),
        }
        for s in g.seeds
    ]


def _seed_sd(g: Group) -> float | None:
    """Return how far utilities of a router that depends on its seed lie apart, by the n − 1 of a sample."""
    if len(g.seeds) < 2 or g.facts.drawn or not g.facts.seeded:
        return None
    return statistics.stdev(g.utility_of(s, g.accounting) for s in g.seeds)


def _published(name: str) -> Callable[[Group], float | None]:
    def figure(g: Group) -> float | None:
        for one in g.bundle.suite.manifest.published:
            same = (one.router, one.split, one.scenario) == (g.router, g.split, g.scenario.name)
            if same and sorted(one.pool) == sorted(g.bundle.suite.pool.names):
                return float(getattr(one, name))
        return None

    return figure


def _alpha_used(g: Group) -> float:
    if g.facts.alpha_mode.value != "prompt":
        return g.scenario.alpha
    return SCENARIOS[prompt(g.scenario, g.bundle.suite, g.facts.checkpoint)].alpha


FIGURES: dict[str, Callable[[Group], Any]] = {
    "reference": lambda g: g.facts.reference,
    "scenario": lambda g: g.scenario.name,
    "alpha": lambda g: g.scenario.alpha,
    "alpha_used": _alpha_used,
    "pool": lambda g: list(g.bundle.suite.pool.names),
    "n_queries": lambda g: len(g.rows),
    "n_seeds": lambda g: len(g.seeds),
    "per_seed": _per_seed,
    "utility_seed_sd": _seed_sd,
    "accuracy": _of("correct"),
    "cost": _cost(),
    "utility": lambda g: g.utilities["utility"],
    "accounting": lambda g: g.accounting,
    "cost_final": _cost("final"),
    "cost_every_call": _cost("every_call"),
    "utility_every_call": lambda g: g.utilities["utility_every_call"],
    "cost_usd": _of("cost_usd"),
    "latency_s": _of("latency_s"),
    "easy_cost": _stratum(_cheaper_half),
    "hard_cost": _stratum(lambda solved: ~_cheaper_half(solved)),
    "unsolvable_cost": _stratum(lambda solved: ~_any(solved)),
    "solved_by_all_cost": _stratum(lambda solved: ~_any(~solved)),
    "share": _share,
    "per_task": _per_task,
    "published_accuracy": _published("accuracy"),
    "published_cost": _published("cost"),
    "published_utility": _published("utility"),
}


def _rank(key: str) -> Callable[[Group, Panel], int | None]:
    """Return the figure that is 1 + the number of competitors with a higher utility; None for reference rows."""

    def figure(g: Group, panel: Panel) -> int | None:
        if g.facts.reference:
            return None
        competing = [other.utilities[key] for other in panel.groups if not other.facts.reference]
        return 1 + sum(utility - g.utilities[key] > _TIE for utility in competing)

    return figure


def _percent_of_oracle(g: Group, panel: Panel) -> float | None:
    oracle, single = (panel.utility_of(name) for name in ("oracle", "best_single"))
    if oracle is None or single is None or oracle <= max(single, 0.0):
        return None
    return 100.0 * g.utilities["utility"] / oracle


def _metrics(g: Group, panel: Panel) -> dict[str, float | None]:
    best = panel.utility_of("oracle_utility")
    return {
        "percent_of_oracle": _percent_of_oracle(g, panel),
        "regret": None if best is None else best - g.utilities["utility"],
        "arena_score": _arena_score(_of("correct")(g), _of("cost_usd")(g)),
        "calibration_error": g.over_seeds(lambda s: _calibration_error(g, s)) if g.facts.calibrated else None,
        "auroc": g.over_seeds(lambda s: _auroc(g, s)),
        "robustness": g.over_seeds(lambda s: _robustness(g, s)),
    }


def _arena_score(accuracy: float | None, cost_usd: float | None) -> float | None:
    """RouterArena: the harmonic mean of accuracy, weighing 10 to 1, and of where log cost lies from $200 to $.0044."""
    if accuracy is None or cost_usd is None:
        return None
    if accuracy == 0.0:
        return 0.0
    dollars = max(0.0044, min(200.0, 1000.0 * cost_usd))
    cheap = (math.log(200.0) - math.log(dollars)) / (math.log(200.0) - math.log(0.0044))
    return 1.1 * accuracy * cheap / (0.1 * accuracy + cheap)


def _calibration_error(g: Group, one: Measured) -> float | None:
    """Guo et al. 2017: fifteen bins of equal width, the gap of each weighed by how much it holds."""
    if one.predicted is None or not one.predicted.size:
        return None
    p, y = one.predicted, g.bundle.suite.correct[g.rows].astype(np.float64)
    place, total = np.clip(np.floor(p * 15), 0, 14), 0.0
    for b in range(15):
        inside = place == b
        if inside.any():
            total += float(abs(y[inside].mean() - p[inside].mean()) * inside.mean())
    return total


def _auroc(g: Group, one: Measured) -> float | None:
    """Count the pairs that a model's predictions order rightly, ties half; the mean over models that fail and solve."""
    if one.predicted is None:
        return None
    found = list[float]()
    for p, solved in zip(one.predicted.T, g.bundle.suite.correct[g.rows].T >= SOLVED, strict=True):
        wrong = np.sort(p[~solved])
        if len(wrong) and solved.any():
            below, upto = (np.searchsorted(wrong, p[solved], side) for side in ("left", "right"))
            found.append(float(np.mean((below + upto) / 2) / len(wrong)))
    return float(np.mean(found)) if found else None


def _robustness(g: Group, one: Measured) -> float | None:
    queries = g.bundle.suite.queries.iloc[g.rows]
    if "paraphrase_of" not in queries:
        return None
    chosen = dict(zip(queries["query_id"], one.chosen.tolist(), strict=True))
    pairs = [pair for pair in zip(queries["query_id"], queries["paraphrase_of"], strict=True) if pair[1] in chosen]
    return float(np.mean([chosen[copy] == chosen[original] for copy, original in pairs])) if pairs else None


STANDINGS: dict[str, Callable[[Group, Panel], Any]] = {
    "rank": _rank("utility"),
    "rank_every_call": _rank("utility_every_call"),
    "percent_of_oracle": _percent_of_oracle,
    "metrics": _metrics,
    **{key: (lambda g, panel, key=key: panel.intervals[g.router][key]) for key in KEYS},  # type: ignore[misc]
}
