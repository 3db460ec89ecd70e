"""The simulated world: calibrated by integrals, exact in its marginals, honest in its posteriors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from bench import simulate, world
from bench.world import Facts, calibrate
from tasks.errors import InputError
from tasks.scenarios import SCENARIOS, query_weights, weighted_mean
from tasks.suite import Suite


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts.read()


@pytest.fixture(scope="module")
def full() -> Suite:
    return simulate.simulate()


def test_published_sizes_and_tables_hang_together(facts: Facts) -> None:
    assert facts.datasets["n_test"].sum() == 51_763
    assert facts.accuracy().shape == (10, 5)
    assert facts.accuracy("id").mean(axis=0) == pytest.approx([0.3801, 0.5895, 0.7308, 0.8090, 0.8545], abs=6e-5)
    r = facts.routers
    gap = r["accuracy"] - r["scenario"].map({n: s.alpha for n, s in SCENARIOS.items()}) * r["cost"] - r["utility"]
    assert gap.abs().max() < 0.0151  # every published utility is accuracy − α·cost, to rounding


def test_calibration_meets_its_targets(facts: Facts) -> None:
    p = calibrate(facts)
    for domain in ("id", "ood"):
        point = world.oracle_point(facts.accuracy(domain), facts.costs, np.array(p.loadings[domain]))
        assert point == pytest.approx(facts.row("oracle", domain, "balance", 5), abs=1e-4)
    bases = ndtri(facts.accuracy("id")[:, 3])
    sizes = facts.datasets["n_test"].to_numpy(dtype=float)[:7]
    large = np.sqrt(world.seen_variance(p.loadings["id"][3], p.noise_query_large, 0.0))
    accuracy, f1, _ = world.balanced_test(bases, sizes, large, 0.5)
    assert (accuracy, f1) == pytest.approx((0.71, 0.77), abs=0.01)
    accuracy, f1, _ = world.balanced_test(bases, sizes, 1 / np.sqrt(1 + p.noise_agent_rl**2), 0.5**0.5)
    assert (accuracy, f1) == pytest.approx((0.80, 0.81), abs=0.01)
    small = np.sqrt(world.seen_variance(p.loadings["id"][3], p.noise_query_small, 0.0))
    assert world.balanced_test(bases, sizes, small, 0.5)[2] == pytest.approx(0.60, abs=0.01)
    assert p.noise_answer == pytest.approx(0.95, abs=0.01)
    assert p.noise_agent_rl == pytest.approx(0.80, abs=0.01)


def test_quadrature_agrees_with_closed_forms() -> None:
    accuracy = np.array([[0.3, 0.6]])
    alone = world.oracle_point(accuracy, np.array([0.1, 0.9]), np.array([1e-3, 1e-3]))  # nearly independent models
    assert alone == pytest.approx([1 - 0.7 * 0.4, 0.1 * 0.3 + 0.9 * 0.7], abs=2e-3)
    shared = world.oracle_point(accuracy, np.array([0.1, 0.9]), np.array([0.999, 0.999]))  # nested models
    assert shared == pytest.approx([0.6, 0.1 * 0.3 + 0.9 * 0.7], abs=0.03)
    # one task: a binormal classifier, whose AUC is known
    accuracy_, f1, auc = world.balanced_test(np.array([0.0]), np.ones(1), 0.6, 0.5)
    assert accuracy_ == pytest.approx(0.5 + np.arcsin(0.6) / np.pi, abs=1e-3)  # orthant probability
    assert f1 == pytest.approx(accuracy_, abs=2e-3)
    assert 0.5 < auc < 1.0
    assert world.implied_auc(0.5, 0.5) == pytest.approx(0.5)
    hit, false_alarm = norm.cdf(1.0), norm.cdf(-0.5)
    implied = world.implied_auc((hit + 1 - false_alarm) / 2, 2 * hit / (1 + hit + false_alarm))
    assert implied == pytest.approx(norm.cdf(1.5 / np.sqrt(2)))


def test_every_accuracy_is_the_published_one_for_any_seed(facts: Facts, full: Suite) -> None:
    for suite in (full, simulate.simulate(seed=7, scale=0.2)):
        for part in suite.queries.groupby(["task", "split"]).indices.values():
            published = facts.accuracy()[suite.task[part[0]]]
            assert np.abs(suite.correct[part].mean(axis=0) - published).max() <= 0.5 / len(part) + 1e-6


def single(suite: Suite, domain: str, chosen: Any) -> tuple[float, float]:
    rows = suite.rows("test", domain)
    task, chosen = suite.task[rows], np.broadcast_to(chosen, len(rows))
    correct = suite.correct[rows, chosen].astype(float)
    weights = query_weights(task)
    return float(weighted_mean(correct, weights)), float(weighted_mean(suite.pool.costs[chosen], weights))


@pytest.mark.parametrize(("domain", "models", "tolerance"), [("id", 5, 0.01), ("ood", 5, 0.01), ("id", 3, 0.015)])
def test_reference_rows_are_the_published_ones(
    facts: Facts, full: Suite, domain: str, models: int, tolerance: float
) -> None:
    suite = full if models == 5 else full.subset(simulate.THREE_MODELS)
    solved = suite.correct[suite.rows("test", domain)] >= 0.5
    oracle = np.where(solved.any(axis=1), solved.argmax(axis=1), models - 1)
    everyone = np.array([single(suite, domain, m) for m in range(models)])
    ours = {
        "smallest": everyone[0],
        "largest": everyone[-1],
        "random": everyone.mean(axis=0),
        "oracle": np.array(single(suite, domain, oracle)),
    }
    for name, point in ours.items():
        published = facts.row(name, domain, "balance", models)
        assert np.abs(np.round(point, 2) - published).max() <= tolerance + 1e-9, name


def test_posteriors_are_calibrated_and_signals_as_strong_as_declared(full: Suite) -> None:
    rows = full.rows("test", "id")
    correct = full.correct[rows]
    for kind in full.posteriors:
        p = full.posteriors[kind][rows]
        for model in range(5):
            tenths = np.digitize(p[:, model], np.quantile(p[:, model], np.linspace(0.1, 0.9, 9)))
            for tenth in range(10):
                mine = tenths == tenth
                gap = correct[mine, model].mean() - p[mine, model].mean()
                assert abs(gap) < 4 * np.sqrt(0.25 / mine.sum()), (kind, model, tenth)
    rng = np.random.default_rng(0)
    right, wrong = (rng.choice(np.flatnonzero(correct[:, 3] == label), 4000) for label in (1, 0))
    for kind, target in (("query/large", 0.71),):
        hit, alarm = (np.mean(full.posteriors[kind][rows][part, 3] >= 0.5) for part in (right, wrong))
        assert (hit + 1 - alarm) / 2 == pytest.approx(target, abs=0.02)
    for part, expected in ((right, 1), (wrong, 0)):
        answers = full.self_routes["rl", "balance"]["rejected"][rows][part, 3] == 0
        assert np.mean(answers == expected) == pytest.approx(0.80, abs=0.07)


def test_agents_cascade_as_the_integral_says(facts: Facts, full: Suite) -> None:
    rows, p = full.rows("test", "id"), calibrate(facts)
    for name in SCENARIOS:
        for checkpoint, noise, thresholds in (
            ("rl", p.noise_agent_rl, p.thresholds_rl),
            ("sft", p.noise_agent_sft, p.thresholds_sft),
        ):
            answers = full.self_routes[checkpoint, name]["rejected"][rows] == 0
            answers[:, -1] = True
            ours = single(full, "id", answers.argmax(axis=1))
            theory = world.cascade_point(
                facts.accuracy("id"), facts.costs, np.array(p.loadings["id"]), noise, thresholds[name]
            )
            assert ours == pytest.approx(tuple(theory), abs=0.012)


def test_verification_votes_tell_next_to_nothing(full: Suite) -> None:
    rows = full.rows("test", "id")
    votes, correct = full.verifications["n_yes"][rows, 0], full.correct[rows, 0] > 0.5
    counts = np.bincount(votes[~correct].astype(int), minlength=11)
    below = np.cumsum(counts) - counts / 2
    auc = below[votes[correct].astype(int)].mean() / (~correct).sum()
    assert auc == pytest.approx(0.55, abs=0.03)


def test_specificity_lets_external_routers_see_each_models_own_margin(facts: Facts) -> None:
    shared, own = simulate.simulate(scale=0.1), simulate.simulate(scale=0.1, external_specificity=1.0)
    for suite, expected in ((shared, (0.70, 0.54, 0.45)), (own, (0.78, 0.66, 0.57))):
        rows = suite.rows("test", "id")
        for scenario, target in zip(SCENARIOS.values(), expected, strict=True):
            p = suite.posteriors["query/large"][rows]
            accuracy, cost = single(suite, "id", (p - scenario.alpha * suite.pool.costs).argmax(axis=1))
            assert accuracy - scenario.alpha * cost == pytest.approx(target, abs=0.02)


def test_parts_are_shared_out_evenly() -> None:
    assert simulate.part_sizes(np.array([100, 5, 100]), 60).tolist() in ([28, 5, 27], [27, 5, 28])
    assert simulate.part_sizes(np.array([3, 4]), 60).tolist() == [3, 4]


def test_it_says_that_it_is_simulated(full: Suite) -> None:
    assert full.manifest.kind == "simulated"
    assert any(
        "simulated ranks between external and self routers follow" in a.lower() for a in full.manifest.assumptions
    )
    assert full.manifest.parameters["noise_answer"] > 0
    assert full.available >= {
        "query/small",
        "query/large",
        "answer/qwen2.5-0.5b",
        "verifications",
        "self_routes/sft",
        "self_routes/rl",
        "posteriors/query/small",
        "posteriors/query/large",
        "posteriors/answer",
    }
    assert {split: len(full.rows(split)) for split in ("train", "validation")} == {"train": 10_002, "validation": 1_998}


@pytest.mark.parametrize("settings", [{"scale": 0.0}, {"scale": 2.0}, {"external_specificity": -0.1}, {"seed": -1}])
def test_settings_out_of_range_are_named(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="outside|at least 0"):
        simulate.simulate(**settings)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--out", str(tmp_path / "s"), "--scale", "0.01"]) == 0
    assert "simulated queries" in capsys.readouterr().out
