"""k nearest training queries: the simplest router that looks at the query, and often the one to beat."""

from typing import Literal, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors

from routers.base import FloatArray, IntArray, PredictiveRouter, QueryView, TrainingView
from routers.held_out import HeldOut
from routers.scorers import log_loss
from tasks.scenarios import Scenario
from tasks.types import ModelPool


class KNNRouter(PredictiveRouter):
    """Predicts P(correct) of every model by its mean on the k nearest training queries.

    k is the one of `neighbours` with the best log-loss on validation, in a small suite by cross-fitting over train and
    validation. The mean is shrunk by one query's worth towards the training rate, so that no probability is 0 or 1.
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
        x, x_validation = (part.queries.embedding(f"query/{self.signal}") for part in (train, validation))
        self.index_ = NearestNeighbors(algorithm="brute").fit(x)
        self.k_ = self._best_k(x, x_validation, HeldOut(train, validation))
        return self

    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) probabilities for the models of `queries.pool`."""
        columns = self._columns(queries.pool)
        if len(queries) == 0:
            return np.zeros((0, len(columns)))
        near = self.index_.kneighbors(queries.embedding(f"query/{self.signal}"), self.k_, return_distance=False)
        return _shrunk_mean(self.correct_, near)[:, columns]

    def _best_k(self, x: FloatArray, x_validation: FloatArray, held_out: HeldOut) -> int:
        if held_out.fold is None:
            correct, most = self.correct_, min(len(x), max(self.neighbours))
            near = self.index_.kneighbors(x_validation, most, return_distance=False)
        else:
            correct, x_both = held_out.correct, np.concatenate([x, x_validation])
            others = [np.flatnonzero(held_out.fold != fold) for fold in np.unique(held_out.fold)]
            most = min(len(x), *map(len, others), max(self.neighbours))
            near = np.empty((len(x_both), most), dtype=np.int64)
            for fold, rows in enumerate(others):
                index, held = NearestNeighbors(algorithm="brute").fit(x_both[rows]), held_out.fold == fold
                near[held] = rows[index.kneighbors(x_both[held], most, return_distance=False)]
        choices = sorted({min(k, most) for k in self.neighbours})
        losses = [log_loss(held_out.correct, _shrunk_mean(correct, near[:, :k])) for k in choices]
        return choices[int(np.argmin(losses))]


def _shrunk_mean(correct: FloatArray, near: IntArray) -> FloatArray:
    total = np.repeat(correct.mean(axis=0)[None, :], len(near), axis=0)
    for rank in range(near.shape[1]):  # one neighbour at a time: (n, k, K) at once would be gigabytes
        total += correct[near[:, rank]]
    shrunk: FloatArray = total / (near.shape[1] + 1.0)
    return shrunk
