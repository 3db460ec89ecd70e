"""The threshold search of a cascade: exact where it can be enumerated, never below a grid."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.thresholds import search_cascade
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
