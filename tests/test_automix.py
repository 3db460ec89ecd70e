"""AutoMix against its original, its planner against exhaustive search, and cases that can be worked out by hand."""

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import simulate
from bench.evaluate import evaluate
from bench.metrics import rows
from bench.replay import Ledger, ReplayEnv, price, query_view, recorded_for, settle, training_view
from routers.base import Accounting, Signal, Votes
from routers.registry import built_in
from tasks.errors import InputError
from tasks.scenarios import BALANCE, SCENARIOS, Scenario, weighted_mean
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

pomdp_py = pytest.importorskip("pomdp_py", reason="AutoMix is modelled with pomdp-py: pip install '.[automix]'")

from routers import pomdp  # noqa: E402
from routers.automix import AutoMixRouter  # noqa: E402
from routers.pomdp import Cascade, ReachableBeliefs, ReachablePlanner, Step, plans_by_price  # noqa: E402

SIGNALS = Signal.ANSWER | Signal.VERIFY


def suite_of(correct: Any, n_yes: Any, n_valid: Any = 10, costs: Any = None, splits: Any = None) -> Suite:
    """Queries with the votes of every model but the last, thrice: as train, as validation and as test, unless told."""
    correct, n_yes = np.asarray(correct, dtype=float), np.asarray(n_yes, dtype=float)
    votes = np.full(correct.shape, np.nan)
    votes[:, :-1] = n_yes.reshape(len(correct), -1)
    valid = np.where(np.isnan(votes), np.nan, np.broadcast_to(np.reshape(n_valid, (-1, 1)), votes.shape))
    if splits is None:
        splits = np.repeat(["train", "validation", "test"], len(correct))
        correct, votes, valid = (np.tile(array, (3, 1)) for array in (correct, votes, valid))
    return toy_suite(correct, costs, splits=splits, verifications={"n_yes": votes, "n_valid": valid})


def fit(suite: Suite, **params: Any) -> AutoMixRouter:
    views = [training_view(suite, suite.rows(part, "id"), SIGNALS, "balance") for part in ("train", "validation")]
    return AutoMixRouter(**params).fit(*views, BALANCE)


def route(router: AutoMixRouter, suite: Suite, alpha: float = 0.5, part: str = "test") -> tuple[Any, Ledger, Any]:
    """Return decisions, ledger and the cost of every call and verification, of all queries of a part."""
    queries = suite.rows(part)
    ledger = Ledger(len(queries))
    env = ReplayEnv(recorded_for(suite, queries, SIGNALS, "balance"), SIGNALS, ledger)
    chosen = router.route(query_view(suite, queries), env, Scenario(None, alpha))
    before = {call: mask.copy() for call, mask in ledger.calls.items()}
    settle(ledger, chosen, np.zeros((len(queries), len(suite.pool))))
    assert all((ledger.calls[call] == mask).all() for call, mask in before.items()), "somebody was left unasked"
    return chosen, ledger, price(ledger, chosen, suite, queries)[Accounting.EVERY_CALL_AND_VERIFY]


def routed_bins(plan: Any) -> tuple[int, ...]:
    """For every verdict on the smallest of two models: 1 where the plan routes, 0 where it keeps the answer."""
    return tuple(plan.action[plan.following[0]].tolist())


# against the original


def graded(n: int, seed: int) -> tuple[Any, Any]:
    """Two models and ten votes: the more yes, the likelier the small model is right, and the less needy the query."""
    rng = np.random.default_rng(seed)
    n_yes = rng.integers(0, 11, n)
    small = rng.random(n) < 0.1 + 0.07 * n_yes
    large = rng.random(n) < np.where(small, 0.95, 0.85 - 0.04 * n_yes)
    return np.column_stack([small, large]), n_yes


def as_the_original_reads_it(suite: Suite, part: str) -> pd.DataFrame:
    at = suite.rows(part)
    small, large = suite.correct[at].T
    category = np.select([small > 0, large > 0], ["GOOD", "NEEDY"], "HOPELESS")
    votes = suite.verifications["n_yes"][at, 0] / suite.verifications["n_valid"][at, 0]
    return pd.DataFrame({"slm": small, "llm": large, "p_ver": votes, "category": category})


