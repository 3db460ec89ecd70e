"""The interface that every router implements, and all that a router ever sees."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from tasks.errors import InputError
from tasks.scenarios import Scenario
from tasks.types import ModelPool, Task

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


class Signal(enum.Flag):
    """What a router may ask for. OUTCOME and POSTERIOR are for reference rows, which are drawn but never ranked."""

    NONE = 0
    QUERY = enum.auto()
    ANSWER = enum.auto()
    VERIFY = enum.auto()
    SAMPLE = enum.auto()
    SELF_ROUTE = enum.auto()
    OUTCOME = enum.auto()
    POSTERIOR = enum.auto()


class Accounting(enum.StrEnum):
    """Which calls are paid for: the answering model alone, every call, or every call and every verification."""

    FINAL = "final"
    EVERY_CALL = "every_call"
    EVERY_CALL_AND_VERIFY = "every_call_and_verify"


class AlphaMode(enum.Enum):
    """How the preference factor enters: not at all, in the decision, in the fit, or in a prompt."""

    NONE = "none"
    DECISION = "decision"
    REFIT = "refit"
    PROMPT = "prompt"


class Answerer(enum.Enum):
    """Whose answer is delivered: the chosen model's recorded one, or the agent's own reply where it accepted."""

    BASE = "base"
    AGENT = "agent"


@dataclass(frozen=True, eq=False)
class QueryView:
    """Queries as a router sees them: never a label.

    `ids` (n,) text; `cluster` (n,) text, the same for queries on one passage; `task` (n,) index into `tasks`; `texts`
    (n,) or None; `embeddings` (n, d) by kind, float32; `weight` (n,) how much each query counts in the mean that
    utility is. All arrays are read-only. A decision is an index into `pool`.
    """

    ids: NDArray[np.object_]
    cluster: NDArray[np.object_]
    task: IntArray
    tasks: tuple[Task, ...]
    pool: ModelPool
    embeddings: Mapping[str, FloatArray]
    weight: FloatArray
    texts: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> "QueryView":
        """Return the queries at positions `rows`, in that order."""
        return replace(
            self,
            ids=self.ids[rows],
            cluster=self.cluster[rows],
            task=self.task[rows],
            weight=self.weight[rows],
            embeddings={kind: vectors[rows] for kind, vectors in self.embeddings.items()},
            texts=None if self.texts is None else self.texts[rows],
        )

    def embedding(self, kind: str) -> FloatArray:
        """Return the (n, d) embeddings of `kind`; raises `InputError` where the suite has none."""
        if kind not in self.embeddings:
            raise InputError(
                f"there are no embeddings of kind {kind} (there are: {', '.join(self.embeddings) or 'none'})"
            )
        return self.embeddings[kind]


class Answers(NamedTuple):
    """What asked models replied: texts (m,) and embeddings (m, d), each None where not recorded, and tokens (m,)."""

    texts: NDArray[np.object_] | None
    embeddings: FloatArray | None
    completion_tokens: FloatArray


class Votes(NamedTuple):
    """Self-verification: how many of the valid votes said yes, each (m,)."""

    n_yes: IntArray
    n_valid: IntArray


class Agreement(NamedTuple):
    """Repeated sampling: the number of samples and the size of the largest group of equal answers, each (m,)."""

    n: IntArray
    n_modal: IntArray


class RoutingEnv(Protocol):
    """All else that a router sees: what it asks models for. Every call is written into the ledger and priced.

    `model` is an index into the pool, `rows` are positions in the routed queries. The same code serves replay and
    live inference. A call outside the router's declared signals raises `SignalError`.
    """

    def answer(self, model: int, rows: IntArray) -> Answers:
        """Ask `model` to answer the queries at `rows`."""

    def verify(self, model: int, rows: IntArray, k: int) -> Votes:
        """Ask `model` to verify its own answers `k` times (AutoMix)."""

    def sample(self, model: int, rows: IntArray) -> Agreement:
        """Ask `model` for repeated samples at temperature 1."""

    def self_route(self, model: int, rows: IntArray, checkpoint: str) -> BoolArray:
        """Let the agent of `model` answer or reject (DiSRouter); True where it answered."""

    def outcomes(self) -> FloatArray:
        """Return the (n, K) correctness of all queries: for reference rows that declare OUTCOME."""

    def posterior(self, kind: str) -> FloatArray:
        """Return the (n, K) true P(correct | signal `kind`) of a simulated suite: for rows that declare POSTERIOR."""


class SignalError(RuntimeError):
    """A router asked for something that it had not declared in `signals`."""


@dataclass(frozen=True, eq=False)
class TrainingView:
    """Queries with labels to learn from: `correct` is (n, K) in [0, 1]; `env` answers like a test environment, free."""

    queries: QueryView
    correct: FloatArray
    env: RoutingEnv

    def __len__(self) -> int:
        return len(self.queries)


class Router(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn ships without types
    """Chooses a model for every query.

    The constructor only stores hyperparameters; `fit` learns (state ends in `_`) and returns self; a second `fit`
    forgets the first. Class attributes declare what the router sees, how its authors charge it, how alpha enters,
    whose answer it delivers, whether models may leave the pool without a refit, and whether it learns from train.
    """

    signals: ClassVar[Signal] = Signal.NONE
    accounting: ClassVar[Accounting] = Accounting.FINAL
    alpha_mode: ClassVar[AlphaMode] = AlphaMode.DECISION
    delivers: ClassVar[Answerer] = Answerer.BASE
    pool_agnostic: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    joint: ClassVar[str | None] = None  # why a decision depends on the other queries routed; reference rows only
    checkpoint: str = ""  # of the agents, for routers that deliver their replies

    @abstractmethod
    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Learn from `train`, choose thresholds and hyperparameters on `validation`."""

    @abstractmethod
    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return (n,) indices into `queries.pool`. Raises `NotFittedError` before `fit`."""

    def needs(self) -> frozenset[str]:
        """Return what a suite must hold for this router (see `Suite.available`); the default follows `signals`.

        "answer/*" stands for that kind of every model of the pool.
        """
        tables = {Signal.VERIFY: "verifications", Signal.SAMPLE: "samples"}
        return frozenset(name for signal, name in tables.items() if signal in self.signals)

    def choice_shares(self, queries: QueryView) -> FloatArray | None:
        """Return the (n, K) probability of every choice of a router that draws, so that its metrics are exact."""
        del queries
        return None

    def _fitted_pool(self) -> ModelPool:
        pool: ModelPool | None = getattr(self, "pool_", None)
        if pool is None:
            raise NotFittedError(f"{type(self).__name__} is not fitted yet; call fit before route")
        return pool

    def _columns(self, pool: ModelPool) -> IntArray:
        """Return where the models of `pool` stand among those fitted on; raises `InputError` for a stranger."""
        fitted = self._fitted_pool()
        if pool != fitted and not self.pool_agnostic:
            raise InputError(
                f"{type(self).__name__} was fitted on another pool ({', '.join(fitted.names)}); fit it again"
            )
        return np.array([fitted.index_of(name) for name in pool.names], dtype=np.int64)


class PredictiveRouter(Router):
    """A router that predicts P(correct) of every model and takes the best p − alpha · cost."""

    signals = Signal.QUERY

    @abstractmethod
    def predict_correctness(self, queries: QueryView) -> FloatArray:
        """Return (n, K) probabilities for the models of `queries.pool`."""

    @property
    def calibrated(self) -> bool:
        """Whether predictions are meant as probabilities, so that they can be held against outcomes."""
        return True

    def decide(self, correctness: FloatArray, pool: ModelPool, scenario: Scenario) -> IntArray:
        """Return argmax over models of p − alpha · cost, from what `predict_correctness` returned."""
        return best_utility(correctness, pool.costs, scenario.alpha)

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Predict and decide. Where this is not overridden, one prediction is decided on for many alphas."""
        del env
        return self.decide(self.predict_correctness(queries), queries.pool, scenario)


