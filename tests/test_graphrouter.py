"""GraphRouter: its network against products of matrices, who is told what, and what it learns."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, training_view
from routers.base import Router, best_utility
from routers.graphrouter import RATES, GraphRouter
from routers.registry import built_in
from tasks.errors import InputError
from tasks.scenarios import BALANCE, COST_FIRST, SCENARIOS, Scenario
from tasks.suite import Suite
from tasks.types import Task
from tests.toys import toy_suite

GRAPH = "GraphRouter is built on PyTorch Geometric: pip install '.[graph]'"
torch = pytest.importorskip("torch", reason=GRAPH)
pytest.importorskip("torch_geometric", reason=GRAPH)

from routers.graph_network import Graph, Network, Nodes  # noqa: E402

COSTS = np.array([0.1, 0.4, 0.9])
PARTS = ("train", "validation", "test")
N, K, DESCRIBED, D = 9, 3, 6, 5


def encoded(texts: Any) -> Any:
    """Stands in for the sentence encoder, whose last digits too depend on how many texts are encoded together."""
    vectors = [np.random.default_rng(list(text.encode())).standard_normal(384) for text in texts]
    return np.array(vectors, dtype=np.float32) / 20.0 + np.float32(1e-6 * len(texts))


@pytest.fixture(autouse=True)
def _encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routers.encoders.encode", encoded)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small only lose by more
    yield
    torch.set_num_threads(threads)


# --- the network ----------------------------------------------------------------------------------------------------


def a_network(aggregation: str = "mean") -> Any:
    """A network in double precision whose batch norms have seen something."""
    torch.manual_seed(1)
    net = Network(D, aggregation, described=DESCRIBED).double()
    for norm in (net.norm_1, net.norm_2):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return net


def a_graph(target: str = "correctness") -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((2, DESCRIBED)), rng.integers(0, 2, N), rng.standard_normal((N, D))
    nodes = Nodes.of(*drawn, rng.standard_normal((K, DESCRIBED))).double()
    return nodes, Graph.of((rng.random((N, K)) < 0.6).astype(float), COSTS, 0.5, target)


def some_visible() -> Any:
    """Some of the edges, but none of the last model."""
    visible = torch.rand((N, K), generator=torch.Generator().manual_seed(2)) < 0.5
    visible[:, -1] = False
    return visible


def dense(net: Any, nodes: Any, graph: Any, visible: Any, aggregation: str) -> Any:
    """The states of all nodes by products of matrices: a layer adds to a model what its visible queries tell it."""

    def linear(x: Any, layer: Any) -> Any:
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    def normed(x: Any, norm: Any, mean: Any, var: Any) -> Any:
        mean, var = (x.mean(axis=0), x.var(axis=0)) if net.training else (mean, var)
        return (x - mean) / np.sqrt(var + norm.eps) * norm.weight.detach().numpy() + norm.bias.detach().numpy()

    task = linear(nodes.tasks.numpy(), net.task)[nodes.task.numpy()]
    x = np.vstack(
        [np.hstack([task, linear(nodes.queries.numpy(), net.query)]), linear(nodes.models.numpy(), net.model)]
    )
    features = np.maximum(linear(graph.features.double().numpy(), net.edge), 0.0)
    adjacency = visible.numpy().astype(float)
    if aggregation == "mean":
        adjacency = adjacency / np.maximum(adjacency.sum(axis=0), 1.0)
    for conv, norm in ((net.conv_1, net.norm_1), (net.conv_2, net.norm_2)):
        told = adjacency.T @ linear(x[:N], conv.lin_msg)
        told += np.einsum("nk,nkd->kd", adjacency, linear(features, conv.lin_edge))
        seen = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()
        x = normed(np.vstack([x[:N], x[N:] + told]), norm, *seen)
        x = np.maximum(x, 0.0) if norm is net.norm_1 else x
    return x


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_the_layers_are_products_of_matrices(aggregation: str, training: bool) -> None:
    net, (nodes, graph), visible = a_network(aggregation).train(training), a_graph(), some_visible()
    expected = dense(net, nodes, graph, visible, aggregation)
    with torch.no_grad():
        found = net(nodes, graph, visible)
    assert found.shape == (N + K, 16)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_score_is_the_mean_product_of_the_states_of_query_and_model() -> None:
    net, (nodes, graph) = a_network().eval(), a_graph()
    with torch.no_grad():
        whole, some = (net(nodes, graph, seen).numpy() for seen in (torch.ones((N, K)).bool(), some_visible()))
        scores = net.scores(nodes, net.models(nodes, graph)).numpy()
    np.testing.assert_allclose(scores, expit(whole[:N] @ whole[N:].T / 16), rtol=1e-12)
    np.testing.assert_allclose(whole[:N], some[:N], rtol=1e-12)  # a query hears nobody
    assert np.abs(whole[N:] - some[N:]).max() > 0.01


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_loss_is_the_mean_over_hidden_edges(share: float) -> None:
    net, (nodes, graph) = a_network().train(), a_graph()
    torch.manual_seed(3)
    visible = torch.rand((N, K)) < share
    states = dense(net, nodes, graph, visible, "mean")
    p, hidden = expit(states[:N] @ states[N:].T / 16), ~visible.numpy()
    each = -np.log(np.where(graph.target.numpy() == 1.0, p, 1.0 - p))
    torch.manual_seed(3)
    assert net.loss(nodes, graph, share).item() == pytest.approx(each[hidden].mean(), abs=1e-6)


def test_where_nothing_is_hidden_there_is_nothing_to_lose() -> None:
    net, (nodes, graph) = a_network().train(), a_graph()
    loss = net.loss(nodes, graph, 1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert not any(parameter.grad.any() for parameter in net.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_what_edges_carry_and_what_is_wanted_of_them(scenario: Scenario) -> None:
    """The released label is the cheapest model that is right, else the cheapest, whatever alpha is."""
    correct = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], dtype=float)
    graph = Graph.of(correct, COSTS, scenario.alpha, "one_hot")
    best = np.where(correct.any(axis=1), correct.argmax(axis=1), 0)
    np.testing.assert_array_equal(graph.target.numpy(), np.eye(3)[best])
    cost = np.tile(COSTS, (8, 1))
    features = np.dstack([correct - scenario.alpha * cost, cost, correct])
    np.testing.assert_allclose(graph.features.numpy(), features, atol=1e-7)
    shares = correct / 4
    np.testing.assert_array_equal(Graph.of(shares, COSTS, scenario.alpha, "correctness").target.numpy(), shares)


# --- the router -----------------------------------------------------------------------------------------------------


def random_suite(n: int = 90) -> Suite:
    """Three models, two tasks; the sign of the embedding's first number tells whether the first two are right."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 4)).astype(np.float16)
    easy = np.where(rng.random(n) < 0.05, x[:, 0] < 0, x[:, 0] > 0)
    correct = np.column_stack([easy & (rng.random(n) < 0.9), easy, rng.random(n) < 0.95])
    tasks, splits = np.resize(["s", "t"], n), np.repeat(PARTS, n // 3)
    return toy_suite(correct, COSTS, tasks, splits=splits, embeddings={"query/small": x})


def fitted(suite: Suite, scenario: Scenario = BALANCE, **params: Any) -> GraphRouter:
    """Fit with one look at validation, after the fifth epoch, unless told to train for longer."""
    train, validation = (training_view(suite, suite.rows(p, "id"), GraphRouter.signals, "balance") for p in PARTS[:2])
    return GraphRouter(**({"epochs": 5, "batches": 2} | params)).fit(train, validation, scenario)


def routed(router: Router, suite: Suite, scenario: Scenario = BALANCE) -> Any:
    rows = suite.rows("test")
    env = ReplayEnv(recorded_for(suite, rows, router.signals, "balance"), router.signals, Ledger(len(rows)))
    return router.route(query_view(suite, rows), env, scenario)


def assert_same_network(one: GraphRouter, two: GraphRouter) -> None:
    for name, tensor in one.net_.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), two.net_.state_dict()[name].numpy(), err_msg=name)