@pytest.mark.parametrize("seed", range(3))
def test_the_same_plans_cost_and_accuracy_as_automix_llm(seed: int) -> None:
    """With eight bins the original's arithmetic is exact. It finds its candidates by a sweep of 5,000 rewards."""
    automix = pytest.importorskip("automix", reason="the original: pip install automix-llm==1.0.3")
    correct, n_yes = graded(20_000, seed)
    suite = suite_of(correct, n_yes, splits=np.repeat(["train", "validation", "test"], [8000, 4000, 8000]))
    router = fit(suite, bins=8)
    method = automix.POMDPSimple(8)
    candidates = method.generate_points(as_the_original_reads_it(suite, "train"), verifier_column="p_ver")
    assert {routed_bins(plan)[:9] for plan in router.plans_} == set(candidates)
    assert len(candidates) == 10

    original = automix.Automix(method, "slm", "llm", "p_ver", costs=[0.1, 0.9], verifier_cost=0.1)
    test = as_the_original_reads_it(suite, "test")
    for number, plan in enumerate(router.plans_):
        to_retry = method.run(test, routed_bins(plan), verifier_column="p_ver")
        accuracy, cost = original.compute_performance_cost(test, to_retry)
        router.choose = lambda alpha, number=number: number  # type: ignore[method-assign]
        chosen, _, paid = route(router, suite)
        np.testing.assert_array_equal(chosen == 1, to_retry)
        assert np.mean(paid) == pytest.approx(cost, abs=1e-12)
        assert suite.correct[suite.rows("test")][np.arange(8000), chosen].mean() == pytest.approx(accuracy, abs=1e-12)


def test_ten_bins_are_where_the_original_misplaces_some() -> None:
    automix = pytest.importorskip("automix", reason="the original: pip install automix-llm==1.0.3")
    theirs = [automix.POMDPSimple(10).get_neearest_prob_idx(yes / 10) for yes in range(11)]
    ours = AutoMixRouter()._verdicts(Votes(np.arange(11), np.full(11, 10)))
    assert ours.tolist() == list(range(11))
    assert [yes for yes in range(11) if theirs[yes] != yes] == [5, 9, 10]


def test_a_verdict_is_the_nearest_bin_whatever_the_number_of_valid_votes() -> None:
    valid = np.repeat(np.arange(13), 13)
    yes = np.tile(np.arange(13), 13)
    valid, yes = valid[yes <= valid], yes[yes <= valid]
    for bins in (1, 3, 8, 10):
        found = AutoMixRouter(bins=bins)._verdicts(Votes(yes, valid))
        assert (found[valid == 0] == bins + 1).all()
        share, nearest = yes[valid > 0] / valid[valid > 0], found[valid > 0]
        assert (np.abs(nearest / bins - share) <= 0.5 / bins + 1e-12).all()
        assert ((nearest >= 0) & (nearest <= bins)).all()


# the planner


def some_cascade(n_models: int, n_verdicts: int, seed: int) -> Cascade:
    rng = np.random.default_rng(seed)
    return Cascade(
        np.sort(rng.uniform(0.02, 0.6, n_models)),
        rng.dirichlet(np.full(n_models + 1, 3.0)),
        rng.dirichlet(np.ones(n_verdicts), size=(n_models - 1, n_models + 1)),
    )


def after(agent: Any, action: Step, observation: Any) -> Any:
    """Put the agent where it is once it has acted and observed."""
    belief = {state: agent.belief[state] for state in agent.all_states}
    moved = pomdp_py.belief_update(belief, action, observation, agent.transition_model, agent.observation_model)
    agent.set_belief(pomdp_py.Histogram(moved))
    return agent


def best_of_every_tree(agent: Any, horizon: int) -> float:
    trees = pomdp_py.ValueIteration(horizon=horizon, discount_factor=1.0)._build_policy_trees(1, agent)
    return max(sum(agent.belief[s] * tree.values[s] for s in agent.all_states) for tree in trees)  # noqa: PD011


@pytest.mark.parametrize(("n_bins", "seed"), [(2, 0), (2, 1), (3, 2), (4, 3), (6, 4)])
def test_two_models_are_planned_as_value_iteration_does(n_bins: int, seed: int) -> None:
    cascade = some_cascade(2, n_bins + 1, seed)  # and one for "no valid vote"
    agent = cascade.agent(price=0.7)
    plan = ReachablePlanner(horizon=2).solve(agent)
    assert plan.total[0] == pytest.approx(best_of_every_tree(agent, 2), abs=1e-9)
    for observation, step in zip(agent.all_observations, routed_bins(plan), strict=True):
        there = after(cascade.agent(price=0.7), Step(1), observation)
        assert pomdp_py.ValueIteration(horizon=1, discount_factor=1.0).plan(there) == Step(step)
        assert ReachablePlanner(horizon=1).plan(there) == Step(step)


