"""The command lines as people call them: what is written, what is refused, and how."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import run, suites
from bench.metrics import Row
from tasks import storage
from tasks.errors import InputError
from tasks.suite import Suite
from tests.toys import toy_suite

ROW_KEYS = [
    "router",
    "reference",
    "scenario",
    "alpha",
    "alpha_used",
    "split",
    "pool",
    "n_queries",
    "n_seeds",
    "per_seed",
    "accuracy",
    "cost",
    "utility",
    "utility_low",
    "utility_high",
    "utility_percentile_low",
    "utility_percentile_high",
    "utility_seed_sd",
    "rank",
    "rank_every_call",
    "rank_group",
    "rank_group_every_call",
    "versus_best_single",
    "versus_best",
    "percent_of_oracle",
    "accounting",
    "cost_final",
    "cost_every_call",
    "utility_every_call",
    "utility_every_call_low",
    "utility_every_call_high",
    "cost_usd",
    "latency_s",
    "overhead_us",
    "easy_cost",
    "hard_cost",
    "unsolvable_cost",
    "solved_by_all_cost",
    "share",
    "per_task",
    "metrics",
    "published_accuracy",
    "published_cost",
    "published_utility",
    "fit_seconds",
    "route_seconds",
]
TIMED = {"overhead_us", "fit_seconds", "route_seconds"}


@pytest.fixture(autouse=True)
def _no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout's own page is not rebuilt by tests."""
    monkeypatch.setattr(run, "checkout_page", lambda: None)


