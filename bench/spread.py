"""How sure utilities and their differences are at any alpha, given what every router decided: for the page's slider.

A utility is accuracy − alpha · cost, and the jackknife's share of a cluster in its error is linear in it. So the
variance of a difference Δ between two routers is a quadratic in alpha, V(Δaccuracy) − 2 alpha C(Δaccuracy, Δcost) +
alpha² V(Δcost), and three numbers a pair tell it everywhere. At the run's own alphas stand bootstrapped intervals.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.config import RunConfig
from bench.evaluate import Routed, score
from bench.metrics import accounting_of
from bench.significance import clusters_of
from bench.statistics import deviations
from routers.base import Accounting, AlphaMode, FloatArray
from tasks.suite import Suite
from tasks.types import Domain

COLUMNS = (
    "accuracy_variance",
    "covariance",
    "cost_variance",
    "covariance_every_call",
    "cost_variance_every_call",
)
_ENOUGH = 30  # clusters of a task
Runs = Mapping[float, Sequence[Routed]]  # the seeds of one router, by alpha


def table(routed: Sequence[Routed], suite: Suite, config: RunConfig) -> pd.DataFrame:
    """Return `COLUMNS` of every router's utility (`other` empty) and of the difference of every pair that is ranked.

    One set for each split and each alpha that was run or stands beside those: there, a router whose decisions follow
    alpha but were not made for it decides as at the nearest (`decided`; the lower of two). Without the rows of a split
    in which some task has fewer than 30 clusters, too few for the normal distribution that the page takes. Cost is that
    of the run, and that of every call.
    """
    found: list[dict[str, Any]] = []
    for split in config.splits:
        mine = [one for one in routed if one.split == split]
        if mine and clusters_of(suite, split).peers.min() >= _ENOUGH:
            found += _of_split(mine, suite, config, split)
    return pd.DataFrame(found, columns=["split", "alpha", "router", "other", "decided", *COLUMNS])


def _of_split(routed: Sequence[Routed], suite: Suite, config: RunConfig, split: Domain) -> list[dict[str, Any]]:
    by_router: dict[str, dict[float, list[Routed]]] = defaultdict(lambda: defaultdict(list))
    for one in routed:
        by_router[one.spec.name][one.scenario.alpha].append(one)
    names = sorted(by_router)
    ranked = {name for name in names if not next(iter(by_router[name].values()))[0].spec.reference}
    clusters, found = clusters_of(suite, split), list[dict[str, Any]]()
    errors: dict[tuple[str, float], FloatArray] = {}
    for alpha in sorted({one.scenario.alpha for one in routed}):
        decided = {name: _decided(by_router[name], alpha) for name in names}
        before, errors = errors, {}  # those of one alpha are all that is kept
        for name, at in decided.items():
            if (known := before.get((name, at))) is None:
                gains = _gains(by_router[name][at], suite, config).astype(np.float64)
                known = deviations(gains.T, clusters, config.average)
            errors[name, at] = known
        told = _moments(np.stack(list(errors.values()), axis=-1))
        for i, name in enumerate(names):
            for j, other in enumerate(names[: i + 1]):
                if i == j or {name, other} <= ranked:
                    key = {"split": split, "alpha": alpha, "router": name, "other": other if i != j else ""}
                    found.append(key | {"decided": decided[name]} | dict(zip(COLUMNS, told[:, i, j], strict=True)))
    return found


def _decided(runs: Runs, alpha: float) -> float:
    """Return the alpha of the decisions that stand for `alpha`; any where the router does not depend on it."""
    if next(iter(runs.values()))[0].router.alpha_mode is AlphaMode.NONE and alpha not in runs:
        return min(runs)
    return min(sorted(runs), key=lambda one: round(1e9 * abs(one - alpha)))


def _gains(seeds: Sequence[Routed], suite: Suite, config: RunConfig) -> FloatArray:
    """Return (3, n) correctness, cost as the run charges it, and cost of every call, means over seeds."""
    scored = [score(one, suite) for one in seeds]
    own = accounting_of(seeds[0], config)
    found: FloatArray = np.mean([[s.correct, s.cost[own], s.cost[Accounting.EVERY_CALL]] for s in scored], axis=0)
    return found


def _moments(errors: FloatArray) -> FloatArray:
    """Return (5, R, R) `COLUMNS` of differences between R routers, on the diagonal those of their own utilities.

    `errors` is (m, 3, R): deviations of accuracy, cost, and cost of every call.
    """
    accuracy, cost, every_call = errors[:, 0], errors[:, 1], errors[:, 2]

    def of(one: FloatArray, two: FloatArray) -> FloatArray:
        products = one.T @ two
        own = np.diag(products)
        apart: FloatArray = own[:, None] + own[None, :] - products - products.T
        return np.where(np.eye(len(own), dtype=bool), own, apart)

    pairs = [(accuracy, accuracy), (accuracy, cost), (cost, cost), (accuracy, every_call), (every_call, every_call)]
    return np.array([of(one, two) for one, two in pairs])
