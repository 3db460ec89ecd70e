"""The threshold search of a cascade: exact where it can be enumerated, never below a grid."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.thresholds import search_cascade
from tasks.errors import InputError
from tasks.scenarios import query_weights, weighted_mean


def value(thresholds: Any, scores: Any, correct: Any, task: Any, costs: Any, alpha: float) -> float:
    accepted = np.column_stack([scores[:, :-1] >= thresholds, np.ones(len(scores), dtype=bool)])
    chosen = accepted.argmax(axis=1)
    return float(weighted_mean(correct[np.arange(len(correct)), chosen] - alpha * costs[chosen], query_weights(task)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]))
def test_two_stages_are_solved_exactly(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    scores, correct = rng.integers(0, 6, (30, 2)) / 5, rng.integers(0, 2, (30, 2)).astype(float)
    task, costs = rng.integers(0, 3, 30), np.array([0.1, 0.9])
    found = search_cascade(scores, correct, query_weights(task), costs, alpha)
    every = [value(np.array([t]), scores, correct, task, costs, alpha) for t in (-np.inf, *np.arange(6) / 5, np.inf)]
    assert value(found, scores, correct, task, costs, alpha) == pytest.approx(max(every))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]))
def test_never_below_any_single_model_nor_far_below_a_grid(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 1, (200, 4))
    correct = (rng.random((200, 4)) < p).astype(float)
    task, costs = rng.integers(0, 3, 200), np.array([0.1, 0.3, 0.6, 0.9])
    found = value(search_cascade(p, correct, query_weights(task), costs, alpha), p, correct, task, costs, alpha)
    assert found >= max(weighted_mean(correct - alpha * costs, query_weights(task))) - 1e-9
    grid = itertools.product(np.linspace(0, 1, 9), repeat=3)
    assert found >= max(value(np.array(t), p, correct, task, costs, alpha) for t in grid) - 0.01


def test_a_useless_score_leaves_the_best_single_model() -> None:
    correct = np.tile([[0.0, 1.0, 1.0]], (50, 1))
    found = search_cascade(np.full((50, 3), 0.5), correct, np.ones(50), np.array([0.1, 0.4, 0.9]), 0.5)
    assert found.tolist() == [np.inf, -np.inf]


# --- within a budget, and against a plain grid ------------------------------------------------------------------------


def graded(seed: int, n: int = 200) -> tuple[Any, Any, Any, Any]:
    """Scores that are calibrated and correlated, as those of models of one family are."""
    rng = np.random.default_rng(seed)
    p = np.clip(rng.beta(2, 1, (n, 1)) + 0.15 * rng.standard_normal((n, 4)) + np.linspace(-0.2, 0.2, 4), 0.0, 1.0)
    return p, (rng.random((n, 4)) < p).astype(float), np.zeros(n, dtype=int), np.array([0.1, 0.3, 0.6, 0.9])


def cost(thresholds: Any, scores: Any, task: Any, costs: Any) -> float:
    return -value(thresholds, scores, np.zeros(scores.shape), task, costs, 1.0)


@pytest.mark.parametrize(
    ("k", "levels", "seed"), [(3, 20, 19), (4, 12, 21), (5, 8, 15)]
)  # which mislead a search that never lets one stage spend what another saves
def test_within_a_budget_one_stage_may_spend_what_another_saves(k: int, levels: int, seed: int) -> None:
    costs = np.linspace(0.1, 0.9, k) if k < 5 else np.array([0.1, 0.2, 0.3, 0.5, 1.0])
    rng, n = np.random.default_rng(seed), 200
    p = np.clip(rng.beta(2, 1, (n, 1)) + 0.15 * rng.standard_normal((n, k)) + np.linspace(-0.2, 0.2, k), 0, 1)
    correct, task = (rng.random((n, k)) < p).astype(float), np.zeros(n, dtype=np.int64)
    cuts = [np.quantile(p[:, stage], np.linspace(0, 1, levels)) for stage in range(k - 1)]
    grid = (np.array(point) for point in itertools.product(*cuts))
    best = max(value(t, p, correct, task, costs, 0.0) for t in grid if cost(t, p, task, costs) <= 0.25 + 1e-12)
    found = search_cascade(p, correct, query_weights(task), costs, 0.0, 0.25)
    assert value(found, p, correct, task, costs, 0.0) >= best - 1e-12
    assert cost(found, p, task, costs) <= 0.25 + 1e-9


@pytest.mark.parametrize("seed", [0, 30, 33, 35])  # the last three mislead a search that starts from no grid
@pytest.mark.parametrize(
    ("alpha", "budget"), [(0.2, np.inf), (0.5, np.inf), (0.8, np.inf), (0.0, 0.2), (0.0, 0.35), (0.0, 0.5)]
)
def test_never_below_a_plain_grid_at_equal_budget(seed: int, alpha: float, budget: float) -> None:
    scores, correct, task, costs = graded(seed)
    levels = [np.quantile(scores[:, stage], np.linspace(0, 1, 8)) for stage in range(3)]
    grid = [np.array(point) for point in itertools.product(*levels)]
    best = max(
        value(t, scores, correct, task, costs, alpha)
        for t in grid
        if budget == np.inf or cost(t, scores, task, costs) <= budget
    )
    found = search_cascade(scores, correct, query_weights(task), costs, alpha, budget)
    assert value(found, scores, correct, task, costs, alpha) >= best - 1e-12
    assert cost(found, scores, task, costs) <= budget + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.9))
def test_two_stages_within_a_budget_are_solved_exactly(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    scores, correct = rng.integers(0, 6, (30, 2)) / 5, rng.integers(0, 2, (30, 2)).astype(float)
    task, costs = np.zeros(30, dtype=int), np.array([0.1, 0.9])
    cuts = [np.array([t]) for t in (-np.inf, *np.arange(6) / 5 + 0.1, np.inf)]
    every = [value(t, scores, correct, task, costs, 0.0) for t in cuts if cost(t, scores, task, costs) <= budget + 1e-9]
    found = search_cascade(scores, correct, query_weights(task), costs, 0.0, budget)
    assert value(found, scores, correct, task, costs, 0.0) == pytest.approx(max(every))


def test_a_budget_that_nothing_keeps_is_refused() -> None:
    scores, correct, task, costs = graded(0)
    with pytest.raises(InputError, match="the cheapest model costs 0.1"):
        search_cascade(scores, correct, query_weights(task), costs, 0.5, budget=0.09)


def test_acceptance_need_not_be_monotone() -> None:
    """The first stage knows when it is right, the second never is, the third knows again: 1/2, none, and 1/2 accept.

    The original lets every stage accept at least as large a share as the one before it, and so must either let the
    useless second stage answer or give up the first.
    """
    kinds = np.repeat([[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], [50, 25, 25], axis=0).astype(float)
    scores = kinds.copy()
    scores[:, 1] = np.linspace(0, 1, 100)
    found = search_cascade(scores, kinds, np.full(100, 0.01), np.array([0.1, 0.2, 0.3, 0.9]), 0.5)
    assert found.tolist() == [0.5, np.inf, 0.5]
