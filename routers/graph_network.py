"""The network of GraphRouter, on PyTorch Geometric; imported only where that router is used."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import BatchNorm1d, Linear, Module
from torch.nn.functional import binary_cross_entropy_with_logits, relu
from torch_geometric.nn import GeneralConv

from routers.base import FloatArray, IntArray, best_utility

WIDTH = 8  # of a task's and of a query's projection; a model's has twice that


@dataclass(frozen=True)
class Nodes:
    """What the nodes carry: descriptions (T, d) of tasks, the `task` (n,) and embedding (n, d') of queries, models."""

    tasks: Tensor
    task: Tensor
    queries: Tensor
    models: Tensor  # descriptions (K, d)

    @classmethod
    def of(cls, tasks: FloatArray, task: IntArray, queries: FloatArray, models: FloatArray) -> Self:
        """Copy arrays into tensors, floats in single precision."""
        floats = (torch.tensor(x, dtype=torch.float32) for x in (tasks, queries, models))
        tasks_, queries_, models_ = floats
        return cls(tasks_, torch.tensor(task), queries_, models_)

    def take(self, rows: Tensor) -> Self:
        """Return the nodes of the queries at `rows` and of all models."""
        return replace(self, task=self.task[rows], queries=self.queries[rows])

    def double(self) -> Self:
        """Return the nodes in double precision."""
        return replace(self, tasks=self.tasks.double(), queries=self.queries.double(), models=self.models.double())


@dataclass(frozen=True)
class Graph:
    """What the edges from n training queries to K models carry.

    `features` (n, K, 3): reward p − alpha · c, cost and correctness, seen only where an edge is visible. `target`
    (n, K) is what the score of an edge is to be.
    """

    features: Tensor
    target: Tensor

    @classmethod
    def of(cls, correct: FloatArray, costs: FloatArray, alpha: float, target: str) -> Self:
        """Build the graph of (n, K) correctness; `target` is "correctness", or "one_hot" for the best model."""
        effect, cost = np.asarray(correct, dtype=np.float64), np.broadcast_to(costs, correct.shape)
        wanted = effect if target == "correctness" else np.eye(len(costs))[best_utility(effect, costs, alpha)]
        features = np.stack([effect - alpha * cost, cost, effect], axis=-1)
        return cls(torch.tensor(features, dtype=torch.float32), torch.tensor(wanted, dtype=torch.float32))

    def take(self, rows: Tensor) -> Self:
        """Return the edges of the queries at `rows`."""
        return type(self)(self.features[rows], self.target[rows])


class Network(Module):
    """Two layers of messages from queries to models, and the mean product of their states as a logit."""

    def __init__(self, query_dimension: int, aggregation: str, described: int = 384) -> None:
        super().__init__()
        self.task, self.query = Linear(described, WIDTH), Linear(query_dimension, WIDTH)
        self.model = Linear(described, 2 * WIDTH)
        self.edge = Linear(3, 3)
        self.conv_1, self.conv_2 = (
            GeneralConv(2 * WIDTH, 2 * WIDTH, in_edge_channels=3, aggr=aggregation) for _ in range(2)
        )
        self.norm_1, self.norm_2 = BatchNorm1d(2 * WIDTH), BatchNorm1d(2 * WIDTH)

    def forward(self, nodes: Nodes, graph: Graph, visible: Tensor) -> Tensor:
        """Return the states (n + K, 16) of all nodes, with messages along the `visible` (n, K) edges."""
        x = torch.cat([self._projected(nodes), self.model(nodes.models)])
        query, model = visible.nonzero(as_tuple=True)
        index = torch.stack([query, len(visible) + model])
        features = relu(self.edge(graph.features[query, model].to(x.dtype)))
        x = relu(self.norm_1(self.conv_1(x, index, features)))
        states: Tensor = self.norm_2(self.conv_2(x, index, features))
        return states

    def loss(self, nodes: Nodes, graph: Graph, share: float) -> Tensor:
        """Return the mean binary cross-entropy in nats of the edges hidden, after a `share` was drawn to be visible."""
        visible = torch.rand(graph.target.shape) < share
        states, n = self(nodes, graph, visible), len(visible)
        logits = _logits(states[:n], states[n:])
        hidden = (~visible).to(logits.dtype)
        each = binary_cross_entropy_with_logits(logits, graph.target, weight=hidden, reduction="sum")
        return each / hidden.sum().clamp(min=1.0)

    def models(self, nodes: Nodes, graph: Graph) -> Tensor:
        """Return the states (K, 16) of the model nodes, with all edges visible."""
        states: Tensor = self(nodes, graph, torch.ones(graph.target.shape, dtype=torch.bool))
        return states[len(graph.target) :]

    def scores(self, nodes: Nodes, models: Tensor) -> Tensor:
        """Return the (n, K) scores in (0, 1) of queries and the states of models.

        Query nodes get no messages, so only what a layer does with a node itself is left: each score is its query's.
        """
        x = relu(self.norm_1(self.conv_1.lin_self(self._projected(nodes))))
        return torch.sigmoid(_logits(self.norm_2(self.conv_2.lin_self(x)), models))

    def _projected(self, nodes: Nodes) -> Tensor:
        return torch.cat([self.task(nodes.tasks)[nodes.task], self.query(nodes.queries)], dim=1)


def _logits(queries: Tensor, models: Tensor) -> Tensor:
    return queries @ models.T / queries.shape[1]
