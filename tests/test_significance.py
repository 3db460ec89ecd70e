"""Intervals, differences and rank groups as they stand in the rows, and what is said where there are none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import run, significance
from bench.evaluate import evaluate
from bench.metrics import Row, rows
from routers.base import AlphaMode, Router
from routers.registry import RouterSpec, built_in, single_models
from tasks import storage
from tasks.scenarios import BALANCE, COST_FIRST
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

REFERENCES = ("oracle", "oracle_utility", "random", "best_single_hindsight", "best_single")


class Fixed(Router):
    """Decisions by query id: a router whose merit is known."""

    alpha_mode = AlphaMode.NONE

    def __init__(self, chosen: Any = None, seed: int = 0) -> None:
        self.chosen = chosen
        self.seed = seed

    def fit(self, train: Any, validation: Any, scenario: Any) -> Any:
        return self

    def route(self, queries: Any, env: Any, scenario: Any) -> Any:
        return np.array([self.chosen[(int(name[1:]) + self.seed) % len(self.chosen)] for name in queries.ids])


def suite_of(n: int = 400, tasks: Any = None, seed: int = 0) -> Suite:
    """Three models on n test queries, of which train and validation are copies."""
    test = (np.random.default_rng(seed).random((n, 3)) < [0.4, 0.6, 0.8]).astype(float)
    names = list(tasks or ["t"] * n)
    splits = [part for part in ("train", "validation", "test") for _ in range(n)]
    return toy_suite(np.tile(test, (3, 1)), costs=[0.1, 0.4, 0.9], tasks=names * 3, splits=splits)


def board(suite: Suite, fixed: dict[str, Any] | None = None, **changes: Any) -> dict[str, Row]:
    config = toy_config(suite, **changes)
    specs = [built_in()[name] for name in REFERENCES] + list(single_models(suite.pool).values())
    given = [(spec, spec.build()) for spec in specs]
    given += [(RouterSpec(name, "", ""), Fixed(chosen)) for name, chosen in (fixed or {}).items()]
    found = rows(evaluate(suite, suite, given, config), suite, config)
    return {row.router: row for row in found if row.alpha == config.scenarios[-1].alpha}


def test_every_row_has_an_interval_around_its_utility() -> None:
    found = board(suite_of(), {"dear": [2]})
    for row in found.values():
        assert row.utility_low < row.utility < row.utility_high, row.router
        assert row.utility_percentile_low < row.utility < row.utility_percentile_high
        assert row.utility_every_call_low <= row.utility_every_call <= row.utility_every_call_high
        assert (row.rank_group is None) == row.reference
        assert (row.versus_best is None) == (row.reference or row.rank == 1)


def test_copies_share_a_group_and_differ_by_nothing() -> None:
    found = board(suite_of(), {"one": [0, 1, 2], "two": [0, 1, 2], "worse": [0, 2, 2]})
    assert found["one"].rank_group == found["two"].rank_group
    first, second = (found[name].versus_best_single for name in ("one", "two"))
    assert first == second
    copy = board(suite_of(), {"copy": [int(np.argmax(list(found["best_single"].share.values())))]})["copy"]
    assert copy.versus_best_single["difference"] == 0.0
    assert (copy.versus_best_single["p"], copy.versus_best_single["p_holm"]) == (1.0, 1.0)
    assert (copy.versus_best_single["low"], copy.versus_best_single["high"]) == (None, None)
    assert copy.rank_group == 1


def test_differences_are_to_the_row_they_name_and_groups_follow_from_them() -> None:
    found = board(suite_of(3000), {"dear": [2], "mixed": [0, 2]})
    best = min((row for row in found.values() if row.rank), key=lambda row: row.rank)
    for row in found.values():
        for versus in (row.versus_best, row.versus_best_single):
            if versus is not None:
                assert versus["difference"] == pytest.approx(row.utility - found[versus["router"]].utility, abs=1e-9)
                assert versus["low"] < versus["difference"] < versus["high"]
                assert versus["p"] <= versus["p_holm"]
        if row.versus_best is not None:
            assert row.versus_best["router"] == best.router
            assert (row.versus_best["p_holm"] < 0.05) == (row.rank_group > 1)


def test_scenarios_and_other_routers_change_nothing_in_an_interval() -> None:
    """All of them see the same resamples."""
    suite = suite_of()
    alone, among = board(suite), board(suite, {"dear": [2]}, scenarios=(COST_FIRST, BALANCE))
    for name in ("oracle", "best_single", "random"):
        assert (alone[name].utility_low, alone[name].utility_high) == (
            among[name].utility_low,
            among[name].utility_high,
        )


def test_a_task_with_a_single_query_has_no_interval_and_words_say_why() -> None:
    suite = suite_of(21, ["long"] * 20 + ["lonely"])
    for average in ("macro", "micro"):
        for row in board(suite, average=average).values():
            assert (row.utility_low, row.utility_high, row.rank_group, row.versus_best_single) == (None,) * 4
    told = significance.about(suite, toy_config(suite))
    assert told is not None
    assert told["splits"]["id"] == {
        "n_tasks": 2,
        "n_clusters": 21,
        "lacking": "an interval cannot be had: of lonely there is a single query or passage, which shows no spread",
    }
    one = suite_of(1)
    assert board(one)["best_single"].utility_low is None
    assert "single query" in significance.about(one, toy_config(one))["splits"]["id"]["lacking"]


def test_no_bootstrap_no_intervals() -> None:
    suite = suite_of(50)
    row = board(suite, bootstrap=0)["best_single"]
    assert (row.rank, row.utility_low, row.rank_group) == (1, None, None)
    assert significance.about(suite, toy_config(suite, bootstrap=0)) is None


def test_the_spread_over_seeds_stands_apart_and_only_where_seeds_matter() -> None:
    found = board(suite_of(), {"drawn": [0, 0, 1, 2, 2]}, seeds=(0, 1, 2))
    utilities = [one["utility"] for one in found["drawn"].per_seed]
    assert found["drawn"].utility_seed_sd == pytest.approx(np.std(utilities, ddof=1))
    assert found["drawn"].utility_seed_sd > 0
    assert found["best_single"].utility_seed_sd is None
    assert found["random"].utility_seed_sd is None  # its figures are exact
    assert board(suite_of(), {"drawn": [0, 2]})["drawn"].utility_seed_sd is None


def test_metrics_of_a_row() -> None:
    found = board(suite_of())
    row = found["best_single"]
    assert row.metrics["regret"] == pytest.approx(found["oracle_utility"].utility - row.utility)
    assert row.metrics["percent_of_oracle"] == row.percent_of_oracle
    assert [row.metrics[n] for n in ("arena_score", "calibration_error", "auroc", "robustness")] == [None] * 4
    assert found["oracle_utility"].metrics["regret"] == 0.0


def test_paraphrases_are_held_to_their_originals(tmp_path: Path) -> None:
    suite = suite_of(10)
    suite.queries["paraphrase_of"] = None
    pairs = {"q21": "q20", "q23": "q22"}
    for copy, original in pairs.items():
        mask = suite.queries["query_id"] == copy
        suite.queries.loc[mask, ["paraphrase_of", "cluster_id"]] = original
    storage.save(suite, tmp_path / "s")
    again = storage.load(tmp_path / "s")
    assert again.originals(again.rows("test"))[:5].tolist() == [-1, 0, -1, 2, -1]
    found = board(again, {"steady": [1], "flips": [0, 1], "half": [0, 1, 1, 1]})
    assert [found[name].metrics["robustness"] for name in ("steady", "flips", "half")] == [1.0, 0.0, 0.5]
    for wrong in ("q1", "nobody", "q21"):
        broken = again.queries.copy()
        broken.loc[broken["query_id"] == "q23", "paraphrase_of"] = wrong
        with pytest.raises(ValueError, match="'q23' is a paraphrase of"):
            Suite(again.manifest, broken, again.outcomes, embeddings=again.embeddings)


def test_a_sweep_is_one_run_of_many_alphas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(run, "checkout_page", lambda: None)
    storage.save(suite_of(60), tmp_path / "s")
    arguments = ["--suite", str(tmp_path / "s"), "--routers", "knn", "--bootstrap", "200"]
    assert run.main([*arguments, "--alpha", "0:1:5", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert sorted({row["alpha"] for row in found["rows"]}) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert {row["scenario"] for row in found["rows"]} == {None}
    assert found["statistics"]["resamples"] == found["run"]["config"]["bootstrap"] == 200
    (frontier,) = found["frontiers"]
    assert [len(curve["points"]) for curve in frontier["curves"]] == [5, 5]
    assert all(curve["metrics"]["perf_gain"] is not None for curve in frontier["curves"])
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {
        f"frontier_id.{kind}" for kind in ("png", "svg", "csv")
    }
    assert "who wins at which α" in capsys.readouterr().out
    assert "over all alphas" in (tmp_path / "out" / "index.html").read_text()
    for row in found["rows"]:  # one alpha alone gives the same figures as the sweep, though it was fitted for another
        if row["alpha"] == 0.75 and row["router"] == "knn":
            swept = row
    assert run.main([*arguments, "--alpha", ".75", "--out", str(tmp_path / "one")]) == 0
    alone = json.loads((tmp_path / "one" / "leaderboard.json").read_text())["rows"]
    mine = next(row for row in alone if row["router"] == "knn")
    timed = ("overhead_us", "fit_seconds", "route_seconds")
    assert {k: v for k, v in mine.items() if k not in timed} == {k: v for k, v in swept.items() if k not in timed}


def test_a_router_that_predicts_is_asked_once_for_all_alphas(monkeypatch: pytest.MonkeyPatch) -> None:
    from routers.knn import KNNRouter

    calls: list[str] = []
    fit, predict = KNNRouter.fit, KNNRouter.predict_correctness
    monkeypatch.setattr(KNNRouter, "fit", lambda self, *a: calls.append("fit") or fit(self, *a))
    monkeypatch.setattr(KNNRouter, "predict_correctness", lambda self, q: calls.append("predict") or predict(self, q))
    suite = suite_of(60)
    config = toy_config(suite, scenarios=(BALANCE, COST_FIRST))
    done = evaluate(suite, suite, [(built_in()["knn"], built_in()["knn"].build())], config)
    assert calls == ["fit", "predict"]
    assert done[0].predicted is done[1].predicted
    (row, _) = rows(done, suite, config)
    assert 0.0 <= row.metrics["calibration_error"] <= 1.0
    assert 0.0 <= row.metrics["auroc"] <= 1.0
