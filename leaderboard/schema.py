"""What the page reads of a run: `leaderboard.json`, the routers' settings of `run.json`, and the figures' files."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import spread
from tasks.errors import InputError

SCHEMA = 1
ANSWER_RATE = "answer_rate"
_ANSWER_RATE = ("checkpoint", "split", "scenario", "model", "answer_rate")
_ALPHAS = ("router", "split", "alpha", "accuracy", "cost", "cost_final", "cost_every_call")
_SPREAD = ("split", "alpha", "router", "other", "decided", *spread.COLUMNS)


class _Record(BaseModel):
    """What the page reads of a file: every key stands there, and null where it does not apply."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _Scores(_Record):
    accuracy: float | None
    cost: float | None
    utility: float | None


class _Versus(_Record):
    difference: float
    low: float | None
    high: float | None
    p_holm: float


class _Row(_Scores):
    router: str
    reference: bool
    scenario: str | None
    alpha: float
    alpha_used: float | None
    split: str
    pool: list[str]
    n_queries: int
    n_seeds: int
    utility_low: float | None
    utility_high: float | None
    rank: int | None
    rank_every_call: int | None
    rank_group: int | str | None
    rank_group_every_call: int | str | None
    versus_best_single: _Versus | None
    versus_best: _Versus | None
    percent_of_oracle: float | None
    accounting: str
    cost_final: float | None
    cost_every_call: float | None
    utility_every_call: float | None
    utility_every_call_low: float | None
    utility_every_call_high: float | None
    cost_usd: float | None
    latency_s: float | None
    overhead_us: float | None
    easy_cost: float | None
    hard_cost: float | None
    unsolvable_cost: float | None
    solved_by_all_cost: float | None
    share: dict[str, float] | None
    per_task: dict[str, _Scores] | None
    published_utility: float | None


class _Live(_Record):
    engine: str
    dtype: str


class _Config(_Record):
    accounting: Literal["paper", "final", "every_call", "every_call_and_verify"]
    average: Literal["macro", "micro"]
    live: _Live | None = None


class _Finding(_Record):
    severity: str
    what: str
    count: int
    examples: list[str]
    advice: str


class _Run(_Record):
    id: str
    command: str
    created: str
    git_revision: str | None
    versions: dict[str, str]
    config: _Config
    audit: list[_Finding] | None = None  # runs of before the audit have none


class _Model(_Record):
    model: str
    cost: float


class _Task(_Record):
    name: str
    domain: str


class _Suite(_Record):
    name: str
    kind: Literal["recorded", "imported", "simulated"]
    sha256: str
    description: str
    n_queries: dict[str, int]
    pool: list[_Model]
    cost_rule: str
    assumptions: list[str]
    tasks: list[_Task]


class _Skipped(_Record):
    router: str
    reason: str


class _Split(_Record):
    lacking: str | None


class _Statistics(_Record):
    level: float
    resamples: int
    interval: str
    test: str
    correction: str
    rank_group: str
    splits: dict[Literal["id", "ood"], _Split]


class _Change(_Record):
    """Where the winner changes between two alphas that were run."""

    model_config = ConfigDict(populate_by_name=True)

    before: str = Field(alias="from")
    to: str
    alpha: float


class _Frontier(_Record):
    split: str
    changes: list[_Change]


class _Results(_Record):
    run: _Run
    suite: _Suite
    skipped: list[_Skipped]
    statistics: _Statistics | None
    rows: list[_Row]
    frontiers: list[_Frontier] = []


class _Declared(_Record):
    """What a router's class says of itself."""

    signals: list[str]
    accounting: str
    alpha_mode: str
    delivers: str


class _Settings(_Record):
    declared: dict[str, _Declared]
    routers: dict[str, dict[str, Any]]


def read(run: Path) -> dict[str, Any]:
    """Return what the page reads of a run directory; raises `InputError` where that cannot be.

    To the keys of `leaderboard.json` come `settings`, the routers' of `run.json`, or None where that file is not there,
    and the records of three frames, none where they are not there: `answer_rate`, beside the figure of that name,
    `alphas`, accuracy and cost at alphas beside those of the rows, and `spread`, how sure these are.
    """
    path = run / "leaderboard.json"
    if not path.is_file():
        raise InputError(f"{run} is not a run: it holds no leaderboard.json (bench.run writes one)")
    found = _parse(path, _Results)
    settings = run / "run.json"
    found["settings"] = _parse(settings, _Settings) if settings.is_file() else None
    found["answer_rate"] = _frame(run / "figures" / f"{ANSWER_RATE}.csv", _ANSWER_RATE)
    found["alphas"] = _frame(run / "alphas.csv", _ALPHAS)
    found["spread"] = _frame(run / "spread.csv", _SPREAD)
    return found


def _frame(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the records of a frame, which has `columns`; none where it is not there."""
    try:
        # a router may be called "nan" or "null"
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""]) if path.is_file() else pd.DataFrame()
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a table: {' '.join(str(error).split())[:160]}") from None
    lacking = [name for name in columns if name not in frame]
    if lacking and path.is_file():
        raise InputError(f"{path} lacks the column {lacking[0]}; run bench.run again, or remove the file")
    for name in spread.COLUMNS:
        if name in frame and not np.isfinite(pd.to_numeric(frame[name], errors="coerce")).all():
            raise InputError(f"{path}: {name} holds something that is no number; run bench.run again")
    return [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]


def _parse(path: Path, record: type[_Record]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("schema") != SCHEMA:
            raise InputError(f"{path}: schema {content.get('schema')} is unknown; this release reads schema {SCHEMA}")
        return record.model_validate(content).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def read_figures(run: Path) -> dict[str, str]:
    """Return the SVG figures of a run directory as data URIs, by file name without suffix."""
    return {
        path.stem: f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
        for path in sorted((run / "figures").glob("*.svg"))
    }
