"""Replay: recorded outcomes answer for the models, a ledger writes down every call, and prices come from the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import (
    Accounting,
    Agreement,
    Answers,
    BoolArray,
    FloatArray,
    IntArray,
    QueryView,
    Signal,
    SignalError,
    TrainingView,
    Votes,
)
from tasks.errors import InputError
from tasks.scenarios import Average, query_weights
from tasks.suite import Rows, Suite

MaskArray = NDArray[np.uint64]
CALLS = ("answered", "verified", "sampled", "self_routed", "rejected")


@dataclass
class Ledger:
    """What was asked for each of n queries: for every kind of call the set of models as the bits of an integer.

    `tokens` (n,) counts the completion tokens of all calls, NaN where a call's were not recorded.
    """

    n: int
    calls: dict[str, MaskArray] = field(init=False)
    tokens: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.calls = {name: np.zeros(self.n, dtype=np.uint64) for name in CALLS}
        self.tokens = np.zeros(self.n)

    def write(self, call: str, model: int, rows: IntArray, tokens: FloatArray | None = None) -> IntArray:
        """Write a call of `model` for the queries at `rows`; return those of them that had not been asked before."""
        bit = np.uint64(1 << model)
        new: IntArray = rows[(self.calls[call][rows] & bit) == 0]
        self.calls[call][new] |= bit
        if tokens is not None:
            self.tokens[new] += tokens[new]
        return new

    def asked(self, call: str, n_models: int) -> BoolArray:
        """Return the (n, K) boolean matrix of one kind of call."""
        bits = np.uint64(1) << np.arange(n_models, dtype=np.uint64)
        asked: BoolArray = (self.calls[call][:, None] & bits) != 0
        return asked


@dataclass(frozen=True)
class Recorded:
    """The recordings of some queries that one router may see: nothing else is in reach of its environment."""

    completion_tokens: FloatArray | None = None
    answer_texts: NDArray[np.object_] | None = None
    answer_embeddings: Mapping[int, FloatArray] = field(default_factory=dict)
    votes: Mapping[str, FloatArray] | None = None
    agreement: Mapping[str, FloatArray] | None = None
    self_routes: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    outcomes: FloatArray | None = None
    posteriors: Mapping[str, FloatArray] = field(default_factory=dict)


def recorded_for(suite: Suite, rows: Rows, signals: Signal, scenario: str) -> Recorded:
    """Cut out of `suite` what a router that declares `signals` may ask for on the queries at `rows`.

    Labels stay behind: correctness unless OUTCOME is declared, the number of right samples, the correctness of an
    agent's own answers. `scenario` names the prompt under which agents were recorded.
    """
    n, k = len(rows), len(suite.pool)
    shown: dict[str, Any] = {}
    if Signal.ANSWER in signals:
        texts, tokens = (suite.outcomes.get(name) for name in ("answer", "completion_tokens"))
        shown["completion_tokens"] = np.full((n, k), np.nan) if tokens is None else tokens[rows].astype(np.float64)
        shown["answer_texts"] = None if texts is None else texts[rows]
        found = {m: suite.embedding(f"answer/{name}") for m, name in enumerate(suite.pool.names)}
        shown["answer_embeddings"] = {m: e[rows].astype(np.float32) for m, e in found.items() if e is not None}
    if Signal.VERIFY in signals and suite.verifications:
        shown["votes"] = {name: suite.verifications[name][rows] for name in ("n_yes", "n_valid")}
    if Signal.SAMPLE in signals and suite.samples:
        shown["agreement"] = {name: suite.samples[name][rows] for name in ("n", "n_modal")}
    if Signal.SELF_ROUTE in signals:
        shown["self_routes"] = {
            checkpoint: {name: table[name][rows] for name in ("rejected", "completion_tokens") if name in table}
            for (checkpoint, recorded), table in suite.self_routes.items()
            if recorded == scenario
        }
    if Signal.OUTCOME in signals:
        shown["outcomes"] = suite.correct[rows].astype(np.float64)
    if Signal.POSTERIOR in signals:
        shown["posteriors"] = {kind: values[rows].astype(np.float64) for kind, values in suite.posteriors.items()}
    for value in shown.values():
        _freeze(value)
    return Recorded(**shown)


def _freeze(value: Any) -> Any:
    """Make arrays read-only, and those in nested dictionaries: what one router changes, the next would see."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    for part in value.values() if isinstance(value, dict) else ():
        _freeze(part)
    return value