def test_a_score_does_not_depend_on_other_queries_or_tasks() -> None:
    suite = random_suite()
    router, queries = fitted(suite), query_view(suite, suite.rows("test"))
    p = router.predict_correctness(queries)
    assert np.ptp(p, axis=0).min() > 0.001
    for i in range(5):
        np.testing.assert_allclose(router.predict_correctness(queries.take(np.array([i]))), p[[i]], rtol=1e-12)
    strange = tuple(Task(name=name, domain="ood", description=name * 9) for name in "xyz")
    beside = replace(queries, tasks=(*strange[:1], *queries.tasks, *strange[1:]), task=queries.task + 1)
    # the last digit hangs on how a processor's library cuts a product of as many rows as there are tasks
    np.testing.assert_allclose(router.predict_correctness(beside), p, rtol=1e-12)
    views = [replace(queries, tasks=tasks, task=0 * queries.task) for tasks in (strange, strange[:1])]
    together, alone = (fitted(suite).predict_correctness(view) for view in views)
    np.testing.assert_array_equal(together, alone)
    assert np.abs(alone - p).min() > 1e-9  # of another task they are other queries


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_only_train_teaches(held_out: str) -> None:
    """Weights, batch norm and the states of models are the same whatever held-out queries and labels are."""
    suite = random_suite()
    rows, correct = suite.rows(held_out), suite.correct.copy()
    x = suite.embeddings["query/small"].copy()
    x[rows], correct[rows] = 7.0, 1.0 - correct[rows]
    one = fitted(suite)
    two = fitted(replace(suite, outcomes={"correct": correct}, embeddings={"query/small": x}))
    assert_same_network(one, two)
    np.testing.assert_array_equal(one.state_.numpy(), two.state_.numpy())


