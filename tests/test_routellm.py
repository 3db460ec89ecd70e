"""RouteLLM: its labels and thresholds by hand, its arithmetic on the real responses of its authors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from bench.formats import read
from bench.recordings import checked
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, training_view
from bench.sources import open_source
from routers.base import AlphaMode
from routers.routellm import MatrixFactorization, RouteLLMRouter
from routers.scorers import log_loss
from tasks.errors import InputError
from tasks.scenarios import BALANCE, COST_FIRST, PERFORMANCE_FIRST
from tasks.suite import Suite
from tests.toys import toy_suite

PARTS = ("train", "validation", "test")


def suite_of(correct: Any, signal: Any, **settings: Any) -> Suite:
    """A suite whose queries repeat in train, validation and test; `signal` (n, d) is their embedding."""
    signal = np.tile(np.asarray(signal, dtype=np.float16), (3, 1))
    splits = np.repeat(PARTS, len(correct))
    return toy_suite(np.tile(correct, (3, 1)), splits=splits, embeddings={"query/small": signal}, **settings)


def fitted(router: RouteLLMRouter, suite: Suite) -> RouteLLMRouter:
    train, validation = (training_view(suite, suite.rows(part), router.signals, "balance") for part in PARTS[:2])
    return router.fit(train, validation, BALANCE)


def chosen(router: RouteLLMRouter, suite: Suite, scenario: Any = BALANCE) -> Any:
    rows = suite.rows("test")
    env = ReplayEnv(recorded_for(suite, rows, router.signals, "balance"), router.signals, Ledger(len(rows)))
    return router.route(query_view(suite, rows), env, scenario)


# --- smallest capable model -----------------------------------------------------------------------------------------

KINDS = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]])  # smallest capable: a, b, c, nobody


@pytest.mark.parametrize(
    ("unsolvable", "expected"), [("largest", [0, 1, 2, 2]), ("smallest", [0, 1, 2, 0]), ("drop", [0, 1, 2])]
)
def test_the_class_of_a_query_is_the_smallest_model_that_solves_it(unsolvable: Any, expected: list[int]) -> None:
    suite = suite_of(np.repeat(KINDS, 20, axis=0), np.repeat(np.eye(4), 20, axis=0))
    found = chosen(fitted(RouteLLMRouter(unsolvable=unsolvable), suite), suite)
    assert found.reshape(4, 20)[: len(expected)].tolist() == [[model] * 20 for model in expected]


def test_the_likeliest_class_is_chosen_whatever_its_cost() -> None:
    """Where 60 of 100 alike queries need the dearest model, all of them get it, at every alpha."""
    suite = suite_of(np.repeat([[1, 1, 1], [0, 0, 1]], [40, 60], axis=0), np.zeros((100, 1)))
    router = fitted(RouteLLMRouter(), suite)
    assert router.alpha_mode is AlphaMode.NONE
    for scenario in (PERFORMANCE_FIRST, BALANCE, COST_FIRST):
        assert set(chosen(router, suite, scenario).tolist()) == {2}


# --- win rate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", ["embedding", "matrix_factorization"])
def test_the_strong_model_gets_the_queries_that_it_wins(scorer: Any) -> None:
    """Both right, only the strong one, only the weak one: a query goes to the strong model only where that pays."""
    suite = suite_of(np.repeat([[1, 1, 1], [0, 0, 1], [1, 0, 0]], 20, axis=0), np.repeat(np.eye(3), 20, axis=0))
    router = fitted(RouteLLMRouter("win_rate", scorer=scorer), suite)
    assert router.alpha_mode is AlphaMode.DECISION
    assert chosen(router, suite).tolist() == [0] * 20 + [2] * 20 + [0] * 20


def test_the_pair_may_be_any_two_models() -> None:
    suite = suite_of(np.repeat([[1, 0, 1], [1, 1, 0]], 20, axis=0), np.repeat(np.eye(2), 20, axis=0))
    router = fitted(RouteLLMRouter("win_rate", models=("b", "c")), suite)
    assert chosen(router, suite).tolist() == [2] * 20 + [1] * 20


def test_the_threshold_follows_alpha() -> None:
    """The strong model wins 30 % of one kind and 90 % of the other, at .8 more: worth it above .8 · alpha."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 1000)
    wins = rng.permuted(np.tile([np.arange(1000) < 300, np.arange(1000) < 900], 1), axis=1).ravel()
    correct = np.column_stack([~wins, np.ones(2000)])
    suite = suite_of(correct, np.eye(2)[kind], costs=[0.1, 0.9])
    router = fitted(RouteLLMRouter("win_rate"), suite)
    for scenario, share in ((PERFORMANCE_FIRST, [1, 1]), (BALANCE, [0, 1]), (COST_FIRST, [0, 1])):
        assert chosen(router, suite, scenario).reshape(2, -1).mean(axis=1).tolist() == share
    assert router.threshold(0.2) < 0.3 < router.threshold(0.5) < 0.9


def test_a_useless_signal_leaves_the_better_of_the_two() -> None:
    suite = suite_of(np.repeat([[1, 1], [0, 1]], [70, 30], axis=0), np.zeros((100, 1)), costs=[0.1, 0.9])
    router = fitted(RouteLLMRouter("win_rate"), suite)
    assert set(chosen(router, suite, PERFORMANCE_FIRST).tolist()) == {1}  # .84 against .68
    assert set(chosen(router, suite, BALANCE).tolist()) == {0}  # .55 against .65


