"""RouteLLM: the query alone tells which model is needed (Ong et al. 2024)."""

from typing import Any, Literal, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator

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
)
from routers.held_out import HeldOut
from routers.scorers import (
    Inputs,
    ScorerChoice,
    import_torch,
    log_loss,
    needed,
    new_scorer,
    one_thread,
    query_inputs,
)
from routers.thresholds import search_cascade
from tasks.errors import InputError, one_of
from tasks.scenarios import Scenario
from tasks.suite import SOLVED
from tasks.types import ModelPool

_PAPER = {"model": "FacebookAI/roberta-base", "learning_rate": 5e-5, "batch_size": 128, "max_tokens": 512}


class RouteLLMRouter(Router):
    """Predicts from the query which model it takes.

    `mode="smallest_capable"` is the DiSRouter paper's: a classifier with one class a model, the smallest that solves
    the query, whose likeliest class is chosen whatever alpha is. A query that no model solves counts as the
    `unsolvable` one's ("largest", as the paper's oracle, or "smallest") or is not learned from ("drop").

    `mode="win_rate"` is the original's: two models, the weak and the strong one of `models` (default: cheapest and
    dearest of the pool), and the strong one answers where P(it wins | query) reaches a threshold, here the best for
    utility on validation. `scorer="matrix_factorization"` learns from the queries that one of the two won
    (original, §4.2), any other scorer tells wins, ties and losses apart.
    """

    signals = Signal.QUERY
    pool_: ModelPool
    scorer_: Any

    def __init__(
        self,
        mode: Literal["smallest_capable", "win_rate"] = "smallest_capable",
        signal: Literal["small", "large"] = "small",
        scorer: ScorerChoice | Literal["matrix_factorization"] = "embedding",
        unsolvable: Literal["largest", "smallest", "drop"] = "largest",
        models: tuple[str, str] | None = None,
    ) -> None:
        self.mode = mode
        self.signal = signal
        self.scorer = scorer
        self.unsolvable = unsolvable
        self.models = models

    @property
    def alpha_mode(self) -> AlphaMode:  # type: ignore[override]  # it depends on the mode
        """The classifier is blind to alpha; a win rate's threshold is chosen for it."""
        return AlphaMode.DECISION if self.mode == "win_rate" else AlphaMode.NONE

    def needs(self) -> frozenset[str]:
        """Return the embedding kind that is read, or text."""
        return needed(self._read, f"query/{self.signal}")

    def fit(self, train: TrainingView, validation: TrainingView, scenario: Scenario) -> Self:
        """Learn on train; raises `InputError` for an option that there is not."""
        del scenario
        one_of("mode of RouteLLM", self.mode, ("smallest_capable", "win_rate"))
        self.pool_ = train.queries.pool
        x, x_validation = (self._inputs(part.queries) for part in (train, validation))
        if self.mode == "smallest_capable":
            (rows, y), (rows_validation, y_validation) = (self._smallest(part.correct) for part in (train, validation))
            if not len(rows):
                raise InputError(
                    "no model solves any training query, so that unsolvable='drop' leaves none to learn from"
                )
            self.scorer_ = self._new().fit(x[rows], y, x_validation[rows_validation], y_validation)
            return self
        self.pair_ = self._pair()
        y, y_validation = (self._outcomes(part.correct) for part in (train, validation))
        held_out = HeldOut(train, validation)
        self.scorer_, p = held_out.fit(self._new, x, y, x_validation, y_validation)
        self.held_out_ = p[:, -1].round(9), held_out.correct[:, self.pair_], held_out.weight
        return self

    def route(self, queries: QueryView, env: RoutingEnv, scenario: Scenario) -> IntArray:
        """Return the likeliest class, or the strong model where its win rate reaches the threshold."""
        del env
        self._columns(queries.pool)
        if self.mode == "win_rate":
            strong_wins = self.win_rate(queries) >= self.threshold(scenario.alpha)
            return self.pair_[strong_wins.astype(np.int64)]
        p = self.scorer_.predict(self._inputs(queries))
        return best_utility(p, queries.pool.costs, alpha=0.0)

    def win_rate(self, queries: QueryView) -> FloatArray:
        """Return (n,) P(the strong model is right where the weak one is not), of mode `win_rate`."""
        self._fitted_pool()
        p: FloatArray = self.scorer_.predict(self._inputs(queries))[:, -1].round(9)
        return p

    def threshold(self, alpha: float) -> float:
        """Return the win rate from which on the strong model pays: the best for utility on validation."""
        self._fitted_pool()
        win_rate, correct, weight = self.held_out_
        scores = np.column_stack([1.0 - win_rate, np.zeros(len(win_rate))])
        return 1.0 - float(search_cascade(scores, correct, weight, self.pool_.costs[self.pair_], alpha)[0])

    @property
    def _read(self) -> ScorerChoice:
        return "embedding" if self.scorer == "matrix_factorization" else self.scorer

    def _inputs(self, queries: QueryView) -> Inputs:
        return query_inputs(queries, self._read, f"query/{self.signal}")

    def _new(self) -> Any:
        if self.scorer == "matrix_factorization":
            if self.mode != "win_rate":
                raise InputError("matrix_factorization compares two models; use it with mode='win_rate'")
            return MatrixFactorization()
        return new_scorer(self.scorer, exclusive=True, **_PAPER)

    def _smallest(self, correct: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return which queries are learned from, and their one-hot (n, K) classes."""
        one_of("unsolvable of RouteLLM", self.unsolvable, ("largest", "smallest", "drop"))
        solved = correct >= SOLVED
        k = solved.shape[1]
        fallback = k - 1 if self.unsolvable == "largest" else 0
        label = np.where(solved.any(axis=1), solved.argmax(axis=1), fallback)
        rows = np.flatnonzero(solved.any(axis=1)) if self.unsolvable == "drop" else np.arange(len(solved))
        return rows, np.eye(k)[label[rows]]

    def _outcomes(self, correct: FloatArray) -> FloatArray:
        """Return one-hot (n, 3): the weak model wins, a tie, the strong model wins."""
        weak, strong = self.pair_
        return np.eye(3)[np.sign(correct[:, strong] - correct[:, weak]).astype(np.int64) + 1]

    def _pair(self) -> IntArray:
        names = (self.pool_.names[0], self.pool_.names[-1]) if self.models is None else self.models
        if isinstance(names, str) or len(names) != 2:
            raise InputError(f"a win rate is of two models, the weak and the strong one, but {names!r} was given")
        pair = np.array([self.pool_.index_of(name) for name in names], dtype=np.int64)
        if pair[0] >= pair[1] and len(self.pool_) > 1:
            raise InputError(f"{names[0]} is to be the weak and cheap model and {names[1]} the other; name them so")
        return pair


class MatrixFactorization(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships without types
    """P(strong wins | one of the two does) = σ(δ(strong, q) − δ(weak, q)) with δ(m, q) = w · (v_m ⊙ (W q + b)).

    The vectors v_m of the models have unit length. Trained by Adam on the log-loss of who won (original, §4.2; settings
    of its code); the epoch with the best validation log-loss is kept, and after `patience` epochs without a better one
    training ends. All of it is linear in the embedding q, so only fitting takes torch.
    """

    def __init__(
        self,
        dimension: int = 128,
        epochs: int = 100,
        patience: int = 10,
        batch_size: int = 64,
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-5,
        seed: int = 0,
    ) -> None:
        self.dimension = dimension
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(self, x: Inputs, y: FloatArray, x_validation: Inputs, y_validation: FloatArray) -> Self:
        """Learn from embeddings `x` (n, d) and one-hot `y` (n, 3): weak wins, tie, strong wins; ties are dropped."""
        torch = import_torch()
        (x, won), (x_validation, won_validation) = _won(x, y), _won(x_validation, y_validation)
        self.coefficients_, self.intercept_, best = np.zeros(x.shape[1]), 0.0, np.inf
        with torch.random.fork_rng(devices=[]), one_thread(torch):
            torch.manual_seed(self.seed)
            models, project = torch.nn.Embedding(2, self.dimension), torch.nn.Linear(x.shape[1], self.dimension)
            weigh = torch.nn.Linear(self.dimension, 1, bias=False)
            learned = [*models.parameters(), *project.parameters(), *weigh.parameters()]
            adam = torch.optim.Adam(learned, lr=self.learning_rate, weight_decay=self.weight_decay)
            q, target = torch.tensor(x).float(), torch.tensor(won).float()
            best_epoch = 0
            for epoch in range(self.epochs if len(x) and len(x_validation) else 0):
                for batch in torch.randperm(len(x)).split(self.batch_size):
                    weak, strong = torch.nn.functional.normalize(models.weight, dim=1)
                    logits = weigh(project(q[batch]) * (strong - weak))[:, 0]
                    adam.zero_grad()
                    torch.nn.functional.binary_cross_entropy_with_logits(logits, target[batch]).backward()
                    adam.step()
                weak, strong = torch.nn.functional.normalize(models.weight.detach(), dim=1).double()
                towards = weigh.weight.detach().double()[0] * (strong - weak)
                coefficients = (towards @ project.weight.detach().double()).numpy()
                intercept = float(towards @ project.bias.detach().double())
                loss = log_loss(won_validation, expit(x_validation @ coefficients + intercept))
                if loss < best:
                    best, best_epoch = loss, epoch
                    self.coefficients_, self.intercept_ = coefficients, intercept
                elif epoch - best_epoch >= self.patience:
                    break
        return self

    def predict(self, x: Inputs) -> FloatArray:
        """Return (n, 3) P(weak wins), 0 and P(strong wins), given that one of them does."""
        p = expit(np.asarray(x, dtype=np.float64) @ self.coefficients_ + self.intercept_)
        return np.column_stack([1.0 - p, np.zeros(len(x)), p])


def _won(x: Inputs, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the inputs of the queries that one model won, and 1 where it was the strong one."""
    decided = y[:, 1] == 0.0
    return np.asarray(x, dtype=np.float64)[decided], y[decided, 2]
