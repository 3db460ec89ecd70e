"""Hulls, frontiers and the alphas at which winners change, by hand and for any points."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.curves import frontiers
from bench.frontier import pareto_optimal, pareto_points, single_models, upper_hull, winners_by_alpha


def row(router: str, cost: float | None, accuracy: float | None, alpha: float = 0.5, **other: Any) -> dict[str, Any]:
    utility = None if cost is None or accuracy is None else accuracy - alpha * cost
    known = {"reference": router.startswith("single:"), "split": "id", "rank": None, "pool": ["a", "b"]}
    return {"router": router, "cost": cost, "accuracy": accuracy, "alpha": alpha, "utility": utility, **known, **other}


def ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give rank 1 to the best of every alpha."""
    for one in rows:
        best = max(other["utility"] for other in rows if other["alpha"] == one["alpha"])
        one["rank"] = 1 if one["utility"] >= best - 1e-12 else 2
    return rows


def test_pareto_optimal_by_hand() -> None:
    rows = [
        row("cheap", 0.1, 0.5),
        row("twin", 0.1, 0.5),  # equal points do not dominate one another
        row("worse", 0.2, 0.5),
        row("best", 0.9, 0.9),
        row("null", None, None),
        row("oracle", 0.0, 1.0, reference=True),
    ]
    assert pareto_optimal(rows) == {"cheap", "twin", "best"}
    assert pareto_optimal([]) == set()


def test_upper_hull_by_hand() -> None:
    points = np.array([[0.0, 0.2], [1.0, 0.8], [0.5, 0.4], [0.5, 0.7], [0.25, 0.3], [2.0, 0.5], [0.0, 0.1]])
    assert upper_hull(points).tolist() == [[0.0, 0.2], [0.5, 0.7], [1.0, 0.8]]
    assert upper_hull(np.empty((0, 2))).shape == (0, 2)


some_points = st.lists(
    st.tuples(st.sampled_from(np.linspace(0, 1, 11)), st.sampled_from(np.linspace(0, 1, 11))), min_size=1, max_size=12
).map(np.array)


@given(some_points, st.floats(0.01, 0.99))
def test_the_hull_holds_the_best_point_for_every_alpha(points: Any, alpha: float) -> None:
    best = (points[:, 1] - alpha * points[:, 0]).max()
    for frontier in (upper_hull(points), pareto_points(points)):
        assert (frontier[:, 1] - alpha * frontier[:, 0]).max() == pytest.approx(best)
        assert (np.diff(frontier, axis=0) > 0).all()


@given(some_points, st.floats(0.001, 0.999))
def test_single_models_are_best_where_they_are_said_to_be(points: Any, alpha: float) -> None:
    found = single_models([row(f"single:{i}", *point) for i, point in enumerate(points.tolist())])
    best = (points[:, 1] - alpha * points[:, 0]).max()
    said = [one for one in found if one["alpha_from"] is not None and one["alpha_from"] <= alpha <= one["alpha_to"]]
    assert said
    assert all(one["accuracy"] - alpha * one["cost"] == pytest.approx(best, abs=1e-9) for one in said)


def test_the_best_single_model_changes_at_the_slopes_of_the_hull() -> None:
    found = single_models([row("single:a", 0.1, 0.5), row("single:b", 0.5, 0.7), row("single:c", 0.6, 0.9)])
    assert [one["model"] for one in found] == ["a", "c"]
    assert found[0]["alpha_from"] == pytest.approx(0.8) == found[1]["alpha_to"]
    assert (found[0]["alpha_to"], found[1]["alpha_from"]) == (1.0, 0.0)
    never = single_models([row("single:a", 0.0, 0.1), row("single:b", 0.2, 0.9)])
    assert (never[0]["alpha_from"], never[0]["alpha_to"]) == (None, None)
    assert single_models([row("forc", 0.1, 0.5)]) == []


def test_winners_change_where_their_lines_cross() -> None:
    rows = ranked([row(n, c, a, alpha) for alpha in (0, 0.5, 1) for n, c, a in (("a", 0.1, 0.5), ("c", 0.6, 0.8))])
    winners, changes = winners_by_alpha(rows)
    assert [(w["router"], w["alpha_from"], w["alpha_to"]) for w in winners] == [("c", 0, 0.5), ("a", 1, 1)]
    assert [(c["from"], c["to"], c["between"]) for c in changes] == [("c", "a", [0.5, 1])]
    assert changes[0]["alpha"] == pytest.approx(0.3 / 0.5)


def test_who_is_tied_with_the_leader_does_not_win() -> None:
    rows = ranked([row(name, 0.1, 0.5, alpha) for alpha in (0.2, 0.5) for name in ("b", "a")])
    assert winners_by_alpha(rows) == ([{"router": "a", "alpha_from": 0.2, "alpha_to": 0.5}], [])
    assert winners_by_alpha([]) == ([], [])


def test_frontiers_of_a_sweep() -> None:
    singles = [row(f"single:{m}", c, a, alpha) for alpha in (0, 1) for m, c, a in (("a", 0.1, 0.4), ("b", 0.9, 0.8))]
    routers = [
        row("good", 0.8, 0.8, 0.0, share={"a": 0.2, "b": 0.8}),
        row("good", 0.3, 0.6, 1.0, share={"a": 0.75, "b": 0.25}),
        row("bad", 0.9, 0.7, 0.0, share={"a": 0.0, "b": 1.0}),
        row("bad", 0.9, 0.7, 1.0, share={"a": 0.0, "b": 1.0}),
    ]
    (found,) = frontiers([*singles, *ranked(routers)])
    assert [(one["router"], one["alpha"]) for one in found["pareto"]] == [("good", 1.0), ("good", 0.0)]
    good, bad = found["curves"]
    assert [point["cost"] for point in good["points"]] == [0.8, 0.3]
    assert good["metrics"]["aiq"] == pytest.approx(0.7)
    assert good["metrics"]["perf_gain"] == pytest.approx(0.0)
    assert good["metrics"]["cost_save"] == pytest.approx(1 - 0.8 / 0.9)
    assert good["metrics"]["cpt_50"] == pytest.approx(0.25)
    assert good["metrics"]["apgr"] == pytest.approx((0.125 + 0.7 * 0.55 + 0.8 * 0.2 - 0.4) / 0.4)
    assert bad["metrics"]["aiq"] is None
    assert bad["metrics"]["cost_save"] is None
    assert bad["metrics"]["pareto_dist"] == pytest.approx(np.hypot(0.1, 0.1))
    (alone,) = frontiers([{**one, "pool": ["a", "b", "c"]} for one in [*singles, *ranked(routers)]])
    assert {alone["curves"][0]["metrics"][name] for name in ("apgr", "cpt_50", "cpt_80")} == {None}
