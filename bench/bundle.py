"""A run read back from its directory: settings, leaderboard, ledgers and the suite they are about.

What a router declared (how its authors charge it, whose answer it delivers, what it may ask for) is written into
run.json, so that a run can be audited and verified where the router itself is not installed.
"""

import hashlib
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from bench.config import RunConfig
from bench.evaluate import Routed, draws
from bench.replay import CALLS
from bench.suites import DEFAULT, open_suite
from routers.base import Accounting, AlphaMode, Answerer
from tasks import tables
from tasks.errors import InputError, examples
from tasks.suite import Rows, Suite
from tasks.types import Record

PREDICTIONS = "predictions.parquet"
LEDGERS = {"decisions.parquet": ("model",), "calls.parquet": (*CALLS, "tokens"), PREDICTIONS: ("predicted",)}
KEY = ("router", "scenario", "alpha", "seed", "query_id")
Key = tuple[str, float, int]  # router, alpha, seed


class Declared(Record):
    """What one router declared, and is.

    `drawn` where its figures are expectations over its draws, not those of its choices; `seeded` where a seed makes it
    another router; `calibrated` where what it predicts is meant as P(correct).
    """

    reference: bool
    signals: tuple[str, ...]
    accounting: Accounting
    alpha_mode: AlphaMode
    delivers: Answerer
    checkpoint: str
    drawn: bool
    seeded: bool
    calibrated: bool


@dataclass(frozen=True, eq=False)
class Choices:
    """What one router did at one alpha with one seed on the n test queries at `rows` of the suite, ascending.

    `chosen` (n,) indices into the pool; `calls` by kind (n,) sets of models as the bits of an integer; `tokens` (n,)
    completion tokens of all calls, NaN where unknown; `predicted` (n, K) P(correct), None where it predicts nothing.
    """

    rows: Rows
    chosen: NDArray[np.int64]
    calls: Mapping[str, NDArray[np.uint64]]
    tokens: NDArray[np.float64]
    predicted: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Bundle:
    """A run, and its suite cut down to the run's models. `run` and `board` are run.json and leaderboard.json."""

    directory: Path
    run: dict[str, Any]
    board: dict[str, Any]
    config: RunConfig
    declared: dict[str, Declared]
    suite: Suite
    choices: dict[Key, Choices]


def declared(routed: Iterable[Routed]) -> dict[str, Any]:
    """Return by router what `Declared` holds, as JSON."""
    return {
        one.spec.name: Declared(
            reference=one.spec.reference,
            signals=tuple(str(signal.name) for signal in one.router.signals),
            accounting=one.router.accounting,
            alpha_mode=one.router.alpha_mode,
            delivers=one.router.delivers,
            checkpoint=one.router.checkpoint,
            drawn=one.shares is not None,
            seeded=draws(one.router),
            calibrated=getattr(one.router, "calibrated", True),
        ).model_dump(mode="json")
        for one in routed
    }


def file_hashes(directory: Path) -> dict[str, str]:
    """Return the sha256 of every ledger of the run in `directory`."""
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in LEDGERS}


def open_run(directory: Path, suite: str | None = None, changed: bool = False) -> Bundle:
    """Read a run and its suite: the one that its command names, or `suite` (a name or a directory).

    Raises `InputError` where a file is missing, damaged or incomplete, and where the suite is not the one that the run
    was made on (with `changed`: only where it does not fit the ledgers).
    """
    run, board = (_json(directory / name) for name in ("run.json", "leaderboard.json"))
    try:
        config = RunConfig.model_validate(run["config"])
        facts = TypeAdapter(dict[str, Declared]).validate_python(run["declared"])
    except KeyError as error:
        raise InputError(f"{directory}/run.json has no {error}; an older release wrote it, so run it again") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{directory}/run.json: {where}: {error.errors()[0]['msg']}") from None
    _refuse_odd_rows(board, directory / "leaderboard.json")
    found = _suite_of(run, config, suite, changed)
    strangers = sorted({row["router"] for row in board["rows"]} - set(facts))
    if strangers:
        raise InputError(f"{directory}/run.json declares nothing of router {strangers[0]}, which leaderboard.json has")
    return Bundle(directory, run, board, config, facts, found, _ledgers(directory, config, found, sorted(facts)))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path.parent} is not a run: it holds no {path.name}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}, but an object is wanted")
    return content


