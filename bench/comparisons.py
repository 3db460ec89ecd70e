"""What all routers do with easy and hard queries, and in a pool from which models were taken away."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.analyses import Lines, config, macro, parts
from bench.decisions import decisions, predict
from bench.evaluate import Progress, Routed, evaluate, usable
from bench.metrics import Row, rows
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, settle
from routers.base import AlphaMode
from routers.registry import RouterSpec, built_in
from tasks.errors import InputError
from tasks.scenarios import BALANCE, SCENARIOS, utility
from tasks.suite import Suite

REFIT = "its pool cannot change without a refit"


@dataclass(frozen=True, eq=False)
class Runs:
    """What every router did in every scenario, fitted once on the full pool, in it and in a smaller one.

    `left_out` gives the reason, by router, where one could not run at all; `refit` names those that cannot run in the
    smaller pool as they were fitted.
    """

    suite: Suite
    smaller: Suite | None
    full_rows: list[Row]
    smaller_rows: list[Row]
    left_out: dict[str, str]
    refit: list[str]


def smaller_pool_of(suite: Suite) -> tuple[str, ...]:
    """Return the smaller pool that rows were published for, the largest; else the pool without its middle model.

    Raises `InputError` where that would leave fewer than two models.
    """
    names = suite.pool.names
    published = {p.pool for p in suite.manifest.published if set(p.pool) < set(names) and len(p.pool) > 1}
    if published:
        return max(published, key=lambda pool: (len(pool), pool))
    if len(names) < 3:
        raise InputError(f"a pool of {len(names)} has no smaller one with a choice in it")
    middle = (len(names) - 1) // 2
    return names[:middle] + names[middle + 1 :]


def run_all(
    suite: Suite, specs: Sequence[RouterSpec], models: Sequence[str] | None, progress: Progress = lambda _: None
) -> Runs:
    """Run the ranked routers among `specs`; `models` is the smaller pool, or None for none."""
    oracle = built_in()["oracle"]  # rows are percentages of it
    wanted = [*(spec for spec in specs if not spec.reference), oracle]
    routers, skipped = usable(suite, suite, wanted, frozenset())
    smaller = None if models is None else suite.subset(models)
    scenarios = tuple(SCENARIOS.values())
    full: list[Routed] = []
    fewer: list[Routed] = []
    for spec, router in routers:
        progress(spec.name)
        refit = router.alpha_mode is AlphaMode.REFIT  # then a router is fitted for one scenario at a time
        for group in [(one,) for one in scenarios] if refit else [scenarios]:
            done = evaluate(suite, suite, [(spec, router)], config(suite, group))
            full += done
            if smaller is not None and router.pool_agnostic:
                fewer += [within(smaller, one) for one in done]
    settings = config(suite, scenarios)
    return Runs(
        suite,
        smaller,
        _ranked(rows(full, suite, settings)),
        [] if smaller is None else _ranked(rows(fewer, smaller, config(smaller, scenarios))),
        {one["router"]: one["reason"] for one in skipped},
        [spec.name for spec, router in routers if not router.pool_agnostic],
    )


def _ranked(found: Sequence[Row]) -> list[Row]:
    return [row for row in found if not row.reference]


def within(smaller: Suite, routed: Routed) -> Routed:
    """Route the same queries with the same fitted router among fewer models."""
    router, signals = routed.router, routed.router.signals
    queries = query_view(smaller, routed.rows)
    env = ReplayEnv(recorded_for(smaller, routed.rows, signals, routed.prompt), signals, Ledger(len(routed.rows)))
    predicted = predict(router, queries)
    chosen = decisions(routed.spec.name, router, queries, env, routed.scenario, predicted)
    tokens = smaller.outcomes.get("completion_tokens", np.full(smaller.correct.shape, np.nan))[routed.rows]
    shares = router.choice_shares(queries)
    delivered = settle(env.ledger, chosen, tokens.astype(np.float64))
    p = predicted.correctness
    return replace(routed, chosen=chosen, delivered=delivered, ledger=env.ledger, shares=shares, predicted=p)


def easy_hard_cost(runs: Runs) -> pd.DataFrame:
    """Return the mean cost of easy and hard queries in balance, charged as a router's authors do (Fig. 6).

    The more they differ, the better a router tells easy from hard. Means are over queries, as on the leaderboard. A
    router that could not run is a line that says why.
    """
    strata = runs.suite.strata
    sizes: dict[str, dict[str, int]] = {
        split: {f"n_{name}": int(strata[name][tested].sum()) for name in ("easy", "hard")}
        for split, tested in parts(runs.suite).items()
    }
    lines: Lines = []
    for row in runs.full_rows:
        if row.scenario == BALANCE.name:
            easy, hard = (np.nan if cost is None else cost for cost in (row.easy_cost, row.hard_cost))
            costs = {"easy": easy, "hard": hard, "difference": hard - easy, "accounting": row.accounting}
            lines.append({"split": row.split, "router": row.router} | costs | sizes[row.split])
    if not lines:
        raise InputError("no router can run on the suite")
    lines.sort(key=lambda line: (line["split"], -np.nan_to_num(line["difference"]), line["router"]))
    return pd.DataFrame(lines + [{"router": name, "left_out": why} for name, why in runs.left_out.items()])


def oracle_probability(runs: Runs) -> pd.DataFrame:
    """Return each router's utility, and the p of RouterEval's r_o(p) that reaches it.

    r_o(p) takes the best choice with probability p and any model, all alike, otherwise: its utility is a line from
    `random` at p = 0 to `oracle_utility` at p = 1, both of which are lines of the frame. Below 0 a router is worse than
    chance.
    """
    lines: Lines = []
    for split, tested in parts(runs.suite).items():
        correct, task = runs.suite.correct[tested].astype(np.float64), runs.suite.task[tested]
        for name, scenario in SCENARIOS.items():
            worth = utility(correct, runs.suite.pool.costs, scenario.alpha)
            low, high = macro(worth.mean(axis=1), task), macro(worth.max(axis=1), task)
            mine = {row.router: row.utility for row in runs.full_rows if (row.split, row.scenario) == (split, name)}
            for router, reached in {"random": low, "oracle_utility": high, **mine}.items():
                p = (reached - low) / (high - low) if high > low else float("nan")
                lines.append({"split": split, "scenario": name, "router": router, "utility": reached, "p": p})
    return pd.DataFrame(lines + [{"router": name, "left_out": why} for name, why in runs.left_out.items()])


def smaller_pool(runs: Runs) -> pd.DataFrame:
    """Return utility in the full pool and, with nothing fitted again, in the smaller one (Tables 4, 15 and 16).

    `published` is the utility that somebody else published for the smaller pool. A router that could not run there is
    a line that says why.
    """
    if runs.smaller is None:
        raise InputError(f"a pool of {len(runs.suite.pool)} has no smaller one with a choice in it")
    full = {(row.router, row.split, row.scenario): row for row in runs.full_rows}
    lines: Lines = []
    for row in sorted(runs.smaller_rows, key=lambda row: (row.split, row.alpha)):
        before = full[row.router, row.split, row.scenario].utility
        lines.append(
            {
                "split": row.split,
                "scenario": row.scenario,
                "router": row.router,
                "full": before,
                "smaller": row.utility,
                "change": row.utility - before,
                "accuracy": row.accuracy,
                "cost": row.cost,
                "published": row.published_utility,
                "pool": " ".join(runs.smaller.pool.names),
            }
        )
    if not lines:
        raise InputError("no router can run in another pool than it was fitted on")
    missing = runs.left_out | dict.fromkeys(runs.refit, REFIT)
    return pd.DataFrame(lines + [{"router": name, "left_out": why} for name, why in missing.items()])
