"""The bootstrap against SciPy, tests against closed forms, and who may share a rank group."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from threadpoolctl import threadpool_limits

from bench.statistics import Bootstrap, Clusters, bootstrap, holm, pairwise, rank_groups
from tasks.errors import InputError


def singles(task: Any) -> Clusters:
    """Every query a cluster of its own."""
    return Clusters.of(np.asarray(task), np.arange(len(task)).astype(object))


def groups_of(values: Any, task: Any, n_resamples: int = 200) -> list[int]:
    boot = bootstrap(np.asarray(values, dtype=float), singles(task), "macro", n_resamples)
    return rank_groups(boot.estimate, pairwise(boot)[1]).tolist()


# --- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_scipy_agrees_to_the_last_digits_on_the_same_draws(method: str, average: Any) -> None:
    """Two tasks, one of them with clusters of several queries; SciPy draws the numbers of the clusters."""
    rng = np.random.default_rng(0)
    cluster = np.concatenate([np.arange(40), 40 + rng.integers(0, 25, 90)])
    task = np.repeat([0, 1], [40, 90])
    values = rng.beta(0.5, 2.0, 130)
    clusters = Clusters.of(task, cluster.astype(object))
    ours = bootstrap(values[:, None], clusters, average, 999, seed=7)
    total, size = (np.bincount(clusters.member, weights) for weights in (values, np.ones(130)))

    def mean(first: Any, second: Any, axis: int = -1) -> Any:
        sums = [(total[one].sum(axis=axis), size[one].sum(axis=axis)) for one in (first, second)]
        if average == "micro":
            return (sums[0][0] + sums[1][0]) / (sums[0][1] + sums[1][1])
        return (sums[0][0] / sums[0][1] + sums[1][0] / sums[1][1]) / 2

    numbers = np.arange(len(total))
    found = stats.bootstrap(
        tuple(numbers[part] for part in clusters.parts()),
        mean,
        n_resamples=999,
        method=method,
        rng=np.random.default_rng(7),
        vectorized=True,
    ).confidence_interval
    interval = ours.bca() if method == "BCa" else ours.percentile()
    np.testing.assert_allclose(interval[:, 0], [found.low, found.high], rtol=1e-9)


def test_bytes_do_not_depend_on_threads_nor_on_the_other_columns() -> None:
    rng = np.random.default_rng(1)
    values, task = rng.normal(size=(3000, 7)), np.repeat([0, 1, 2], 1000)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(bootstrap(values, singles(task), "macro", 300))
    alone = bootstrap(values[:, [4]], singles(task), "macro", 300)
    assert found[0].resampled.tobytes() == found[1].resampled.tobytes()
    assert found[0].take([4]).resampled.tobytes() == alone.resampled.tobytes()
    assert found[0].take([4]).bca().tobytes() == alone.bca().tobytes()


def test_what_is_rounded_away_is_far_below_what_is_shown() -> None:
    rng = np.random.default_rng(2)
    values, task = rng.normal(size=(500, 3)), rng.integers(0, 3, 500)
    boot = bootstrap(values, singles(task), "macro", 100)
    expected = np.mean([values[task == t].mean(axis=0) for t in range(3)], axis=0)
    np.testing.assert_allclose(boot.estimate, expected, atol=1e-12)


def test_clusters_stay_together_and_tasks_apart() -> None:
    clusters = Clusters.of(np.array([1, 0, 1, 0, 1]), np.array(["a", "a", "b", "c", "a"], dtype=object))
    assert clusters.task.tolist() == [0, 0, 1, 1]
    assert clusters.member.tolist() == [2, 0, 3, 1, 2]
    assert clusters.size.tolist() == [1, 1, 2, 1]
    assert clusters.peers.tolist() == [2, 2, 2, 2]
    drawn = bootstrap(np.array([[1.0], [0.0], [0.0], [0.0], [1.0]]), clusters, "macro", 500).resampled
    assert set(np.unique(drawn.round(9))) == {0.0, round(1 / 3, 9), 0.5}  # b, b; a, b; a, a


def test_intervals_of_larger_clusters_are_wider() -> None:
    values = np.repeat(np.random.default_rng(3).normal(size=200), 5)[:, None]
    together = Clusters.of(np.zeros(1000, dtype=int), np.repeat(np.arange(200), 5).astype(object))
    width = [np.diff(bootstrap(values, c, "macro", 500).bca()[:, 0])[0] for c in (singles([0] * 1000), together)]
    assert width[1] > 2 * width[0]


@pytest.mark.parametrize("tasks", [[0], [0, 0, 1]])
def test_of_a_single_query_no_spread_is_known(tasks: list[int]) -> None:
    with pytest.raises(InputError, match="1 tasks have a single query"):
        bootstrap(np.ones((len(tasks), 1)), singles(tasks), "macro", 100)
    with pytest.raises(InputError, match="no query"):
        singles([])


def test_what_never_varies_has_no_interval() -> None:
    boot = bootstrap(np.column_stack([np.full(50, 0.3), np.arange(50.0)]), singles([0] * 50), "macro", 100)
    assert np.isnan(boot.percentile()[:, 0]).all()
    assert np.isnan(boot.bca()[:, 0]).all()
    assert np.isfinite(boot.bca()[:, 1]).all()


def test_resamples_on_one_side_have_no_bca_interval() -> None:
    boot = bootstrap(np.arange(6.0)[:, None], singles([0] * 6), "macro", 100)
    shifted = replace(boot, estimate=boot.resampled.max(axis=0) + 1.0)
    assert np.isnan(shifted.bca()).all()


# --- tests and groups -------------------------------------------------------------------------------------------------


def test_p_values_are_those_of_the_t_test_and_of_welch() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.2, 1.0, 12), rng.normal(0.1, 3.0, 30)
    one = bootstrap(first[:, None], singles([0] * 12), "macro", 100)
    assert one.p_values()[0] == pytest.approx(stats.ttest_1samp(first, 0.0).pvalue)
    two = bootstrap(np.concatenate([first, second])[:, None], singles([0] * 12 + [1] * 30), "macro", 100)
    assert two.p_values()[0] == pytest.approx(stats.ttest_ind(first, -second, equal_var=False).pvalue)


def test_a_constant_difference_of_few_queries_proves_nothing() -> None:
    rng = np.random.default_rng(5)
    for n, expected in ((3, [1, 1]), (40, [2, 1])):
        base = rng.random(n)
        assert groups_of(np.column_stack([base, base + 0.1]), [0] * n) == expected


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.9])), [1.0, 1.0])
    assert holm(np.array([])).shape == (0,)


def test_a_group_counts_who_is_significantly_better() -> None:
    estimate = np.array([0.5, 0.49, 0.3])
    corrected = np.array([[1.0, 0.4, 0.01], [0.4, 1.0, 0.2], [0.01, 0.2, 1.0]])
    assert rank_groups(estimate, corrected).tolist() == [1, 1, 2]


def test_one_router_is_in_the_first_group() -> None:
    assert groups_of(np.random.default_rng(6).random((9, 1)), [0] * 9) == [1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 3), st.sampled_from([1.0, 0.3, 1e-7]))
def test_copies_always_share_a_group(seed: int, n: int, n_tasks: int, scale: float) -> None:
    """Among any routers, wherever the copies stand, and if their costs were added in another order."""
    rng = np.random.default_rng(seed)
    values = scale * rng.choice([0.0, 1.0, 0.9, rng.random()], size=(n * n_tasks, 5))
    rounding = (0.1 + 0.2) - 0.3
    found = groups_of(
        np.column_stack([values[:, 0], values, values[:, 0] + rounding]), np.repeat(range(n_tasks), n), 100
    )
    assert found[0] == found[1] == found[-1]
    assert min(found) == 1


@pytest.mark.parametrize("seed", range(5))
def test_better_by_three_hundredths_on_5000_queries_is_another_group(seed: int) -> None:
    """Four routers of accuracy .5 that have nothing to do with each other, and one that is right 150 times more."""
    rng = np.random.default_rng(seed)
    right = rng.permuted(np.tile(np.arange(5000) < 2500, (4, 1)), axis=1).T.astype(float)
    better = right[:, 0].copy()
    better[rng.choice(np.flatnonzero(right[:, 0] == 0), 150, replace=False)] = 1.0
    found = groups_of(np.column_stack([right, better]), np.repeat(np.arange(5), 1000))
    assert found[-1] == 1
    assert min(found[:-1]) > 1


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(8)
    common = rng.normal(0.0, 10.0, 400)
    boot = bootstrap(common[:, None] + rng.normal([0.0, 0.2], 0.5, (400, 2)), singles([0] * 400), "macro", 500)
    assert np.ptp(boot.bca()[:, 1]) > 1.5
    assert 0.0 < boot.minus(0).bca()[0, 1] < 0.2 < boot.minus(0).bca()[1, 1] < 0.4
    assert isinstance(boot.minus(0), Bootstrap)
