"""FrugalGPT: closed forms, what it asks, what it learns from, and how near it comes to the bound."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench import simulate
from bench.evaluate import evaluate, unusable
from bench.metrics import rows as table
from bench.replay import Ledger, ReplayEnv, price, query_view, recorded_for, settle, training_view
from routers.base import Accounting
from routers.frugalgpt import FrugalGPTRouter
from routers.registry import built_in
from routers.thresholds import search_cascade
from tasks.errors import InputError
from tasks.scenarios import BALANCE, COST_FIRST, PERFORMANCE_FIRST, SCENARIOS, Scenario, weighted_mean
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

COSTS = np.array([0.1, 0.4, 0.9])


def suite_of(correct: Any, answers: Any, splits: Any, costs: Any = COSTS) -> Suite:
    """A suite of models a, b, c …; `answers` holds the (n, d) embeddings of each, the query's says nothing."""
    correct = np.asarray(correct)
    embeddings = {"query/small": np.zeros(np.shape(answers[0]), dtype=np.float16)}
    embeddings |= {f"answer/{chr(97 + j)}": np.asarray(e, dtype=np.float16) for j, e in enumerate(answers)}
    return toy_suite(correct, costs=costs, splits=splits, embeddings=embeddings)


def halves(n: int) -> Any:
    return np.resize(["train", "validation", "test"], n)


def fitted(router: FrugalGPTRouter, suite: Suite, scenario: Scenario = BALANCE) -> FrugalGPTRouter:
    train, validation = (
        training_view(suite, suite.rows(part, "id"), router.signals, "balance") for part in ("train", "validation")
    )
    return router.fit(train, validation, scenario)


def routed(router: FrugalGPTRouter, suite: Suite, part: Any, scenario: Scenario = BALANCE) -> tuple[Any, Ledger]:
    rows = suite.rows(part, "id")
    ledger = Ledger(len(rows))
    env = ReplayEnv(recorded_for(suite, rows, router.signals, "balance"), router.signals, ledger)
    return router.route(query_view(suite, rows), env, scenario), ledger


def random_suite(n: int = 3000, noise: float = 0.5, seed: int = 0) -> Suite:
    """Three models of growing accuracy; an answer's embedding is its correctness and noise."""
    rng = np.random.default_rng(seed)
    correct = (rng.random((n, 3)) < [0.4, 0.6, 0.8]).astype(float)
    answers = [correct[:, [j]] + noise * rng.standard_normal((n, 1)) for j in range(3)]
    return suite_of(correct, answers, halves(n))


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_a_perfect_scorer_finds_the_cheapest_model_that_is_right(scenario: Scenario) -> None:
    """And like the paper's oracle it pays for the dearest where none is."""
    suite = random_suite(noise=0.0)
    chosen, _ = routed(fitted(FrugalGPTRouter(), suite, scenario), suite, "test", scenario)
    solved = suite.correct[suite.rows("test")] == 1.0
    np.testing.assert_array_equal(chosen, np.where(solved.any(axis=1), solved.argmax(axis=1), 2))


@pytest.mark.parametrize(("scenario", "best"), [(PERFORMANCE_FIRST, 2), (BALANCE, 1), (COST_FIRST, 0)])
def test_a_useless_scorer_leaves_the_best_single_model_and_asks_no_other(scenario: Scenario, best: int) -> None:
    kinds = np.repeat([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], [50, 22, 21, 7], axis=0)  # .50, .72, .93
    suite = suite_of(np.tile(kinds, (3, 1)), [np.zeros((300, 1))] * 3, np.repeat(["train", "validation", "test"], 100))
    chosen, ledger = routed(fitted(FrugalGPTRouter(), suite), suite, "test", scenario)
    assert set(chosen.tolist()) == {best}
    assert ledger.asked("answered", 3).sum(axis=0).tolist() == [100 * (j == best) for j in range(3)]


def test_stages_are_asked_one_after_the_other() -> None:
    suite = random_suite()
    router = fitted(FrugalGPTRouter(), suite)
    assert np.isfinite(router.thresholds(suite.pool, BALANCE.alpha)).all()
    chosen, ledger = routed(router, suite, "test")
    assert np.bincount(chosen, minlength=3).min() > 0
    np.testing.assert_array_equal(ledger.asked("answered", 3), np.arange(3) <= chosen[:, None])
    rows = suite.rows("test")
    settle(ledger, chosen, np.zeros((len(rows), 3)))
    paid = price(ledger, chosen, suite, rows)
    np.testing.assert_allclose(paid[Accounting.FINAL], COSTS[chosen])
    np.testing.assert_allclose(paid[Accounting.EVERY_CALL], np.cumsum(COSTS)[chosen])


# --- thresholds -----------------------------------------------------------------------------------------------------


def test_one_fit_serves_every_subset_of_the_pool() -> None:
    suite = random_suite()
    router = fitted(FrugalGPTRouter(), suite)
    three, two = (router.thresholds(pool, 0.5) for pool in (suite.pool, suite.pool.subset(["b", "c"])))
    scores, correct, weight = router.held_out_
    assert two.shape == (1,)
    np.testing.assert_array_equal(two, search_cascade(scores[:, 1:], correct[:, 1:], weight, COSTS[1:], 0.5))
    assert not np.array_equal(two, three[1:])
    alone = suite.subset(["b", "c"])
    again = fitted(FrugalGPTRouter(), alone)
    np.testing.assert_array_equal(routed(router, alone, "test")[0], routed(again, alone, "test")[0])


