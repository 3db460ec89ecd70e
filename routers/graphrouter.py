"""GraphRouter: queries, tasks and models as a graph whose edges are the outcomes seen in training (Feng et al. 2024)."""

import copy
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from routers import encoders
from routers.base import AlphaMode, FloatArray, PredictiveRouter, QueryView, RoutingEnv, TrainingView, best_utility
from routers.scorers import log_loss
from tasks.scenarios import Scenario, weighted_mean
from tasks.types import Model, ModelPool, Task

if TYPE_CHECKING:
    from routers.graph_network import Graph, Network

# Learning rate and share of training edges left visible, tuned by the paper for each scenario (its Appendix).
RATES = {0.2: (1e-4, 0.1), 0.5: (2e-3, 0.5), 0.8: (5e-3, 0.7)}


class GraphRouter(PredictiveRouter):
    """Predicts edges between queries and models from those seen in training, by a graph network of two layers.

    Query nodes get no messages, so that a query's score does not depend on other queries; model nodes collect those of
    the training queries whose outcomes are visible. Every step hides other outcomes and learns to predict them.

    `target="correctness"` predicts P(correct) and takes the best p − alpha · cost; `"one_hot"` is the released loss,
    which predicts the best model, and takes that. `aggregation` of messages: `"mean"`, or the original's `"sum"`, which
    is sensitive to the share of visible edges. `rates`: learning rate and visible share; None takes the paper's for the
    nearest scenario. Training ends when validation has not improved for `patience` epochs, and keeps the best epoch.
    """

    alpha_mode = AlphaMode.REFIT
    pool_: ModelPool

    def __init__(
        self,
        signal: Literal["small", "large"] = "small",
        target: Literal["correctness", "one_hot"] = "correctness",
        aggregation: Literal["mean", "sum"] = "mean",
        rates: tuple[float, float] | None = None,
        epochs: int = 1000,
        masks: int = 32,
        patience: int = 20,
        seed: int = 0,
    ) -> None:
        self.signal = signal
        self.target = target
        self.aggregation = aggregation
        self.rates = rates
        self.epochs = epochs
        self.masks = masks
        self.patience = patience
        self.seed = seed

    def needs(self) -> frozenset[str]:
        """Return the embedding kind that is read."""
        return frozenset({f"query/{self.signal}"})

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Learn from the graph of the training queries; keep the epoch that was best on validation.

        Best is the lowest log-loss, or with `target="one_hot"` the highest utility. Raises `InputError` where a package
        is missing.
        """
        encoders.require()
        import torch

        from routers.graph_network import Graph, Network

        self.pool_ = train.queries.pool
        pool = self.pool_
        self.models_ = encoders.encode([_described(model) for model in pool])
        self.tasks_: dict[str, FloatArray] = {}
        rate, share = self.rates or RATES[min(RATES, key=lambda alpha: abs(alpha - scenario.alpha))]
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            net = Network(train.queries.embedding(f"query/{self.signal}").shape[1], self.aggregation)
            graph = Graph.of(train.correct, pool.costs, scenario.alpha, self.target)
            nodes = self._nodes(train.queries)
            optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
            best, waited, kept = -np.inf, 0, copy.deepcopy(net.state_dict())
            for _ in range(self.epochs):
                net.train()
                for _ in range(self.masks):
                    visible = torch.rand(len(graph.target)) < share
                    optimiser.zero_grad()
                    loss = net.loss(nodes, graph, visible)
                    loss.backward()
                    optimiser.step()
                self._settle(net, nodes, graph)
                found = self._value(validation, scenario)
                if found > best + 1e-6:
                    best, waited, kept = found, 0, copy.deepcopy(net.state_dict())
                else:
                    waited += 1
                if waited >= self.patience:
                    break
            net.load_state_dict(kept)
            self._settle(net, nodes, graph)
        return self

    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) scores for the models of `queries.pool`: probabilities, where that is the target."""
        import torch

        columns = self._columns(queries.pool)
        if len(queries) == 0:
            return np.zeros((0, len(columns)))
        with torch.inference_mode():
            task, query, _ = self._nodes(queries)
            scores: FloatArray = self.net_.score(self.net_.queries(task, query), self.state_).numpy().astype(np.float64)
        return scores[:, columns]

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> Any:
        """Return argmax over models of p − alpha · cost, or with `target="one_hot"` of the score itself."""
        if self.target == "correctness":
            return super().route(queries, env, scenario)
        return best_utility(self.predict_correctness(queries), queries.pool.costs, 0.0)

    def _settle(self, net: "Network", nodes: Any, graph: "Graph") -> None:
        """Compute the state of the model nodes with all training edges visible."""
        import torch

        net.eval()
        with torch.inference_mode():
            self.net_, self.state_ = net, net.models(nodes, graph, torch.ones(len(graph.target), dtype=torch.bool))

    def _value(self, validation: TrainingView, scenario: Scenario) -> float:
        queries = validation.queries
        p = self.predict_correctness(queries)
        if self.target == "correctness":
            return -log_loss(validation.correct, p)
        chosen = best_utility(p, queries.pool.costs, 0.0)
        gain = validation.correct[np.arange(len(chosen)), chosen] - scenario.alpha * queries.pool.costs[chosen]
        return float(weighted_mean(gain, queries.weight))

    def _nodes(self, queries: QueryView) -> Any:
        """Return float tensors of (n, 384) task descriptions, (n, d) queries and (K, 384) model descriptions."""
        import torch

        new = [task for task in queries.tasks if task.name not in self.tasks_]
        if new:
            self.tasks_.update(zip([t.name for t in new], encoders.encode([_told(t) for t in new]), strict=True))
        described = np.stack([self.tasks_[task.name] for task in queries.tasks])
        embedded = np.asarray(queries.embedding(f"query/{self.signal}"), dtype=np.float32)
        return tuple(torch.from_numpy(x) for x in (described[queries.task], embedded, self.models_))


def _described(model: Model) -> str:
    size = f" with {model.parameters / 1e9:.1f} billion parameters" if model.parameters else ""
    return f"The language model {model.model}{size}; an answer costs {model.cost:g}."


def _told(task: Task) -> str:
    return f"{task.name}: {task.description}"
