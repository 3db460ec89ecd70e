"""What every choice of a run brought and took, from ledgers and recorded outcomes alone.

Written apart from bench.evaluate, bench.replay and tasks.scenarios, in plain sums model by model and task by task, so
that a mistake made there is not made here as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.bundle import Bundle, Choices, Declared
from tasks.errors import InputError
from tasks.scenarios import SCENARIOS, Scenario
from tasks.suite import Suite

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Measured:
    """What one seed's choices on n queries brought and took, each (n,); `costs` by accounting, `share` (n, K).

    `chosen` (n,) and `predicted` (n, K), or None, are those of the ledger.
    """

    seed: int
    correct: Floats
    costs: dict[str, Floats]
    latency_s: Floats
    cost_usd: Floats
    share: Floats
    chosen: NDArray[np.int64]
    predicted: Floats | None


@dataclass(frozen=True, eq=False)
class Group:
    """All that one row is about: one router at one alpha on one split, every seed; `task` (n,) and `rows` (n,)."""

    router: str
    scenario: Scenario
    split: str
    bundle: Bundle
    facts: Declared
    rows: NDArray[np.int64]
    task: NDArray[np.int64]
    seeds: tuple[Measured, ...]

    @property
    def accounting(self) -> str:
        """The accounting of this row's cost: the run's, or that of the router's authors."""
        chosen = self.bundle.config.accounting
        return self.facts.accounting.value if chosen == "paper" else chosen

    @cached_property
    def _parts(self) -> list[NDArray[np.int64]]:
        """The positions of every task's queries; with average micro one part holds them all."""
        if self.bundle.config.average == "micro":
            return [np.arange(len(self.task))]
        return [np.flatnonzero(self.task == t) for t in np.unique(self.task)]

    def mean(self, values: Floats) -> float:
        """Return the mean over tasks of the means over their queries, or with average micro that over queries."""
        return float(np.mean([values[part].mean() for part in self._parts]))

    def over_seeds(self, figure: Callable[[Measured], float | None]) -> float | None:
        """Return the mean of a figure over seeds, None where one of them has none."""
        found = [figure(one) for one in self.seeds]
        return None if None in found else float(np.mean([value for value in found if value is not None]))

    def utility_of(self, one: Measured, accounting: str) -> float:
        """Return accuracy − alpha · cost of one seed."""
        return self.mean(one.correct) - self.scenario.alpha * self.mean(one.costs[accounting])

    @property
    def unknown(self) -> bool:
        """Whether its figures are expectations over draws of its own, which no ledger holds."""
        return self.facts.drawn and self.router != "random"

    def gains(self, accounting: str) -> Floats:
        """Return the utility of every query (n,), the mean over seeds."""
        each = [s.correct - self.scenario.alpha * s.costs[accounting] for s in self.seeds]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    @cached_property
    def utilities(self) -> dict[str, float]:
        """Utility over all seeds, under this row's accounting and when every call is paid."""
        ways = {"utility": self.accounting, "utility_every_call": "every_call"}
        return {
            key: float(np.mean([self.utility_of(one, accounting) for one in self.seeds]))
            for key, accounting in ways.items()
        }


def group(bundle: Bundle, router: str, scenario: Scenario, split: str) -> Group:
    """Gather what the row of a router, scenario and split is about."""
    suite, seeds = bundle.suite, bundle.config.seeds
    inside = (suite.queries["domain"] == split).to_numpy()
    choices = [bundle.choices[router, scenario.alpha, seed] for seed in seeds]
    facts, rows = bundle.declared[router], choices[0].rows[inside[choices[0].rows]]
    return Group(
        router=router,
        scenario=scenario,
        split=split,
        bundle=bundle,
        facts=facts,
        rows=rows,
        task=suite.task[rows],
        seeds=tuple(
            _measured(suite, facts, prompt(scenario, suite, facts.checkpoint), seed, one, inside[one.rows])
            for seed, one in zip(seeds, choices, strict=True)
        ),
    )


def prompt(scenario: Scenario, suite: Suite, checkpoint: str) -> str:
    """Return the scenario under whose prompt agents were asked.

    The nearest by alpha, the lower of two equally near, of those in which the checkpoint was recorded, else of all.
    """
    there = {name for known, name in suite.self_routes if known == checkpoint} or set(SCENARIOS)
    near = sorted(
        (abs(one.alpha - scenario.alpha), one.alpha, name) for name, one in SCENARIOS.items() if name in there
    )
    return near[0][2]


def _measured(suite: Suite, facts: Declared, under: str, seed: int, done: Choices, mine: Bools) -> Measured:
    rows, chosen = done.rows[mine], done.chosen[mine]
    predicted = None if done.predicted is None else done.predicted[mine]
    correct, seconds, dollars = (_outcome(suite, name)[rows] for name in ("correct", "latency_s", "cost_usd"))
    n, k = correct.shape
    if facts.drawn:  # every model with equal chance, so that expectations are plain means over the pool
        cost = np.full(n, sum(model.cost for model in suite.pool) / k)
        costs = dict.fromkeys(("final", "every_call", "every_call_and_verify"), cost)
        means = (correct.mean(axis=1), costs, seconds.mean(axis=1), dollars.mean(axis=1))
        return Measured(seed, *means, np.full((n, k), 1 / k), chosen, predicted)
    own = suite.self_routes.get((facts.checkpoint, under), {}) if facts.delivers.value == "agent" else None
    if own is not None and not own:
        raise InputError(
            f"the suite has no self-routes of checkpoint {facts.checkpoint!r} under {under}, which were used"
        )
    right, final, every, verify, latency, usd = (np.zeros(n) for _ in range(6))
    for m, model in enumerate(suite.pool):
        answered, verified, sampled, routed, rejected = (
            ((done.calls[call][mine] >> np.uint64(m)) & np.uint64(1)) == 1
            for call in ("answered", "verified", "sampled", "self_routed", "rejected")
        )
        here, accepted = chosen == m, routed & ~rejected
        final[here] = model.cost
        right[here] = correct[here, m]
        every += model.cost * answered + model.cost * accepted
        every[rejected] += model.cost * suite.manifest.rejection_fraction.get(model.model, np.nan)
        if sampled.any():
            drawn = suite.samples["n"].astype(np.float64)[rows[sampled], m] if suite.samples else np.nan
            every[sampled] += model.cost * drawn
        verify[verified] += model.cost
        latency[answered] += seconds[answered, m]
        usd[answered] += dollars[answered, m]
        if own is not None:
            right[here & accepted] = own["correct"][rows[here & accepted], m]
            latency[routed] += own["latency_s"][rows[routed], m] if "latency_s" in own else np.nan
        latency[verified | sampled] = usd[verified | sampled] = np.nan
    if own is not None:
        usd[:] = np.nan
        if "latency_s" not in own:
            latency[:] = np.nan
    costs = {"final": final, "every_call": every, "every_call_and_verify": every + verify}
    share = (chosen[:, None] == np.arange(k)).astype(np.float64)
    return Measured(seed, right, costs, latency, usd, share, chosen, predicted)


def _outcome(suite: Suite, name: str) -> Floats:
    values = suite.outcomes.get(name)
    return np.full(suite.correct.shape, np.nan) if values is None else values.astype(np.float64)
