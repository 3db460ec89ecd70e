"""The ledger and its prices, on a suite small enough to do by hand."""

from typing import Self

import numpy as np
import pytest

from bench.evaluate import evaluate, score, usable
from bench.replay import Ledger, ReplayEnv, price, recorded_for, settle, training_view
from routers.base import Accounting, Answerer, IntArray, QueryView, Router, RoutingEnv, Signal, TrainingView
from routers.registry import RouterSpec
from tasks.errors import InputError
from tasks.scenarios import Scenario
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

COSTS = [0.1, 0.4, 0.9]
CALLS = Signal.ANSWER | Signal.VERIFY | Signal.SAMPLE | Signal.SELF_ROUTE


def recorded_suite() -> Suite:
    n, k = 4, 3
    full = np.ones((n, k), dtype=np.float32)
    rejected = np.array([[0, 1, -1], [1, 0, -1], [1, 1, -1], [0, 0, -1]], dtype=np.int8)
    own = np.where(rejected == 0, np.array([[0], [1], [0], [1]]), np.nan).astype(np.float32)
    return toy_suite(
        [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]],
        costs=COSTS,
        outcomes={"completion_tokens": np.arange(12, dtype=np.float32).reshape(n, k), "latency_s": full * [1, 2, 4]},
        samples={"n": full * 10, "n_correct": full * 5, "n_modal": full * 6},
        verifications={"n_yes": full * 3, "n_valid": full * 10},
        self_routes={
            ("rl", "balance"): {"rejected": rejected, "correct": own, "latency_s": np.where(rejected < 0, np.nan, 0.5)}
        },
        rejection_fraction={"a": 0.05, "b": 0.05},
    )


def environment(suite: Suite) -> tuple[ReplayEnv, Ledger]:
    ledger, rows = Ledger(len(suite.queries)), np.arange(len(suite.queries))
    return ReplayEnv(recorded_for(suite, rows, CALLS, "balance"), CALLS, ledger), ledger


def test_a_call_is_charged_once_and_by_its_kind() -> None:
    suite = recorded_suite()
    env, ledger = environment(suite)
    everything = np.arange(4)
    answers = env.answer(0, np.array([0, 1]))
    env.answer(0, np.array([1]))  # asked again: nothing more to pay
    env.verify(0, np.array([1]), 10)
    env.sample(1, np.array([2]))
    assert answers.completion_tokens.tolist() == [0.0, 3.0]
    chosen = np.array([0, 2, 1, 2])
    delivered = settle(ledger, chosen, suite.outcomes["completion_tokens"])
    assert not delivered.any()
    paid = price(ledger, chosen, suite, everything)
    np.testing.assert_allclose(paid[Accounting.FINAL], [0.1, 0.9, 0.4, 0.9])
    np.testing.assert_allclose(paid[Accounting.EVERY_CALL], [0.1, 1.0, 10 * 0.4 + 0.4, 0.9])
    np.testing.assert_allclose(paid[Accounting.EVERY_CALL_AND_VERIFY], [0.1, 1.1, 10 * 0.4 + 0.4, 0.9])
    assert ledger.tokens.tolist() == [0.0, 3.0 + 5.0, 7.0, 11.0]


def test_a_rejection_costs_its_fraction_and_an_acceptance_the_model() -> None:
    suite = recorded_suite()
    env, ledger = environment(suite)
    everything = np.arange(4)
    accepted = env.self_route(0, everything, "rl")
    assert accepted.tolist() == [True, False, False, True]
    passed_on = everything[~accepted]
    again = env.self_route(1, passed_on, "rl")
    assert again.tolist() == [True, False]
    chosen = np.array([0, 1, 2, 0])
    delivered = settle(ledger, chosen, np.zeros((4, 3)))
    assert delivered.tolist() == [True, True, False, True]
    paid = price(ledger, chosen, suite, everything)
    np.testing.assert_allclose(paid[Accounting.EVERY_CALL], [0.1, 0.005 + 0.4, 0.005 + 0.02 + 0.9, 0.1])
    np.testing.assert_allclose(paid[Accounting.FINAL], [0.1, 0.4, 0.9, 0.1])


