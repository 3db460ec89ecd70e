"""Scorers: P(correct) from features, learned on train, regularised by what validation says."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from routers.base import FloatArray


def log_loss(correct: FloatArray, p: FloatArray) -> float:
    """Return the mean log-loss in nats of probabilities `p` for correctness in [0, 1], arrays of one shape."""
    p = np.clip(np.asarray(p, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    return float(-(correct * np.log(p) + (1.0 - correct) * np.log1p(-p)).mean())


class EmbeddingScorer(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships without types
    """One logistic head a target on standardised features; the penalty is chosen on validation by log-loss.

    Correctness between 0 and 1 counts as that share of a right and the rest of a wrong answer. A target that never
    varies on train is predicted by its smoothed rate.
    """

    def __init__(self, penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)) -> None:
        self.penalties = penalties

    def fit(self, x: FloatArray, y: FloatArray, x_validation: FloatArray, y_validation: FloatArray) -> Self:
        """Fit one head for each of the K columns of `y` (n, K) on features `x` (n, d)."""
        x, x_validation = np.asarray(x, dtype=np.float64), np.asarray(x_validation, dtype=np.float64)
        self.heads_ = [
            min(
                (_head(x, y[:, j], strength) for strength in self.penalties),
                key=lambda head: log_loss(y_validation[:, j], _predict(head, x_validation)),
            )
            for j in range(y.shape[1])
        ]
        return self

    def predict(self, x: FloatArray) -> FloatArray:
        """Return (n, K) probabilities."""
        return np.column_stack([_predict(head, np.asarray(x, dtype=np.float64)) for head in self.heads_])


def _head(x: FloatArray, y: FloatArray, strength: float) -> Any:
    if np.ptp(y) == 0.0:
        return float((y.sum() + 0.5) / (len(y) + 1.0))
    features = np.concatenate([x, x])
    label = np.repeat([1, 0], len(y))
    weight = np.concatenate([y, 1.0 - y])
    used = weight > 0.0
    head = make_pipeline(StandardScaler(), LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-6))
    return head.fit(features[used], label[used], logisticregression__sample_weight=weight[used])


def _predict(head: Any, x: FloatArray) -> FloatArray:
    if isinstance(head, float):
        return np.full(len(x), head)
    if len(x) == 0:
        return np.zeros(0)
    p: FloatArray = head.predict_proba(x)[:, 1]
    return p
