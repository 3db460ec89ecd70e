"""FORC: a meta-model of every model's correctness decides before anything is asked (Šakota et al. 2024)."""

from typing import Literal, Self

import numpy as np

from routers.base import FloatArray, PredictiveRouter, QueryView, TrainingView
from routers.scorers import (
    EmbeddingScorer,
    Inputs,
    ScorerChoice,
    TextScorer,
    needed,
    new_scorer,
    query_inputs,
    reads_texts,
)
from tasks.scenarios import Scenario
from tasks.types import ModelPool


class FORCRouter(PredictiveRouter):
    """Predicts P(correct | query, model) and takes the best p − alpha · cost.

    The original solves an integer programme for a·p − (1 − a)·c, which is this decision at a = 1/(1 + alpha). One
    (n, K) prediction serves every alpha and every subset of the pool. With `scorer="embedding"` the meta-model is a
    head for every model on the query's embedding `signal`; with `"text"`, or a `TextScorer`, one transformer reads
    "<model>query" and gives one logit, as the original (§3.1), with the paper's Qwen2.5-0.5B-Instruct.
    """

    pool_agnostic = True
    pool_: ModelPool
    scorer_: EmbeddingScorer | TextScorer

    def __init__(self, signal: Literal["small", "large"] = "large", scorer: ScorerChoice = "embedding") -> None:
        self.signal = signal
        self.scorer = scorer

    def needs(self) -> frozenset[str]:
        """Return the embedding kind that is read, or text."""
        return needed(self.scorer, f"query/{self.signal}")

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Fit the scorer on train, its penalty or its best epoch on validation."""
        del scenario
        self.pool_ = train.queries.pool
        x, x_validation = (self._inputs(part.queries) for part in (train, validation))
        y, y_validation = (self._targets(part.correct) for part in (train, validation))
        self.scorer_ = new_scorer(self.scorer).fit(x, y, x_validation, y_validation)
        return self

    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) probabilities for the models of `queries.pool`."""
        columns = self._columns(queries.pool)
        p = self.scorer_.predict(self._inputs(queries))
        return p.reshape(len(queries), len(columns)) if reads_texts(self.scorer) else p[:, columns]

    def _inputs(self, queries: QueryView) -> Inputs:
        """Return (n, d) embeddings, or (n · K,) texts, a query's models beside each other."""
        inputs = query_inputs(queries, self.scorer, f"query/{self.signal}")
        if not reads_texts(self.scorer):
            return inputs
        return np.array([f"<{name}>{text}" for text in inputs for name in queries.pool.names], dtype=object)

    def _targets(self, correct: FloatArray) -> FloatArray:
        return correct.reshape(-1, 1) if reads_texts(self.scorer) else correct