class Cascade(Router):
    """Agents in order, for tests: what a distributed self-router does."""

    signals = Signal.SELF_ROUTE
    delivers = Answerer.AGENT
    checkpoint = "rl"
    learns = False

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        self.pool_ = train.queries.pool
        return self

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        chosen = np.full(len(queries), len(queries.pool) - 1)
        waiting = np.arange(len(queries))
        for model in range(len(queries.pool) - 1):
            accepted = env.self_route(model, waiting, self.checkpoint)
            chosen[waiting[accepted]] = model
            waiting = waiting[~accepted]
        return chosen


def spec(router: type[Router]) -> RouterSpec:
    return RouterSpec(router.__name__, f"{__name__}:{router.__name__}", "for tests")


def test_an_agents_own_answer_is_scored_and_the_last_model_by_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = recorded_suite()
    monkeypatch.setattr(RouterSpec, "build", lambda self: Cascade())
    routers, skipped = usable(suite, suite, [spec(Cascade)], frozenset())
    assert skipped == []
    routed = evaluate(suite, suite, routers, toy_config(suite))
    scores = score(routed[0], suite)
    # q0: agent a answers (wrongly, though model a is right); q1: agent b, right; q2: model c, right; q3: agent a, right
    assert scores.correct.tolist() == [0.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(scores.latency_s, [0.5, 0.5 + 0.5, 0.5 + 0.5 + 4.0, 0.5])


class Stranger(Cascade):
    """Chooses a model that is not there."""

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        return np.full(len(queries), 7)


def test_a_choice_outside_the_pool_is_refused() -> None:
    suite = recorded_suite()
    with pytest.raises(InputError, match=r"Stranger returned no model index in 0 … 2 for each of 4"):
        evaluate(suite, suite, [(spec(Stranger), Stranger())], toy_config(suite))


class Peeker(Cascade):
    """Would be ranked, and asks for labels."""

    signals = Signal.OUTCOME


def test_a_ranked_router_may_not_ask_for_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = recorded_suite()
    monkeypatch.setattr(RouterSpec, "build", lambda self: Peeker())
    with pytest.raises(InputError, match="Peeker asks for labels of the test set"):
        usable(suite, suite, [spec(Peeker)], frozenset())


def test_what_a_router_is_given_cannot_be_changed_by_it() -> None:
    suite = toy_suite([[0, 1]] * 4, splits=["train", "validation", "test", "test"])
    view = training_view(suite, suite.rows("test"), CALLS, "balance")
    for array in (
        view.correct,
        view.queries.ids,
        view.queries.task,
        view.queries.weight,
        *view.queries.embeddings.values(),
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]


def test_what_was_not_recorded_is_named() -> None:
    suite = recorded_suite()
    env, _ = environment(suite)
    rows = np.arange(4)
    with pytest.raises(InputError, match="lacks self-routes of checkpoint sft"):
        env.self_route(0, rows, "sft")
    with pytest.raises(InputError, match="lacks self-routes of checkpoint rl for model 2"):
        env.self_route(2, rows, "rl")
    with pytest.raises(InputError, match="3 verification votes were asked for, but up to 10"):
        env.verify(0, rows, 3)
    gaps = {name: np.where(np.eye(4, 3) > 0, np.nan, values) for name, values in suite.verifications.items()}
    sparse, _ = environment(toy_suite(suite.correct, costs=COSTS, verifications=gaps))
    with pytest.raises(InputError, match="lacks verification votes of model 0"):
        sparse.verify(0, rows, 10)
    assert sparse.verify(0, np.array([1, 2]), 10).n_yes.tolist() == [3, 3]
