"""What follows from all rows of a split together: a router that is run at several alphas is a curve of points."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.field_metrics import METRICS
from bench.frontier import DIGITS, SINGLE, Row, pareto_points, points_of, single_models, winners_by_alpha


def frontiers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return, for every split, all that follows from the points of `rows`: those of `leaderboard.json` as mappings."""
    found = []
    for split in dict.fromkeys(row["split"] for row in rows):
        mine = [row for row in rows if row["split"] == split]
        ranked = [row for row in mine if not row["reference"]]
        winners, changes = winners_by_alpha(ranked)
        found.append(
            {
                "split": split,
                "single_models": single_models(mine),
                "pareto": [
                    {name: row[name] for name in ("router", "alpha", "cost", "accuracy")} for row in _optimal(ranked)
                ],
                "winners": winners,
                "changes": changes,
                "curves": _curves(mine, ranked),
            }
        )
    return found


def _optimal(ranked: Sequence[Row]) -> list[Row]:
    """Return the rows, of all alphas, that no row dominates; of the rows on one point the first of a router."""
    if not ranked:
        return []
    points = points_of(ranked)
    best = pareto_points(points).tolist()
    kept = {(row["router"], *point): row for row, point in reversed([*zip(ranked, points.tolist(), strict=True)])}
    return [row for (_, *point), row in sorted(kept.items(), key=lambda one: (one[0][1], one[0][0])) if point in best]


def _curves(rows: Sequence[Row], ranked: Sequence[Row]) -> list[dict[str, Any]]:
    """Return every ranked router's points, by alpha, and the metrics of its curve."""
    first = {row["router"]: row for row in rows if row["router"].startswith(SINGLE)}
    singles, everyone = points_of(list(first.values())), points_of(ranked)
    pool = rows[0]["pool"]
    found = []
    for router in dict.fromkeys(row["router"] for row in ranked):
        mine = sorted((row for row in ranked if row["router"] == router), key=lambda row: row["alpha"])
        points = points_of(mine)
        told: dict[str, tuple[Any, ...]] = {"aiq": (points,), "pareto_dist": (points, np.vstack([everyone, singles]))}
        told |= dict.fromkeys(("perf_gain", "cost_save"), (points, singles))
        if len(pool) == 2 and len(first) == 2:
            strong = np.array([(row["share"][pool[1]], row["accuracy"]) for row in mine]).round(DIGITS)
            weak_and_strong = (first[SINGLE + name]["accuracy"] for name in pool)
            told |= dict.fromkeys(("apgr", "cpt_50", "cpt_80"), (strong, *weak_and_strong))
        metrics = {
            name: metric.function(*told[name]) if name in told else None
            for name, metric in METRICS.items()
            if metric.curve
        }
        shown = ("alpha", "cost", "accuracy", "utility")
        found.append({"router": router, "points": [{k: row[k] for k in shown} for row in mine], "metrics": metrics})
    return found
