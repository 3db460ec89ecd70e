"""Made-up results, and pages built of them."""

import json
from pathlib import Path
from typing import Any

from bench import plots
from leaderboard import build as page
from leaderboard.schema import read

EVIL = "<img src=x onerror=alert(1)>\"'&</script>"


def a_row(router: str, accuracy: float | None, cost: float | None, rank: int | None, **other: Any) -> dict[str, Any]:
    """A complete row; numbers are made up."""
    utility = None if accuracy is None or cost is None else accuracy - 0.5 * cost
    scores = {"accuracy": accuracy, "cost": cost, "utility": utility}
    nulls = (
        "utility_low utility_high rank_group percent_of_oracle cost_usd latency_s overhead_us unsolvable_cost "
        "solved_by_all_cost published_accuracy published_cost published_utility fit_seconds route_seconds "
        "versus_best_single versus_best rank_group_every_call utility_every_call_low utility_every_call_high"
    )
    return {
        **dict.fromkeys(nulls.split()),
        **scores,
        "router": router,
        "reference": rank is None,
        "scenario": "balance",
        "alpha": 0.5,
        "alpha_used": 0.5,
        "split": "id",
        "pool": ["small", "large"],
        "n_queries": 1404,
        "n_seeds": 1,
        "per_seed": [],
        "rank": rank,
        "rank_every_call": rank,
        "accounting": "final",
        "cost_final": cost,
        "cost_every_call": cost,
        "utility_every_call": utility,
        "easy_cost": cost,
        "hard_cost": None if cost is None else cost + 0.05,
        "share": {"small": 0.75, "large": 0.25},
        "per_task": {"arithmetic": scores, "history": scores},
        **other,
    }


def some_rows(**other: Any) -> list[dict[str, Any]]:
    versus = {"router": "best_single", "difference": 0.15, "low": 0.12, "high": 0.18, "p": 0.0001, "p_holm": 0.0002}
    return [
        a_row("oracle", 0.9, 0.2, None, percent_of_oracle=100.0, **other),
        a_row("nothing_known", None, None, None, n_queries=0, share=None, per_task=None, **other),
        a_row("forc", 0.7, 0.4, 2, percent_of_oracle=62.5, published_utility=0.51, n_seeds=3, **other),
        a_row(
            "knn",
            0.65,
            0.1,
            1,
            utility_low=0.58,
            utility_high=0.62,
            rank_group=1,
            rank_every_call=2,
            versus_best_single=versus,
            **other,
        ),
        a_row("best_single", 0.5, 0.1, 3, rank_every_call=1, **{"alpha_used": 0.2, **other}),
    ]


def some_results(kind: str = "simulated", rows: list[dict[str, Any]] | None = None, **suite: Any) -> dict[str, Any]:
    """A complete leaderboard.json."""
    config = {"scenarios": ["balance"], "splits": ["id"], "accounting": "paper", "average": "macro", "seeds": 1}
    return {
        "schema": 1,
        "run": {
            "id": "0123456789ab",
            "command": "python -m bench.run --suite made-up",
            "created": "2025-01-31T12:00:00+00:00",
            "git_revision": None,
            "versions": {"numpy": "2.0", "disrouter-bench": "0"},
            "config": config,
            "audit": [
                {"severity": "warning", "what": "answers cut short", "count": 12, "examples": ["q1"], "advice": "look"}
            ],
        },
        "suite": {
            "name": "made-up",
            "kind": kind,
            "sha256": "f" * 64,
            "description": "Numbers that nobody measured.",
            "n_queries": {"id": 1404, "ood": 0},
            "pool": [{"model": "small", "cost": 0.1}, {"model": "large", "cost": 1.0}],
            "cost_rule": "made up",
            "assumptions": ["Everything is assumed."],
            "tasks": [{"name": "arithmetic", "domain": "id"}, {"name": "history", "domain": "id"}],
            **suite,
        },
        "skipped": [{"router": "automix", "reason": "the suite has no verifications.parquet"}],
        "statistics": {
            "resamples": 2000,
            "level": 0.95,
            "interval": "drawn",
            "test": "compared",
            "correction": "corrected",
            "rank_group": "counted",
            "splits": {
                "id": {"n_tasks": 2, "n_clusters": 1404, "lacking": None},
                "ood": {"n_tasks": 1, "n_clusters": 1, "lacking": "an interval cannot be had: there is one query"},
            },
        },
        "rows": some_rows() if rows is None else rows,
        "frontiers": [{"split": "id", "changes": [{"from": "knn", "to": "forc", "alpha": 0.6}]}],
    }


def some_settings() -> dict[str, Any]:
    """What the page reads of run.json: knn ignores alpha here, so that the slider is exact for it."""
    names = ("oracle", "nothing_known", "forc", "knn", "best_single")
    declared = {
        name: {"signals": ["QUERY"], "accounting": "final", "alpha_mode": "decision", "delivers": "base"}
        for name in names
    }
    declared["knn"] = {**declared["knn"], "alpha_mode": "none"}
    return {"schema": 1, "declared": declared, "routers": {"knn": {"neighbours": [5, 10], "signal": "small"}}}


def save(directory: Path, results: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "leaderboard.json").write_text(json.dumps(results))
    (directory / "run.json").write_text(json.dumps(some_settings()))
    return directory


def built(tmp_path: Path, *runs: dict[str, Any], figures: bool = False) -> str:
    paths = [save(tmp_path / f"run{i}", run) for i, run in enumerate(runs)]
    for path, run in zip(paths, runs, strict=True):
        if figures:
            plots.draw(run["rows"], run["suite"], path / "figures")
    page.build(paths, [tmp_path / "index.html"])
    return (tmp_path / "index.html").read_text()


def as_read(results: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same as `schema.read` gives it."""
    return read(save(tmp_path / "read", results))
