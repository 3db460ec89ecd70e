"""How sure utilities are at any alpha: the quadratics of the table against the jackknife computed at that alpha."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import spread
from bench.evaluate import evaluate, score
from bench.significance import clusters_of
from bench.statistics import bootstrap, deviations
from routers.base import Accounting
from routers.registry import RouterSpec, built_in
from tasks.scenarios import SCENARIOS, Scenario
from tests.test_significance import Fixed, suite_of
from tests.toys import toy_config

ALPHAS = (0.0, 0.13, 0.5, 0.77, 1.0)


@pytest.fixture(scope="module")
def world() -> Any:
    suite = suite_of(300, ["a"] * 180 + ["b"] * 120)
    config = toy_config(suite, scenarios=tuple(SCENARIOS.values()))
    rng = np.random.default_rng(1)
    fixed = {name: Fixed(rng.integers(0, 3, 300)) for name in ("one", "two")}
    given = [(built_in()[name], built_in()[name].build()) for name in ("oracle", "knn", "best_single")]
    given += [(RouterSpec(name, "", ""), router) for name, router in fixed.items()]
    return suite, config, evaluate(suite, suite, given, config, between=(Scenario(None, 0.35),))


def values(world: Any, router: str, decided: float, alpha: float) -> Any:
    suite, _, routed = world
    (one,) = [r for r in routed if r.spec.name == router and r.scenario.alpha == decided]
    scores = score(one, suite)
    return scores.correct - alpha * scores.cost[Accounting.FINAL]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_variances_are_those_of_the_jackknife_at_every_alpha(alpha: float, world: Any) -> None:
    suite, config, routed = world
    table, clusters = spread.table(routed, suite, config), clusters_of(suite, "id")
    assert set(table["alpha"]) == {0.2, 0.35, 0.5, 0.8}
    at = table[table["alpha"] == 0.35]
    assert set(at["decided"][at["router"] == "knn"]) == {0.35}
    pairs = at[at["other"] != ""]
    assert len(pairs) == 6
    assert "oracle" not in set(pairs["router"]) | set(pairs["other"])
    for row in at.itertuples():
        gain = values(world, row.router, row.decided, alpha)
        if row.other:
            gain = gain - values(world, row.other, row.decided, alpha)
        wanted = np.sum(deviations(gain[:, None], clusters, config.average) ** 2)
        got = row.accuracy_variance - 2 * alpha * row.covariance + alpha**2 * row.cost_variance
        assert got == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_it_is_the_variance_of_resampled_means(world: Any) -> None:
    clusters = clusters_of(world[0], "id")
    gain = values(world, "one", 0.5, 0.5)[:, None]
    drawn = bootstrap(gain, clusters, "macro", 4000).resampled.var()
    assert np.sum(deviations(gain, clusters, "macro") ** 2) == pytest.approx(drawn, rel=0.08)


def test_a_split_without_spread_has_none() -> None:
    lonely = suite_of(3, ["a", "b", "c"])
    config = toy_config(lonely)
    spec = built_in()["best_single"]
    alone = evaluate(lonely, lonely, [(spec, spec.build())], config)
    table = spread.table(alone, lonely, config)
    assert table.empty
    assert list(table.columns) == ["split", "alpha", "router", "other", "decided", *spread.COLUMNS]
    assert isinstance(spread.table([], lonely, config), pd.DataFrame)