def test_matrix_factorization_learns_who_wins_and_drops_ties() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1500, 8))
    strong = rng.random(1500) < expit(x @ rng.standard_normal(8) - 0.5)
    y = np.column_stack([~strong, np.zeros(1500), strong]).astype(float)
    train, validation = slice(0, 1000), slice(1000, None)
    found = MatrixFactorization().fit(x[train], y[train], x[validation], y[validation])
    direct = LogisticRegression().fit(x[train], strong[train]).predict_proba(x[validation])[:, 1]
    p = found.predict(x[validation])
    assert log_loss(strong[validation], p[:, 2]) == pytest.approx(log_loss(strong[validation], direct), abs=0.015)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    ties = np.tile([0.0, 1.0, 0.0], (500, 1))
    with_ties = np.concatenate([x[train], x[:500] + 9.0]), np.concatenate([y[train], ties])
    again = MatrixFactorization().fit(*with_ties, x[validation], y[validation])
    np.testing.assert_array_equal(again.predict(x), found.predict(x))


def test_with_nothing_but_ties_the_cheaper_model_answers() -> None:
    suite = suite_of(np.ones((30, 2)), np.random.default_rng(0).normal(size=(30, 2)))
    for scorer in ("embedding", "matrix_factorization"):
        assert not chosen(fitted(RouteLLMRouter("win_rate", scorer=scorer), suite), suite).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "win_rates"}, "did you mean 'win_rate'"),
        ({"unsolvable": "strongest"}, "allowed: largest, smallest, drop"),
        ({"scorer": "matrix_factorization"}, "mode='win_rate'"),
        ({"scorer": "embeddings"}, "did you mean 'embedding'"),
        ({"mode": "win_rate", "models": ("a", "z")}, "unknown model 'z'"),
        ({"mode": "win_rate", "models": ("a",)}, "of two models"),
        ({"mode": "win_rate", "models": "ab"}, "of two models"),
        ({"mode": "win_rate", "models": ("a", "a")}, "a is to be the weak and cheap model"),
        ({"mode": "win_rate", "models": ("b", "a")}, "b is to be the weak and cheap model"),
    ],
)
def test_options_that_there_are_not(settings: Any, message: str) -> None:
    suite = suite_of(KINDS, np.eye(4))
    with pytest.raises(InputError, match=message):
        fitted(RouteLLMRouter(**settings), suite)


def test_dropping_every_query_leaves_nothing_to_learn_from() -> None:
    suite = suite_of(np.zeros((30, 2)), np.random.default_rng(0).normal(size=(30, 2)))
    with pytest.raises(InputError, match="no model solves any training query"):
        fitted(RouteLLMRouter(unsolvable="drop"), suite)


# --- the real responses ---------------------------------------------------------------------------------------------


def apgr(win_rate: Any, weak: Any, strong: Any) -> float:
    """Average performance gap recovered: the mean, over shares of strong calls, of (accuracy − weak) / (strong − weak).

    Queries go to the strong model in the order of their win rate (RouteLLM, Eq. 7); 0 is the weak model's accuracy at
    every share, 1 the strong one's, and a random order gives .5.
    """
    order = np.argsort(-np.asarray(win_rate), kind="stable")
    recovered = np.append(0.0, np.cumsum((strong - weak)[order])) / (strong - weak).sum()
    return float(np.trapezoid(recovered, dx=1.0 / len(order)))


@pytest.fixture
def gsm8k(peer_data: Path) -> Any:
    """Correctness (1319, 2) of Mixtral-8x7B and GPT-4 on GSM8K, as RouteLLM's authors recorded it."""
    recording = checked(read("routellm", [open_source(str(peer_data / "routellm" / "gsm8k_responses.csv.gz"))]))
    return recording.outcomes["correct"][["mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"]].to_numpy(
        dtype=np.float64
    )


def test_the_arithmetic_of_the_original_on_its_own_responses(gsm8k: Any) -> None:
    weak, strong = gsm8k.T
    assert weak.mean() == pytest.approx(0.6384, abs=5e-5)
    assert strong.mean() == pytest.approx(0.8567, abs=5e-5)
    rng = np.random.default_rng(0)
    draws = [apgr(rng.random(len(weak)), weak, strong) for _ in range(200)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.005)
    gap = strong - weak
    assert apgr(gap, weak, strong) > 1.0 > apgr(-gap, weak, strong)


def test_win_rates_recover_the_gap_as_far_as_the_signal_goes(gsm8k: Any) -> None:
    rng = np.random.default_rng(0)
    splits = rng.choice(PARTS, len(gsm8k), p=[0.4, 0.1, 0.5])
    noise = rng.standard_normal((len(gsm8k), 4))
    told = noise + np.outer(gsm8k[:, 1] - gsm8k[:, 0], [2.0, 0.0, 0.0, 0.0])
    found = []
    for signal in (noise, told):
        suite = toy_suite(gsm8k, splits=splits, embeddings={"query/small": signal.astype(np.float16)})
        router, rows = fitted(RouteLLMRouter("win_rate"), suite), suite.rows("test")
        found.append(apgr(router.win_rate(query_view(suite, rows)), *gsm8k[rows].T))
    assert found[0] == pytest.approx(0.5, abs=0.12)
    assert found[1] > 1.0