class ReplayEnv:
    """A `RoutingEnv` over recordings. It holds what one router declared that it needs, and never a label.

    `waited_s` counts the seconds spent on models, of which there are none here.
    """

    waited_s: float = 0.0

    def __init__(self, recorded: Recorded, signals: Signal, ledger: Ledger) -> None:
        self._recorded = recorded
        self._signals = signals
        self.ledger = ledger

    def answer(self, model: int, rows: IntArray) -> Answers:
        """Return the recorded answers of `model`; charged."""
        self._demand(Signal.ANSWER)
        shown = self._recorded
        assert shown.completion_tokens is not None  # noqa: S101  (cut out for every router that declares ANSWER)
        tokens = shown.completion_tokens[:, model]
        self.ledger.write("answered", model, rows, tokens)
        embeddings = shown.answer_embeddings.get(model)
        return Answers(
            None if shown.answer_texts is None else shown.answer_texts[rows, model],
            None if embeddings is None else embeddings[rows],
            tokens[rows],
        )

    def verify(self, model: int, rows: IntArray, k: int) -> Votes:
        """Return the recorded votes of `model` on its own answers; charged. `k` may not be below the votes recorded."""
        self._demand(Signal.VERIFY)
        votes = self._sparse(self._recorded.votes, "verification votes", model, rows)
        if votes["n_valid"].max(initial=0) > k:
            raise InputError(
                f"{k} verification votes were asked for, but up to {votes['n_valid'].max():g} were recorded"
            )
        self.ledger.write("verified", model, rows)
        return Votes(votes["n_yes"], votes["n_valid"])

    def sample(self, model: int, rows: IntArray) -> Agreement:
        """Return the recorded agreement among samples of `model`; charged once for each sample."""
        self._demand(Signal.SAMPLE)
        counts = self._sparse(self._recorded.agreement, "samples", model, rows)
        self.ledger.write("sampled", model, rows)
        return Agreement(counts["n"], counts["n_modal"])

    def self_route(self, model: int, rows: IntArray, checkpoint: str) -> BoolArray:
        """Return whether the recorded agent answered; a rejection is charged a fraction of the model's cost."""
        self._demand(Signal.SELF_ROUTE)
        table = self._recorded.self_routes.get(checkpoint)
        if table is None or (table["rejected"][rows, model] < 0).any():
            raise InputError(
                f"the suite lacks self-routes of checkpoint {checkpoint} for model {model}; record them first"
            )
        rejected: BoolArray = table["rejected"][rows, model] == 1
        tokens = table.get("completion_tokens")
        self.ledger.write("self_routed", model, rows, None if tokens is None else tokens[:, model])
        self.ledger.write("rejected", model, rows[rejected])
        accepted: BoolArray = ~rejected
        return accepted

    def outcomes(self) -> FloatArray:
        """Return the (n, K) correctness; only for reference rows."""
        self._demand(Signal.OUTCOME)
        assert self._recorded.outcomes is not None  # noqa: S101  (cut out for every router that declares OUTCOME)
        return self._recorded.outcomes

    def posterior(self, kind: str) -> FloatArray:
        """Return the (n, K) true posterior of a simulated suite; only for reference rows."""
        self._demand(Signal.POSTERIOR)
        if kind not in self._recorded.posteriors:
            raise InputError(f"the suite has no posterior of kind {kind}; only simulated suites have any")
        return self._recorded.posteriors[kind]

    def _demand(self, signal: Signal) -> None:
        if signal not in self._signals:
            raise SignalError(
                f"{signal.name} was asked for, but the router declares only {self._signals!r}; "
                "add it to the class attribute signals"
            )

    @staticmethod
    def _sparse(table: Mapping[str, FloatArray] | None, what: str, model: int, rows: IntArray) -> dict[str, IntArray]:
        if table is None or any(np.isnan(values[rows, model]).any() for values in table.values()):
            raise InputError(
                f"the suite lacks {what} of model {model} for some of the {len(rows)} queries asked; record them"
            )
        return {name: values[rows, model].astype(np.int64) for name, values in table.items()}


