"""Every figure of a leaderboard row once more, from ledgers and recorded outcomes alone.

Written apart from bench.metrics, bench.evaluate, bench.replay and tasks.scenarios, in plain sums model by model and
task by task, so that a mistake made there is not made here as well. A figure is a function in `FIGURES` (of one row) or
in `STANDINGS` (of a row among its competitors), under its key in leaderboard.json: a new key wants one entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.bundle import Bundle, Choices, Declared
from tasks.errors import InputError
from tasks.scenarios import SCENARIOS, Scenario
from tasks.suite import SOLVED, Suite

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
TIMINGS = frozenset({"overhead_us", "fit_seconds", "route_seconds"})  # measured once, and never the same again
_TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Measured:
    """What one seed's choices on n queries brought and took, each (n,); `costs` by accounting, `share` (n, K)."""

    seed: int
    correct: Floats
    costs: dict[str, Floats]
    latency_s: Floats
    cost_usd: Floats
    share: Floats


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
            _measured(suite, facts, prompt(scenario), seed, one, inside[one.rows])
            for seed, one in zip(seeds, choices, strict=True)
        ),
    )


def prompt(scenario: Scenario) -> str:
    """Return the scenario under whose prompt agents were asked: the nearest by alpha, the lower of two equally near."""
    if scenario.name is not None:
        return scenario.name
    near = sorted((abs(one.alpha - scenario.alpha), one.alpha, name) for name, one in SCENARIOS.items())
    return near[0][2]


def _measured(suite: Suite, facts: Declared, under: str, seed: int, done: Choices, mine: Bools) -> Measured:
    rows, chosen = done.rows[mine], done.chosen[mine]
    correct, seconds, dollars = (_outcome(suite, name)[rows] for name in ("correct", "latency_s", "cost_usd"))
    n, k = correct.shape
    if facts.drawn:  # every model with equal chance, so that expectations are plain means over the pool
        cost = np.full(n, sum(model.cost for model in suite.pool) / k)
        costs = dict.fromkeys(("final", "every_call", "every_call_and_verify"), cost)
        means = (correct.mean(axis=1), costs, seconds.mean(axis=1), dollars.mean(axis=1))
        return Measured(seed, *means, share=np.full((n, k), 1 / k))
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
    return Measured(seed, right, costs, latency, usd, share=(chosen[:, None] == np.arange(k)).astype(np.float64))


def _outcome(suite: Suite, name: str) -> Floats:
    values = suite.outcomes.get(name)
    return np.full(suite.correct.shape, np.nan) if values is None else values.astype(np.float64)


def _of(name: str) -> Callable[[Group], float | None]:
    """Return the figure that is the mean of a recorded amount, None where it is unknown of one query."""

    def figure(g: Group) -> float | None:
        return g.over_seeds(lambda s: None if np.isnan(getattr(s, name)).any() else g.mean(getattr(s, name)))

    return figure


def _cost(accounting: str | None = None) -> Callable[[Group], float | None]:
    return lambda g: g.over_seeds(lambda s: g.mean(s.costs[accounting or g.accounting]))


def _stratum(wanted: Callable[[Bools], Bools]) -> Callable[[Group], float | None]:
    """Return the figure that is the mean cost over the queries that are `wanted`, judged by the full pool's (n, K)."""

    def figure(g: Group) -> float | None:
        suite = g.bundle.suite
        everyone = suite.correct if suite.full_correct is None else suite.full_correct
        mask = wanted(everyone[g.rows] >= SOLVED)
        return g.over_seeds(lambda s: float(s.costs[g.accounting][mask].mean())) if mask.any() else None

    return figure


