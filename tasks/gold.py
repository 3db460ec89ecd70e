"""Who judges a reply to a question of a suite: suites ship no right answers, so these are had again from the source."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import answers, catalog, graded
from tasks.errors import InputError, examples
from tasks.suite import Suite

Judge = Callable[[str], tuple[float, str | None]]
"""Maps a reply to (correctness in [0, 1], the answer that was read or None)."""
Gold = graded.Question | catalog.Item
"""A question with its right answer."""


def find(suite: Suite, rows: NDArray[np.integer], data_dir: Path | None = None) -> dict[str, Gold]:
    """Return the question with its answer of each query at `rows` (n,) of a suite, by query id.

    Graded questions are made again from the suite's seed; those of the catalog are read from `data_dir`, else from the
    hub. Raises `InputError` where a question is not found there, or is another one than the suite was recorded with.
    """
    queries = suite.queries.iloc[rows]
    seed = int(suite.manifest.parameters.get("seed", 0))
    there: dict[str, Gold] = {**graded.find(queries["query_id"].tolist(), seed)}
    for task, split in dict.fromkeys(zip(queries["task"], queries["split"], strict=True)):
        if task in catalog.DATA_SETS:
            items = data_set_items(task, "test" if split == "test" else "train", data_dir)
            there |= {item.id: item for item in items}
    hashes = dict(zip(queries["query_id"], queries["text_sha256"], strict=True))
    lacking = [name for name, sha256 in hashes.items() if name not in there or _sha256(there[name]) != sha256]
    if lacking:
        raise InputError(
            f"no right answer is to be had of {len(lacking)} of {len(hashes)} questions of suite "
            f"{suite.manifest.name} ({examples(lacking)}): they are neither those of tasks.graded (version "
            f"{graded.VERSION}, seed {seed}) nor in the data sets; bring the files that were recorded by --data-dir"
        )
    return {name: there[name] for name in hashes}


def judge(known: Gold) -> Judge:
    """Return who judges the replies to a question."""
    if isinstance(known, catalog.Item):
        return partial(catalog.score, item=known)
    return partial(answers.graded, kind=known.kind, answer=known.answer, choices=known.choices)


def dumped(known: Gold) -> str:
    """Return a question as JSON, for a reward that is computed elsewhere; `loaded` reads it."""
    return json.dumps(asdict(known), ensure_ascii=False)


def loaded(text: str) -> Gold:
    """Return the question that `dumped` wrote."""
    found: dict[str, Any] = json.loads(text)
    if "kind" in found and "level" in found:
        return graded.Question(**found)
    lists = {key: tuple(value) for key, value in found.items() if isinstance(value, list)}
    return catalog.Item(**(found | lists))


def data_set_items(
    name: str, part: catalog.Part, data_dir: Path | None, limit: int | None = None
) -> list[catalog.Item]:
    """Return the first `limit` items of a data set of the catalog, from local files, else from the hub."""
    if data_dir is not None:
        return catalog.read(data_dir, name, part, limit)
    from tasks.lm_eval import hub

    return hub.items(name, part, limit)


def _sha256(known: Gold) -> str:
    text = catalog.text(known) if isinstance(known, catalog.Item) else known.text
    return hashlib.sha256(text.encode()).hexdigest()
