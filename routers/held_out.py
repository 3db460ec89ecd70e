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
        self.fold = folds(np.concatenate([part.queries.ids for part in parts])) if n < SMALL else None
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


def folds(ids: NDArray[np.object_]) -> IntArray:
    """Return the fold of every query, `FOLDS` of even size (fewer where there are fewer queries), by its id."""
    order = np.lexsort((ids.astype(str), uniform_draw(ids, 2**31, 0)))
    fold = np.empty(len(ids), dtype=np.int64)
    fold[order] = np.arange(len(ids)) % min(FOLDS, len(ids))
    return fold
