"""What the field measures routers by, each metric as its authors define it, so that numbers can be held against theirs.

A metric is a frozen record of its name, unit and direction, of the formula in words, and of the function. None is what
does not apply: no curve, no headroom, no prices, no predictions, no paraphrases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.frontier import Floats, pareto_points, upper_hull
from tasks.suite import SOLVED

Ints = NDArray[np.int64]
BINS = 15  # of the expected calibration error (Guo et al. 2017)
CHEAPEST_USD, DEAREST_USD, BETA = 0.0044, 200.0, 0.1  # of the Arena score, in US dollars per 1,000 queries


@dataclass(frozen=True)
class Metric:
    """One metric: `unit` is empty for a number without one; `curve` where it belongs to a curve, not to a row."""

    name: str
    unit: str
    higher_is_better: bool
    definition: str
    source: str
    function: Callable[..., float | None]
    curve: bool = False

    def about(self) -> dict[str, Any]:
        """Return what a reader of the results has to know."""
        told = {"unit": self.unit, "direction": "higher" if self.higher_is_better else "lower"}
        return told | {"definition": self.definition, "source": self.source}


def aiq(points: Floats) -> float | None:
    """Return the mean height of the non-decreasing hull of (n, 2) points (cost, accuracy) over their costs."""
    low, high = points[:, 0].min(), points[:, 0].max()
    if high <= low:
        return None
    hull = upper_hull(points)
    hull = np.vstack([hull, [high, hull[-1, 1]]])  # flat beyond the most accurate point
    return float(np.trapezoid(hull[:, 1], hull[:, 0]) / (high - low))


def apgr(points: Floats, weak: float, strong: float) -> float | None:
    """Return the share of the gap between two models' accuracies that is recovered on average over strong calls.

    `points` (n, 2) are (share of strong calls, accuracy); sending nothing and everything to the strong model belong to
    every curve.
    """
    if strong == weak:
        return None
    curve = _between(points, weak, strong)
    return float((np.trapezoid(curve[:, 1], curve[:, 0]) - weak) / (strong - weak))


def cpt(points: Floats, weak: float, strong: float, percent: float) -> float | None:
    """Return the least share of strong calls, on lines between `points` as in `apgr`, that recovers `percent` of it."""
    if strong <= weak:
        return None
    curve, wanted = _between(points, weak, strong), weak + percent / 100.0 * (strong - weak)
    reached = int(np.argmax(curve[:, 1] >= wanted - 1e-12))
    if reached == 0:
        return 0.0
    (x0, y0), (x1, y1) = curve[reached - 1], curve[reached]
    return float(x0 + (x1 - x0) * (wanted - y0) / (y1 - y0))


def _between(points: Floats, weak: float, strong: float) -> Floats:
    curve: Floats = np.vstack([[0.0, weak], points[np.lexsort((points[:, 1], points[:, 0]))], [1.0, strong]])
    return curve


def arena_score(accuracy: float, cost_usd: float | None) -> float | None:
    """Return the weighted harmonic mean of accuracy and of the logarithm of the cost of a query in US dollars."""
    if cost_usd is None:
        return None
    cost = min(max(1000.0 * cost_usd, CHEAPEST_USD), DEAREST_USD)
    cheap = np.log2(DEAREST_USD / cost) / np.log2(DEAREST_USD / CHEAPEST_USD)
    return float((1 + BETA) * accuracy * cheap / (BETA * accuracy + cheap)) if accuracy > 0.0 else 0.0


def perf_gain(points: Floats, singles: Floats) -> float | None:
    """Return the best accuracy of a curve above that of the most accurate single model; (n, 2) and (K, 2) points."""
    return float(points[:, 1].max() - singles[:, 1].max()) if len(singles) else None


def cost_save(points: Floats, singles: Floats) -> float | None:
    """Return the largest saving of a curve, in shares of that model's cost, at the best single model's accuracy."""
    if not len(singles):
        return None
    cost, accuracy = singles[np.lexsort((singles[:, 0], -singles[:, 1]))[0]]
    reach = points[points[:, 1] >= accuracy - 1e-12, 0]
    return float(1.0 - reach.min() / cost) if len(reach) and cost > 0.0 else None


def pareto_dist(points: Floats, others: Floats) -> float:
    """Return the mean distance of a curve's points to the nearest Pareto-optimal one among them and all `others`."""
    best = pareto_points(np.vstack([points, others]))
    return float(np.hypot(*(points[:, None] - best[None]).transpose(2, 0, 1)).min(axis=1).mean())


