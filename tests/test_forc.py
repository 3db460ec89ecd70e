"""FORC: the decisions of the original's integer programme, closed forms, and how near it comes to its bound."""

from typing import Any

import numpy as np
import pytest

from bench import simulate
from bench.evaluate import evaluate
from bench.metrics import rows as table
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, training_view
from routers.base import Router, best_utility
from routers.forc import FORCRouter
from routers.registry import built_in
from routers.scorers import log_loss
from tasks.scenarios import BALANCE, SCENARIOS, Scenario
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

COSTS = [0.1, 0.2, 0.4, 0.7]
PARTS = ("train", "validation", "test")


def fitted(suite: Suite, **params: Any) -> FORCRouter:
    train, validation = (training_view(suite, suite.rows(p, "id"), FORCRouter.signals, "balance") for p in PARTS[:2])
    return FORCRouter(**params).fit(train, validation, BALANCE)


def routed(router: Router, suite: Suite, alpha: float) -> Any:
    rows = suite.rows("test")
    env = ReplayEnv(recorded_for(suite, rows, router.signals, "balance"), router.signals, Ledger(len(rows)))
    return router.route(query_view(suite, rows), env, Scenario(None, alpha))


# --- the integer programme ------------------------------------------------------------------------------------------


# PuLP 4 is to bundle no solver; until then it warns of that.
BUNDLED = pytest.mark.filterwarnings("ignore:.*PuLP 4.0:DeprecationWarning")


def solved(p: Any, costs: Any, a: float) -> Any:
    """Maximise the sum of a·p − (1 − a)·c over assignments of one model to every query, as the original does."""
    pulp = pytest.importorskip("pulp", reason="the original's solver is not installed: pip install pulp")
    n, k = p.shape
    programme = pulp.LpProblem("forc", pulp.LpMaximize)
    x = pulp.LpVariable.dicts("x", (range(n), range(k)), cat=pulp.LpBinary)
    programme += pulp.lpSum((a * p[i, j] - (1.0 - a) * costs[j]) * x[i][j] for i in range(n) for j in range(k))
    for i in range(n):
        programme += pulp.lpSum(x[i].values()) == 1
    assert pulp.LpStatus[programme.solve(pulp.PULP_CBC_CMD(msg=False))] == "Optimal"
    taken = np.array([[x[i][j].value() for j in range(k)] for i in range(n)])
    np.testing.assert_array_equal(np.sort(taken, axis=1), np.eye(k)[[-1] * n])
    return taken.argmax(axis=1)


@BUNDLED
@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 0.8])
def test_the_best_utility_of_each_is_the_integer_programme_of_all(alpha: float) -> None:
    p = np.random.default_rng(0).random((60, 4))
    best = best_utility(p, np.array(COSTS), alpha)
    assert len(set(best.tolist())) == 4
    np.testing.assert_array_equal(best, solved(p, COSTS, 1.0 / (1.0 + alpha)))


@BUNDLED
@pytest.mark.parametrize("models", ["abcd", "acd"])
def test_one_fit_decides_as_the_integer_programme_for_any_alpha_and_subset(models: str) -> None:
    rng = np.random.default_rng(1)
    n, x = 300, rng.standard_normal((300, 4))
    right = (x + 0.7 * rng.standard_normal((n, 4)) + [-0.6, -0.2, 0.2, 0.8] > 0).astype(float)
    whole = toy_suite(right, COSTS, splits=np.resize(PARTS, n), embeddings={"query/small": x.astype(np.float16)})
    router, suite = fitted(whole), whole.subset(list(models))
    kept = [whole.pool.index_of(name) for name in models]
    p, of_all = (router.predict_correctness(query_view(s, s.rows("test"))) for s in (suite, whole))
    np.testing.assert_array_equal(p, of_all[:, kept])
    for scenario in SCENARIOS.values():
        chosen = routed(router, suite, scenario.alpha)
        assert len(set(chosen.tolist())) == len(models)
        np.testing.assert_array_equal(chosen, solved(p, suite.pool.costs, 1.0 / (1.0 + scenario.alpha)))


# --- closed forms ---------------------------------------------------------------------------------------------------


def test_each_kind_of_query_gets_the_model_whose_rate_is_worth_its_cost() -> None:
    """Three kinds that the embedding tells apart, with rates of .9 .9, .4 .8 and .1 .9 for models at .1 and .9."""
    right = np.repeat([[9, 9], [4, 8], [1, 9]], 10, axis=0) > np.tile(np.arange(10), 3)[:, None]
    suite = toy_suite(
        np.tile(right, (30, 1)),
        costs=[0.1, 0.9],
        splits=np.repeat(PARTS, 300),
        embeddings={"query/small": np.tile(np.repeat(np.eye(3), 10, axis=0), (30, 1)).astype(np.float16)},
    )
    router = fitted(suite)
    p = router.predict_correctness(query_view(suite, suite.rows("test")))
    np.testing.assert_allclose(p[:30:10], [[0.9, 0.9], [0.4, 0.8], [0.1, 0.9]], atol=0.02)
    # the dearer costs .8 alpha more and is worth it where it is right more often than that
    for alpha, dearer in ((0.4, [0, 1, 1]), (0.6, [0, 0, 1]), (1.0, [0, 0, 0])):
        assert routed(router, suite, alpha)[:30:10].tolist() == dearer


def test_the_stronger_signal_tells_more(simulated: Suite) -> None:
    rows, loss = simulated.rows("test", "id"), {}
    for signal in ("small", "large"):
        router = fitted(simulated, signal=signal)
        assert router.needs() == {f"query/{signal}"}
        loss[signal] = log_loss(simulated.correct[rows], router.predict_correctness(query_view(simulated, rows)))
    assert loss["large"] < loss["small"] - 0.02


# --- the simulated paper --------------------------------------------------------------------------------------------


def test_it_comes_near_its_bound_and_beats_every_single_model() -> None:
    suite = simulate.simulate()
    config = toy_config(suite, scenarios=tuple(SCENARIOS.values()))
    specs = [built_in()[name] for name in ("oracle", "bayes_query/large", "best_single", "forc")]
    found = table(evaluate(suite, suite, [(spec, spec.build()) for spec in specs], config), suite, config)
    utility = {(row.router, row.scenario): row.utility for row in found}
    for scenario in SCENARIOS:
        assert utility["forc", scenario] == pytest.approx(utility["bayes_query/large", scenario], abs=0.01)
        assert utility["forc", scenario] > utility["best_single", scenario] + 0.005
