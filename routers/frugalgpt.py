"""FrugalGPT: ask the cheapest model first, and the next one where its answer looks wrong (Chen et al. 2023)."""

from typing import Literal, Self

import numpy as np

from routers.base import AlphaMode, Answers, FloatArray, IntArray, QueryView, Router, RoutingEnv, Signal, TrainingView
from routers.held_out import HeldOut
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
from routers.thresholds import search_cascade
from tasks.errors import InputError
from tasks.scenarios import Scenario
from tasks.types import ModelPool

_CHEAPEST_OF_EQUALS = 1e-6  # what cost weighs where accuracy is sought: less than one query of a million


class FrugalGPTRouter(Router):
    """A cascade in order of cost: the first answer whose score g(query, answer) reaches its stage's threshold is given.

    g is P(the answer is correct), one scorer a model, fitted on train: a head on the embeddings of query and answer,
    or with `scorer="text"`, or a `TextScorer`, a transformer that reads both (the DiSRouter paper's
    Qwen2.5-0.5B-Instruct). Thresholds are searched on validation, never on what the scorers learned from: for utility,
    or with `budget`, the mean cost a query in [0, 1] of the model that answers, for accuracy within it (original,
    §3.3). Both the scores on validation and the scorers are kept by model, so that one fit serves every alpha and
    every subset of the pool. A stage that accepts nothing is not asked.
    """

    signals = Signal.QUERY | Signal.ANSWER
    alpha_mode = AlphaMode.DECISION
    pool_agnostic = True
    pool_: ModelPool
    scorers_: list[EmbeddingScorer | TextScorer]

    def __init__(
        self,
        signal: Literal["small", "large"] = "large",
        scorer: ScorerChoice = "embedding",
        budget: float | None = None,
    ) -> None:
        self.signal = signal
        self.scorer = scorer
        self.budget = budget

    def needs(self) -> frozenset[str]:
        """Return the query's embedding kind and that of every model's answers, or text."""
        answers = "answer texts" if reads_texts(self.scorer) else "answer/*"
        return needed(self.scorer, f"query/{self.signal}") | {answers}

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Fit a scorer for every model but the dearest, whose answer is always given, and keep held-out scores."""
        del scenario
        self.pool_ = train.queries.pool
        held_out = HeldOut(train, validation)
        self.scorers_, scores = [], np.zeros(held_out.correct.shape)
        for stage in range(len(self.pool_) - 1):
            x, x_validation = (
                self._inputs(part.queries, part.env.answer(stage, np.arange(len(part))), self.pool_.names[stage])
                for part in (train, validation)
            )
            y, y_validation = train.correct[:, [stage]], validation.correct[:, [stage]]
            scorer, of_stage = held_out.fit(lambda: new_scorer(self.scorer), x, y, x_validation, y_validation)
            self.scorers_.append(scorer)
            scores[:, stage] = of_stage[:, 0].round(9)
        self.held_out_ = scores, held_out.correct, held_out.weight
        return self

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Ask stage after stage; return the first whose score reaches its threshold, else the last."""
        columns, names = self._columns(queries.pool), queries.pool.names
        chosen = np.full(len(queries), len(names) - 1, dtype=np.int64)
        waiting = np.arange(len(queries))
        for stage, threshold in enumerate(self.thresholds(queries.pool, scenario.alpha)):
            if threshold == np.inf:
                continue
            answers = env.answer(stage, waiting)
            x = self._inputs(queries.take(waiting), answers, names[stage])
            accepted = self.scorers_[columns[stage]].predict(x)[:, 0].round(9) >= threshold
            chosen[waiting[accepted]] = stage
            waiting = waiting[~accepted]
        env.answer(len(names) - 1, waiting)
        return chosen

    def thresholds(self, pool: ModelPool, alpha: float) -> FloatArray:
        """Return the (K − 1,) thresholds of a cascade of `pool`, infinite for a stage that is left out.

        Raises `InputError` for a budget below the cost of the cheapest model.
        """
        columns = self._columns(pool)
        scores, correct, weight = self.held_out_
        searched = scores[:, columns], correct[:, columns], weight, pool.costs
        if self.budget is None:
            return search_cascade(*searched, alpha)
        return search_cascade(*searched, _CHEAPEST_OF_EQUALS, self.budget)

    def _inputs(self, queries: QueryView, answers: Answers, model: str) -> Inputs:
        """Return (n, d + d') embeddings of query and answer beside each other, or (n,) texts of both."""
        read = query_inputs(queries, self.scorer, f"query/{self.signal}")
        texts = reads_texts(self.scorer)
        said = answers.texts if texts else answers.embeddings
        # of many answers all withheld, the scorer would see the queries alone
        if said is None or (texts and len(said) > 1 and all(answer is None for answer in said)):
            what = "texts" if texts else "embeddings"
            raise InputError(f"the suite has no {what} of the answers of {model}, which FrugalGPT's scorer reads")
        if not texts:
            return np.hstack([read, said])
        return np.array([f"{query}\n\n{answer or ''}" for query, answer in zip(read, said, strict=True)], dtype=object)
