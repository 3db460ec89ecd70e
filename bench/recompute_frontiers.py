"""Frontiers and the metrics of curves once more, apart from bench.frontier, bench.curves and bench.field_metrics.

By definition, point against point, where they sort and sweep. What is shared is that points are compared to twelve
digits, since the last ones of a mean come from the order of a sum.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]
Point = tuple[float, float]  # cost or share of strong calls, accuracy
_SAME = 1e-12


def frontier(rows: Sequence[Row], pool: Sequence[str]) -> dict[str, Any]:
    """Return what leaderboard.json says of the frontiers of a split, of its `rows` as recomputed, in their order."""
    ranked = [row for row in rows if not row["reference"]]
    winners, changes = _winners(ranked)
    singles = {row["router"].removeprefix("single:"): row for row in rows if row["router"].startswith("single:")}
    return {
        "single_models": _single_models({name: singles[name] for name in pool if name in singles}),
        "pareto": [{key: row[key] for key in ("router", "alpha", "cost", "accuracy")} for row in _pareto(ranked)],
        "winners": winners,
        "changes": changes,
        "curves": _curves(ranked, [singles[name] for name in pool if name in singles], pool),
    }


def _point(row: Row) -> Point:
    return round(row["cost"], 12), round(row["accuracy"], 12)


def _undominated(points: Sequence[Point]) -> set[Point]:
    """Return the points than which none is as cheap and as accurate without being the same."""
    distinct = set(points)
    return {p for p in distinct if not any(q[0] <= p[0] and q[1] >= p[1] for q in distinct if q != p)}


def _pareto(ranked: Sequence[Row]) -> list[Row]:
    best, kept = _undominated([_point(row) for row in ranked]), dict[Any, Row]()
    for row in ranked:
        if _point(row) in best:
            kept.setdefault((row["router"], _point(row)), row)
    return sorted(kept.values(), key=lambda row: (_point(row)[0], row["router"]))


def _single_models(singles: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Return the models that are the best single one at some alpha ≥ 0, each with those alphas, cut to [0, 1]."""
    points: dict[Point, str] = {}
    for name, row in singles.items():
        points.setdefault(_point(row), name)
    found = []
    for (cost, accuracy), name in sorted(points.items()):
        if any(c == cost and a > accuracy for c, a in points):
            continue
        high = min(((accuracy - a) / (cost - c) for c, a in points if c < cost), default=math.inf)
        low = max(0.0, *((a - accuracy) / (c - cost) for c, a in points if c > cost), 0.0)
        if high - low > 1e-9:
            span = (None, None) if low >= 1.0 else (low, min(high, 1.0))
            about = {"model": name, "cost": cost, "accuracy": accuracy}
            found.append(about | dict(zip(("alpha_from", "alpha_to"), span, strict=True)))
    return found


def _winners(ranked: Sequence[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return who wins from which alpha to which, and where the utilities of two who follow each other are equal."""
    winners, changes = list[dict[str, Any]](), list[dict[str, Any]]()
    for alpha in sorted({row["alpha"] for row in ranked}):
        leading = [row["router"] for row in ranked if row["alpha"] == alpha and row["rank"] == 1]
        if winners and winners[-1]["router"] in leading:
            winners[-1]["alpha_to"] = alpha
            continue
        if winners:
            old, new, before = winners[-1]["router"], min(leading), winners[-1]["alpha_to"]
            u = {(row["router"], row["alpha"]): row["utility"] for row in ranked}
            lead, lag = u[old, before] - u[new, before], u[new, alpha] - u[old, alpha]
            changes.append(
                {
                    "from": old,
                    "to": new,
                    "alpha": (before * lag + alpha * lead) / (lead + lag),
                    "between": [before, alpha],
                }
            )
        winners.append({"router": min(leading), "alpha_from": alpha, "alpha_to": alpha})
    return winners, changes


def _curves(ranked: Sequence[Row], singles: Sequence[Row], pool: Sequence[str]) -> list[dict[str, Any]]:
    alone = [_point(row) for row in singles]
    best = _undominated([*map(_point, ranked), *alone])
    found = []
    for router in dict.fromkeys(row["router"] for row in ranked):
        mine = sorted((row for row in ranked if row["router"] == router), key=lambda row: row["alpha"])
        points = [_point(row) for row in mine]
        metrics: dict[str, float | None] = {"aiq": _aiq(points), "apgr": None, "cpt_50": None, "cpt_80": None}
        if len(pool) == len(singles) == 2:
            weak, strong = (row["accuracy"] for row in singles)
            calls = sorted((round(row["share"][pool[1]], 12), round(row["accuracy"], 12)) for row in mine)
            line = [(0.0, weak), *calls, (1.0, strong)]
            metrics |= {"apgr": _apgr(line), "cpt_50": _cpt(line, 0.5), "cpt_80": _cpt(line, 0.8)}
        metrics |= {"perf_gain": None, "cost_save": None}
        if alone:
            top = max(accuracy for _, accuracy in alone)
            price = min(cost for cost, accuracy in alone if accuracy == top)
            enough = [cost for cost, accuracy in points if accuracy >= top - _SAME]
            metrics["perf_gain"] = max(accuracy for _, accuracy in points) - top
            metrics["cost_save"] = 1.0 - min(enough) / price if enough and price > 0.0 else None
        metrics["pareto_dist"] = math.fsum(min(math.dist(p, q) for q in best) for p in points) / len(points)
        shown = [{key: row[key] for key in ("alpha", "cost", "accuracy", "utility")} for row in mine]
        found.append({"router": router, "points": shown, "metrics": metrics})
    return found


def _area(line: Sequence[Point]) -> float:
    return math.fsum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(line))


def _aiq(points: Sequence[Point]) -> float | None:
    """RouterBench: the mean height over a curve's costs of what one of its points, or a mix of two, reaches."""
    costs, distinct = sorted({cost for cost, _ in points}), set(points)
    if len(costs) < 2:
        return None
    heights = []
    for x in costs:
        left = [(c, a) for c, a in distinct if c <= x]
        right = [(c, a) for c, a in distinct if c > x]
        mixed = (a + (x - c) * (b - a) / (d - c) for c, a in left for d, b in right)
        heights.append((x, max(*(a for _, a in left), *mixed, -math.inf)))
    return _area(heights) / (costs[-1] - costs[0])


def _apgr(line: Sequence[Point]) -> float | None:
    """RouteLLM: the area between a curve over strong calls and the weak model, over that of always the strong one."""
    weak, strong = line[0][1], line[-1][1]
    return None if strong == weak else (_area(line) - weak) / (strong - weak)


def _cpt(line: Sequence[Point], share: float) -> float | None:
    """RouteLLM: the first share of strong calls at which `share` of the gap is recovered."""
    weak, strong = line[0][1], line[-1][1]
    if strong <= weak:
        return None
    wanted = weak + share * (strong - weak)
    for (x0, y0), (x1, y1) in pairwise(line):
        if y1 >= wanted - _SAME:
            return x0 + (x1 - x0) * (wanted - y0) / (y1 - y0)
    return None