def best_utility(correctness: FloatArray, costs: FloatArray, alpha: float) -> IntArray:
    """Return the index of the best p − alpha · cost in every row of `correctness` (n, K), the cheapest of the tied.

    Utilities within 1e-9 are tied: sums of floating point numbers differ in their last digits with the size of the
    batch, and a decision may not. Raises `InputError` for NaN.
    """
    utilities = np.asarray(correctness, dtype=np.float64) - alpha * costs
    if np.isnan(utilities).any():
        raise InputError("a predicted probability is not a number, so that nothing can be chosen by it")
    if len(utilities) == 0:
        return np.zeros(0, dtype=np.int64)
    first: IntArray = (utilities >= utilities.max(axis=1, keepdims=True) - 1e-9).argmax(axis=1).astype(np.int64)
    return first


def uniform_draw(ids: NDArray[np.object_], n: int, seed: int) -> IntArray:
    """Return a number in 0 … n−1 for every id: the same for an id and a seed, whatever the batch or its order."""
    import pandas as pd

    hashed = pd.util.hash_array(np.asarray(ids, dtype=object), hash_key=f"{seed % 10**16:016d}", categorize=False)
    return (hashed % np.uint64(n)).astype(np.int64)


def params_of(router: Router) -> dict[str, Any]:
    """Return the router's hyperparameters by name."""
    return dict(router.get_params(deep=False))