@pytest.mark.parametrize("seed", range(3))
def test_three_models_are_planned_as_value_iteration_does(seed: int) -> None:
    """From the first verdict on: keep, route to the next model, or skip it."""
    cascade = some_cascade(3, 3, seed)
    plan = ReachablePlanner(horizon=3).solve(cascade.agent(price=0.3))
    for number, observation in enumerate(cascade.agent(0.0).all_observations):
        there = after(cascade.agent(price=0.3), Step(1), observation)
        action = ReachablePlanner(horizon=2).plan(there)
        assert action == pomdp_py.ValueIteration(horizon=2, discount_factor=1.0).plan(there)
        assert action == Step(int(plan.action[plan.following[0, number]]))
        assert ReachablePlanner(horizon=2).solve(there).total[0] == pytest.approx(best_of_every_tree(there, 2))


@pytest.mark.parametrize("seed", range(3))
def test_the_worth_of_a_plan_is_that_of_the_recursion(seed: int) -> None:
    agent = some_cascade(3, 3, seed).agent(price=0.4)
    models = (agent.transition_model, agent.observation_model, agent.reward_model)
    belief = {state: agent.belief[state] for state in agent.all_states}
    exact = pomdp_py.value(belief, agent.all_states, agent.all_actions, agent.all_observations, *models, 1.0, horizon=3)
    assert ReachablePlanner(horizon=3).solve(agent).total[0] == pytest.approx(exact, abs=1e-12)


def test_the_models_of_the_pomdp_are_distributions() -> None:
    agent = some_cascade(4, 5, 0).agent(price=0.5)
    states, observations = agent.all_states, agent.all_observations
    assert sum(agent.belief[state] for state in states) == pytest.approx(1.0)
    for action in agent.all_actions:
        for state in states:
            reached = [t for t in states if agent.transition_model.probability(t, state, action) > 0]
            assert reached == [agent.transition_model.sample(state, action)]
            seen = [agent.observation_model.probability(o, reached[0], action) for o in observations]
            assert sum(seen) == pytest.approx(1.0)


def test_five_models_are_planned_over_every_belief_there_is() -> None:
    beliefs = ReachableBeliefs(some_cascade(5, 12, 0).agent(price=0.5), horizon=5).beliefs
    asked = [12, 12 * 12, 12 * 13 * 12, 12 * 13 * 13 * 12]  # the first verdict, each later model's verdict or none, …
    assert len(beliefs) == 1 + sum(asked)


def test_too_many_beliefs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pomdp, "MOST_BELIEFS", 100)
    with pytest.raises(InputError, match="fewer models or fewer bins"):
        plans_by_price(some_cascade(4, 5, 0), 10)


@pytest.mark.parametrize("seed", range(5))
def test_plans_are_nested_and_none_that_is_best_is_missed(seed: int) -> None:
    cascade = some_cascade(2, 7, seed)
    plans = plans_by_price(cascade, 64)
    routed = [set(np.flatnonzero(routed_bins(plan))) for plan in plans]
    assert routed[0] == set()
    assert routed[-1] == set(range(7))
    assert all(smaller < larger for smaller, larger in pairwise(routed))
    worth = np.array([plan.total for plan in plans]) @ np.array([[1.0] * 50, -np.linspace(0.01, 3.0, 50)])
    for at, dear in enumerate(np.linspace(0.01, 3.0, 50)):
        assert ReachablePlanner(2).solve(cascade.agent(price=dear)).total[0] == pytest.approx(worth[:, at].max())


# by hand


def test_a_perfect_verifier_routes_what_the_small_model_gets_wrong() -> None:
    small, large = np.repeat([1, 0, 0], [40, 40, 20]), np.repeat([1, 1, 0], [40, 40, 20])
    suite = suite_of(np.column_stack([small, large]), 10 * small)
    router = fit(suite)
    for alpha in (0.0, 0.2, 0.5, 0.74):  # routing pays below P(needy | no) / .9 = .74
        chosen, _, paid = route(router, suite, alpha)
        np.testing.assert_array_equal(chosen, 1 - small)
        assert np.mean(paid) == pytest.approx(0.1 + 0.1 + 0.9 * 0.6)
    for alpha in (0.75, 1.0):
        chosen, _, paid = route(router, suite, alpha)
        assert not chosen.any()
        assert np.mean(paid) == pytest.approx(0.2)


