"""Frontiers: the hull of the single models, the Pareto-optimal routers, and the alpha at which the winner changes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
SINGLE = "single:"
DIGITS = 12  # points are compared to: their last digits come from the order of a sum
_STRAIGHT = 1e-9  # slopes that differ by less are one line


def upper_hull(points: Floats) -> Floats:
    """Return the upper convex hull of (n, 2) points (cost, accuracy), cheapest first, up to the most accurate."""
    hull: list[Floats] = []
    for point in points[np.lexsort((-points[:, 1], points[:, 0]))]:
        if hull and point[1] <= hull[-1][1]:
            continue  # dearer and no better
        while len(hull) > 1 and _slope(hull[-2], point) >= _slope(hull[-2], hull[-1]) - _STRAIGHT:
            hull.pop()
        hull.append(point)
    return np.array(hull).reshape(-1, 2)


def _slope(start: Floats, end: Floats) -> float:
    return float((end[1] - start[1]) / (end[0] - start[0]))


def pareto_points(points: Floats) -> Floats:
    """Return the (m, 2) of (n, 2) points (cost, accuracy) that none equals in both and beats in one, cheapest first."""
    ordered = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best = np.maximum.accumulate(np.concatenate([[-np.inf], ordered[:-1, 1]]))
    return ordered[ordered[:, 1] > best]


def pareto_optimal(rows: Sequence[Row]) -> set[str]:
    """Return the routers that no other router equals or beats in accuracy and cost, beating it in one.

    Reference rows, and rows without accuracy or cost, neither dominate nor belong.
    """
    routers = [row for row in rows if not row["reference"] and None not in (row["accuracy"], row["cost"])]
    if not routers:
        return set()
    points = points_of(routers)
    best = pareto_points(points).tolist()
    return {row["router"] for row, point in zip(routers, points.tolist(), strict=True) if point in best}


def points_of(rows: Sequence[Row]) -> Floats:
    """Return the (n, 2) points (cost, accuracy) of rows, rounded to `DIGITS`."""
    points = np.array([(row["cost"], row["accuracy"]) for row in rows], dtype=np.float64).reshape(-1, 2)
    return points.round(DIGITS)


def single_models(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the hull of the single models, cheapest first, each with the alphas at which it is the best of them.

    Utility is a line in alpha for a model, so that the best one changes where alpha is the slope of the hull.
    """
    singles = {row["router"]: row for row in rows if row["router"].startswith(SINGLE)}
    points = points_of(list(singles.values()))
    names = {
        tuple(point): name.removeprefix(SINGLE)
        for name, point in reversed([*zip(singles, points.tolist(), strict=True)])
    }
    hull = upper_hull(points)
    if not len(hull):
        return []
    slopes = [np.inf, *(_slope(a, b) for a, b in pairwise(hull)), 0.0]
    found = []
    for (cost, accuracy), above, below in zip(hull.tolist(), slopes[:-1], slopes[1:], strict=True):
        about = {"model": names[cost, accuracy], "cost": cost, "accuracy": accuracy}
        if below < 1.0:  # else a dearer one is better at every alpha
            found.append(about | {"alpha_from": max(below, 0.0), "alpha_to": min(above, 1.0)})
        else:
            found.append(about | {"alpha_from": None, "alpha_to": None})
    return found


def winners_by_alpha(ranked: Sequence[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return who wins over which of the alphas that were run, and where the winner changes.

    Who wins goes on winning while nobody is better. Between two alphas that were run, `alpha` is where the lines
    between both routers' utilities cross: exact for routers that do not depend on alpha.
    """
    alphas = sorted({row["alpha"] for row in ranked})
    utility = {alpha: {row["router"]: row["utility"] for row in ranked if row["alpha"] == alpha} for alpha in alphas}
    winners: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    for alpha in alphas:
        leading = sorted(row["router"] for row in ranked if row["alpha"] == alpha and row["rank"] == 1)
        if winners and winners[-1]["router"] in leading:
            winners[-1]["alpha_to"] = alpha
            continue
        if winners:
            old, new, before = winners[-1]["router"], leading[0], winners[-1]["alpha_to"]
            ahead, behind = (utility[a][old] - utility[a][new] for a in (before, alpha))
            crossing = before + (alpha - before) * ahead / (ahead - behind)
            changes.append({"from": old, "to": new, "alpha": crossing, "between": [before, alpha]})
        winners.append({"router": leading[0], "alpha_from": alpha, "alpha_to": alpha})
    return winners, changes
