"""GraphRouter: queries and models as a graph whose edges are the outcomes seen in training (Feng et al. 2024)."""

import copy
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from routers import encoders
from routers.base import AlphaMode, FloatArray, IntArray, PredictiveRouter, QueryView, TrainingView, best_utility
from routers.scorers import import_torch, log_loss, one_thread
from tasks.errors import InputError, one_of
from tasks.scenarios import Scenario, utility, weighted_mean
from tasks.types import Model, ModelPool, Task

if TYPE_CHECKING:
    from routers.graph_network import Graph, Nodes

# Learning rate and share of training edges left visible, tuned by the paper for each scenario (its Appendix).
RATES = {0.2: (1e-4, 0.1), 0.5: (2e-3, 0.5), 0.8: (5e-3, 0.7)}
_CHECK, _BETTER = 5, 1e-4  # epochs from one look at validation to the next; what counts as an improvement there


class GraphRouter(PredictiveRouter):
    """Predicts edges between queries and models from those seen in training, by a graph network of two layers.

    Query nodes get no messages, so that a query's score does not depend on other queries; model nodes collect those of
    the training queries whose outcomes are visible. Every step hides other outcomes and learns to predict them.

    `target="correctness"` predicts P(correct) and takes the best p − alpha · cost; `"one_hot"` is the released loss,
    which predicts the best model, and takes that. `rates`: learning rate and visible share; None takes the paper's for
    the nearest scenario. Training ends when validation has not improved for `patience` epochs, and keeps the best one.

    In an epoch the training queries are dealt into `batches` graphs, and each gives a step whose gradient is the mean
    over `masks` choices of what is visible. The original makes one step with 32 masks of the whole graph: 1000 of them
    take minutes, and at the smallest of the paper's rates hardly leave the start. `aggregation` of messages: `"mean"`,
    or the original's `"sum"`, which depends on how many edges are visible and so wants `batches=1`.
    """

    alpha_mode = AlphaMode.REFIT
    pool_agnostic = True
    pool_: ModelPool

    def __init__(
        self,
        signal: Literal["small", "large"] = "small",
        target: Literal["correctness", "one_hot"] = "correctness",
        aggregation: Literal["mean", "sum"] = "mean",
        rates: tuple[float, float] | None = None,
        epochs: int = 1000,
        batches: int = 32,
        masks: int = 1,
        patience: int = 30,
        seed: int = 0,
    ) -> None:
        self.signal = signal
        self.target = target
        self.aggregation = aggregation
        self.rates = rates
        self.epochs = epochs
        self.batches = batches
        self.masks = masks
        self.patience = patience
        self.seed = seed

    def needs(self) -> frozenset[str]:
        """Return the embedding kind that is read."""
        return frozenset({f"query/{self.signal}"})

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Learn from the graph of the training queries; keep the epoch that was best on validation.

        Best is the lowest log-loss, or with `target="one_hot"` the highest utility. Raises `InputError` where a package
        is missing, and for a setting that there is not.
        """
        encoders.require("graph")
        one_of("target of GraphRouter", self.target, ("correctness", "one_hot"))
        one_of("aggregation of GraphRouter", self.aggregation, ("mean", "sum"))
        torch = import_torch("torch_geometric", extra="graph")
        from routers.graph_network import Graph, Network

        self.pool_ = train.queries.pool
        self.models_ = encoders.encode([_described(model) for model in self.pool_])
        self.tasks_: dict[str, FloatArray] = {}
        if self.batches < 1 or self.masks < 1:
            raise InputError(f"batches is {self.batches} and masks {self.masks}; both are at least 1")
        rate, share = self.rates or RATES[min(RATES, key=lambda alpha: abs(alpha - scenario.alpha))]
        if not 0.0 < share < 1.0:
            raise InputError(f"{share:g} of the edges are to be visible; the share lies between 0 and 1")
        with torch.random.fork_rng(devices=[]), one_thread(torch):
            torch.manual_seed(self.seed)
            self.net_ = Network(train.queries.embedding(f"query/{self.signal}").shape[1], self.aggregation)
            whole = Graph.of(train.correct, self.pool_.costs, scenario.alpha, self.target)
            nodes = self._nodes(train.queries)
            optimiser = torch.optim.AdamW(self.net_.parameters(), lr=rate, weight_decay=1e-4, fused=True)
            best, best_epoch, kept = -np.inf, 0, copy.deepcopy(self.net_.state_dict())
            for epoch in range(self.epochs):
                self.net_.float().train()
                for part in torch.randperm(len(train)).tensor_split(min(self.batches, len(train))):
                    optimiser.zero_grad()
                    for _ in range(self.masks):
                        loss = self.net_.loss(nodes.take(part), whole.take(part), share)
                        torch.autograd.backward(loss / self.masks)
                    optimiser.step()
                if (epoch + 1) % _CHECK and epoch + 1 < self.epochs:
                    continue
                self._settle(nodes, whole)
                value = self._value(validation, scenario)
                if value > best:
                    # Less than that keeps the epoch, but buys no more time.
                    best_epoch = epoch if value > best + _BETTER else best_epoch
                    best, kept = value, copy.deepcopy(self.net_.state_dict())
                if epoch - best_epoch >= self.patience:
                    break
            if self.epochs and best == -np.inf:
                raise InputError(f"training GraphRouter diverged at a learning rate of {rate:g}; pass lower rates")
            self.net_.load_state_dict(kept)
            self._settle(nodes, whole)
        return self

    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) scores for the models of `queries.pool`: probabilities, where that is the target."""
        torch = import_torch()
        columns = self._columns(queries.pool)
        with torch.inference_mode():
            scores: FloatArray = self.net_.scores(self._nodes(queries).double(), self.state_).numpy()
        return scores[:, columns]

    @property
    def calibrated(self) -> bool:
        """Whether scores are probabilities: with `target="one_hot"` they are not."""
        return self.target == "correctness"

    def decide(self, correctness: FloatArray, pool: ModelPool, scenario: Scenario) -> IntArray:
        """Return argmax over models of p − alpha · cost, or with `target="one_hot"` of the score itself."""
        return best_utility(correctness, pool.costs, scenario.alpha if self.calibrated else 0.0)

    def _settle(self, nodes: "Nodes", graph: "Graph") -> None:
        """Compute the state of the model nodes with all training edges visible, in double precision.

        In single precision a query's score would depend in its last digits on how many are scored with it.
        """
        torch = import_torch()
        self.net_.double().eval()
        with torch.inference_mode():
            self.state_ = self.net_.models(nodes.double(), graph)

    def _value(self, validation: TrainingView, scenario: Scenario) -> float:
        queries = validation.queries
        p = self.predict_correctness(queries)
        if self.target == "correctness":
            return -log_loss(validation.correct, p)
        chosen = best_utility(p, queries.pool.costs, 0.0)
        gain = utility(validation.correct[np.arange(len(chosen)), chosen], queries.pool.costs[chosen], scenario.alpha)
        return float(weighted_mean(gain, queries.weight))

    def _nodes(self, queries: QueryView) -> "Nodes":
        from routers.graph_network import Nodes

        told = [_told(task) for task in queries.tasks]
        for text in told:
            if text not in self.tasks_:
                # By itself: the last digits of a text's embedding depend on those encoded with it.
                self.tasks_[text] = encoders.encode([text])[0]
        described = np.stack([self.tasks_[text] for text in told])
        return Nodes.of(described, queries.task, queries.embedding(f"query/{self.signal}"), self.models_)


def _described(model: Model) -> str:
    size = f" with {model.parameters / 1e9:.1f} billion parameters" if model.parameters else ""
    return f"The language model {model.model}{size}; an answer costs {model.cost:g}."


def _told(task: Task) -> str:
    return f"{task.name}: {task.description}"