def test_an_uninformative_verifier_leaves_all_or_nothing() -> None:
    small, large = np.repeat([1, 0, 0], [40, 45, 15]), np.repeat([1, 1, 0], [40, 45, 15])
    suite = suite_of(np.column_stack([small, large]), np.full(100, 5))
    router = fit(suite)
    assert {routed_bins(plan)[5] for plan in router.plans_} == {0, 1}
    assert route(router, suite, 0.49)[0].all()
    assert not route(router, suite, 0.51)[0].any()  # .45 of accuracy for .9 of cost


def test_validation_has_the_last_word() -> None:
    """Train says that doubt is needy; on validation the large model is of no use, so that nobody is routed."""
    small = np.repeat([1, 0], 50)
    correct = np.concatenate([np.column_stack([small, np.ones(100)]), np.column_stack([small, small])])
    suite = suite_of(correct, np.tile(10 * small, 2), splits=np.repeat(["train", "validation"], 100))
    router = fit(suite)
    assert len(router.plans_) > 1
    assert router.cost_[router.choose(0.01)] == pytest.approx(0.2)


def test_one_fit_serves_every_alpha_and_a_dearer_alpha_never_pays_more(simulated: Suite) -> None:
    router = fit(simulated)
    paid = [route(router, simulated, alpha)[2].mean() for alpha in np.linspace(0, 1, 11)]
    assert all(less <= more for more, less in pairwise(paid))


def test_queries_without_a_valid_vote_are_a_case_of_their_own() -> None:
    """No vote ever says yes; the small model is right where votes are valid and wrong where none is."""
    small = np.repeat([1, 0], [60, 40])
    suite = suite_of(np.column_stack([small, np.ones(100)]), np.zeros(100), np.where(small, 10, 0))
    chosen, _, _ = route(fit(suite), suite)
    np.testing.assert_array_equal(chosen, 1 - small)


def test_a_verdict_that_never_occurred_tells_nothing() -> None:
    correct, n_yes = graded(400, 0)
    cascade = fit(suite_of(correct, np.minimum(n_yes, 6))).cascade_
    assert (cascade.prior * cascade.verdicts[0, :, 9]) / (cascade.prior @ cascade.verdicts[0, :, 9]) == pytest.approx(
        cascade.prior
    )
    np.testing.assert_allclose(cascade.verdicts.sum(axis=2), 1.0)


def test_without_shrinkage_the_pomdp_expects_what_happened_on_train() -> None:
    correct, n_yes = graded(2000, 1)
    correct[:, 1] |= correct[:, 0]  # then the reward for routing, [good or needy], is exact
    suite = suite_of(correct, n_yes)
    router = fit(suite, shrinkage=0.0)
    found = np.array([plan.total for plan in router.plans_])
    np.testing.assert_allclose(found, np.column_stack([router.accuracy_, router.cost_]), atol=1e-12)


# what is asked and paid


def test_every_call_and_every_verification_is_charged() -> None:
    correct, n_yes = graded(500, 2)
    suite = suite_of(correct, n_yes)
    chosen, ledger, paid = route(fit(suite), suite)
    assert 0 < chosen.mean() < 1
    assert ledger.asked("answered", 2)[:, 0].all()
    assert ledger.asked("verified", 2)[:, 0].all()
    np.testing.assert_array_equal(ledger.asked("answered", 2)[:, 1], chosen == 1)
    assert not ledger.asked("verified", 2)[:, 1].any()
    assert not any(ledger.calls[call].any() for call in ("sampled", "self_routed", "rejected"))
    assert np.mean(paid) == pytest.approx(0.1 + 0.1 + 0.9 * chosen.mean())