def _cheaper_half(solved: Bools) -> Bools:
    return _any(solved[:, : -(-solved.shape[1] // 2)])


def _any(solved: Bools) -> Bools:
    return np.asarray(solved.any(axis=1))


def _share(g: Group) -> dict[str, float | None]:
    names = g.bundle.suite.pool.names
    return {name: g.over_seeds(lambda s, m=m: g.mean(s.share[:, m])) for m, name in enumerate(names)}  # type: ignore[misc]


def _per_task(g: Group) -> dict[str, Any]:
    found = {}
    for t, task in enumerate(g.bundle.suite.manifest.tasks):
        mine = g.task == t
        if mine.any():
            accuracy = float(np.mean([s.correct[mine].mean() for s in g.seeds]))
            cost = float(np.mean([s.costs[g.accounting][mine].mean() for s in g.seeds]))
            found[task.name] = {"accuracy": accuracy, "cost": cost, "utility": accuracy - g.scenario.alpha * cost}
    return found


def _per_seed(g: Group) -> list[dict[str, float]]:
    return [
        {
            "seed": s.seed,
            "accuracy": g.mean(s.correct),
            "cost": g.mean(s.costs[g.accounting]),
            "utility": g.utility_of(s, g.accounting),
        }
        for s in g.seeds
    ]


def _published(name: str) -> Callable[[Group], float | None]:
    def figure(g: Group) -> float | None:
        for one in g.bundle.suite.manifest.published:
            same = (one.router, one.split, one.scenario) == (g.router, g.split, g.scenario.name)
            if same and sorted(one.pool) == sorted(g.bundle.suite.pool.names):
                return float(getattr(one, name))
        return None

    return figure


def _alpha_used(g: Group) -> float:
    return SCENARIOS[prompt(g.scenario)].alpha if g.facts.alpha_mode.value == "prompt" else g.scenario.alpha


FIGURES: dict[str, Callable[[Group], Any]] = {
    "reference": lambda g: g.facts.reference,
    "scenario": lambda g: g.scenario.name,
    "alpha": lambda g: g.scenario.alpha,
    "alpha_used": _alpha_used,
    "pool": lambda g: list(g.bundle.suite.pool.names),
    "n_queries": lambda g: len(g.rows),
    "n_seeds": lambda g: len(g.seeds),
    "per_seed": _per_seed,
    "accuracy": _of("correct"),
    "cost": _cost(),
    "utility": lambda g: g.utilities["utility"],
    "accounting": lambda g: g.accounting,
    "cost_final": _cost("final"),
    "cost_every_call": _cost("every_call"),
    "utility_every_call": lambda g: g.utilities["utility_every_call"],
    "cost_usd": _of("cost_usd"),
    "latency_s": _of("latency_s"),
    "easy_cost": _stratum(_cheaper_half),
    "hard_cost": _stratum(lambda solved: ~_cheaper_half(solved)),
    "unsolvable_cost": _stratum(lambda solved: ~_any(solved)),
    "solved_by_all_cost": _stratum(lambda solved: ~_any(~solved)),
    "share": _share,
    "per_task": _per_task,
    "published_accuracy": _published("accuracy"),
    "published_cost": _published("cost"),
    "published_utility": _published("utility"),
}


def _rank(key: str) -> Callable[[Group, Sequence[Group]], int | None]:
    """Return the figure that is 1 + the number of competitors with a higher utility; None for reference rows."""

    def figure(g: Group, panel: Sequence[Group]) -> int | None:
        if g.facts.reference:
            return None
        competing = [other.utilities[key] for other in panel if not other.facts.reference]
        return 1 + sum(utility - g.utilities[key] > _TIE for utility in competing)

    return figure


def _percent_of_oracle(g: Group, panel: Sequence[Group]) -> float | None:
    utility = {other.router: other.utilities["utility"] for other in panel}
    oracle, single = utility.get("oracle"), utility.get("best_single")
    if oracle is None or single is None or oracle <= max(single, 0.0):
        return None
    return 100.0 * g.utilities["utility"] / oracle


STANDINGS: dict[str, Callable[[Group, Sequence[Group]], Any]] = {
    "rank": _rank("utility"),
    "rank_every_call": _rank("utility_every_call"),
    "percent_of_oracle": _percent_of_oracle,
}
