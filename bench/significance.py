"""Intervals, paired differences and rank groups of the leaderboard's rows, from one bootstrap a split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.config import RunConfig
from bench.statistics import LEVEL, Bootstrap, Clusters, bootstrap, pairwise, rank_groups
from routers.base import FloatArray
from tasks.suite import Suite
from tasks.types import Domain

if TYPE_CHECKING:  # which calls this
    from bench.metrics import Row

Key = tuple[float, str, str]  # alpha, split, router
METHOD = {
    "interval": "bootstrap over clusters of queries, drawn within tasks; bias-corrected and accelerated (BCa), "
    "percentile beside it; every row on the same resamples; given the fit, so that seeds stand apart",
    "test": "paired differences, two-sided Welch t with the jackknife's standard error over clusters",
    "correction": "Holm over all pairs of ranked routers of a scenario, split and accounting",
    "rank_group": "1 + the number of routers that are significantly better",
}
Gains = Mapping[Key, FloatArray]  # (2, n) utility of every query: under the run's accounting, and with every call paid


def with_intervals(rows: Sequence["Row"], gains: Gains, suite: Suite, config: RunConfig) -> list["Row"]:
    """Return the ranked `rows` with intervals, differences and rank groups where they can be had.

    All rows of a split, of every alpha and under both accountings, see the same resamples.
    """
    told: dict[Key, dict[str, Any]] = {}
    for split in config.splits:
        clusters = clusters_of(suite, split)
        mine = [row for row in rows if row.split == split]
        if _lacking(suite, split, clusters) is not None or not mine:
            continue
        values = np.concatenate([gains[row.alpha, split, row.router] for row in mine])
        both = bootstrap(values.T, clusters, config.average, config.bootstrap)
        paid, every_call = (both.take(list(range(start, 2 * len(mine), 2))) for start in (0, 1))
        limits = (paid.bca(), paid.percentile(), every_call.bca())
        for place, row in enumerate(mine):
            names = ("utility", "utility_percentile", "utility_every_call")
            told[row.alpha, split, row.router] = {
                f"{name}_{end}": _number(found[side, place])
                for name, found in zip(names, limits, strict=True)
                for side, end in enumerate(("low", "high"))
            }
        for alpha in {row.alpha for row in mine}:
            ranked = [place for place, row in enumerate(mine) if row.alpha == alpha and not row.reference]
            panel = [mine[place] for place in ranked]
            for name, fields in _compare(panel, paid.take(ranked), every_call.take(ranked)).items():
                told[alpha, split, name] |= fields
    return [replace(row, **told.get((row.alpha, row.split, row.router), {})) for row in rows]


def _compare(panel: Sequence["Row"], paid: Bootstrap, every_call: Bootstrap) -> dict[str, dict[str, Any]]:
    """Return, by router, the fields that compare the ranked rows of one scenario and split with each other."""
    if not panel:
        return {}
    plain, corrected = pairwise(paid)
    groups = rank_groups(paid.estimate, corrected)
    groups_paid = rank_groups(every_call.estimate, pairwise(every_call)[1])
    names = [row.router for row in panel]
    best = min(panel, key=lambda row: (row.rank or 0, row.router)).router
    found: dict[str, dict[str, Any]] = {
        name: {"rank_group": int(groups[i]), "rank_group_every_call": int(groups_paid[i])}
        for i, name in enumerate(names)
    }
    for key, other in (("versus_best_single", "best_single"), ("versus_best", best)):
        if other not in names:
            continue
        column = names.index(other)
        apart = paid.minus(column)
        low, high = apart.bca()
        for i, name in enumerate(names):
            if name != other:
                found[name][key] = {
                    "router": other,
                    "difference": float(apart.estimate[i]),
                    "low": _number(low[i]),
                    "high": _number(high[i]),
                    "p": float(plain[column, i]),
                    "p_holm": float(corrected[column, i]),
                }
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def clusters_of(suite: Suite, split: Domain) -> Clusters:
    """Return the clusters of a split's test queries."""
    rows = suite.rows("test", split)
    return Clusters.of(suite.task[rows], suite.queries["cluster_id"].iloc[rows].to_numpy(dtype=object))


def _lacking(suite: Suite, split: Domain, clusters: Clusters) -> str | None:
    """Return in words why a split has no intervals, or None where it has."""
    tasks = suite.tasks_of(suite.rows("test", split))
    alone = [tasks[code].name for code in clusters.alone()]
    if not alone:
        return None
    return f"an interval cannot be had: of {', '.join(alone)} there is a single query or passage, which shows no spread"


def about(suite: Suite, config: RunConfig) -> dict[str, Any] | None:
    """Return the `statistics` object of leaderboard.json: how it was done, and why a split has none; None if off."""
    if not config.bootstrap:
        return None
    by_split: dict[str, Any] = {}
    for split in config.splits:
        clusters = clusters_of(suite, split)
        counts = {"n_tasks": int(clusters.task.max()) + 1, "n_clusters": len(clusters.task)}
        by_split[split] = counts | {"lacking": _lacking(suite, split, clusters)}
    return {"resamples": config.bootstrap, "level": LEVEL, **METHOD, "splits": by_split}