@pytest.fixture
def bench(simulated_dir: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(*arguments: str, suite: Path = simulated_dir, out: Path = tmp_path / "out") -> dict[str, Any]:
        assert run.main(["--suite", str(suite), "--out", str(out), *arguments]) == 0
        return json.loads((out / "leaderboard.json").read_text())

    return call


def test_a_run_writes_what_it_promises(bench: Any, tmp_path: Path, simulated_dir: Path) -> None:
    fast = "routellm,frugalgpt,forc,knn,disrouter"  # the README's commands run them all
    board = bench("--routers", fast, "--scenario", "all", "--split", "all")
    assert list(board) == ["schema", "run", "suite", "skipped", "statistics", "metrics", "rows", "frontiers"]
    assert board["schema"] == 1
    assert board["suite"]["kind"] == "simulated"
    assert all(list(row) == ROW_KEYS for row in board["rows"])
    assert list(Row.__dataclass_fields__) == ROW_KEYS
    assert {(r["scenario"], r["split"]) for r in board["rows"]} == {
        (s, d) for s in ("performance_first", "balance", "cost_first") for d in ("id", "ood")
    }
    out = tmp_path / "out"
    names = {p.name for p in out.iterdir()}
    assert names >= {
        "run.json",
        "decisions.parquet",
        "calls.parquet",
        "leaderboard.json",
        "leaderboard.csv",
        "alphas.csv",
        "spread.csv",
        "figures",
        "index.html",
    }
    assert {p.suffix for p in (out / "figures").iterdir()} >= {".png", ".svg"}
    beside = pd.read_csv(out / "alphas.csv").groupby("router")["alpha"].nunique()
    assert beside[["forc", "best_single", "routellm"]].tolist() == [21, 21, 3], "routellm ignores alpha"
    for table in (*out.glob("*.csv"), *(out / "figures").glob("*.csv")):
        assert all(",simulated" in line for line in table.read_text().splitlines()[1:]), table
    suite = storage.load(simulated_dir)
    decisions, calls = (pq.read_table(out / f"{name}.parquet").to_pandas() for name in ("decisions", "calls"))
    routers = len({r["router"] for r in board["rows"]})
    assert len(decisions) == len(calls) == routers * 3 * len(suite.rows("test"))
    assert list(decisions) == ["router", "scenario", "alpha", "seed", "query_id", "model"]
    assert set(calls) >= {"router", "scenario", "alpha", "seed", "query_id", "tokens"}
    assert not decisions.isna().any().any()


def test_rows_follow_from_the_decisions(bench: Any, tmp_path: Path, simulated_dir: Path) -> None:
    board = bench("--scenario", "balance", "--split", "id")
    suite = storage.load(simulated_dir)
    frame = pq.read_table(tmp_path / "out" / "decisions.parquet").to_pandas()
    position = {name: i for i, name in enumerate(suite.pool.names)}
    place = dict(zip(suite.queries["query_id"], range(len(suite.queries)), strict=True))
    for row in board["rows"]:
        if row["router"] == "random":
            continue  # its figures are exact expectations, its decisions one draw
        mine = frame[frame["router"] == row["router"]]
        rows, chosen = mine["query_id"].map(place).to_numpy(), mine["model"].astype(str).map(position).to_numpy()
        by_task = mine.assign(
            y=suite.correct[rows, chosen].astype(float), task=suite.queries["task"].iloc[rows].to_numpy()
        )
        assert by_task.groupby("task")["y"].mean().mean() == pytest.approx(row["accuracy"], abs=1e-9)


def test_same_seed_same_bytes(bench: Any, tmp_path: Path) -> None:
    def settled(board: dict[str, Any]) -> dict[str, Any]:
        board["run"].pop("created")
        board["run"].pop("command")
        for row in board["rows"]:
            for name in TIMED:
                row.pop(name)
        return board

    first, second = tmp_path / "one", tmp_path / "two"
    boards = [settled(bench("--routers", "forc,knn", out=out)) for out in (first, second)]
    assert boards[0] == boards[1]
    for name in ("decisions.parquet", "calls.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for figure in (first / "figures").iterdir():
        assert figure.read_bytes() == (second / "figures" / figure.name).read_bytes(), figure.name
    jobs = settled(bench("--routers", "forc,knn", "--jobs", "2", out=tmp_path / "three"))
    assert jobs == boards[0]


def test_reference_rows_are_always_there_and_never_ranked(bench: Any) -> None:
    board = bench("--routers", "knn", "--scenario", "balance", "--split", "ood")
    ranked = [r["router"] for r in board["rows"] if not r["reference"]]
    assert sorted(ranked) == ["best_single", "knn"]
    assert all((r["rank"] is None) == r["reference"] for r in board["rows"])
    assert {r["split"] for r in board["rows"]} == {"ood"}
    assert {"oracle", "random", "single:qwen2.5-3b", "bayes_cascade"} <= {r["router"] for r in board["rows"]}


def test_alpha_models_accounting_average_and_seeds(bench: Any) -> None:
    board = bench(
        "--routers",
        "forc,random",
        "--alpha",
        "0.35",
        "--models",
        "qwen2.5-14b,qwen2.5-1.5b",
        "--accounting",
        "final",
        "--average",
        "micro",
        "--seeds",
        "2",
        "--split",
        "id",
    )
    row = next(r for r in board["rows"] if r["router"] == "forc")
    assert (row["scenario"], row["alpha"], row["accounting"], row["n_seeds"]) == (None, 0.35, "final", 2)
    assert row["pool"] == ["qwen2.5-1.5b", "qwen2.5-14b"]
    assert row["published_utility"] is None
    assert board["run"]["config"]["average"] == "micro"


def test_published_rows_stand_beside_ours_for_their_own_pool_and_split(bench: Any) -> None:
    three = "qwen2.5-1.5b,qwen2.5-3b,qwen2.5-14b"
    board = bench("--models", three, "--no-refit", "--scenario", "balance")
    published = {(r["router"], r["split"]): r["published_utility"] for r in board["rows"]}
    assert published["oracle", "id"] == 0.72
    assert published["forc", "id"] == 0.48
    assert published["oracle", "ood"] is None
    assert {
        "router": "bayes_cascade",
        "reason": "its pool cannot change without a refit, and --no-refit was given",
    } in board["skipped"]


def test_a_suite_without_signals_leaves_routers_out_and_says_why(bench: Any, tmp_path: Path, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    parts = ["train"] * 20 + ["validation"] * 10 + ["test"] * 20
    bare = toy_suite(rng.integers(0, 2, (50, 2)), splits=parts)
    bare = type(bare)(bare.manifest.model_copy(update={"encoders": {}}), bare.queries, bare.outcomes)
    storage.save(bare, tmp_path / "bare")
    board = bench(suite=tmp_path / "bare")
    reasons = {entry["router"]: entry["reason"] for entry in board["skipped"]}
    assert reasons["knn"] == "the suite has no query/small"
    assert "only simulated suites" in reasons["bayes_cascade"]
    assert "left out: knn" in capsys.readouterr().out
    with pytest.raises(InputError, match="router forc cannot run on suite toy: the suite has no query/large"):
        bench("--routers", "forc", suite=tmp_path / "bare")


REFUSED = {
    "router": (["--routers", "fork"], "unknown router 'fork'; did you mean 'forc'?"),
    "no router": (["--routers", " , "], "no router was named"),
    "scenario": (["--scenario", "ballance"], "did you mean 'balance'?"),
    "split": (["--split", "odd"], "unknown split 'odd'; did you mean 'ood'?"),
    "model": (["--models", "qwen2.5-3b,qwen2.5-7"], "did you mean 'qwen2.5-7b'?"),
    "one model": (["--models", "qwen2.5-3b"], "names 1 model, but routing wants at least two"),
    "one model twice": (["--models", "qwen2.5-3b,qwen2.5-3b"], "names 1 model,"),
    "no model": (["--models", ","], "names no models"),
    "alpha": (["--alpha", "1.5"], "alpha is 1.5"),
    "alpha and scenario": (["--alpha", ".5", "--scenario", "balance"], "exclude each other"),
    "accounting": (["--accounting", "finall"], "did you mean 'final'?"),
    "average": (["--average", "macr"], "did you mean 'macro'?"),
    "seeds": (["--seeds", "0"], "--seeds is 0"),
    "jobs": (["--jobs", "0"], "--jobs is 0"),
    "no refit": (["--no-refit"], "goes with --models"),
    "argument": (["--router", "knn"], "unrecognized arguments: --router"),
    "number": (["--alpha", "many"], "--alpha is 'many', but is a number in [0, 1] or FROM:TO:N, such as 0:1:21"),
    "sweep": (["--alpha", "0:1"], "--alpha is '0:1', but is a number"),
    "empty sweep": (["--alpha", "1:0:5"], "FROM:TO:N wants 0 <= FROM < TO <= 1"),
    "bootstrap": (["--bootstrap", "10"], "--bootstrap is 10, but intervals want at least 100 resamples"),
    "signal": (
        ["--routers", "bayes_cascade", "--models", "qwen2.5-3b,qwen2.5-7b", "--no-refit"],
        "cannot run on suite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_one_line_and_status_2(case: str, simulated_dir: Path, tmp_path: Path) -> None:
    arguments, message = REFUSED[case]
    done = command("bench.run", "--suite", str(simulated_dir), "--out", str(tmp_path / "out"), *arguments)
    assert_refused(done, message)
    assert not list(tmp_path.iterdir())


def command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )


def assert_refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


def test_bad_suites_are_one_line_and_status_2(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert_refused(command("bench.run", "--suite", "qwen2.5-sin", *out), "did you mean 'qwen2.5-sim'?")
    assert_refused(command("bench.run", "--suite", str(tmp_path / "nowhere"), *out), "holds no suite.json")
    assert_refused(command("bench.run", "--suite", "x" * 5000, *out), "no name is as long")
    (tmp_path / "data.pkl").write_bytes(b"\x80\x04.")
    assert_refused(
        command("bench.run", "--suite", str(tmp_path / "data.pkl"), *out), "a pickle runs whatever code is in it"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.pkl"]


def test_an_unwritable_place_is_refused_before_the_work(simulated_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("bench.run", "--suite", str(simulated_dir), "--out", str(tmp_path / "file" / "out"))
    assert_refused(done, "cannot be written")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("")
    done = command("bench.run", "--suite", str(simulated_dir), "--out", str(tmp_path / "mine"))
    assert_refused(done, "holds no run.json, so it is left alone")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter"]


def test_names_are_data_wherever_they_are_shown(tmp_path: Path) -> None:
    """A model called [/b] is shown as such, in the table, the page and the figures."""
    suite = toy_suite([[0, 1], [1, 1], [0, 1]] * 3, splits=["train", "validation", "test"] * 3)
    pool = tuple(
        m.model_copy(update={"model": name}) for m, name in zip(suite.pool, ("[/b]$x_1$", "<u>:smile:"), strict=True)
    )
    storage.save(
        Suite(
            suite.manifest.model_copy(update={"pool": pool}), suite.queries, suite.outcomes, embeddings=suite.embeddings
        ),
        tmp_path / "s",
    )
    done = command("bench.run", "--suite", str(tmp_path / "s"), "--scenario", "balance", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "single:[/b]$x_1$" in done.stdout
    assert "single:<u>:smile:" in done.stdout
    assert "<u>" not in (tmp_path / "out" / "index.html").read_text()


def test_a_refusal_leaves_no_directory_behind(simulated_dir: Path, tmp_path: Path) -> None:
    arguments = ("--routers", "bayes_cascade", "--models", "qwen2.5-3b,qwen2.5-7b", "--no-refit")
    done = command("bench.run", "--suite", str(simulated_dir), *arguments, "--out", str(tmp_path / "a" / "b"))
    assert_refused(done, "cannot run on suite")
    assert not list(tmp_path.iterdir())


def test_out_of_domain_is_refused_where_there_is_none(tmp_path: Path) -> None:
    storage.save(toy_suite([[0, 1]] * 9, splits=["train", "validation", "test"] * 3), tmp_path / "s")
    done = command("bench.run", "--suite", str(tmp_path / "s"), "--split", "ood", "--out", str(tmp_path / "out"))
    assert_refused(done, "no test queries of split ood; it has id")


def test_a_generated_suite_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISROUTER_CACHE", str(tmp_path))
    calls = []
    small = suites.simulate.simulate(scale=0.01)
    monkeypatch.setattr(suites.simulate, "simulate", lambda: calls.append(1) or small)
    for _ in range(2):
        assert len(suites.open_suite("qwen2.5-sim").queries) == len(small.queries)
    assert calls == [1]


def test_any_python_continues_in_the_checkouts_environment(tmp_path: Path) -> None:
    """A Python without our packages goes on under .venv where there is one, and else says what to run."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    home = tmp_path / "checkout"
    for package in ("tasks", "bench"):
        (home / package).mkdir(parents=True)
    source = Path(__file__).parent.parent
    for name in ("tasks/__init__.py", "tasks/environment.py", "bench/__init__.py"):
        (home / name).write_text((source / name).read_text())
    (home / "bench" / "run.py").write_text("import sys; print(sys.argv[1:])")
    start = [str(bare / "bin" / "python"), "-m", "bench.run", "--list"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(start, capture_output=True, text=True, check=False, cwd=home, env=environment)
    assert (done.returncode, done.stderr.strip().endswith("run: make setup")) == (2, True)
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (home / ".venv" / "bin" / "python").chmod(0o755)
    done = subprocess.run(start, capture_output=True, text=True, check=False, cwd=home, env=environment)
    assert done.stdout.startswith("['--list']"), done.stderr
