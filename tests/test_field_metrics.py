"""Every metric in closed form, and the Arena score against the leaderboard that its authors published."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.field_metrics import (
    METRICS,
    aiq,
    apgr,
    arena_score,
    auroc,
    calibration_error,
    cost_save,
    cpt,
    pareto_dist,
    percent_of_oracle,
    perf_gain,
    regret,
    robustness,
)


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=float).reshape(-1, 2)


def test_aiq_is_the_mean_height_of_the_hull() -> None:
    assert aiq(points((0.0, 0.2), (1.0, 0.8))) == pytest.approx(0.5)
    assert aiq(points((0.0, 0.2), (1.0, 0.8), (0.5, 0.1))) == pytest.approx(0.5)  # under the hull
    assert aiq(points((0.2, 0.4), (0.4, 0.8), (0.8, 0.5))) == pytest.approx((0.6 * 0.2 + 0.8 * 0.4) / 0.6)
    assert aiq(points((0.3, 0.5), (0.3, 0.7))) is None


def test_apgr_and_cpt_of_lines_and_corners() -> None:
    assert apgr(points(), 0.4, 0.8) == pytest.approx(0.5)  # nothing known but both ends: chance
    assert apgr(points((0.0, 0.8)), 0.4, 0.8) == pytest.approx(1.0)
    assert apgr(points((0.5, 0.8)), 0.4, 0.8) == pytest.approx(0.75)
    assert apgr(points((0.5, 0.8)), 0.6, 0.6) is None
    assert cpt(points(), 0.4, 0.8, 50) == pytest.approx(0.5)
    assert cpt(points((0.5, 0.8)), 0.4, 0.8, 80) == pytest.approx(0.4)
    assert cpt(points((0.0, 0.9)), 0.4, 0.8, 80) == pytest.approx(0.0)
    assert cpt(points((0.2, 0.3)), 0.4, 0.8, 100) == pytest.approx(1.0)
    assert cpt(points((0.5, 0.8)), 0.8, 0.4, 50) is None
    assert METRICS["cpt_80"].function(points(), 0.0, 1.0) == pytest.approx(0.8)


# accuracy in %, US dollars per 1,000 queries, Arena score: RouterArena's website, accuracy and dollars rounded there
PUBLISHED = {
    "RouterDC": (32.01, 0.07, 33.75),
    "Azure": (68.09, 0.54, 66.66),
    "CARROT": (67.21, 2.06, 63.87),
    "GPT-5": (73.96, 10.02, 64.32),
    "GraphRouter": (57.00, 0.34, 57.22),
    "MIRT-BERT": (66.88, 0.15, 66.89),
    "NIRT-BERT": (66.34, 0.21, 66.12),
    "NotDiamond": (60.83, 4.10, 63.00),
    "RouteLLM": (47.04, 0.27, 48.07),
    "RouterBench-KNN": (58.69, 4.27, 55.48),
    "RouterBench-MLP": (61.62, 4.83, 57.56),
    "vLLM-SR": (67.28, 1.67, 64.32),
    "Chayan": (64.89, 0.56, 63.83),
}
AT_ODDS = {"NotDiamond"}  # its printed score does not follow from its printed accuracy and cost


@pytest.mark.parametrize("router", PUBLISHED)
def test_the_published_arena_scores_come_out(router: str) -> None:
    accuracy, dollars, score = PUBLISHED[router]
    found = 100 * arena_score(accuracy / 100, dollars / 1000)
    assert (found == pytest.approx(score, abs=0.1)) == (router not in AT_ODDS), found


def test_arena_score_is_clamped_and_null_without_prices() -> None:
    assert arena_score(0.5, None) is None
    assert arena_score(0.6, 0.0) == arena_score(0.6, 0.0044 / 1000) == pytest.approx(1.1 * 0.6 / (0.06 + 1))
    assert arena_score(0.6, 5.0) == arena_score(0.6, 0.2) == 0.0
    assert arena_score(0.0, 1.0) == 0.0


def test_gain_saving_and_distance() -> None:
    single = points((0.1, 0.4), (0.5, 0.7), (0.9, 0.7))
    curve = points((0.2, 0.5), (0.4, 0.7), (0.6, 0.75))
    assert perf_gain(curve, single) == pytest.approx(0.05)
    assert cost_save(curve, single) == pytest.approx(1 - 0.4 / 0.5)
    assert cost_save(points((0.2, 0.5)), single) is None
    assert cost_save(curve, points((0.0, 0.7))) is None
    assert (perf_gain(curve, points()), cost_save(curve, points())) == (None, None)
    assert pareto_dist(curve, single) == 0.0
    assert pareto_dist(points((0.4, 0.4), (0.1, 0.5)), points((0.1, 0.4))) == pytest.approx(np.hypot(0.3, 0.1) / 2)


def test_against_the_oracles() -> None:
    assert percent_of_oracle(0.3, 0.6, 0.5) == pytest.approx(50.0)
    assert percent_of_oracle(0.3, 0.6, 0.6) is None
    assert percent_of_oracle(0.3, 0.6, None) is None
    assert percent_of_oracle(0.3, None, 0.5) is None
    assert percent_of_oracle(0.3, -0.1, -0.2) is None
    assert regret(0.3, 0.5) == pytest.approx(0.2)
    assert regret(0.3, None) is None


def test_calibration_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.92, 0.1], [0.92, 0.1]])
    y = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert calibration_error(p, y) == pytest.approx((abs(0.75 - 0.91) + abs(0.25 - 0.1)) / 2)
    assert calibration_error(y, y) == 0.0
    assert calibration_error(None, y) is None


def test_auroc_by_hand() -> None:
    y = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    assert auroc(np.array([[0.9, 0], [0.1, 0], [0.8, 0], [0.2, 0]]), y) == 1.0
    assert auroc(np.array([[0.9, 0], [0.9, 0], [0.1, 0], [0.1, 0]]), y) == 0.5
    assert auroc(np.zeros((4, 2)), y) == 0.5  # all tied
    assert auroc(np.zeros((4, 2)), np.ones((4, 2))) is None
    assert auroc(None, y) is None


def test_robustness_by_hand() -> None:
    assert robustness(np.array([0, 0, 1, 2]), np.array([-1, 0, 0, -1])) == 0.5
    assert robustness(np.array([0, 1]), np.array([-1, -1])) is None


def test_every_metric_says_what_it_is() -> None:
    assert len(METRICS) == 13
    for name, metric in METRICS.items():
        told = metric.about()
        assert (metric.name, told["direction"] in ("higher", "lower")) == (name, True)
        assert told["definition"]
        assert told["source"]
    with pytest.raises(AttributeError):
        METRICS["aiq"].unit = "other"  # type: ignore[misc]


costs_and_accuracies = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8)


@given(costs_and_accuracies)
def test_bounds(pairs: list[tuple[float, float]]) -> None:
    curve = points(*pairs)
    area = aiq(curve)
    assert area is None or curve[:, 1].min() - 1e-9 <= area <= curve[:, 1].max() + 1e-9
    assert pareto_dist(curve, curve) >= 0.0
    assert perf_gain(curve, curve) == 0.0
    saved = cost_save(curve, curve)
    assert saved is None or saved + 1e-9 >= 0.0
