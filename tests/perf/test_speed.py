"""Benchmarks, never timed tests, run by `make perf`: compare them with each other, not with another machine's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import simulate, world
from bench.evaluate import evaluate
from bench.metrics import rows
from routers.registry import built_in
from tasks import storage
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite


@pytest.fixture(scope="module")
def full() -> Suite:
    return simulate.simulate()


@pytest.fixture(scope="module")
def full_dir(full: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("perf") / "sim"
    storage.save(full, directory)
    return directory


def test_load_400_000_outcomes(benchmark: Any, tmp_path: Path) -> None:
    storage.save(toy_suite(np.random.default_rng(0).integers(0, 2, (80_000, 5))), tmp_path / "s")
    benchmark.pedantic(storage.load, (tmp_path / "s",), rounds=5)


def test_load_the_simulated_suite_with_all_its_signals(benchmark: Any, full_dir: Path) -> None:
    benchmark.pedantic(storage.load, (full_dir,), rounds=5)


def test_calibrate(benchmark: Any) -> None:
    benchmark.pedantic(world.calibrate, (world.Facts.read(),), rounds=3)


def test_simulate(benchmark: Any) -> None:
    benchmark.pedantic(simulate.simulate, rounds=2)


def test_fit_route_and_score_the_references_on_all_test_queries(benchmark: Any, full: Suite) -> None:
    config = toy_config(full, splits=("id", "ood"), bootstrap=0)
    specs = [spec for spec in built_in().values() if spec.reference]

    def run() -> Any:
        return rows(evaluate(full, full, [(spec, spec.build()) for spec in specs], config), full, config)

    benchmark.pedantic(run, rounds=3)