def query_view(suite: Suite, rows: Rows, average: Average = "macro") -> QueryView:
    """Return the queries at `rows` as routers see them, with the query embeddings that the suite has."""
    found = {kind: suite.embedding(kind) for kind in ("query/small", "query/large")}
    texts, task = suite.queries["text"].iloc[rows], suite.task[rows]
    return QueryView(
        ids=_freeze(suite.queries["query_id"].iloc[rows].to_numpy(dtype=object, copy=True)),
        cluster=_freeze(suite.queries["cluster_id"].iloc[rows].to_numpy(dtype=object, copy=True)),
        task=_freeze(task),
        tasks=suite.manifest.tasks,
        pool=suite.pool,
        embeddings=_freeze(
            {k: vectors[rows].astype(np.float32) for k, vectors in found.items() if vectors is not None}
        ),
        weight=_freeze(query_weights(task, average) if len(rows) else np.zeros(0)),
        texts=_freeze(texts.to_numpy(dtype=object, copy=True)) if bool(texts.notna().all()) else None,
    )


def training_view(suite: Suite, rows: Rows, signals: Signal, scenario: str, average: Average = "macro") -> TrainingView:
    """Return the queries at `rows` with their labels, and an environment that is neither charged nor kept."""
    env = ReplayEnv(recorded_for(suite, rows, signals, scenario), signals, Ledger(len(rows)))
    return TrainingView(query_view(suite, rows, average), _freeze(suite.correct[rows].astype(np.float64)), env)


def own_reply(ledger: Ledger, chosen: IntArray) -> BoolArray:
    """Return (n,) True where the chosen model's own agent answered, so that nobody needs to be asked any more."""
    bit = np.uint64(1) << chosen.astype(np.uint64)
    delivered: BoolArray = (ledger.calls["self_routed"] & ~ledger.calls["rejected"] & bit) != 0
    return delivered


def settle(ledger: Ledger, chosen: IntArray, completion_tokens: FloatArray) -> BoolArray:
    """Ask the chosen model where it has not answered yet, and return (n,) True where its own agent had answered.

    Every query is answered by the model that it was routed to: what a router left unasked is asked, and charged, now.
    """
    rows, delivered = np.arange(ledger.n), own_reply(ledger, chosen)
    for model in np.unique(chosen):
        ledger.write("answered", int(model), rows[(chosen == model) & ~delivered], completion_tokens[:, model])
    return delivered


def price(ledger: Ledger, chosen: IntArray, suite: Suite, rows: Rows) -> dict[Accounting, FloatArray]:
    """Return (n,) costs under every accounting, from one ledger.

    final: the model that answers. every_call: every answer, one for each sample drawn, every accepted self-route,
    and `rejection_fraction` of the model's cost for a rejection. every_call_and_verify: the same and, for a
    verification by k votes, what one answer of that model costs (the paper's Appendix F).
    """
    costs, k = suite.pool.costs, len(suite.pool)
    fraction = np.array([suite.manifest.rejection_fraction.get(name, np.nan) for name in suite.pool.names])
    asked = {call: ledger.asked(call, k) for call in CALLS if ledger.calls[call].any()}
    every_call = np.zeros(len(rows))
    if "answered" in asked:
        every_call += asked["answered"] @ costs
    if "self_routed" in asked:
        rejected = asked.get("rejected", np.zeros_like(asked["self_routed"]))
        every_call += (asked["self_routed"] & ~rejected) @ costs
        every_call += np.where(rejected, fraction * costs, 0.0).sum(axis=1)
    if "sampled" in asked:
        every_call += np.where(asked["sampled"], suite.samples["n"][rows], 0.0) @ costs
    verify = asked["verified"] @ costs if "verified" in asked else np.zeros(len(rows))
    return {
        Accounting.FINAL: costs[chosen],
        Accounting.EVERY_CALL: every_call,
        Accounting.EVERY_CALL_AND_VERIFY: every_call + verify,
    }