@pytest.mark.parametrize("models", ["ends", "all", ("qwen2.5-3b", "qwen2.5-0.5b", "qwen2.5-7b")])
def test_what_validation_said_is_what_routing_it_costs(simulated: Suite, models: Any) -> None:
    router = fit(simulated, models=models, bins=4, most_plans=12)
    at = simulated.rows("validation", "id")
    weight = query_view(simulated, at).weight
    for alpha in (0.1, 0.3, 0.5):
        chosen, _, paid = route(router, simulated, alpha, "validation")
        number = router.choose(alpha)
        assert weighted_mean(paid, weight) == pytest.approx(router.cost_[number], abs=1e-12)
        correct = simulated.correct[at][np.arange(len(at)), chosen].astype(float)
        assert weighted_mean(correct, weight) == pytest.approx(router.accuracy_[number], abs=1e-12)


def test_models_may_be_skipped_and_are_not_asked_then() -> None:
    """What the smallest says of itself names the model that is needed."""
    kind = np.repeat([0, 1, 2], 50)
    correct = np.column_stack([kind == 0, kind <= 1, np.ones(150)])
    suite = suite_of(correct, np.column_stack([10 - 5 * kind, 10 * (kind < 2)]), costs=[0.05, 0.2, 0.9])
    chosen, ledger, paid = route(fit(suite, models="all"), suite, alpha=0.1)
    np.testing.assert_array_equal(chosen, kind)
    np.testing.assert_array_equal(ledger.asked("answered", 3), np.eye(3, dtype=bool)[kind] | [True, False, False])
    np.testing.assert_allclose(paid, np.choose(kind, [0.1, 0.1 + 0.4, 0.1 + 0.9]))


def test_an_empty_batch_and_one_query(simulated: Suite) -> None:
    router = fit(simulated)
    at = simulated.rows("test")
    together = route(router, simulated)[0]
    for few in (at[:0], at[:1]):
        env = ReplayEnv(recorded_for(simulated, few, SIGNALS, "balance"), SIGNALS, Ledger(len(few)))
        assert router.route(query_view(simulated, few), env, BALANCE).tolist() == together[: len(few)].tolist()


def test_what_cannot_be_used_is_refused_in_one_line(simulated: Suite) -> None:
    for params in ({"bins": 0}, {"votes": 0}, {"shrinkage": -1.0}):
        with pytest.raises(InputError, match="at least one bin"):
            fit(simulated, **params)
    with pytest.raises(InputError, match="no model"):
        fit(simulated, models=())
    with pytest.raises(InputError, match="gpt-5"):
        fit(simulated, models=("gpt-5",))
    with pytest.raises(InputError, match="verification votes were asked for"):
        fit(simulated, votes=3)


def test_pomdp_py_is_imported_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; from bench.run import main; main(['--list']); sys.exit('pomdp_py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    for name in ("routers.automix", "routers.pomdp"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pomdp_py", None)
    with pytest.raises(InputError, match=r"pip install 'disrouter-bench\[automix\]'"):
        built_in()["automix"].build()


# against the paper


@pytest.fixture(scope="module")
def full() -> Suite:
    return simulate.simulate()


def test_close_to_the_published_rows(full: Suite) -> None:
    """Within .06 of Tables 2, 3, 13 and 14: votes that tell next to nothing leave little to choose.

    At performance first all are routed, as published. At balance routing gains .47 of accuracy for .45 of cost, so
    that every share of routed queries is worth about the same: ours is .63, the published .42. At cost first routing
    never pays: ours keeps every answer (.38 − .8 · .2 = .22), the published row routes .14 of them and loses .04.
    """
    config = toy_config(full, scenarios=tuple(SCENARIOS.values()), splits=("id", "ood"))
    specs = [built_in()[name] for name in ("oracle", "automix", "best_single")]
    found = rows(evaluate(full, full, [(spec, spec.build()) for spec in specs], config), full, config)
    ours = {(row.split, row.scenario): row for row in found if row.router == "automix"}
    best = {(row.split, row.scenario): row.utility for row in found if row.router == "best_single"}
    assert len(ours) == 6
    for place, row in ours.items():
        assert row.published_utility is not None
        assert row.utility == pytest.approx(row.published_utility, abs=0.06)
        assert row.utility > row.published_utility - 0.03
        assert row.utility < best[place], "two models and a charge for every check cannot reach the best single model"
        assert row.cost == pytest.approx(0.2 + 0.9 * row.share["qwen2.5-14b"], abs=1e-9)
    assert ours["id", "performance_first"].cost == pytest.approx(1.10)
    assert ours["id", "cost_first"].utility == pytest.approx(0.38 - 0.8 * 0.2, abs=1e-3)
