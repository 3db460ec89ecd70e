"""Splits: which queries belong together, which part each of them is in, and what leaves train.

A cluster is the unit of every split and of the bootstrap: queries that share a passage or a question, directly or
through others. No cluster stands on two sides of a split made here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.recordings import sha256
from tasks.errors import InputError

SHARES = {"train": 0.4, "validation": 0.1, "test": 0.5}
TRAIN_SHARES = {"train": 0.8, "validation": 0.2}  # the same 40 : 10, where the data name train and test alone


@dataclass(frozen=True)
class Parts:
    """What became of n queries: `split` (n,) names a part for each, `keep` (n,) is False for those that leave.

    `n_leaked` test questions also stand in train or validation, in `n_leaks` rows there; `n_held_out` training rows
    of out-of-domain tasks leave.
    """

    split: NDArray[np.object_]
    keep: NDArray[np.bool_]
    n_leaked: int
    n_leaks: int
    n_held_out: int
    rule: str


def clusters(queries: pd.DataFrame) -> pd.Series:
    """Return (n,) cluster ids for queries with the columns query_id, text, passage and cluster_id (None where unknown).

    A given cluster_id stays as it is, otherwise it is the hash of the passage, of the text, or of the query_id,
    whichever is known, in any case and spacing. Clusters that share a question are one, under their smallest id.
    """
    said = queries["passage"].fillna(queries["text"]).fillna(queries["query_id"])
    own = queries["cluster_id"].fillna(said.map(normalised).map(sha256).str[:16])
    question = queries["text"].map(normalised, na_action="ignore").fillna("\0" + queries["query_id"])
    left, names = pd.factorize(own)
    right, _ = pd.factorize(question)
    size = len(names) + int(right.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(left)), (left, len(names) + right)), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    return own.groupby(component[left]).transform("min")


def normalised(text: str) -> str:
    """Return a text without the differences that make no other question: case, and the amount of white space."""
    return " ".join(text.split()).casefold()


def partition(queries: pd.DataFrame, seed: int, keep_leaks: bool = False) -> Parts:
    """Give every query its part: as the data say, or 40 % train, 10 % validation and 50 % test, made here.

    `queries` has the columns task, domain, cluster_id and split (all None: to be made). Where the data name no
    validation part, a fifth of train becomes it. No router trains on out-of-domain tasks: all of such a task is
    test, or, where the data say otherwise, its other rows leave. Raises `InputError` where there is no test part.
    """
    cluster, task, given = queries["cluster_id"], queries["task"], queries["split"]
    ood = (queries["domain"] == "ood").to_numpy()
    if given.isna().all():
        split = pd.Series("test", index=queries.index, dtype=object)
        free = ~cluster.isin(cluster[ood])
        split[free] = assign(cluster[free], task[free], SHARES, seed)
        return Parts(
            split.to_numpy(),
            np.ones(len(split), dtype=bool),
            0,
            0,
            0,
            f"made: 40 % train, 10 % validation, 50 % test, by cluster and task, seed {seed}",
        )
    _refuse_unless_whole(queries)
    split = given.copy()
    held_out = ood & (split != "test").to_numpy()
    learned = ((split != "test") & ~held_out).to_numpy()
    in_test = cluster.isin(cluster[split == "test"]).to_numpy()
    leaks = learned & in_test
    leaked = (split == "test") & cluster.isin(cluster[learned])
    keep = ~held_out & (keep_leaks | ~leaks)
    rule = "as the data name them"
    if not (split == "validation").any():
        train = keep & (split == "train").to_numpy()
        split[train] = assign(cluster[train], task[train], TRAIN_SHARES, seed)
        rule += f"; validation is 20 % of train, by cluster and task, seed {seed}"
    return Parts(split.to_numpy(), keep, int(leaked.sum()), int(leaks.sum()), int(held_out.sum()), rule)


def _refuse_unless_whole(queries: pd.DataFrame) -> None:
    without = queries["split"].isna()
    if without.any():
        raise InputError(
            f"{int(without.sum())} of {len(queries)} queries name no part, first "
            f"{queries['query_id'][without].iloc[0]!r}, and the others do; name train or test in a column "
            "split or in every file's name, or nowhere"
        )
    if not (queries["split"] == "test").any():
        named = " or ".join(sorted(queries["split"].unique()))
        raise InputError(
            f"every query is of the part {named}, and none of test; add the test part, or name no part (in a column "
            "split or in a file's name) to have splits made"
        )


def assign(cluster: pd.Series, task: pd.Series, shares: Mapping[str, float], seed: int) -> NDArray[np.object_]:
    """Return (n,) names of parts, drawn whole cluster by whole cluster, stratified by task.

    The shares are met to within half of a cluster at every border, and no part stays empty as long as there are as
    many clusters as parts. The order of the rows does not matter.
    """
    if len(cluster) == 0:
        return np.empty(0, dtype=object)
    by_cluster = pd.DataFrame({"cluster": cluster, "task": task}).groupby("cluster")["task"]
    drawn = by_cluster.agg(["min", "size"]).set_axis(["task", "size"], axis=1)
    drawn = drawn.iloc[np.random.default_rng(seed).permutation(len(drawn))]
    # Where a cluster stands within its task, in (0, 1): sorted by that, every stretch of the line holds every task.
    middle = drawn.groupby("task")["size"].cumsum() - drawn["size"] / 2
    drawn = drawn.iloc[np.argsort(middle / drawn.groupby("task")["size"].transform("sum"), kind="stable")]
    position = ((drawn["size"].cumsum() - drawn["size"] / 2) / drawn["size"].sum()).to_numpy()
    cuts = np.searchsorted(position, np.cumsum(list(shares.values()))[:-1])
    spare = len(drawn) - len(shares)
    if spare >= 0:
        first = np.arange(1, len(shares))
        cuts = np.maximum.accumulate(np.clip(cuts - first, 0, spare)) + first
    part = np.repeat(np.array(list(shares), dtype=object), np.diff([0, *cuts, len(drawn)]))
    return cluster.map(pd.Series(part, index=drawn.index)).to_numpy(dtype=object)
