"""What must hold of single decisions and calls, whatever the figures: found without any of them.

A reference row's decisions follow from the outcomes; every chosen model was asked, nobody asked what was not declared,
an agent rejected where its recording did, and the tokens are those of the calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.bundle import Bundle, Choices
from bench.scored import prompt
from routers.base import uniform_draw
from tasks.scenarios import Scenario
from tasks.suite import SOLVED

Bools = NDArray[np.bool_]
Bits = NDArray[np.uint64]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_SIGNAL = {"verified": "VERIFY", "sampled": "SAMPLE", "self_routed": "SELF_ROUTE", "rejected": "SELF_ROUTE"}


@dataclass(frozen=True)
class Difference:
    """One thing that is stored otherwise than it follows from the rest; `key` names the figure or the query."""

    file: str
    router: str
    scenario: str | None
    alpha: float | None
    split: str
    key: str
    stored: Any
    recomputed: Any


@dataclass(frozen=True, eq=False)
class Ledger:
    """The choices of one router at one alpha with one seed, and what they are checked against."""

    bundle: Bundle
    router: str
    scenario: Scenario
    seed: int
    done: Choices

    def odd(self, file: str, what: str, wrong: Bools, stored: Any, recomputed: Any) -> Iterator[Difference]:
        """Name the first query that is `wrong` (n,), with what stands there and what should; both are (n,)."""
        if wrong.any():
            first, queries = int(wrong.argmax()), self.bundle.suite.queries
            row = self.done.rows[first]
            more = f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
            seed = f", seed {self.seed}" if len(self.bundle.config.seeds) > 1 else ""
            yield Difference(
                file=file,
                router=self.router,
                scenario=self.scenario.name,
                alpha=self.scenario.alpha,
                split=str(queries["domain"].iloc[row]),
                key=f"{what} of query {queries['query_id'].iloc[row]}{seed}{more}",
                stored=stored[first],
                recomputed=recomputed[first],
            )

    def models(self, bits: Bits) -> list[str]:
        """Spell out sets of models (n,) as text."""
        names = self.bundle.suite.pool.names
        spelled = {
            int(b): "+".join(names[m] if m < len(names) else f"model {m}" for m in range(64) if int(b) >> m & 1)
            or "none"
            for b in np.unique(bits)
        }
        return [spelled[int(b)] for b in bits]


def check(bundle: Bundle) -> Iterator[Difference]:
    """Yield what does not hold, one `Difference` for each kind of fault of each router, scenario and seed."""
    scenarios = {scenario.alpha: scenario for scenario in bundle.config.scenarios}
    for (router, alpha, seed), done in bundle.choices.items():
        ledger = Ledger(bundle, router, scenarios[alpha], seed, done)
        for rule in (_decisions, _answered, _declared, _rejected, _recorded, _tokens):
            yield from rule(ledger)


def _decisions(one: Ledger) -> Iterator[Difference]:
    """Compare the decisions that follow from outcomes: those of reference rows and of the best single model."""
    must, names = _forced(one), np.array(one.bundle.suite.pool.names, dtype=object)
    if must is not None:
        yield from one.odd("decisions.parquet", "model", one.done.chosen != must, names[one.done.chosen], names[must])


def _forced(one: Ledger) -> Ints | None:
    suite, rows, router, alpha = one.bundle.suite, one.done.rows, one.router, one.scenario.alpha
    costs, correct = np.array([model.cost for model in suite.pool]), suite.correct.astype(np.float64)
    n, k = len(rows), len(costs)
    if router in ("smallest", "largest"):
        return np.full(n, 0 if router == "smallest" else k - 1)
    if router.removeprefix("single:") in suite.pool.names and router.startswith("single:"):
        return np.full(n, suite.pool.names.index(router.removeprefix("single:")))
    if router == "oracle":
        solved = correct[rows] >= SOLVED
        return np.array([int(np.flatnonzero(s)[0]) if s.any() else k - 1 for s in solved], dtype=np.int64)
    if router == "oracle_utility":
        return _best(correct[rows] - alpha * costs)
    if router.startswith("bayes_query/") and router.removeprefix("bayes_") in suite.posteriors:
        return _best(suite.posteriors[router.removeprefix("bayes_")][rows].astype(np.float64) - alpha * costs)
    if router == "random":
        return uniform_draw(suite.queries["query_id"].iloc[rows].to_numpy(dtype=object), k, one.seed)
    if router == "best_single":
        return np.full(n, _best((_mean(one.bundle, suite.rows("validation", "id")) - alpha * costs)[None])[0])
    if router == "best_single_hindsight":
        domain, chosen = suite.queries["domain"].iloc[rows].to_numpy(), np.zeros(n, dtype=np.int64)
        for split in one.bundle.config.splits:
            mine = domain == split
            chosen[mine] = _best((_mean(one.bundle, rows[mine]) - alpha * costs)[None])[0]
        return chosen
    return None


def _best(utilities: Floats) -> Ints:
    """Return the cheapest model (n,) within 1e-9 of the best utility; `utilities` (n, K)."""
    best, chosen = utilities.max(axis=1), np.full(len(utilities), -1, dtype=np.int64)
    for m in range(utilities.shape[1]):
        chosen[(chosen < 0) & (utilities[:, m] >= best - 1e-9)] = m
    return chosen


def _mean(bundle: Bundle, rows: Ints) -> Floats:
    """Return every model's (K,) accuracy on the queries at `rows`, as the run averages."""
    task, correct = bundle.suite.task[rows], bundle.suite.correct[rows].astype(np.float64)
    parts = [rows >= 0] if bundle.config.average == "micro" else [task == t for t in np.unique(task)]
    accuracy: Floats = np.mean([correct[part].mean(axis=0) for part in parts], axis=0)
    return accuracy