def percent_of_oracle(utility: float, oracle: float | None, best_single: float | None) -> float | None:
    """Return utility in percent of the oracle's, where the oracle beats the best single model and 0."""
    if oracle is None or best_single is None or oracle <= max(best_single, 0.0):
        return None
    return 100.0 * utility / oracle


def regret(utility: float, best: float | None) -> float | None:
    """Return what is missing to the best possible utility."""
    return None if best is None else best - utility


def calibration_error(predicted: Floats | None, correct: Floats) -> float | None:
    """Return the mean over all (n, K) predictions of |accuracy − mean prediction| in their bin of equal width."""
    if predicted is None or not predicted.size:
        return None
    p, y = predicted.ravel().astype(np.float64), correct.ravel()  # a bin's edge is the same in every precision
    place = np.minimum((p * BINS).astype(np.int64).clip(0), BINS - 1)
    return float(np.abs(np.bincount(place, y - p, minlength=BINS)).sum() / len(p))


def auroc(predicted: Floats | None, correct: Floats) -> float | None:
    """Return the mean over models of P(a query it solves is predicted above one it does not), ties counting half.

    A model that solves all queries or none is left out: pooled pairs would credit a router for knowing the models.
    """
    if predicted is None:
        return None
    found = []
    for p, solved in zip(predicted.T, correct.T >= SOLVED, strict=True):
        n, m = int(solved.sum()), int((~solved).sum())
        if n and m:
            found.append((rankdata(p)[solved].sum() - n * (n + 1) / 2) / (n * m))
    return float(np.mean(found)) if found else None


def robustness(chosen: Ints, original: Ints) -> float | None:
    """Return 1 − the share of paraphrases that are sent to another model than the query that they paraphrase.

    `chosen` (n,) models; `original` (n,) the position of the paraphrased query, −1 of a query that paraphrases none.
    """
    rows = np.flatnonzero(original >= 0)
    return float((chosen[rows] == chosen[original[rows]]).mean()) if len(rows) else None


_ROUTER_BENCH, _ROUTE_LLM = "RouterBench (Hu et al. 2024)", "RouteLLM (Ong et al. 2024)"
_ARENA, _LLM_ROUTER_BENCH = "RouterArena (Lu et al. 2025)", "LLMRouterBench (Li et al. 2026), defined there in words"

METRICS = {
    metric.name: metric
    for metric in (
        Metric("percent_of_oracle", "%", True, "100 · utility ÷ that of the paper's oracle", "here", percent_of_oracle),
        Metric("regret", "utility", False, "best possible utility − utility", "here", regret),
        Metric(
            "arena_score",
            "",
            True,
            "(1 + β)·A·C ÷ (β·A + C), β = .1, C = log2(200 ÷ c) ÷ log2(200 ÷ .0044), c US dollars per 1,000 queries",
            _ARENA,
            arena_score,
        ),
        Metric(
            "calibration_error",
            "probability",
            False,
            f"mean |accuracy − prediction| over {BINS} bins of equal width, query × model pairs pooled",
            "Guo et al. 2017",
            calibration_error,
        ),
        Metric(
            "auroc", "probability", True, "area under the ROC of P(correct), mean over models", "Fawcett 2006", auroc
        ),
        Metric("robustness", "share", True, "1 − share of choices that flip under paraphrase", _ARENA, robustness),
        Metric(
            "aiq",
            "accuracy",
            True,
            "mean height of the non-decreasing convex hull of a router's (cost, accuracy) points over its own costs",
            _ROUTER_BENCH,
            aiq,
            curve=True,
        ),
        Metric(
            "apgr",
            "share",
            True,
            "(area under accuracy over the share of strong calls − weak) ÷ (strong − weak), pools of two",
            _ROUTE_LLM,
            apgr,
            curve=True,
        ),
        *(
            Metric(
                f"cpt_{percent}",
                "share",
                False,
                f"share of strong calls that recovers {percent} % of the gap, pools of two",
                _ROUTE_LLM,
                partial(cpt, percent=percent),
                curve=True,
            )
            for percent in (50, 80)
        ),
        Metric(
            "perf_gain",
            "accuracy",
            True,
            "best accuracy − that of the most accurate single model",
            _LLM_ROUTER_BENCH,
            perf_gain,
            curve=True,
        ),
        Metric(
            "cost_save",
            "share",
            True,
            "1 − least cost at the best single model's accuracy ÷ that model's cost",
            _LLM_ROUTER_BENCH,
            cost_save,
            curve=True,
        ),
        Metric(
            "pareto_dist",
            "cost–accuracy plane",
            False,
            "mean distance to the nearest Pareto-optimal point of all routers and single models",
            _LLM_ROUTER_BENCH,
            pareto_dist,
            curve=True,
        ),
    )
}
