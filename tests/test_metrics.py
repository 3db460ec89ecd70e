"""Rows of the leaderboard in closed form, and the rules for ranks and references."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.evaluate import evaluate
from bench.metrics import Row, rows
from routers.registry import built_in, single_models
from tasks.errors import InputError
from tasks.scenarios import COST_FIRST, PERFORMANCE_FIRST, Scenario, query_weights, utility, weighted_mean
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

REFERENCES = ("oracle", "oracle_utility", "random", "smallest", "largest", "best_single_hindsight", "best_single")


def run(suite: Suite, names: Any = REFERENCES, **changes: Any) -> dict[str, Row]:
    config = toy_config(suite, **changes)
    specs = [built_in()[name] for name in names] + list(single_models(suite.pool).values())
    return {
        row.router: row
        for row in rows(evaluate(suite, suite, [(spec, spec.build()) for spec in specs], config), suite, config)
    }


def learnable(test: Any, tasks: Any) -> Suite:
    """A suite whose train and validation parts are copies of its test part."""
    n = len(test)
    return toy_suite(
        np.tile(test, (3, 1)),
        costs=[0.1, 0.4, 0.9],
        tasks=list(tasks) * 3,
        splits=["train"] * n + ["validation"] * n + ["test"] * n,
    )


TEST = [[1, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1]]  # two tasks: three queries of "long", one of "short"
TASKS = ["long", "long", "long", "short"]


def test_macro_means_weigh_tasks_alike() -> None:
    found = run(learnable(TEST, TASKS))
    assert found["smallest"].accuracy == pytest.approx((1 / 3 + 0) / 2)
    assert found["largest"].accuracy == pytest.approx((2 / 3 + 1) / 2)
    micro = run(learnable(TEST, TASKS), average="micro")
    assert micro["smallest"].accuracy == pytest.approx(1 / 4)


def test_oracle_is_the_papers_and_pays_the_largest_when_nobody_is_right() -> None:
    row = run(learnable(TEST, TASKS))["oracle"]
    assert row.accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert row.cost == pytest.approx(((0.1 + 0.4 + 0.9) / 3 + 0.9) / 2)
    best = run(learnable(TEST, TASKS))["oracle_utility"]
    assert best.cost == pytest.approx(((0.1 + 0.4 + 0.1) / 3 + 0.9) / 2)
    assert best.utility > row.utility


def test_random_is_exact_and_its_draws_are_not_used_for_the_figures() -> None:
    row = run(learnable(TEST, TASKS))["random"]
    assert row.accuracy == pytest.approx(((1 + 2 / 3 + 0) / 3 + 1 / 3) / 2)
    assert row.cost == pytest.approx(1.4 / 3)
    assert row.cost_every_call == pytest.approx(1.4 / 3)
    assert row.easy_cost == pytest.approx(1.4 / 3)
    assert list(row.share.values()) == pytest.approx([1 / 3] * 3)


def test_strata_shares_and_tasks() -> None:
    row = run(learnable(TEST, TASKS))["oracle"]
    assert row.easy_cost == pytest.approx((0.1 + 0.4) / 2)  # solved by a or b, the two cheapest of three
    assert row.hard_cost == pytest.approx(0.9)
    assert row.unsolvable_cost == pytest.approx(0.9)
    assert row.solved_by_all_cost == pytest.approx(0.1)
    assert row.share == {"a": pytest.approx(1 / 6), "b": pytest.approx(1 / 6), "c": pytest.approx(2 / 3)}
    assert row.per_task["short"] == {"accuracy": 1.0, "cost": pytest.approx(0.9), "utility": pytest.approx(0.55)}


def test_best_single_depends_on_alpha_and_is_ranked() -> None:
    suite = learnable([[1, 1, 1]] * 5 + [[0, 0, 1]] * 3 + [[0, 1, 1]] * 2, ["t"] * 10)
    for scenario, share in ((PERFORMANCE_FIRST, "c"), (COST_FIRST, "a")):
        found = run(suite, scenarios=(scenario,))
        assert found["best_single"].share[share] == 1.0
        assert found["best_single"].rank == 1
        assert not found["best_single"].reference
        assert found["oracle"].rank is None
        assert found["best_single"].utility == pytest.approx(max(found[f"single:{m}"].utility for m in "abc"))


def test_micro_judges_and_chooses_by_queries() -> None:
    suite = learnable([[0, 1, 0]] * 9 + [[1, 0, 0]], ["big"] * 9 + ["little"])
    micro, macro = run(suite, average="micro"), run(suite)
    assert micro["best_single"].share["b"] == micro["best_single_hindsight"].share["b"] == 1.0
    assert macro["best_single"].share["a"] == macro["best_single_hindsight"].share["a"] == 1.0


def test_percent_of_oracle_needs_headroom_above_zero() -> None:
    hopeless = toy_suite(
        [[1, 0], [0, 1], [0, 0]] * 3,
        costs=[1.0, 1.0],
        splits=[s for s in ("train", "validation", "test") for _ in range(3)],
    )
    assert run(hopeless, scenarios=(Scenario(None, 1.0),))["random"].percent_of_oracle is None
    assert run(learnable([[1, 1, 1]], ["t"]))["oracle"].percent_of_oracle is None
    found = run(learnable(TEST, TASKS))
    assert found["oracle"].percent_of_oracle == 100.0
    assert found["best_single"].percent_of_oracle == pytest.approx(
        100 * found["best_single"].utility / found["oracle"].utility
    )


def test_what_does_not_apply_is_null() -> None:
    row = run(learnable([[1, 1, 1]] * 4, TASKS))["smallest"]
    assert (row.hard_cost, row.unsolvable_cost, row.cost_usd, row.latency_s) == (None,) * 4
    assert (row.utility_low, row.rank_group, row.published_utility) == (None,) * 3  # "short" has a single query


def test_seeds_are_repeated_for_those_who_draw_nothing_and_averaged() -> None:
    found = run(learnable(TEST, TASKS), seeds=(0, 1, 2))
    for row in found.values():
        assert row.n_seeds == 3
        assert [entry["seed"] for entry in row.per_seed] == [0, 1, 2]
        assert row.utility == pytest.approx(np.mean([entry["utility"] for entry in row.per_seed]))


def test_alpha_without_a_scenario() -> None:
    row = run(learnable(TEST, TASKS), scenarios=(Scenario(None, 0.35),))["best_single"]
    assert (row.scenario, row.alpha, row.alpha_used) == (None, 0.35, 0.35)
    with pytest.raises(InputError, match=r"alpha is 1.2"):
        Scenario(None, 1.2)


matrices = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=k, max_size=k), min_size=1, max_size=8)
)


@settings(max_examples=60, deadline=None)
@given(matrices, st.floats(0, 1))
def test_bounds_hold_for_any_outcomes(matrix: list[list[float]], alpha: float) -> None:
    suite = toy_suite(matrix * 3, splits=[s for s in ("train", "validation", "test") for _ in matrix])
    found = run(suite, scenarios=(Scenario(None, alpha),))
    best = found["oracle_utility"].utility
    for row in found.values():
        assert row.utility <= best + 1e-9
        assert row.utility == pytest.approx(utility(row.accuracy, row.cost, alpha))
        assert min(suite.pool.costs) - 1e-9 <= row.cost <= max(suite.pool.costs) + 1e-9
        assert sum(row.share.values()) == pytest.approx(1.0)
    singles = [found[f"single:{name}"].utility for name in suite.pool.names]
    assert found["best_single_hindsight"].utility == pytest.approx(max(singles))
    assert found["best_single"].utility == pytest.approx(max(singles))  # validation is a copy of test here
    assert found["random"].utility == pytest.approx(np.mean(singles))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=30))
def test_weights_make_the_mean_of_means(pairs: list[tuple[int, float]]) -> None:
    task, values = np.array([t for t, _ in pairs]), np.array([v for _, v in pairs])
    expected = np.mean([values[task == t].mean() for t in np.unique(task)])
    assert weighted_mean(values, query_weights(task)) == pytest.approx(expected)
    np.testing.assert_allclose(
        weighted_mean(np.column_stack([values, values]), query_weights(task)), [expected] * 2, atol=1e-12
    )