def _refuse_odd_rows(board: Mapping[str, Any], path: Path) -> None:
    """Raise `InputError` where rows lack what names them, or hold numbers that are none."""
    for key, kind in (("run", dict), ("suite", dict), ("skipped", list)):
        if not isinstance(board.get(key), kind):
            raise InputError(f"{path}: {key} is no {kind.__name__}; a run writes one, so run it again")
    rows = board.get("rows")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path} has no rows; a run that finished has some, so run it again")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not {"router", "scenario", "alpha", "split"} <= set(row):
            raise InputError(f"{path}: row {place} lacks one of router, scenario, alpha and split, which name a row")
        if not all(isinstance(row[k], t) for k, t in (("router", str), ("split", str), ("alpha", int | float))):
            raise InputError(f"{path}: router and split of row {place} want to be text, and its alpha a number")
        for key, value in _leaves(row):
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(
                    f"{path}: {key} of router {row['router']}, alpha {row['alpha']:g}, split {row['split']} is "
                    f"{value}, which is no number; a value that does not apply is null"
                )


def _leaves(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        yield name, value
    for key, part in parts or ():
        yield from _leaves(part, f"{name}.{key}" if name else str(key))


def _suite_of(run: Mapping[str, Any], config: RunConfig, given: str | None, changed: bool) -> Suite:
    named = given if given is not None else _suite_argument(str(run.get("command", "")))
    try:
        suite = open_suite(named)
    except InputError as error:
        raise InputError(f"the run's suite {config.suite} cannot be opened ({error}); pass --suite DIR") from None
    if suite.sha256 != config.suite_sha256 and not changed:
        raise InputError(
            f"the suite at {named} is not the one of the run: sha256 {str(suite.sha256)[:12]} now, "
            f"{config.suite_sha256[:12]} then; pass that one by --suite DIR (bench.verify --changed-suite tells what "
            "differs)"
        )
    return suite if suite.pool.names == config.models else suite.subset(config.models)


def _suite_argument(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        raise InputError(f"the run's command cannot be read ({command!r}); pass its suite by --suite DIR") from None
    for place, word in enumerate(words):
        if word.startswith("--suite="):
            return word.removeprefix("--suite=")
        if word == "--suite" and place + 1 < len(words):
            return words[place + 1]
    return DEFAULT


def _ledgers(directory: Path, config: RunConfig, suite: Suite, routers: Sequence[str]) -> dict[Key, Choices]:
    rows = np.sort(np.concatenate([suite.rows("test", split) for split in config.splits]))
    names = pd.Index(suite.pool.names)
    found: dict[Key, dict[str, NDArray[Any]]] = {}
    for file, wanted in LEDGERS.items():
        table = tables.read_parquet(directory / file)
        lacking = [name for name in (*KEY, *wanted) if name not in table.column_names]
        if lacking:
            raise InputError(f"{directory / file} has no column {lacking[0]}; a run writes it, so run it again")
        values = {name: _values(file, name, table[name], names) for name in wanted}
        for key, place in _places(file, table, config, suite, rows, routers).items():
            found.setdefault(key, {}).update({name: column[place] for name, column in values.items()})
    return {
        key: Choices(rows, part["model"], {call: part[call] for call in CALLS}, part["tokens"], part.get("predicted"))
        for key, part in found.items()
    }


def _values(file: str, name: str, column: pa.ChunkedArray, models: pd.Index) -> NDArray[Any]:
    where = f"{file}: {name}"
    if name == "model":
        return tables.codes(where, column, models)
    if name != "tokens" and column.null_count:
        raise InputError(f"{where} has {column.null_count} empty values; the ledger is damaged, so run it again")
    if name == "predicted":
        if column.type != pa.list_(pa.float64(), len(models)):
            raise InputError(f"{where} holds {column.type}, but {len(models)} numbers are wanted, one for each model")
        predicted: NDArray[np.float64] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return predicted.reshape(-1, len(models))
    return _numbers(where, column, pa.float64() if name == "tokens" else pa.uint64())


def _numbers(where: str, column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    try:
        values: NDArray[Any] = column.cast(kind).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        wanted = "whole numbers from 0" if kind == pa.uint64() else "numbers"
        raise InputError(f"{where} holds {column.type}, but {wanted} are wanted") from None
    return values


def _places(
    file: str, table: pa.Table, config: RunConfig, suite: Suite, rows: Rows, routers: Sequence[str]
) -> dict[Key, NDArray[np.int64]]:
    """Return, by router, alpha and seed, where in the table the test queries at `rows` stand, in that order."""
    router = tables.codes(f"{file}: router", table["router"], pd.Index(routers))
    row = tables.codes(f"{file}: query_id", table["query_id"], pd.Index(suite.queries["query_id"]))
    alphas = [one.alpha for one in config.scenarios]
    alpha, seed = (_codes(file, name, table[name], own) for name, own in (("alpha", alphas), ("seed", config.seeds)))
    _refuse_other_scenarios(file, table["scenario"], alpha, config)
    keys: list[Key] = list(product(routers, alphas, config.seeds))
    part = (router * len(alphas) + alpha) * len(config.seeds) + seed
    order = np.lexsort((row, part))
    cuts = np.searchsorted(part[order], np.arange(len(keys) + 1))
    found: dict[Key, NDArray[np.int64]] = {}
    for key, (low, high) in zip(keys, pairwise(cuts.tolist()), strict=True):
        place = order[low:high]
        if low == high and file == PREDICTIONS:
            continue  # a router that predicts nothing
        if not np.array_equal(row[place], rows):
            raise InputError(
                f"{file} is no ledger of this run: router {key[0]}, alpha {key[1]:g}, seed {key[2]} wants each of "
                f"{len(rows)} test queries once, but {_odd(row[place], rows, suite)}; it may be truncated, so run it "
                "again"
            )
        found[key] = place
    return found


def _codes(file: str, name: str, column: pa.ChunkedArray, allowed: Sequence[float]) -> NDArray[np.int64]:
    values = _numbers(f"{file}: {name}", column, pa.float64())
    codes = pd.Index(np.array(allowed, dtype=np.float64)).get_indexer(pd.Index(values)).astype(np.int64)
    if (codes < 0).any():
        raise InputError(f"{file}: {name} {values[codes.argmin()]:g} is none of the run's ({examples(allowed)})")
    return codes


def _refuse_other_scenarios(file: str, column: pa.ChunkedArray, alpha: NDArray[np.int64], config: RunConfig) -> None:
    """Raise `InputError` where a row names another scenario than that of its alpha, (n,) codes."""
    own = [one.name or "" for one in config.scenarios]
    names = pd.Index(dict.fromkeys(own))
    said = tables.codes(f"{file}: scenario", column.cast(pa.string()).fill_null(""), names)
    wrong = said != names.get_indexer(pd.Index(own))[alpha]
    if wrong.any():
        first = int(wrong.argmax())
        pair = names[said[first]] or None, config.scenarios[alpha[first]].alpha
        raise InputError(f"{file}: scenario {pair[0]} does not go with alpha {pair[1]:g}; run it again")


def _odd(given: Rows, wanted: Rows, suite: Suite) -> str:
    ids = suite.queries["query_id"]
    for what, odd in (("lacks", np.setdiff1d(wanted, given)), ("also has", np.setdiff1d(given, wanted))):
        if len(odd):
            return f"{what} {len(odd)}, first {ids.iloc[odd[0]]!r}"
    return f"has {ids.iloc[given[:-1][np.diff(given) == 0][0]]!r} twice"
