"""A run on disk: decisions, calls, leaderboard, figures; written whole or not at all."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench import plots, row_plots, significance, sweep_plot
from bench.bundle import PREDICTIONS, declared, file_hashes
from bench.config import RunConfig
from bench.curves import frontiers
from bench.evaluate import Routed
from bench.field_metrics import METRICS
from bench.metrics import Row
from bench.replay import CALLS
from routers.base import params_of
from tasks import tables
from tasks.files import write_whole
from tasks.suite import Suite

SCHEMA = 1
PACKAGES = ("disrouter-bench", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
NESTED = ("pool", "per_seed", "share", "per_task", "versus_best_single", "versus_best", "metrics")
ROOT = Path(__file__).resolve().parent.parent


def git_revision() -> str | None:
    """Return the checkout's commit, with "-dirty" where files differ from it; None outside a checkout."""
    if not (ROOT / "pyproject.toml").is_file():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def provenance(config: RunConfig, command: str, created: str) -> dict[str, Any]:
    """Return the `run` object of leaderboard.json; `created` is an ISO date and time."""
    return {
        "id": config.run_id,
        "command": command,
        "created": created,
        "git_revision": git_revision(),
        "versions": {name: version(name) for name in PACKAGES},
        "config": config.model_dump(mode="json"),
    }


def suite_summary(suite: Suite) -> dict[str, Any]:
    """Return the `suite` object of leaderboard.json."""
    m = suite.manifest
    return {
        "name": m.name,
        "kind": m.kind,
        "sha256": suite.sha256,
        "description": m.description,
        "n_queries": {domain: len(suite.rows("test", domain)) for domain in ("id", "ood")},
        "pool": [{"model": model.model, "cost": model.cost} for model in suite.pool],
        "cost_rule": m.cost_rule,
        "assumptions": list(m.assumptions),
        "tasks": [{"name": task.name, "domain": task.domain} for task in m.tasks],
    }


def write(
    directory: Path,
    run: Mapping[str, Any],
    suite: Suite,
    config: RunConfig,
    routed: Sequence[Routed],
    rows: Sequence[Row],
    skipped: Sequence[Mapping[str, str]],
) -> None:
    """Write every file of a run into `directory`, which the caller has made for it."""
    summary, records = suite_summary(suite), [asdict(row) for row in rows]
    leaderboard = {
        "schema": SCHEMA,
        "run": dict(run),
        "suite": summary,
        "skipped": list(skipped),
        "statistics": significance.about(suite, config),
        "metrics": {name: metric.about() for name, metric in METRICS.items()},
        "rows": records,
        "frontiers": frontiers(records),
    }
    settings = {one.spec.name: params_of(one.router) for one in routed}
    _write_ledgers(directory, suite, routed)
    facts = {"routers": settings, "declared": declared(routed), "sha256": file_hashes(directory)}
    write_whole(directory / "run.json", _json({"schema": SCHEMA, **run, "suite": summary, **facts}))
    write_whole(directory / "leaderboard.json", _json(leaderboard))
    flat = pd.DataFrame(records).drop(columns=list(NESTED)).convert_dtypes()
    flat.insert(0, "suite", summary["name"])
    flat.insert(1, "kind", summary["kind"])
    write_whole(directory / "leaderboard.csv", flat.to_csv(index=False))
    (directory / "figures").mkdir()
    for drawn in (sweep_plot,) if config.sweep else (plots, row_plots):  # not a set of figures for every alpha
        drawn.draw(records, summary, directory / "figures")
    row_plots.draw_agents(suite, directory / "figures")


def write_alphas(
    directory: Path, suite: Suite, found: Sequence[Row], beside: Sequence[Row], spread: pd.DataFrame
) -> None:
    """Write what the page's slider reads: accuracy and cost at the run's alphas and those beside them, and `spread`."""
    columns = ["router", "reference", "split", "alpha", "accuracy", "cost", "cost_final", "cost_every_call"]
    frame = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in (*found, *beside)])
    frame = frame.sort_values(["split", "reference", "router", "alpha"], ignore_index=True)
    frame = frame.assign(suite=suite.manifest.name, outcomes=suite.manifest.kind)
    write_whole(directory / "alphas.csv", frame.to_csv(index=False, lineterminator="\n"))
    told = spread.assign(suite=suite.manifest.name, outcomes=suite.manifest.kind)
    write_whole(directory / "spread.csv", told.to_csv(index=False, float_format="%.10g", lineterminator="\n"))


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=repr) + "\n"


def _write_ledgers(directory: Path, suite: Suite, routed: Sequence[Routed]) -> None:
    """Write decisions, calls and predictions, one row for each router × scenario (or alpha) × seed × query."""
    chosen = np.concatenate([one.chosen for one in routed])
    decisions = {"model": tables.dictionary(chosen, suite.pool.names)}
    calls = {name: pa.array(np.concatenate([one.ledger.calls[name] for one in routed])) for name in CALLS}
    tokens = np.concatenate([one.ledger.tokens for one in routed])
    calls["tokens"] = pa.array(np.nan_to_num(tokens).astype(np.int64), mask=np.isnan(tokens))
    for name, columns in (("decisions", decisions), ("calls", calls)):
        tables.write(pa.table(_keys(suite, routed) | columns), directory / f"{name}.parquet")
    told = np.concatenate([np.empty(0), *(one.predicted.ravel() for one in routed if one.predicted is not None)])
    predicted = pa.FixedSizeListArray.from_arrays(pa.array(told), len(suite.pool))
    telling = _keys(suite, [one for one in routed if one.predicted is not None])
    tables.write(pa.table(telling | {"predicted": predicted}), directory / PREDICTIONS)


def _keys(suite: Suite, routed: Sequence[Routed]) -> dict[str, pa.Array]:
    sizes = [len(one.rows) for one in routed]

    def label(values: list[str | None]) -> pa.DictionaryArray:
        allowed = sorted({value for value in values if value is not None})
        index = np.repeat([allowed.index(v) if v is not None else -1 for v in values], sizes)
        return pa.DictionaryArray.from_arrays(
            pa.array(index.astype(np.int32), mask=index < 0), pa.array(allowed, pa.string())
        )

    rows = np.concatenate([np.empty(0, dtype=np.int64), *(one.rows for one in routed)])
    return {
        "router": label([one.spec.name for one in routed]),
        "scenario": label([one.scenario.name for one in routed]),
        "alpha": pa.array(np.repeat([one.scenario.alpha for one in routed], sizes).astype(np.float64)),
        "seed": pa.array(np.repeat([one.seed for one in routed], sizes).astype(np.int32)),
        "query_id": tables.dictionary(rows, suite.queries["query_id"].tolist()),
    }
