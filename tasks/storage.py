"""Load and save a suite: `suite.json` beside one Parquet table for each kind of recording.

Other files in its directory, such as a card for people (README.md), are left alone and are no part of it.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from tasks import tables
from tasks.errors import InputError, examples
from tasks.files import whole_directory, write_whole
from tasks.suite import Suite, directory_hash
from tasks.types import Manifest, ModelPool
from tasks.validation import twice_given

Array = NDArray[Any]
SHIPPED = Path(__file__).parent / "suites"
_SPARSE = {"samples": tables.SAMPLES, "verifications": tables.VERIFICATIONS}
FILES = (
    "suite.json",
    "queries.parquet",
    "outcomes.parquet",
    "samples.parquet",
    "replies.parquet",
    "verifications.parquet",
    "self_routes.parquet",
    "embeddings.parquet",
    "posteriors.parquet",
)


def located(name: str) -> Path:
    """Return the directory of the shipped suite called `name`, else the directory `name` itself."""
    return SHIPPED / name if (SHIPPED / name / "suite.json").is_file() else Path(name)


def load_manifest(directory: Path) -> Manifest:
    """Read `suite.json`; raises `InputError` where it is missing, malformed, or of an unknown layout version."""
    path = directory / "suite.json"
    if not path.is_file():
        raise InputError(f"{directory} is not a suite: it holds no suite.json")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "suite"
        raise InputError(f"{path}: {where}: {first['msg']}") from None


def load(directory: Path) -> Suite:
    """Load and validate a suite; raises `InputError` with file, column and first offender where anything is off."""
    directory = Path(directory)
    manifest = load_manifest(directory)
    pool = ModelPool(manifest.pool)
    table = tables.read(directory / "queries.parquet", tables.QUERIES | tables.PARAPHRASES)
    columns = [*tables.QUERIES, *(name for name in tables.PARAPHRASES if name in table.column_names)]
    queries = pd.DataFrame({name: _series(table, name) for name in columns})
    ids, names = pd.Index(queries["query_id"]), pd.Index(pool.names)
    twice_given(ids)
    sparse: dict[str, dict[str, Array]] = {}
    for name, columns_of in _SPARSE.items():
        path = directory / f"{name}.parquet"
        sparse[name] = _dense(path.name, tables.read(path, columns_of), ids, names)[()] if path.exists() else {}
    replies = directory.absolute() / "replies.parquet"
    present = [name for name in FILES if (directory / name).exists()]
    return Suite(
        manifest=manifest,
        queries=queries,
        outcomes=_dense("outcomes.parquet", tables.read(directory / "outcomes.parquet", tables.OUTCOMES), ids, names)[
            ()
        ],
        samples=sparse["samples"],
        verifications=sparse["verifications"],
        self_routes=_load_self_routes(directory / "self_routes.parquet", ids, names),
        embeddings=_load_embeddings(directory / "embeddings.parquet", ids),
        posteriors=_load_posteriors(directory / "posteriors.parquet", ids, names),
        read_replies=partial(load_replies, replies) if replies.exists() else None,
        sha256=directory_hash(directory, present),
    )


def _series(table: pa.Table, name: str) -> Any:
    if name not in table.column_names:
        return pd.Series([None] * len(table), dtype=object)
    return pd.Series(table[name].cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)


def _dense(
    file: str, table: pa.Table, ids: pd.Index, names: pd.Index, keys: tuple[str, ...] = ()
) -> dict[tuple[str, ...], dict[str, Array]]:
    """Return dense arrays by column, for every combination of the further `keys` that occurs (`()`: one, of none)."""
    query = tables.codes(f"{file}: query_id", table["query_id"], ids)
    flat = query * len(names) + tables.codes(f"{file}: model", table["model"], names)
    part, labels = np.zeros(len(flat), dtype=np.int64), list[tuple[str, ...]]([()])
    for key in keys:
        code, spelled = tables.labels(f"{file}: {key}", table[key])
        part = part * len(spelled) + code
        labels = [(*label, name) for label in labels for name in spelled]
    columns = {
        name: tables.numpy_of(table[name]) for name in table.column_names if name not in {"query_id", "model", *keys}
    }
    found: dict[tuple[str, ...], dict[str, Array]] = {}
    for place in np.unique(part) if keys else np.zeros(1, dtype=np.int64):
        mine = part == place
        counts = np.bincount(flat[mine], minlength=len(ids) * len(names))
        if counts.max(initial=0) > 1:
            cells = [f"{ids[c // len(names)]!r} × {names[c % len(names)]!r}" for c in np.flatnonzero(counts > 1)[:4]]
            raise InputError(f"{file}: query × model {examples(cells)} stands there twice")
        found[labels[place]] = {
            name: tables.scatter(values[mine], flat[mine], (len(ids), len(names))) for name, values in columns.items()
        }
    return found


def load_replies(path: Path) -> pd.DataFrame:
    """Return sampled replies from a file of the columns `tables.REPLIES`; `InputError` where it is none."""
    table = tables.read(path, tables.REPLIES)
    plain = {name: table[name].cast(tables.REPLIES[name].type) for name in table.column_names}
    replies: pd.DataFrame = pa.table(plain).to_pandas()
    return replies.astype(dict.fromkeys(("query_id", "model", "text"), object))


def _load_self_routes(path: Path, ids: pd.Index, names: pd.Index) -> dict[tuple[str, str], dict[str, Array]]:
    if not path.exists():
        return {}
    table = tables.read(path, tables.SELF_ROUTES)
    return {
        (checkpoint, scenario): arrays
        for (checkpoint, scenario), arrays in _dense(
            path.name, table, ids, names, keys=("checkpoint", "scenario")
        ).items()
    }


def _load_posteriors(path: Path, ids: pd.Index, names: pd.Index) -> dict[str, Array]:
    if not path.exists():
        return {}
    found = {}
    for (kind,), arrays in _dense(path.name, tables.read(path, tables.POSTERIORS), ids, names, keys=("kind",)).items():
        found[kind] = arrays["p_correct"]
        if np.isnan(found[kind]).any():
            raise InputError(f"{path.name}: kind {kind} lacks {int(np.isnan(found[kind]).sum())} of its posteriors")
    return found


def _load_embeddings(path: Path, ids: pd.Index) -> dict[str, Array]:
    if not path.exists():
        return {}
    table = tables.read_parquet(path, read_dictionary=["query_id", "kind"])
    unknown = sorted(set(table.column_names) - {"query_id", "kind", "vector", "scale"})
    if unknown or not {"query_id", "kind", "vector"} <= set(table.column_names):
        raise InputError(
            f"{path.name}: columns {', '.join(table.column_names)} (wanted: query_id, kind, vector[, scale])"
        )
    vectors = _vectors(path, table)
    query = tables.codes(f"{path.name}: query_id", table["query_id"], ids)
    kind_code, kinds = tables.labels(f"{path.name}: kind", table["kind"])
    found: dict[str, Array] = {}
    for code, kind in enumerate(kinds):
        mine = kind_code == code
        if (np.bincount(query[mine], minlength=len(ids)) != 1).any():
            raise InputError(
                f"{path.name}: kind {kind} wants one vector for each of {len(ids)} queries, got {mine.sum()}"
            )
        found[kind] = np.empty((len(ids), vectors.shape[1]), dtype=vectors.dtype)
        found[kind][query[mine]] = vectors[mine]
    return found


def _vectors(path: Path, table: pa.Table) -> Array:
    """Return the (rows, d) vectors: floats as they are, int8 times their scale."""
    kind = table["vector"].type
    value = kind.value_type if pa.types.is_fixed_size_list(kind) else None
    scaled = "scale" in table.column_names
    if value is None or not (value == pa.int8() if scaled else pa.types.is_floating(value)):
        raise InputError(
            f"{path.name}: vector holds {kind}; a fixed-size list of floats, or of int8 beside a scale, is wanted"
        )
    if scaled and not pa.types.is_floating(table["scale"].type):
        raise InputError(f"{path.name}: scale holds {table['scale'].type}, but numbers are wanted")
    flat = table["vector"].combine_chunks().flatten()
    if table["vector"].null_count or flat.null_count or (scaled and table["scale"].null_count):
        raise InputError(f"{path.name}: a vector or a part of one is empty")
    vectors: Array = flat.to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    if scaled:
        vectors = vectors * table["scale"].to_numpy().astype(np.float32)[:, None]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return vectors if vectors.dtype == np.float16 else vectors.astype(np.float32)


def save(suite: Suite, directory: Path, card: str | None = None) -> None:
    """Write a suite, with its `card` as README.md, whole or not at all.

    A suite that stands there already is replaced, anything else is left alone.
    """
    ids, names = list(suite.queries["query_id"]), list(suite.pool.names)
    with whole_directory(directory, marker="suite.json") as scratch:

        def write(name: str, parts: list[pa.Table]) -> None:
            if parts:
                tables.write(
                    pa.concat_tables([part.unify_dictionaries() for part in parts]).unify_dictionaries(),
                    scratch / f"{name}.parquet",
                )

        written = [*tables.QUERIES, *(name for name in tables.PARAPHRASES if name in suite.queries)]
        columns = {name: pa.array(suite.queries[name], type=pa.string()) for name in written}
        tables.write(pa.table(columns), scratch / "queries.parquet")
        everywhere = np.ones(suite.correct.shape, dtype=bool)
        write("outcomes", [tables.gather(tables.OUTCOMES, suite.outcomes, ids, names, everywhere)])
        for name, columns_of in _SPARSE.items():
            arrays: dict[str, Array] = getattr(suite, name)
            if arrays:
                present = ~np.isnan(next(iter(arrays.values())))
                write(name, [tables.gather(columns_of, arrays, ids, names, present)])
        if suite.replies is not None:
            write("replies", [replies_table(suite.replies)])
        write(
            "self_routes",
            [
                _keyed(
                    tables.gather(tables.SELF_ROUTES, arrays, ids, names, arrays["rejected"] >= 0),
                    {"checkpoint": checkpoint, "scenario": scenario},
                    after=2,
                )
                for (checkpoint, scenario), arrays in suite.self_routes.items()
            ],
        )
        write(
            "posteriors",
            [
                _keyed(
                    tables.gather(tables.POSTERIORS, {"p_correct": values}, ids, names, everywhere),
                    {"kind": kind},
                    after=1,
                )
                for kind, values in suite.posteriors.items()
            ],
        )
        write("embeddings", [_embedding_table(ids, kind, vectors) for kind, vectors in suite.embeddings.items()])
        write_whole(scratch / "suite.json", suite.manifest.model_dump_json(indent=1, exclude_none=True) + "\n")
        if card is not None:
            write_whole(scratch / "README.md", card)


def replies_table(replies: pd.DataFrame) -> pa.Table:
    """Return sampled replies as `replies.parquet` holds them, with the columns of `tables.REPLIES`."""
    columns = {
        name: pa.array(replies[name], type=column.type, from_pandas=True)
        for name, column in tables.REPLIES.items()
        if name in replies
    }
    return pa.table({name: v.dictionary_encode() if pa.types.is_string(v.type) else v for name, v in columns.items()})


def _keyed(table: pa.Table, keys: dict[str, str], after: int) -> pa.Table:
    for offset, (name, value) in enumerate(keys.items()):
        table = table.add_column(after + offset, name, tables.dictionary(np.zeros(len(table), dtype=int), [value]))
    return table


def _embedding_table(ids: list[str], kind: str, vectors: Array) -> pa.Table:
    flat = pa.array(vectors.astype(np.float16).reshape(-1), type=pa.float16())
    return pa.table(
        {
            "query_id": tables.dictionary(np.arange(len(ids)), ids),
            "kind": tables.dictionary(np.zeros(len(ids), dtype=int), [kind]),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
