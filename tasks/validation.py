"""Whether a suite hangs together: every query × model once, values in range, tables that agree with the manifest."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tasks.errors import InputError, examples, one_of

if TYPE_CHECKING:
    from tasks.suite import Suite

MAX_MODELS = 63  # the ledger keeps a set of models as the bits of one integer


def validate(suite: "Suite") -> None:
    """Raise `InputError` naming table and first offender where the suite cannot be trusted."""
    if len(suite.pool) > MAX_MODELS:
        raise InputError(f"a pool of {len(suite.pool)} models is more than the {MAX_MODELS} that a suite may hold")
    twice_given(pd.Index(suite.queries["query_id"]))
    _validate_tasks(suite)
    _validate_paraphrases(suite)
    _validate_correct(suite)
    _validate_counts(suite)
    _validate_self_routes(suite)
    _validate_embeddings(suite)


def validate_replies(suite: "Suite", replies: pd.DataFrame, shipped: bool = True) -> None:
    """Raise `InputError` where sampled replies name strangers, stand there twice, or are not as many as counted.

    Replies that are not `shipped` with the suite may have been drawn after it was written, so that nothing counts them.
    """
    known = {"query_id": pd.Index(suite.queries["query_id"]), "model": pd.Index(suite.pool.names)}
    cells = tuple(names.get_indexer(pd.Index(replies[column])) for column, names in known.items())
    for column, positions in zip(known, cells, strict=True):
        if (positions < 0).any():
            stranger = replies[column].iloc[int(positions.argmin())]
            raise InputError(f"replies.parquet: {column} {stranger!r} is unknown to this suite")
    twice = replies.duplicated(["query_id", "model", "sample"])
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise InputError(f"replies.parquet: row {row} gives a sample that another row has given")
    if not suite.samples:
        if shipped:
            raise InputError("replies.parquet holds samples, but there is no samples.parquet that counts them")
        return
    each = {"n": np.ones(len(replies)), "n_correct": (replies["correct"] >= 0.5).to_numpy(dtype=np.float64)}
    for name, values in each.items():
        counted, other = np.zeros(suite.correct.shape), np.zeros(suite.correct.shape, dtype=bool)
        np.add.at(counted, cells, values)
        other[cells] = (counted != suite.samples[name])[cells]
        if other.any():
            raise InputError(f"replies.parquet: {name} is not that of samples.parquet for {_cell(suite, other)}")


def twice_given(ids: pd.Index) -> None:
    """Raise `InputError` naming the query ids that stand there twice."""
    if ids.has_duplicates:
        raise InputError(f"queries.parquet: query_id {examples(map(repr, ids[ids.duplicated()]))} stands there twice")


def _cell(suite: "Suite", bad: np.ndarray) -> str:
    query, model = np.argwhere(bad)[0]
    return f"query {suite.queries['query_id'].iloc[query]!r} × model {suite.pool.names[model]!r}"


def _validate_tasks(suite: "Suite") -> None:
    domains = {task.name: task.domain for task in suite.manifest.tasks}
    for row in suite.queries[["task", "domain"]].drop_duplicates().itertuples():
        task = one_of("task of queries.parquet", str(row.task), domains)
        if domains[task] != row.domain:
            raise InputError(f"queries.parquet: task {task} is {row.domain} there, but {domains[task]} in suite.json")


def _validate_paraphrases(suite: "Suite") -> None:
    """Hold paraphrases to their originals: they are split and drawn with them."""
    queries = suite.queries
    if "paraphrase_of" not in queries:
        return
    mine = queries[queries["paraphrase_of"].notna()]
    place = pd.Index(queries["query_id"]).get_indexer(pd.Index(mine["paraphrase_of"]))
    originals = queries.iloc[place.clip(0)]
    wrong = (place < 0) | originals["paraphrase_of"].notna().to_numpy()
    for name in ("task", "split", "cluster_id"):
        wrong |= mine[name].to_numpy() != originals[name].to_numpy()
    if wrong.any():
        first = mine[wrong].iloc[0]
        raise InputError(
            f"queries.parquet: {first['query_id']!r} is a paraphrase of {first['paraphrase_of']!r}, which has to be a "
            "query of the same task, split and cluster_id, and no paraphrase itself"
        )


def _validate_correct(suite: "Suite") -> None:
    n, k = len(suite.queries), len(suite.pool)
    correct = suite.outcomes.get("correct")
    if correct is None or correct.shape != (n, k):
        shape = "none" if correct is None else " × ".join(map(str, correct.shape))
        raise InputError(f"outcomes want a correctness for each of {n} queries × {k} models, but got {shape}")
    missing = np.isnan(correct)
    if missing.any():
        raise InputError(
            f"outcomes.parquet: {int(missing.sum())} of {n * k} query × model outcomes are missing, first "
            f"{_cell(suite, missing)}; record them, or leave the query or model out"
        )
    outside = (correct < 0) | (correct > 1)
    if outside.any():
        raise InputError(f"outcomes: correct is {correct[outside][0]:g} for {_cell(suite, outside)}, outside [0, 1]")


def _validate_counts(suite: "Suite") -> None:
    for name, table, parts, whole in (
        ("samples", suite.samples, ("n_correct", "n_modal"), "n"),
        ("verifications", suite.verifications, ("n_yes",), "n_valid"),
    ):
        for part in parts if table else ():
            more = table[part] > table[whole]
            if more.any():
                raise InputError(f"{name}.parquet: {part} exceeds {whole} for {_cell(suite, more)}")


def _validate_self_routes(suite: "Suite") -> None:
    for (checkpoint, scenario), table in suite.self_routes.items():
        scored = ~np.isnan(table["correct"])
        wrong = ((table["rejected"] == 0) & ~scored) | ((table["rejected"] != 0) & scored)
        if wrong.any():
            raise InputError(
                f"self_routes.parquet: {checkpoint}/{scenario} wants correct where the agent answered, and only there; "
                f"see {_cell(suite, wrong)}"
            )
        rejecting = {suite.pool.names[m] for m in np.flatnonzero((table["rejected"] == 1).any(axis=0))}
        unpriced = sorted(rejecting - set(suite.manifest.rejection_fraction))
        if unpriced:
            raise InputError(f"suite.json: rejection_fraction lacks {examples(unpriced)}, whose agents reject")


def _validate_embeddings(suite: "Suite") -> None:
    for kind, vectors in suite.embeddings.items():
        if vectors.ndim != 2 or len(vectors) != len(suite.queries):
            raise InputError(f"embeddings of kind {kind} have shape {vectors.shape} for {len(suite.queries)} queries")
        if not np.isfinite(vectors).all():
            raise InputError(f"embeddings of kind {kind} hold NaN or infinity")
    if len({vectors.shape[1] for vectors in suite.embeddings.values()}) > 1:
        sizes = ", ".join(f"{kind} {vectors.shape[1]}" for kind, vectors in suite.embeddings.items())
        raise InputError(f"embeddings of one suite share one dimension, but there are {sizes}")
    for kind, encoder in suite.manifest.encoders.items():
        stored = suite.embeddings.get(kind)
        if stored is not None and encoder.dimension not in (None, stored.shape[1]):
            raise InputError(f"suite.json: encoder {kind} has dimension {encoder.dimension}, stored {stored.shape[1]}")
        if encoder.alias_of is not None and encoder.alias_of not in suite.embeddings:
            raise InputError(f"suite.json: encoder {kind} is an alias of {encoder.alias_of}, which is not stored")
