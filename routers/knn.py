"""k nearest training queries: the simplest router that looks at the query, and often the one to beat."""

from typing import Literal, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors

from routers.base import FloatArray, PredictiveRouter, QueryView, TrainingView
from routers.scorers import log_loss
from tasks.scenarios import Scenario
from tasks.types import ModelPool


class KNNRouter(PredictiveRouter):
    """Predicts P(correct) of every model by its mean on the k nearest training queries.

    k is the one of `neighbours` with the best log-loss on validation. The mean is shrunk by one query's worth
    towards the training rate, so that no probability is 0 or 1.
    """

    pool_agnostic = True
    pool_: ModelPool
    index_: NearestNeighbors
    correct_: FloatArray
    k_: int

    def __init__(
        self, signal: Literal["small", "large"] = "small", neighbours: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)
    ) -> None:
        self.signal = signal
        self.neighbours = neighbours

    def needs(self) -> frozenset[str]:
        """Return the embedding kind that is read."""
        return frozenset({f"query/{self.signal}"})

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Index the training queries and choose k on validation."""
        del scenario
        self.pool_ = train.queries.pool
        self.correct_ = np.asarray(train.correct, dtype=np.float64)
        self.index_ = NearestNeighbors(algorithm="brute").fit(train.queries.embedding(f"query/{self.signal}"))
        choices = sorted({min(k, len(train)) for k in self.neighbours})
        near = self._neighbours(validation.queries, choices[-1])
        losses = [log_loss(validation.correct, self._shrunk_mean(near[:, :k])) for k in choices]
        self.k_ = choices[int(np.argmin(losses))]
        return self

    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) probabilities for the models of `queries.pool`."""
        columns = self._columns(queries.pool)
        if len(queries) == 0:
            return np.zeros((0, len(columns)))
        return self._shrunk_mean(self._neighbours(queries, self.k_))[:, columns]

    def _neighbours(self, queries: QueryView, k: int) -> FloatArray:
        near: FloatArray = self.index_.kneighbors(queries.embedding(f"query/{self.signal}"), k, return_distance=False)
        return near

    def _shrunk_mean(self, near: FloatArray) -> FloatArray:
        total = np.repeat(self.correct_.mean(axis=0)[None, :], len(near), axis=0)
        for rank in range(near.shape[1]):  # one neighbour at a time: (n, k, K) at once would be gigabytes
            total += self.correct_[near[:, rank]]
        shrunk: FloatArray = total / (near.shape[1] + 1.0)
        return shrunk