def test_a_budget_buys_the_accuracy_that_it_can() -> None:
    suite = random_suite()
    accuracy = []
    for budget in (0.1, 0.2, 0.35, 0.6, 0.9):
        router = fitted(FrugalGPTRouter(budget=budget), suite)
        chosen, _ = routed(router, suite, "validation")
        assert COSTS[chosen].mean() <= budget + 1e-9
        assert COSTS[routed(router, suite, "test")[0]].mean() == pytest.approx(budget, abs=0.04) or budget > 0.35
        accuracy.append(suite.correct[suite.rows("validation"), chosen].mean())
    assert accuracy[0] < accuracy[1] < accuracy[2] < accuracy[3] <= accuracy[4]
    assert accuracy[4] > suite.correct[suite.rows("validation")].mean(axis=0).max()


def test_a_budget_does_not_depend_on_alpha_and_cannot_be_below_the_cheapest_model() -> None:
    suite = random_suite(600)
    router = fitted(FrugalGPTRouter(budget=0.3), suite)
    np.testing.assert_array_equal(router.thresholds(suite.pool, 0.2), router.thresholds(suite.pool, 0.8))
    with pytest.raises(InputError, match=r"budget is 0\.05 a query, but the cheapest model costs 0\.1"):
        routed(fitted(FrugalGPTRouter(budget=0.05), suite), suite, "test")


# --- what is learned from what --------------------------------------------------------------------------------------


def noisy(n: int) -> Suite:
    """Embeddings of 40 dimensions that say nothing: whoever is scored by its own training looks well judged."""
    rng = np.random.default_rng(2)
    correct = (rng.random((n, 2)) < 0.5).astype(float)
    splits = np.resize(["train", "train", "train", "validation"], n)
    return suite_of(correct, rng.standard_normal((2, n, 40)), splits, costs=[0.1, 0.9])


def test_a_small_suite_chooses_thresholds_by_cross_fitting_over_train_and_validation() -> None:
    suite = noisy(400)
    router = fitted(FrugalGPTRouter(), suite)
    scores, correct, weight = router.held_out_
    train, validation = suite.rows("train"), suite.rows("validation")
    np.testing.assert_array_equal(correct, suite.correct[np.concatenate([train, validation])])
    assert weight.sum() == pytest.approx(1.0)
    own = router.scorers_[0].predict(np.hstack([np.zeros((len(train), 40)), suite.embeddings["answer/a"][train]]))
    assert roc_auc_score(suite.correct[train, 0], own[:, 0]) > 0.65
    assert roc_auc_score(correct[:, 0], scores[:, 0]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("n", "chosen_on"), [(999, 999), (1000, 250)])
def test_from_a_thousand_queries_on_validation_alone_chooses(n: int, chosen_on: int) -> None:
    assert len(fitted(FrugalGPTRouter(), noisy(n)).held_out_[0]) == chosen_on


def test_the_test_set_is_never_touched() -> None:
    suite = random_suite(900)
    test = suite.rows("test")
    garbled = {kind: vectors.copy() for kind, vectors in suite.embeddings.items()}
    for vectors in garbled.values():
        vectors[test] = 7.0
    correct = suite.correct.copy()
    correct[test] = 0.0
    other = replace(suite, outcomes={"correct": correct}, embeddings=garbled)
    one, two = (fitted(FrugalGPTRouter(), s) for s in (suite, other))
    for here, there in zip(one.held_out_, two.held_out_, strict=True):
        np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(routed(one, suite, "train")[0], routed(two, suite, "train")[0])


def test_a_suite_that_lacks_one_models_answers_is_left_out_with_that_reason() -> None:
    suite = random_suite(60)
    lacking = replace(suite, embeddings={k: e for k, e in suite.embeddings.items() if k != "answer/b"})
    assert unusable(FrugalGPTRouter(), suite, suite) is None
    assert unusable(FrugalGPTRouter(), lacking, lacking) == "the suite has no answer/b"
    with pytest.raises(InputError, match="no embeddings of the answers of b"):
        fitted(FrugalGPTRouter(), lacking)


# --- the simulated paper --------------------------------------------------------------------------------------------


def test_it_comes_near_its_bound_and_beats_every_single_model() -> None:
    suite = simulate.simulate()
    config = toy_config(suite, scenarios=tuple(SCENARIOS.values()))
    specs = [built_in()[name] for name in ("oracle", "bayes_cascade", "best_single", "frugalgpt")]
    found = table(evaluate(suite, suite, [(spec, spec.build()) for spec in specs], config), suite, config)
    utility = {(row.router, row.scenario): row.utility for row in found}
    for scenario in SCENARIOS:
        assert utility["frugalgpt", scenario] == pytest.approx(utility["bayes_cascade", scenario], abs=0.02)
        assert utility["frugalgpt", scenario] > utility["best_single", scenario] + 0.02


def test_utility_on_validation_is_at_least_that_of_any_single_model(simulated: Suite) -> None:
    router = fitted(FrugalGPTRouter(), simulated)
    scores, correct, weight = router.held_out_
    for scenario in SCENARIOS.values():
        thresholds = router.thresholds(simulated.pool, scenario.alpha)
        accepted = np.column_stack([scores[:, :-1] >= thresholds, np.ones(len(scores), dtype=bool)]).argmax(axis=1)
        gain = correct - scenario.alpha * simulated.pool.costs
        assert weighted_mean(gain[np.arange(len(gain)), accepted], weight) >= weighted_mean(gain, weight).max() - 1e-12
