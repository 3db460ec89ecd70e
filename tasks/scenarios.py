"""Scenarios, and the one formula that every router is judged by."""

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError, one_of

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Scenario:
    """How much a user minds cost: utility = accuracy − alpha · cost (paper, Eq. 2, §2.1).

    `name` is None for an alpha that is none of the paper's three.
    """

    name: str | None
    alpha: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha is {self.alpha}, but the preference factor lies in [0, 1]")


PERFORMANCE_FIRST = Scenario("performance_first", 0.2)
BALANCE = Scenario("balance", 0.5)
COST_FIRST = Scenario("cost_first", 0.8)
SCENARIOS: dict[str, Scenario] = {str(s.name): s for s in (PERFORMANCE_FIRST, BALANCE, COST_FIRST)}


def scenario(name: str) -> Scenario:
    """Return the scenario called `name`; raises `InputError` with the names there are."""
    return SCENARIOS[one_of("scenario", name, SCENARIOS)]


@overload
def utility(accuracy: float, cost: float, alpha: float) -> float: ...
@overload
def utility(accuracy: Floats, cost: Floats, alpha: float) -> Floats: ...
def utility(accuracy: float | Floats, cost: float | Floats, alpha: float) -> float | Floats:
    """Return accuracy − alpha · cost (paper, Eq. 2); all three without unit, elementwise for arrays."""
    return accuracy - alpha * cost


def macro_mean(values: Floats, task: Ints) -> Floats:
    """Return the mean over tasks of the mean over each task's queries: (n,) → (), (n, K) → (K,).

    `task` (n,) holds codes from 0. Every task that occurs weighs the same, however many queries it has: the
    convention of the paper's tables. Raises `InputError` where there is no query.
    """
    if len(values) == 0:
        raise InputError("there is no query to average over")
    count = np.bincount(task)
    present = count > 0
    # a weighted count adds in one fixed order, where a product of matrices may add in another with other threads
    columns = values[:, None] if values.ndim == 1 else values
    totals = np.array([np.bincount(task, weights=column)[present] for column in columns.T])
    means: Floats = (totals / count[present]).mean(axis=1)
    return means[0] if values.ndim == 1 else means
