"""FORC: a meta-model of every model's correctness decides before anything is asked (Šakota et al. 2024)."""

from typing import Literal, Self

from routers.base import FloatArray, PredictiveRouter, QueryView, TrainingView
from routers.scorers import EmbeddingScorer
from tasks.scenarios import Scenario
from tasks.types import ModelPool


class FORCRouter(PredictiveRouter):
    """Predicts P(correct | query, model) from the query's embedding and takes the best p − alpha · cost.

    The original solves an integer programme for a·p − (1 − a)·c, which is this decision at a = 1/(1 + alpha). One
    (n, K) prediction serves every alpha and every subset of the pool.
    """

    pool_agnostic = True
    pool_: ModelPool
    scorer_: EmbeddingScorer

    def __init__(self, signal: Literal["small", "large"] = "large") -> None:
        self.signal = signal

    def needs(self) -> frozenset[str]:
        """Return the embedding kind that is read."""
        return frozenset({f"query/{self.signal}"})

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Fit the scorer on train, its penalty on validation."""
        del scenario
        kind = f"query/{self.signal}"
        self.pool_ = train.queries.pool
        self.scorer_ = EmbeddingScorer().fit(
            train.queries.embedding(kind), train.correct, validation.queries.embedding(kind), validation.correct
        )
        return self

    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) probabilities for the models of `queries.pool`."""
        columns = self._columns(queries.pool)
        return self.scorer_.predict(queries.embedding(f"query/{self.signal}"))[:, columns]
