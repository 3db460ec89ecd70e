"""Modularity as a measurement: what it does to a router that its pool loses or gains a model, fitted again or not."""

from collections.abc import Sequence

import pandas as pd

from bench.analyses import Lines, config
from bench.comparisons import REFIT, within
from bench.evaluate import Progress, Routed, evaluate, usable
from bench.metrics import rows
from routers.registry import RouterSpec
from tasks.errors import InputError
from tasks.scenarios import BALANCE
from tasks.suite import Suite

_STRANGER = "a model that it was not fitted on cannot be added without a refit"


def modularity(suite: Suite, specs: Sequence[RouterSpec], progress: Progress = lambda _: None) -> pd.DataFrame:
    """Return utility in balance before and after each model is removed from the full pool, and added to the others.

    With `refit` a router is fitted on the pool that it then routes in, without it on the pool before the change; what
    learns nothing needs no refit to take in a model. Ranked routers only, charged as their authors do. A router that
    cannot change its pool without a refit is a line that says so. Raises `InputError` where fewer than two models would
    be left.
    """
    if len(suite.pool) < 3:
        raise InputError(f"a pool of {len(suite.pool)} has no smaller one with a choice in it")
    names, settings = suite.pool.names, [BALANCE]
    pools = {name: suite.subset([other for other in names if other != name]) for name in names}
    lines: Lines = []
    left_out: Lines = []
    for spec, router in usable(suite, suite, [spec for spec in specs if not spec.reference], frozenset())[0]:
        progress(spec.name)
        full = evaluate(suite, suite, [(spec, router)], config(suite, settings))
        whole = _utilities(suite, full)
        # before a refit forgets the full pool
        kept = {name: [within(pool, one) for one in full] for name, pool in pools.items() if router.pool_agnostic}
        for name, pool in pools.items():
            refitted = evaluate(pool, pool, [(spec, router)], config(pool, settings))
            grown = [] if router.learns or not router.pool_agnostic else full
            rest = _utilities(pool, refitted)
            for change, refit, before, after in (
                ("removed", True, whole, rest),
                ("removed", False, whole, _utilities(pool, kept.get(name, []))),
                ("added", True, rest, whole),
                ("added", False, rest, _utilities(suite, grown)),
            ):
                key = {"router": spec.name, "change": change, "model": name, "refit": refit}
                lines += [
                    {"split": split} | key | {"before": before[split], "after": u, "difference": u - before[split]}
                    for split, u in after.items()
                ]
        if not router.pool_agnostic or router.learns:
            left_out.append({"router": spec.name, "left_out": _STRANGER if router.pool_agnostic else REFIT})
    lines.sort(key=lambda line: (line["split"], line["change"] == "added", line["refit"]))
    return pd.DataFrame(lines + left_out)


def _utilities(suite: Suite, done: Sequence[Routed]) -> dict[str, float]:
    """Return utility by split, charged as on the leaderboard."""
    return {row.split: row.utility for row in rows(done, suite, config(suite, [BALANCE]))}
