"""The network of GraphRouter, on PyTorch Geometric; imported only where that router is used."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import BatchNorm1d, Linear, Module
from torch.nn.functional import binary_cross_entropy_with_logits, relu
from torch_geometric.nn import GeneralConv

from routers.base import FloatArray, best_utility

WIDTH = 8  # of a task's and of a query's projection; a model's has twice that
DESCRIBED = 384  # dimensions of the embedding of a description


@dataclass(frozen=True)
class Graph:
    """The edges from n training queries to K models, query by query: E = n · K.

    `index` (2, E): query nodes are 0 … n−1, model nodes n … n+K−1. `features` (E, 3): reward p − alpha · c, cost and
    correctness, seen only where an edge is visible. `target` (E,) is what the score of an edge is to be.
    """

    index: Tensor
    features: Tensor
    target: Tensor
    k: int

    @classmethod
    def of(cls, correct: FloatArray, costs: FloatArray, alpha: float, target: str) -> Self:
        """Build the graph of (n, K) correctness; `target` is "correctness", or "one_hot" for the model of best utility."""
        n, k = correct.shape
        effect, cost = np.asarray(correct, dtype=np.float64), np.broadcast_to(costs, (n, k))
        wanted = effect if target == "correctness" else np.eye(k)[best_utility(effect, costs, alpha)]
        features = np.stack([effect - alpha * cost, cost, effect], axis=-1).reshape(-1, 3)
        index = np.stack([np.repeat(np.arange(n), k), n + np.tile(np.arange(k), n)])
        floats = (torch.from_numpy(x.astype(np.float32)) for x in (features, wanted.reshape(-1)))
        return cls(torch.from_numpy(index), *floats, k)


class Network(Module):
    """Two layers of messages from queries to models, and the inner product of their states as a logit."""

    def __init__(self, query_dimension: int, aggregation: str) -> None:
        super().__init__()
        self.task, self.query = Linear(DESCRIBED, WIDTH), Linear(query_dimension, WIDTH)
        self.model = Linear(DESCRIBED, 2 * WIDTH)
        self.edge = Linear(3, 3)
        self.convs = torch.nn.ModuleList(
            GeneralConv(2 * WIDTH, 2 * WIDTH, in_edge_channels=3, aggr=aggregation) for _ in range(2)
        )
        self.norms = torch.nn.ModuleList(BatchNorm1d(2 * WIDTH) for _ in range(2))

    def forward(self, nodes: tuple[Tensor, Tensor, Tensor], graph: Graph, visible: Tensor) -> Tensor:
        """Return the states (n + K, 16) of all nodes, with messages along the `visible` (E,) edges."""
        task, query, model = nodes
        x = torch.cat([torch.cat([self.task(task), self.query(query)], dim=1), self.model(model)])
        index, features = graph.index[:, visible], relu(self.edge(graph.features[visible]))
        x = relu(self.norms[0](self.convs[0](x, index, features)))
        states: Tensor = self.norms[1](self.convs[1](x, index, features))
        return states

    def loss(self, nodes: tuple[Tensor, Tensor, Tensor], graph: Graph, visible: Tensor) -> Tensor:
        """Return the mean binary cross-entropy, in nats, of the edges that are not visible."""
        states = self(nodes, graph, visible)
        logits = self.logits(states[: -graph.k], states[-graph.k :]).reshape(-1)
        return binary_cross_entropy_with_logits(logits[~visible], graph.target[~visible])

    def models(self, nodes: tuple[Tensor, Tensor, Tensor], graph: Graph, visible: Tensor) -> Tensor:
        """Return the states (K, 16) of the model nodes."""
        states: Tensor = self(nodes, graph, visible)
        return states[-graph.k :]

    def queries(self, task: Tensor, query: Tensor) -> Tensor:
        """Return the states (n, 16) of query nodes, which get no messages: each depends on itself alone."""
        x = torch.cat([self.task(task), self.query(query)], dim=1)
        states: Tensor = self.norms[1](self.convs[1].lin_self(relu(self.norms[0](self.convs[0].lin_self(x)))))
        return states

    def score(self, queries: Tensor, models: Tensor) -> Tensor:
        """Return the (n, K) scores in (0, 1)."""
        return torch.sigmoid(self.logits(queries, models))

    @staticmethod
    def logits(queries: Tensor, models: Tensor) -> Tensor:
        """Return the mean over the 16 dimensions of the product of every query's and every model's state."""
        return queries @ models.T / queries.shape[1]
