"""Acceptance thresholds of a cascade, chosen for utility."""

import numpy as np

from routers.base import BoolArray, FloatArray
from tasks.scenarios import utility


def search_cascade(
    scores: FloatArray, correct: FloatArray, weight: FloatArray, costs: FloatArray, alpha: float
) -> FloatArray:
    """Return the (K − 1,) thresholds: stage i answers if its score reaches its threshold, the last stage always does.

    `scores` and `correct` are (n, K), `weight` (n,) is how much each query counts. Coordinate ascent, started from
    every single model and from "accept where the score says that passing on cannot pay": with the other stages fixed,
    the best threshold of one stage is found exactly, by one sort. Thresholds need not be monotone, neither in score
    nor in acceptance rate. Only the model that answers is charged.
    """
    gain = weight[:, None] * utility(
        np.asarray(correct, dtype=np.float64), np.broadcast_to(costs, correct.shape), alpha
    )
    scores = np.asarray(scores, dtype=np.float64)
    k = scores.shape[1]
    starts = [np.where(np.arange(k - 1) < single, np.inf, -np.inf) for single in range(k)]
    starts.append(np.clip(1.0 - alpha * (costs[-1] - costs[:-1]), 0.0, 1.0))
    return max(
        (_ascend(start.astype(np.float64), scores, gain) for start in starts),
        key=lambda thresholds: _value(thresholds, scores, gain),
    )


def _ascend(thresholds: FloatArray, scores: FloatArray, gain: FloatArray) -> FloatArray:
    thresholds, best = thresholds.copy(), _value(thresholds, scores, gain)
    while True:
        for stage in reversed(range(len(thresholds))):
            reached = np.asarray((scores[:, :stage] < thresholds[:stage]).all(axis=1))
            passed_on = _realised(thresholds[stage + 1 :], scores[:, stage + 1 :], gain[:, stage + 1 :])
            thresholds[stage] = _best_cut(scores[:, stage], gain[:, stage] - passed_on, reached)
        value = _value(thresholds, scores, gain)
        if value <= best + 1e-12:
            return thresholds
        best = value


def _realised(thresholds: FloatArray, scores: FloatArray, gain: FloatArray) -> FloatArray:
    """Return what every query gains in the cascade of these stages, the last of which has no threshold."""
    accepted = np.column_stack([scores[:, :-1] >= thresholds, np.ones(len(scores), dtype=bool)])
    realised: FloatArray = gain[np.arange(len(gain)), accepted.argmax(axis=1)]
    return realised


def _value(thresholds: FloatArray, scores: FloatArray, gain: FloatArray) -> float:
    return float(_realised(thresholds, scores, gain).sum())


def _best_cut(score: FloatArray, advantage: FloatArray, reached: BoolArray) -> float:
    """Return the threshold on `score` that maximises the summed advantage of accepting, over the queries reached."""
    if not reached.any():
        return float("inf")
    order = np.argsort(-score[reached], kind="stable")
    ranked, total = score[reached][order], np.cumsum(advantage[reached][order])
    cuts = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    best = cuts[total[cuts].argmax()]
    if total[best] <= 0.0:
        return float("inf")
    if best == len(ranked) - 1:
        return float("-inf")
    return float((ranked[best] + ranked[best + 1]) / 2.0)