def _answered(one: Ledger) -> Iterator[Difference]:
    """See that the chosen model answered, or its agent; a router that reads no answers asks nobody else."""
    calls = one.done.calls
    bit = np.uint64(1) << one.done.chosen.astype(np.uint64)
    own = (calls["self_routed"] & ~calls["rejected"] & bit) != 0
    least = np.where(own, np.uint64(0), bit)
    must = calls["answered"] | least if "ANSWER" in one.bundle.declared[one.router].signals else least
    yield from _bits(one, "answered", must)


def _declared(one: Ledger) -> Iterator[Difference]:
    """See that there is no call that was not declared, and none of a model outside the pool."""
    pool = np.uint64((1 << len(one.bundle.suite.pool)) - 1)
    for call, bits in one.done.calls.items():
        asked = _SIGNAL.get(call)
        allowed = asked is None or asked in one.bundle.declared[one.router].signals
        yield from _bits(one, call, bits & (pool if allowed else np.uint64(0)))


def _rejected(one: Ledger) -> Iterator[Difference]:
    """See that agents reject where they were asked and their recording says so."""
    table = _agents(one)
    if table is not None:
        said = np.zeros(len(one.done.rows), dtype=np.uint64)
        for m in range(len(one.bundle.suite.pool)):
            said |= (table["rejected"][one.done.rows, m] == 1).astype(np.uint64) << np.uint64(m)
        yield from _bits(one, "rejected", one.done.calls["self_routed"] & said)


def _recorded(one: Ledger) -> Iterator[Difference]:
    """See that votes and samples were asked for only where there are any."""
    suite = one.bundle.suite
    for call, table, column in (("verified", suite.verifications, "n_valid"), ("sampled", suite.samples, "n")):
        there = np.zeros(len(one.done.rows), dtype=np.uint64)
        for m in range(len(suite.pool) if table else 0):
            there |= (~np.isnan(table[column][one.done.rows, m])).astype(np.uint64) << np.uint64(m)
        yield from _bits(one, call, one.done.calls[call] & there)


def _tokens(one: Ledger) -> Iterator[Difference]:
    """Compare the tokens with those of all answers and of all agents' replies."""
    suite, rows, calls = one.bundle.suite, one.done.rows, one.done.calls
    table = _agents(one) or {}
    if calls["self_routed"].any() and not table:
        return  # agents of a checkpoint that run.json does not name
    said = suite.outcomes.get("completion_tokens", np.full(suite.correct.shape, np.nan)).astype(np.float64)
    total = np.zeros(len(rows))
    for m in range(len(suite.pool)):
        for call, tokens in (("answered", said), ("self_routed", table.get("completion_tokens"))):
            asked = (calls[call] >> np.uint64(m)) & np.uint64(1) == 1
            if tokens is not None:
                total[asked] += tokens[rows[asked], m]
    stored = one.done.tokens
    wrong = (stored != total) & ~(np.isnan(stored) & np.isnan(total))
    yield from one.odd("calls.parquet", "tokens", wrong, stored, total)


def _agents(one: Ledger) -> dict[str, NDArray[Any]] | None:
    checkpoint = one.bundle.declared[one.router].checkpoint
    return one.bundle.suite.self_routes.get((checkpoint, prompt(one.scenario, one.bundle.suite, checkpoint)))


def _bits(one: Ledger, call: str, must: Bits) -> Iterator[Difference]:
    stored = one.done.calls[call]
    wrong = stored != must
    if wrong.any():
        yield from one.odd("calls.parquet", call, wrong, one.models(stored), one.models(must))
