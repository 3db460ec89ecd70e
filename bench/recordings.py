"""A recording: outcomes as somebody else wrote them down, made dense and checked before anything is computed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tasks import tables
from tasks.errors import InputError, examples, one_of
from tasks.types import Prices

QUERY = ("query_id", "task", "text", "split", "domain", "passage", "cluster_id")
OUTCOME = ("correct", "cost", *(name for name in tables.OUTCOMES if name not in ("query_id", "model", "correct")))
_WORDS = {"true": "1", "false": "0", "": "nan", "none": "nan", "null": "nan", "<na>": "nan"}


@dataclass(frozen=True)
class Recording:
    """n queries × K models.

    `queries` has one row a query and the columns `QUERY`, None where the data say nothing. `outcomes` holds (n, K)
    frames by name (of `OUTCOME`), with the models as columns. `notes` says what reading had to decide.
    """

    queries: pd.DataFrame
    outcomes: dict[str, pd.DataFrame]
    prices: Mapping[str, Prices] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def models(self) -> list[str]:
        """The models, in the order of the columns."""
        return list(self.outcomes["correct"].columns)

    def cell(self, mask: NDArray[np.bool_]) -> str:
        """Name the first cell of an (n, K) mask, for an error message."""
        query, model = np.argwhere(mask)[0]
        return f"query {self.queries['query_id'].iloc[query]!r} × model {self.models[model]!r}"


def joined(parts: Sequence[Recording]) -> Recording:
    """Put the queries of several files under each other; what one file does not record stays empty."""
    names = list(dict.fromkeys(name for part in parts for name in part.outcomes))
    models = list(dict.fromkeys(model for part in parts for model in part.models))
    outcomes = {
        name: pd.concat(
            [
                part.outcomes.get(name, pd.DataFrame(index=part.queries.index)).reindex(columns=models).astype(object)
                for part in parts
            ],
            ignore_index=True,
        )
        for name in names
    }
    return Recording(pd.concat([part.queries.astype(object) for part in parts], ignore_index=True), outcomes)


def pivoted(long: pd.DataFrame) -> Recording:
    """Make a recording of one row for every query × model; raises `InputError` where it is not dense.

    The first duplicated or missing pair is named, and so is a query whose rows differ in text, task or part.
    """
    query, ids = pd.factorize(long["query_id"])
    model, names = pd.factorize(long["model"])
    cell = query * len(names) + model
    again = np.flatnonzero(pd.Series(cell).duplicated())
    if len(again):
        raise InputError(
            f"query {ids[query[again[0]]]!r} × model {names[model[again[0]]]!r} has two outcomes or more; "
            f"{len(again)} rows are duplicates; leave one row for each query × model"
        )
    if len(cell) < len(ids) * len(names):
        gap = np.flatnonzero(np.bincount(cell, minlength=len(ids) * len(names)) == 0)
        raise InputError(
            f"{len(gap)} of {len(ids) * len(names)} query × model outcomes are missing, first query "
            f"{ids[gap[0] // len(names)]!r} × model {names[gap[0] % len(names)]!r}; record them, or leave "
            "the query or model out"
        )
    order = np.argsort(cell)
    outcomes = {
        name: pd.DataFrame(long[name].to_numpy(dtype=object)[order].reshape(len(ids), -1), columns=names)
        for name in OUTCOME
        if name in long
    }
    return Recording(_one_row_each(long, query), outcomes)


def _one_row_each(long: pd.DataFrame, query: NDArray[np.intp]) -> pd.DataFrame:
    queries = long.reindex(columns=list(QUERY)).astype(object).groupby(query).first()
    for name in QUERY:
        said = long[name].astype(object) if name in long else pd.Series(dtype=object)
        if said.notna().any():
            differs = np.flatnonzero(said.notna() & (said.to_numpy() != queries[name].to_numpy()[query]))
            if len(differs):
                raise InputError(
                    f"query {long['query_id'].iloc[differs[0]]!r} has more than one {name} in its rows; a query_id "
                    "means one query throughout (put the task before numbers that start again)"
                )
    return queries


def checked(recording: Recording) -> Recording:
    """Return the recording with typed columns, an id for every query, and rows in the order of the ids.

    Raises `InputError` naming the first query × model whose correctness is missing, NaN or outside [0, 1], and the
    first value of any other column that it cannot hold.
    """
    queries = recording.queries.reindex(columns=list(QUERY)).apply(texts)
    if "" in recording.models:
        raise InputError("a model has an empty name; every model is called something")
    if queries["task"].isna().any():
        raise InputError(f"task is empty in row {int(np.flatnonzero(queries['task'].isna())[0])}; every query has one")
    for name in ("split", "domain"):
        for value in queries[name].dropna().unique():
            one_of(name, value, tables.QUERIES[name].allowed)
    queries["query_id"] = _ids(queries)
    twice = queries["query_id"][queries["query_id"].duplicated()]
    if len(twice):
        raise InputError(f"query {examples(map(repr, twice))} stands there twice; leave one row for each query")
    named = replace(recording, queries=queries)
    outcomes = {name: _typed(named, name) for name in recording.outcomes}
    order = np.argsort(queries["query_id"].to_numpy(dtype=str), kind="stable")
    return replace(
        named,
        queries=queries.iloc[order].reset_index(drop=True),
        outcomes={name: frame.iloc[order].reset_index(drop=True) for name, frame in outcomes.items()},
    )


def _ids(queries: pd.DataFrame) -> pd.Series:
    """Ids as given, else task and hash of the text, repeats numbered from train to test."""
    unnamed = queries["query_id"].isna()
    if not unnamed.any():
        return queries["query_id"]
    unknown = unnamed if not unnamed.all() else queries["text"].isna()
    if unknown.any():
        lacking = "text" if unnamed.all() else "query_id"
        raise InputError(f"{lacking} is empty in row {int(np.flatnonzero(unknown)[0])}; every query needs one")
    base = queries["task"] + "-" + queries["text"].map(lambda text: sha256(text)[:12])
    part = queries["split"].map({"train": 0, "validation": 1, "test": 2}).fillna(0)
    repeat = base.iloc[np.argsort(part, kind="stable")].groupby(base).cumcount().reindex(base.index)
    return base.where(repeat == 0, base + "-" + (repeat + 1).astype(str))


def _typed(recording: Recording, name: str) -> pd.DataFrame:
    column = tables.OUTCOMES.get(name, tables.OUTCOMES["cost_usd"])
    if pa.types.is_string(column.type):
        frame = recording.outcomes[name].apply(texts)
        for value in set(frame.to_numpy().ravel()) - {None} if column.allowed else ():
            one_of(name, str(value), column.allowed)
        return frame
    frame = recording.outcomes[name].apply(numbers, where=name)
    values = frame.to_numpy(dtype=np.float64)
    if name == "correct" and np.isnan(values).any():
        raise InputError(
            f"{int(np.isnan(values).sum())} of {values.size} outcomes are missing or NaN, first "
            f"{recording.cell(np.isnan(values))}; record them, or leave the query or model out"
        )
    _refuse_outside(recording, name, values, column)
    return frame


def _refuse_outside(recording: Recording, name: str, values: NDArray[np.float64], column: tables.Column) -> None:
    whole_numbers = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
    largest = np.iinfo(np.int32).max if pa.types.is_integer(column.type) else np.finfo(np.float32).max
    high = column.high if column.high is not None else 1.0 if pa.types.is_boolean(column.type) else float(largest)
    outside = (values < 0) | (values > high)
    if whole_numbers:
        outside |= ~np.isnan(values) & (values != np.floor(values))
    if outside.any():
        query, model = np.argwhere(outside)[0]
        whole = "whole numbers " if whole_numbers else ""
        raise InputError(
            f"{name} is {values[query, model]:g} for {recording.cell(outside)}; allowed: {whole}in [0, {high:g}]"
        )


def numbers(values: pd.Series, where: str) -> pd.Series:
    """Return a column as float64, True and False as 1 and 0, empty as NaN; raises `InputError` for anything else."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.astype(np.float64)
    words = values.map(str).str.strip().str.lower().replace(_WORDS)
    found = pd.to_numeric(words, errors="coerce").astype(np.float64)
    strange = found.isna() & (words != "nan")
    if strange.any():
        raise InputError(
            f"{where} of {values.name} is {values[strange].iloc[0]!r} in row "
            f"{int(np.flatnonzero(strange)[0])}; a number, True or False is wanted"
        )
    return found


def texts(values: pd.Series) -> pd.Series:
    """Return a column as text, numbers written out, None where it is empty."""
    empty = values.isna() | (values == "")
    return values.map(str).astype(object).mask(empty, None)


def sha256(text: Any) -> str:
    """Return the sha256 of a text's UTF-8 bytes as 64 hexadecimal digits."""
    return hashlib.sha256(str(text).encode()).hexdigest()
