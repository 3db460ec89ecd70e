"""Held-out scores: what thresholds and other choices may be made on, also where a suite is too small for validation."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import FloatArray, IntArray, TrainingView, uniform_draw
from routers.scorers import Inputs, Scorer

SMALL = 1000  # with fewer train and validation queries together, what is chosen on validation is chosen on both
FOLDS = 5


class HeldOut:
    """The queries on which thresholds are chosen: those of validation, or of a small suite all of both parts.

    `correct` (m, K), `weight` (m,) and, in small suites, `fold` (m,): there every query is scored by a scorer that has
    learned from other folds (cross-fitting), so that no score is one of training.
    """

    def __init__(self, train: TrainingView, validation: TrainingView) -> None:
        n, parts = len(train) + len(validation), (train, validation)
        clusters, ids = (np.concatenate([getattr(part.queries, of) for part in parts]) for of in ("cluster", "ids"))
        self.fold = folds(clusters, ids) if n < SMALL else None
        chosen_on = parts if self.fold is not None else (validation,)
        self.correct = np.concatenate([part.correct for part in chosen_on])
        # A part's weights sum to one; together each part counts by its size.
        self.weight = np.concatenate([part.queries.weight * len(part) for part in chosen_on])
        self.weight /= self.weight.sum()

    def fit(
        self, make: Callable[[], Scorer], x: Inputs, y: FloatArray, x_validation: Inputs, y_validation: FloatArray
    ) -> tuple[Any, FloatArray]:
        """Return a scorer fitted on train and validation, and (m, targets) scores of the held-out queries."""
        scorer = make().fit(x, y, x_validation, y_validation)
        if self.fold is None:
            return scorer, scorer.predict(x_validation)
        x, y = np.concatenate([x, x_validation]), np.concatenate([y, y_validation])
        scores, n_folds = np.empty(y.shape), int(self.fold.max()) + 1
        for fold in range(n_folds):
            held, tuning = self.fold == fold, self.fold == (fold + 1) % n_folds
            learning = ~held & ~tuning
            scores[held] = make().fit(x[learning], y[learning], x[tuning], y[tuning]).predict(x[held])
        return scorer, scores


def folds(clusters: NDArray[np.object_], ids: NDArray[np.object_]) -> IntArray:
    """Return (n,) the fold of every query, of `FOLDS` of even size (fewer where there are fewer clusters).

    Queries of one cluster share a fold, for who has seen one of them knows the others; where there is no second
    cluster, each goes by its id.
    """
    names, position = np.unique(clusters.astype(str), return_inverse=True)
    if len(names) < 2:
        names, position = np.unique(ids.astype(str), return_inverse=True)
    fold = np.empty(len(names), dtype=np.int64)
    fold[np.argsort(uniform_draw(names, 2**31, 0), kind="stable")] = np.arange(len(names)) % min(FOLDS, len(names))
    found: IntArray = fold[position]
    return found
