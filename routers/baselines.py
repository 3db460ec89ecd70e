"""Reference rows and the single best model: what every router is measured against."""

from typing import ClassVar, Literal, Self

import numpy as np

from routers.base import (
    AlphaMode,
    FloatArray,
    IntArray,
    QueryView,
    Router,
    RoutingEnv,
    Signal,
    TrainingView,
    best_utility,
    uniform_draw,
)
from routers.thresholds import search_cascade
from tasks.scenarios import Scenario, weighted_mean
from tasks.suite import SOLVED
from tasks.types import ModelPool


class _Unlearned(Router):
    """A row that learns nothing: `fit` only remembers the pool."""

    alpha_mode = AlphaMode.NONE
    pool_agnostic = True
    learns = False
    pool_: ModelPool

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Remember the pool."""
        del validation, scenario
        self.pool_ = train.queries.pool
        return self


class SingleModelRouter(_Unlearned):
    """Always the same model."""

    def __init__(self, model: str) -> None:
        self.model = model

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return the index of `model` for every query."""
        del env, scenario
        self._fitted_pool()
        return np.full(len(queries), queries.pool.index_of(self.model), dtype=np.int64)


class SmallestRouter(_Unlearned):
    """Always the cheapest model (paper, Table 2, "Smallest LLM")."""

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return 0 for every query."""
        del env, scenario
        self._fitted_pool()
        return np.zeros(len(queries), dtype=np.int64)


class LargestRouter(_Unlearned):
    """Always the dearest model (paper, Table 2, "Largest LLM")."""

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return K − 1 for every query."""
        del env, scenario
        self._fitted_pool()
        return np.full(len(queries), len(queries.pool) - 1, dtype=np.int64)


class RandomRouter(_Unlearned):
    """Any model with equal chance; metrics are exact expectations, decisions one seeded draw (paper, Table 2)."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return one draw a query, fixed by its id and the seed."""
        del env, scenario
        self._fitted_pool()
        return uniform_draw(queries.ids, len(queries.pool), self.seed)

    def choice_shares(self, queries: QueryView) -> FloatArray:
        """Return 1/K everywhere."""
        return np.full((len(queries), len(queries.pool)), 1.0 / len(queries.pool))


class OracleRouter(_Unlearned):
    """The paper's oracle: the smallest model that is right, and the largest when none is."""

    signals = Signal.OUTCOME

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return the first solving model in order of cost, else the last."""
        del scenario
        self._fitted_pool()
        solved = env.outcomes() >= SOLVED
        return np.where(solved.any(axis=1), solved.argmax(axis=1), len(queries.pool) - 1).astype(np.int64)


class UtilityOracleRouter(_Unlearned):
    """The best possible: argmax of correctness − alpha · cost on every query."""

    signals = Signal.OUTCOME
    alpha_mode = AlphaMode.DECISION

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return the model of the highest realised utility."""
        self._fitted_pool()
        return best_utility(env.outcomes(), queries.pool.costs, scenario.alpha)


class HindsightRouter(_Unlearned):
    """The single model with the best utility on the very queries that are routed."""

    joint = "hindsight is over a whole test set"
    signals = Signal.OUTCOME
    alpha_mode = AlphaMode.DECISION

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return that one model for every query."""
        self._fitted_pool()
        if len(queries) == 0:
            return np.zeros(0, dtype=np.int64)
        best = best_utility(weighted_mean(env.outcomes(), queries.weight)[None, :], queries.pool.costs, scenario.alpha)
        return np.repeat(best, len(queries))


class BestSingleRouter(Router):
    """The single model with the best utility on validation: deployable, and the row that everyone has to beat."""

    pool_agnostic = True
    pool_: ModelPool
    accuracy_: FloatArray

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Learn the (K,) accuracies on validation."""
        del scenario
        self.pool_ = train.queries.pool
        self.accuracy_ = weighted_mean(validation.correct, validation.queries.weight)
        return self

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return that model for every query."""
        del env
        columns = self._columns(queries.pool)
        best = best_utility(self.accuracy_[None, columns], queries.pool.costs, scenario.alpha)
        return np.repeat(best, len(queries))


class BayesQueryRouter(_Unlearned):
    """Upper bound of any router that sees one query signal: argmax of p − alpha · c with the true posterior."""

    signals = Signal.POSTERIOR
    alpha_mode = AlphaMode.DECISION

    def __init__(self, signal: Literal["small", "large"] = "large") -> None:
        self.signal = signal

    def needs(self) -> frozenset[str]:
        """Return the posterior of the query signal."""
        return frozenset({f"posteriors/query/{self.signal}"})

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return the Bayes decision given signal and task."""
        self._fitted_pool()
        return best_utility(env.posterior(f"query/{self.signal}"), queries.pool.costs, scenario.alpha)


class BayesCascadeRouter(Router):
    """Bound of a cascade that scores every answer: thresholds on the true posterior, searched on validation.

    The posterior of stage i is P(model i is right | task, strong query signal, model i's answer): what FrugalGPT's
    scorer could know at best.
    """

    signals = Signal.POSTERIOR | Signal.ANSWER
    alpha_mode = AlphaMode.REFIT
    kind: ClassVar[str] = "answer"
    pool_: ModelPool
    thresholds_: FloatArray

    def needs(self) -> frozenset[str]:
        """Return the posterior given query and answer."""
        return frozenset({f"posteriors/{self.kind}"})

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Search the (K − 1,) acceptance thresholds for utility on validation."""
        self.pool_ = train.queries.pool
        self.thresholds_ = search_cascade(
            validation.env.posterior(self.kind),
            validation.correct,
            validation.queries.weight,
            self.pool_.costs,
            scenario.alpha,
        )
        return self

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Ask stage after stage; return the first whose posterior reaches its threshold."""
        del scenario
        self._columns(queries.pool)
        chosen = np.full(len(queries), len(queries.pool) - 1, dtype=np.int64)
        posterior, waiting = env.posterior(self.kind), np.arange(len(queries))
        for stage, threshold in enumerate(self.thresholds_):
            env.answer(stage, waiting)
            accepted = posterior[waiting, stage] >= threshold
            chosen[waiting[accepted]] = stage
            waiting = waiting[~accepted]
        return chosen