@pytest.mark.parametrize(
    ("values", "epochs", "kept"),
    [
        ([0.0, 0.2, 0.1, 0.1], 20, 10),
        ([0.0, 1e-5, 2e-5, 9.0, 9.0], 25, 15),  # small gains are kept, but buy no time beyond 10 epochs
        ([0.0, 1e-5, 0.1, 0.1, 0.1, 9.0], 30, 15),
    ],
)
def test_the_best_epoch_on_validation_is_kept(
    monkeypatch: pytest.MonkeyPatch, values: list[float], epochs: int, kept: int
) -> None:
    suite, says = random_suite(30), iter(values)
    expected = fitted(suite, epochs=kept)
    monkeypatch.setattr(GraphRouter, "_value", lambda *_: next(says))
    found = fitted(suite, epochs=epochs, patience=10)
    assert_same_network(found, expected)
    np.testing.assert_array_equal(found.state_.numpy(), expected.state_.numpy())


@pytest.mark.parametrize("settings", [{"batches": 0}, {"masks": 0}, {"rates": (1e-3, 1.0)}, {"rates": (1e-3, 0.0)}])
def test_settings_under_which_nothing_would_be_learned_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at least 1|between 0 and 1"):
        fitted(random_suite(30), **settings)


def test_the_last_epoch_is_looked_at_too() -> None:
    suite = random_suite(30)
    none, one = (fitted(suite, epochs=epochs).net_.edge.weight.tolist() for epochs in (0, 1))
    assert none != one


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0])
def test_the_papers_rates_are_those_of_the_nearest_scenario(alpha: float) -> None:
    rates = (1e-4, 0.1) if alpha <= 0.3 else (2e-3, 0.5) if alpha <= 0.6 else (5e-3, 0.7)
    suite, scenario = random_suite(30), Scenario(None, alpha)
    assert_same_network(fitted(suite, scenario, epochs=1), fitted(suite, scenario, epochs=1, rates=rates))


def test_other_rates_replace_the_papers() -> None:
    suite = random_suite(30)
    nets = [fitted(suite, epochs=1, rates=rates).net_ for rates in (RATES[0.5], (2e-3, 0.1), (1e-3, 0.5))]
    weights = [net.edge.weight.tolist() for net in nets]
    assert weights[0] != weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_the_released_loss_takes_the_highest_score_and_ours_the_best_utility(scenario: Scenario) -> None:
    suite = random_suite()
    for target, alpha in (("one_hot", 0.0), ("correctness", scenario.alpha)):
        router = fitted(suite, target=target)
        p = router.predict_correctness(query_view(suite, suite.rows("test")))
        np.testing.assert_array_equal(routed(router, suite, scenario), (p - alpha * COSTS).argmax(axis=1))


def test_a_subset_of_the_pool_is_decided_without_a_refit() -> None:
    suite = random_suite()
    two = suite.subset(["a", "c"])
    router = fitted(suite)
    whole, part = (router.predict_correctness(query_view(s, s.rows("test"))) for s in (suite, two))
    np.testing.assert_array_equal(part, whole[:, [0, 2]])
    np.testing.assert_array_equal(routed(router, two), best_utility(part, COSTS[[0, 2]], BALANCE.alpha))


def test_a_seed_decides_everything_and_nothing_outside_is_touched() -> None:
    suite, threads = random_suite(), torch.get_num_threads()
    queries = query_view(suite, suite.rows("test"))
    torch.set_num_threads(2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = fitted(suite).predict_correctness(queries)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    torch.manual_seed(6)
    assert fitted(suite).predict_correctness(queries).tobytes() == one.tobytes()
    assert fitted(suite, seed=1).predict_correctness(queries).tobytes() != one.tobytes()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target": "correct"}, "unknown target of GraphRouter 'correct'; did you mean 'correctness'?"),
        ({"aggregation": "max"}, r"unknown aggregation of GraphRouter 'max'.* \(allowed: mean, sum\)"),
        ({"signal": "medium"}, "there are no embeddings of kind query/medium"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(params: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        fitted(random_suite(30), **params)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("package", ["torch_geometric", "sentence_transformers"])
def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr("routers.registry.find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(InputError) as refused:
        built_in()["graphrouter"].build()
    line = f"router graphrouter needs the package {package}: pip install 'disrouter-bench[graph]'"
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("target", "scenario"), [("correctness", BALANCE), ("correctness", COST_FIRST), ("one_hot", BALANCE)]
)
def test_it_learns_who_is_right(target: str, scenario: Scenario) -> None:
    """The first model where the embedding says that it is right; else the last, unless that is too dear."""
    suite = random_suite(600)
    chosen = routed(fitted(suite, scenario, target=target, rates=(2e-2, 0.5), epochs=20, batches=5), suite, scenario)
    gain = suite.correct[suite.rows("test")] - scenario.alpha * COSTS
    assert gain[np.arange(len(chosen)), chosen].mean() > gain.mean(axis=0).max() + 0.05
