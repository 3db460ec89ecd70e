"""DiSRouter's network: who is asked, who answers, what a topology may be, and the simulated paper's rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import simulate
from bench.evaluate import evaluate, usable
from bench.metrics import rows as table
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, training_view
from routers.disrouter.network import HandOver, Network
from routers.disrouter.router import ConfidenceRouter, DiSRouter
from routers.registry import built_in, select
from tasks.errors import InputError
from tasks.scenarios import BALANCE, SCENARIOS, Scenario
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

TREE = """
entry: a
hand_over:
  a:
    - {to: c, tasks: [sums]}
    - {to: b}
  b: [{to: d}]
  c: [{to: d}]
"""


def suite_of(rejected: Any, tasks: Any = None, checkpoint: str = "prompted", **recordings: Any) -> Suite:
    """Models a, b, c …, whose agents reject where `rejected` (n, K) is 1; -1 where none was recorded."""
    rejected = np.asarray(rejected, dtype=np.int8)
    correct = np.where(rejected == 0, 1.0, np.nan).astype(np.float32)
    routes = {(checkpoint, name): {"rejected": rejected, "correct": correct} for name in SCENARIOS}
    fractions = dict.fromkeys((chr(97 + j) for j in range(rejected.shape[1])), 0.1)
    outcomes = np.zeros(rejected.shape)
    return toy_suite(outcomes, tasks=tasks, self_routes=routes, rejection_fraction=fractions, **recordings)


def travel(router: Any, suite: Suite, scenario: Scenario = BALANCE) -> tuple[Any, Ledger]:
    rows = suite.rows("test")
    view = training_view(suite, rows, router.signals, "balance")
    ledger = Ledger(len(rows))
    env = ReplayEnv(recorded_for(suite, rows, router.signals, "balance"), router.signals, ledger)
    return router.fit(view, view, scenario).route(query_view(suite, rows), env, scenario), ledger


def written(folder: Path, text: str) -> str:
    path = folder / "topology.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- who answers ----------------------------------------------------------------------------------------------------


def test_the_first_agent_that_does_not_reject_answers_and_the_last_is_not_asked() -> None:
    rejected = [[0, 0, -1], [1, 0, -1], [1, 1, -1], [0, 1, -1]]
    chosen, ledger = travel(DiSRouter(), suite_of(rejected))
    assert chosen.tolist() == [0, 1, 2, 0]
    asked, refused = (ledger.asked(call, 3).astype(int).tolist() for call in ("self_routed", "rejected"))
    assert asked == [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert refused == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_an_agent_that_was_not_recorded_is_named() -> None:
    with pytest.raises(InputError, match="lacks self-routes of checkpoint prompted for model 1"):
        travel(DiSRouter(), suite_of([[1, -1, -1]]))


def test_a_topology_skips_ahead_by_task(tmp_path: Path) -> None:
    suite = suite_of([[1, 1, 0, -1]] * 3 + [[1, 0, 1, -1]] * 2, tasks=["sums", "words", "sums", "words", "sums"])
    chosen, ledger = travel(DiSRouter(topology=written(tmp_path, TREE)), suite)
    assert chosen.tolist() == [2, 3, 2, 1, 3]
    asked = ledger.asked("self_routed", 4).astype(int).tolist()
    assert asked == [[1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]]


def test_removing_an_agent_leaves_what_the_others_decide(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rejected = np.column_stack([rng.integers(0, 2, (200, 3)), np.full(200, -1)])
    suite = suite_of(rejected, tasks=rng.choice(["sums", "words"], 200))
    for topology in (None, written(tmp_path, TREE)):
        whole, before = travel(DiSRouter(topology=topology), suite)
        router = DiSRouter(topology=topology)
        router.fit(*[training_view(suite, suite.rows("test"), router.signals, "balance")] * 2, BALANCE)
        fewer, ledger = suite.subset(["a", "c", "d"]), Ledger(200)
        env = ReplayEnv(recorded_for(fewer, suite.rows("test"), router.signals, "balance"), router.signals, ledger)
        chosen = np.array([0, 2, 3])[router.route(query_view(fewer, suite.rows("test")), env, BALANCE)]
        stayed = whole != 1
        reached = before.asked("self_routed", 4)[:, 2]
        np.testing.assert_array_equal(chosen[whole == 0], 0)
        np.testing.assert_array_equal(chosen[stayed & reached], whole[stayed & reached])
        # whoever is asked in both networks says the same in both
        both = before.asked("self_routed", 4)[:, [0, 2, 3]] & ledger.asked("self_routed", 3)
        refused = before.asked("rejected", 4)[:, [0, 2, 3]], ledger.asked("rejected", 3)
        np.testing.assert_array_equal(refused[0][both], refused[1][both])


@st.composite
def networks(draw: Any) -> Network:
    """Agents 0 … k−1, each but the last handing over to some that come later, the last of them for any task."""
    k = draw(st.integers(1, 6))
    hops = {}
    for i in range(k - 1):
        later = draw(st.lists(st.integers(i + 1, k - 1), min_size=1, max_size=3, unique=True))
        if i + 1 not in later:
            later.insert(0, i + 1)  # so that everybody is reached
        hops[f"{i}"] = tuple(
            HandOver(to=f"{j}", tasks=None if place == len(later) - 1 else ("sums",)) for place, j in enumerate(later)
        )
    return Network(entry="0", hand_over=hops)


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 10**6))
def test_every_query_ends_with_who_accepts_or_is_final_and_nobody_is_asked_twice(network: Network, seed: int) -> None:
    order = network.order()
    names = sorted(order)
    rng = np.random.default_rng(seed)
    says = rng.integers(0, 2, (40, len(names)))
    task = rng.choice(["sums", "words"], 40)
    suite = toy_suite(np.zeros((40, len(names))), tasks=task, costs=np.linspace(0.1, 0.9, len(names)))
    renamed = {f"{i}": chr(97 + i) for i in range(len(names))}
    hops = {
        renamed[name]: tuple(HandOver(to=renamed[hop.to], tasks=hop.tasks) for hop in hops)
        for name, hops in network.hand_over.items()
    }
    router = DiSRouter()
    router.pool_, router.network_ = suite.pool, Network(entry="a", hand_over=hops)
    asked: list[tuple[int, int]] = []

    def accepts(model: int, rows: Any) -> Any:
        asked.extend((int(row), model) for row in rows)
        return says[rows, model] == 1

    chosen = router._travel(query_view(suite, suite.rows("test")), accepts)
    assert len(asked) == len(set(asked))
    for row, model in enumerate(chosen.tolist()):
        at = "a"
        while hops.get(at) and says[row, ord(at) - 97] == 0:
            assert (row, ord(at) - 97) in asked
            at = next(hop.to for hop in hops[at] if hop.tasks is None or task[row] in hop.tasks)
        assert model == ord(at) - 97


# --- what a topology may be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entry: a\nhand_over: {a: [{to: b}], b: [{to: a}]}", "round in a circle"),
        ("entry: a\nhand_over: {a: [{to: a}]}", "round in a circle"),
        ("entry: a\nhand_over: {a: [{to: b}], c: [{to: b}]}", "no query ever reaches c from a"),
        ("entry: a\nhand_over: {a: [{to: b, tasks: [sums]}]}", "a hands over some tasks only"),
        ("entry: a\nhand_over: {a: [{to: zebra}]}", "unknown agent in .*'zebra'"),
        ("entry: [a]", "entry"),
        ("hand_over: {}", "entry"),
        ("entry: a\nfinal: b", "final"),
        ("[1, 2", "not YAML"),
        ("just words", "entry and hand_over are wanted"),
    ],
)
def test_a_topology_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        travel(DiSRouter(topology=written(tmp_path, text)), suite_of([[1, -1]]))
    assert "\n" not in str(refused.value)


def test_a_topology_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the topology"):
        travel(DiSRouter(topology=str(tmp_path / "none.yaml")), suite_of([[1, -1]]))


def test_who_is_left_out_is_passed_by() -> None:
    tree = Network(
        entry="a",
        hand_over={
            "a": (HandOver(to="b", tasks=("x", "y")), HandOver(to="c")),
            "b": (HandOver(to="d", tasks=("y", "z")), HandOver(to="c")),
            "c": (HandOver(to="d"),),
        },
    )
    found = tree.within(["a", "c", "d"])
    assert found.hand_over["a"] == (
        HandOver(to="d", tasks=("y",)),
        HandOver(to="c", tasks=("x", "y")),
        HandOver(to="c"),
    )
    assert tree.within(["a", "b", "c", "d"]) == tree
    assert Network.cascade("abcd").within("bd") == Network.cascade("bd")
    assert Network.cascade("abcd").within("ab") == Network(entry="a", hand_over={"a": (HandOver(to="b"),), "b": ()})
    with pytest.raises(InputError, match="write another"):
        tree.within(["b", "c", "d"])


# --- agreement ------------------------------------------------------------------------------------------------------


def test_agents_accept_where_their_samples_agree_enough() -> None:
    """Agreement .9 is right nine times of ten, agreement .4 four times: Eq. 7 asks for .894, .707 and .447."""
    agreement = np.repeat([9.0, 4.0], 100)
    correct = np.column_stack([np.r_[np.tile([1] * 9 + [0], 10), np.tile([1] * 4 + [0] * 6, 10)], np.ones(200)])
    n_modal = np.column_stack([agreement, np.full(200, np.nan)])
    samples = {"n": np.where(np.isnan(n_modal), np.nan, 10.0), "n_modal": n_modal, "n_correct": n_modal}
    suite = toy_suite(correct, samples=samples)
    for scenario, accepted in zip(SCENARIOS.values(), ([9], [9], [9]), strict=True):
        chosen, ledger = travel(ConfidenceRouter(), suite, scenario)
        assert sorted({int(a) for a in agreement[chosen == 0]}) == accepted
        assert ledger.asked("sampled", 2).sum(axis=0).tolist() == [200, 0]
    chosen, _ = travel(ConfidenceRouter(gamma=1.0), suite, Scenario(None, 0.65))
    assert (chosen == 0).all()


# --- names and rows -------------------------------------------------------------------------------------------------


def test_disrouter_is_an_alias_for_what_can_run(simulated: Suite) -> None:
    specs, named = select("disrouter", simulated.pool)
    runnable, skipped = usable(simulated, simulated, specs, named)
    assert {"disrouter_sft", "disrouter_rl"} <= {spec.name for spec, _ in runnable}
    assert {"disrouter_prompted", "disrouter_confidence"} <= {one["router"] for one in skipped}
    bare = replace(simulated, self_routes={})
    with pytest.raises(InputError, match="no router of disrouter can run on suite qwen2.5-sim"):
        usable(bare, bare, specs, named)


@pytest.fixture(scope="module")
def full() -> Suite:
    return simulate.simulate()


@pytest.mark.parametrize("models", [5, 3])
def test_simulated_agents_at_table_5_come_to_the_published_utilities(full: Suite, models: int) -> None:
    """Five models .73/.61/.52 and three .73/.60/.52 (Tables 2, 4, 15 and 16), each to .035."""
    suite = full if models == 5 else full.subset(simulate.THREE_MODELS)
    config = toy_config(suite, scenarios=tuple(SCENARIOS.values()))
    specs = [built_in()[name] for name in ("oracle", "disrouter_rl")]
    found = table(evaluate(suite, full, [(spec, spec.build()) for spec in specs], config), suite, config)
    for row in (row for row in found if row.router == "disrouter_rl"):
        assert row.published_utility is not None
        assert row.utility == pytest.approx(row.published_utility, abs=0.035)


def test_agents_recorded_in_one_scenario_route_by_its_prompt_in_the_others(simulated: Suite) -> None:
    only = {key: table for key, table in simulated.self_routes.items() if key[1] == "balance"}
    bare = replace(simulated, self_routes=only)
    spec = built_in()["disrouter_rl"]
    done = evaluate(bare, bare, [(spec, spec.build())], toy_config(bare, scenarios=tuple(SCENARIOS.values())))
    assert [one.prompt for one in done] == ["balance"] * 3
    assert [one.alpha_used for one in done] == [0.5] * 3
    np.testing.assert_array_equal(done[0].chosen, done[2].chosen)
