"""Acceptance thresholds of a cascade, chosen for utility, or for accuracy under a budget."""

import numpy as np

from routers.base import BoolArray, FloatArray, IntArray
from tasks.errors import InputError
from tasks.scenarios import utility

# What a unit of cost may be worth where the search for the best cascade within a budget starts.
_GRID_POINTS, _GRID_CELLS, _GRID_BEST = 1000, 1e7, 3
_JUMPS = 25
_EXCHANGE_RATES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def search_cascade(
    scores: FloatArray,
    correct: FloatArray,
    weight: FloatArray,
    costs: FloatArray,
    alpha: float,
    budget: float = np.inf,
) -> FloatArray:
    """Return the (K − 1,) thresholds: stage i answers if its score reaches its threshold, the last stage always does.

    `scores` and `correct` are (n, K), `weight` (n,) is how much each query counts. The best mean of correct − alpha ·
    cost whose mean cost does not exceed `budget` is sought; only the model that answers is charged. Coordinate ascent,
    started from every single model and from "accept where the score says that passing on cannot pay" (with a budget,
    also from the best cascades at some exchange rates between accuracy and cost): with the other stages fixed, the
    best threshold of one stage is found exactly, by one sort. Thresholds need not be monotone, neither in score nor in
    acceptance rate. Raises `InputError` for a budget that not even the cheapest model keeps.
    """
    if budget < costs.min():
        raise InputError(f"the budget is {budget:g} a query, but the cheapest model costs {costs.min():g}")
    correct, scores = np.asarray(correct, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    spent = (weight / weight.sum())[:, None] * costs
    gain = weight[:, None] * utility(correct, np.broadcast_to(costs, correct.shape), alpha)
    k = scores.shape[1]
    starts = [np.where(np.arange(k - 1) < single, np.inf, -np.inf) for single in range(k)]
    starts.append(np.clip(1.0 - alpha * (costs[-1] - costs[:-1]), 0.0, 1.0))
    starts += _best_of_grid(scores, gain, spent, budget)
    if np.isfinite(budget):
        starts += [search_cascade(scores, correct, weight, costs, rate) for rate in _EXCHANGE_RATES]
    found = [_ascend(start.astype(np.float64), scores, gain, spent, budget) for start in starts]
    best = max(found, key=lambda thresholds: _total(thresholds, scores, gain))
    return best if np.isinf(budget) else _jump(best, scores, gain, spent, budget)


def _jump(best: FloatArray, scores: FloatArray, gain: FloatArray, spent: FloatArray, budget: float) -> FloatArray:
    """Return the best thresholds that are found by moving one far and letting the others follow, as often as it helps.

    Within a budget what one stage saves another may spend, which no step of a single stage finds.
    """
    improved = True
    while improved:
        improved = False
        for stage, column in enumerate(scores[:, :-1].T):
            for cut in (*np.quantile(column, np.linspace(0.0, 1.0, _JUMPS)), np.inf, -np.inf):
                moved = best.copy()
                moved[stage] = cut
                moved = _ascend(moved, scores, gain, spent, budget, last=stage)
                kept = _total(moved, scores, spent) <= budget + 1e-12
                if kept and _total(moved, scores, gain) > _total(best, scores, gain) + 1e-12:
                    best, improved = moved, True
    return best


def _best_of_grid(scores: FloatArray, gain: FloatArray, spent: FloatArray, budget: float) -> list[FloatArray]:
    """Return the best thresholds of a plain grid over the quantiles of the scores, which are enumerated at once."""
    n, k = scores.shape
    levels = int(min(_GRID_POINTS, _GRID_CELLS / n) ** (1.0 / (k - 1)) + 1e-9) if k > 1 else 0
    if levels < 3:
        return []
    cuts = np.quantile(scores[:, :-1], np.linspace(0.0, 1.0, levels), axis=0)  # (levels, K − 1)
    cuts[0], cuts[-1] = -np.inf, np.inf
    totals = []
    for amount in (gain, spent):
        later = amount[:, -1:]  # (n, grid points of the later stages)
        for stage in reversed(range(k - 1)):
            accepted = scores[:, stage, None, None] >= cuts[:, stage, None]
            later = np.where(accepted, amount[:, stage, None, None], later[:, None, :]).reshape(n, -1)
        totals.append(later.sum(axis=0))
    value = np.where(totals[1] <= budget + 1e-12, totals[0], -np.inf)
    points = np.stack(np.unravel_index(np.argsort(-value, kind="stable")[:_GRID_BEST], (levels,) * (k - 1)), axis=1)
    return [cuts[point, np.arange(k - 1)] for point in points]


def _stage(thresholds: FloatArray, scores: FloatArray) -> IntArray:
    """Return (n,) the stage at which a cascade of these (K − 1,) thresholds answers, from its scores (n, K)."""
    accepted = np.column_stack([scores[:, :-1] >= thresholds, np.ones(len(scores), dtype=bool)])
    stage: IntArray = accepted.argmax(axis=1)
    return stage


def _ascend(
    thresholds: FloatArray, scores: FloatArray, gain: FloatArray, spent: FloatArray, budget: float, last: int = 0
) -> FloatArray:
    thresholds, best = thresholds.copy(), -np.inf
    while True:
        # The first stage comes last: it can always keep the budget, by accepting everything.
        for stage in sorted(range(len(thresholds)), key=lambda stage: (stage == last, -stage)):
            reached = np.asarray((scores[:, :stage] < thresholds[:stage]).all(axis=1))
            later = thresholds[stage + 1 :], scores[:, stage + 1 :]
            advantage = gain[:, stage] - _realised(*later, gain[:, stage + 1 :])
            passed_on = _realised(*later, spent[:, stage + 1 :])
            elsewhere = _realised(thresholds[:stage], scores[:, : stage + 1], spent[:, : stage + 1])[~reached].sum()
            left = budget - elsewhere - passed_on[reached].sum()
            thresholds[stage] = _best_cut(scores[:, stage], advantage, spent[:, stage] - passed_on, reached, left)
        value = _total(thresholds, scores, gain)
        if value <= best + 1e-12:
            return thresholds
        best, last = value, 0


def _realised(thresholds: FloatArray, scores: FloatArray, amount: FloatArray) -> FloatArray:
    """Return what every query yields in the cascade of these stages, the last of which has no threshold."""
    realised: FloatArray = amount[np.arange(len(amount)), _stage(thresholds, scores)]
    return realised


def _total(thresholds: FloatArray, scores: FloatArray, amount: FloatArray) -> float:
    return float(_realised(thresholds, scores, amount).sum())


def _best_cut(score: FloatArray, advantage: FloatArray, extra: FloatArray, reached: BoolArray, left: float) -> float:
    """Return the threshold on `score` with the greatest summed advantage of accepting, over the queries reached.

    Accepting costs `extra` more than passing on, and in sum at most `left`; where no threshold keeps to that, the one
    that costs least is returned.
    """
    if not reached.any():
        return float("inf")
    order = np.argsort(-score[reached], kind="stable")
    ranked = score[reached][order]
    cuts = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    total = np.append(0.0, np.cumsum(advantage[reached][order])[cuts])  # first comes accepting nothing
    cost = np.append(0.0, np.cumsum(extra[reached][order])[cuts])
    best = np.where(cost <= left + 1e-12, total, -np.inf).argmax() if cost.min() <= left + 1e-12 else cost.argmin()
    if best == 0:
        return float("inf")
    if best == len(cuts):
        return float("-inf")
    cut = cuts[best - 1]
    return float((ranked[cut] + ranked[cut + 1]) / 2.0)
