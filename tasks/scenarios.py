"""Scenarios, and the one formula that every router is judged by."""

from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError, one_of

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Average = Literal["macro", "micro"]


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


def query_weights(task: Ints, average: Average = "macro") -> NDArray[np.float64]:
    """Return (n,) weights, summing to 1, under which a sum over queries is the mean that utility is made of.

    `task` (n,) holds codes from 0. With `macro`, the convention of the paper's tables, every task that occurs weighs
    the same, however many queries it has; with `micro` every query does. Raises `InputError` where there is no query.
    """
    if len(task) == 0:
        raise InputError("there is no query to average over")
    count = np.bincount(task)
    weights: NDArray[np.float64] = 1.0 / (count[task] * np.count_nonzero(count))
    return weights if average == "macro" else np.full(len(task), 1.0 / len(task))


def weighted_mean(values: Floats, weights: Floats) -> NDArray[np.float64]:
    """Return the weighted mean over queries: (n,) → (), (n, K) → (K,)."""
    # sums, where a product of matrices would add in an order that depends on the number of threads; and a quotient of
    # two sums of one kind, so that the mean of ones is one
    total: NDArray[np.float64] = np.sum(np.ascontiguousarray(values.T) * weights, axis=-1, dtype=np.float64)
    return total / np.sum(weights)
