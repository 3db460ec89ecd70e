"""How long routers take on the full simulated suite, and what GraphRouter's early stopping costs. Only `make perf`.

No assertion is on seconds: targets, for two idle cores, stand beside what was measured, in the report that
--benchmark-json writes and in what -s shows. The first router to need PyTorch also takes the seconds to import it.
"""

import functools
import sys
import time
from typing import Any

import pytest

from bench import simulate
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, training_view
from routers.base import QueryView, Router, TrainingView
from routers.graphrouter import GraphRouter
from routers.registry import built_in
from tasks.scenarios import BALANCE, SCENARIOS, Scenario, utility, weighted_mean
from tasks.suite import Suite

# At most so many seconds to fit and route, and microseconds a query to route.
TARGETS = {
    "routellm": (10, 20),
    "forc": (10, 20),
    "knn": (10, 150),
    "frugalgpt": (20, 20),
    "automix": (5, 20),
    "graphrouter": (60, 20),
}
NO_WORSE = 0.005
WHOLE_TIME = {"patience": 1000}  # as many as there are epochs
ORIGINAL = WHOLE_TIME | {"batches": 1, "masks": 32, "aggregation": "mean"}


def only_by_make_perf(benchmark: Any) -> None:
    if not benchmark.enabled:
        pytest.skip("takes many minutes; make perf runs it")


@functools.cache
def suite_at(scale: float = 1.0) -> Suite:
    return simulate.simulate(scale=scale)


def parts(suite: Suite, router: Router, scenario: Scenario) -> tuple[TrainingView, TrainingView]:
    train, validation = (
        training_view(suite, suite.rows(part, "id"), router.signals, str(scenario.name))
        for part in ("train", "validation")
    )
    return train, validation


def asked_of(suite: Suite, router: Router) -> list[tuple[QueryView, ReplayEnv]]:
    found = []
    for domain in ("id", "ood"):
        rows = suite.rows("test", domain)
        recorded = recorded_for(suite, rows, router.signals, str(BALANCE.name))
        found.append((query_view(suite, rows), ReplayEnv(recorded, router.signals, Ledger(len(rows)))))
    return found


def note(benchmark: Any, **facts: Any) -> None:
    benchmark.extra_info.update(facts)
    sys.stdout.write(f"\n{facts}\n")


@pytest.mark.parametrize("name", TARGETS)
def test_fit_and_route(benchmark: Any, name: str) -> None:
    only_by_make_perf(benchmark)
    router = built_in()[name].build()
    train, validation = parts(suite_at(), router, BALANCE)
    asked = asked_of(suite_at(), router)

    def run() -> None:
        router.fit(train, validation, BALANCE)
        for queries, env in asked:
            router.route(queries, env, BALANCE)

    benchmark.pedantic(run, rounds=1)
    note(benchmark, seconds=benchmark.stats["min"], target=TARGETS[name][0])


@pytest.mark.parametrize("name", TARGETS)
def test_route(benchmark: Any, name: str) -> None:
    only_by_make_perf(benchmark)
    router = built_in()[name].build()
    router.fit(*parts(suite_at(), router, BALANCE), BALANCE)
    asked = asked_of(suite_at(), router)

    def run() -> None:
        for queries, env in asked:
            router.route(queries, env, BALANCE)

    benchmark.pedantic(run, rounds=1)
    each = benchmark.stats["min"] / sum(len(queries) for queries, _ in asked)
    note(benchmark, microseconds_a_query=each * 1e6, target=TARGETS[name][1])


def on_validation(suite: Suite, scenario: Scenario, **settings: Any) -> dict[str, float]:
    router = GraphRouter(**settings)
    train, validation = parts(suite, router, scenario)
    start = time.perf_counter()
    router.fit(train, validation, scenario)
    seconds = time.perf_counter() - start
    chosen = router.route(validation.queries, validation.env, scenario)
    correct = validation.correct[range(len(chosen)), chosen]
    gain = utility(correct, validation.queries.pool.costs[chosen], scenario.alpha)
    return {"utility": float(weighted_mean(gain, validation.queries.weight)), "seconds": seconds}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    ("scale", "settings"), [(1.0, WHOLE_TIME), (0.1, ORIGINAL)], ids=["all_epochs", "original_schedule"]
)
def test_graphrouter_loses_nothing_by_stopping_early(
    benchmark: Any, scale: float, settings: dict[str, Any], scenario: str
) -> None:
    """Validation utility against that of all 1000 epochs, and on a tenth of the suite against the original's schedule.

    An epoch of that, 32 masks of the whole graph, takes about 3 seconds on the full suite: 1000 would be an hour.
    """
    only_by_make_perf(benchmark)
    suite = suite_at(scale)

    def compare() -> tuple[dict[str, float], dict[str, float]]:
        return on_validation(suite, SCENARIOS[scenario]), on_validation(suite, SCENARIOS[scenario], **settings)

    default, other = benchmark.pedantic(compare, rounds=1)
    note(benchmark, default=default, other=other)
    assert default["utility"] >= other["utility"] - NO_WORSE
