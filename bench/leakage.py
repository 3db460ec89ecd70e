"""Whether a suite lets routers learn what they are tested on.

Learned is what routers are fitted and tuned on: in-domain train and validation queries. A question is the same if its
text is, in any case and spacing, or its hash; it is nearly the same if one text goes on where the other ends (what a
template appended), or if the embeddings' cosine is at least `NEAR`.

`NEAR` is .98: of 500 test questions of LLMRouter's files the 119 that stand in train as well have 1.000, the two above
.98 beside them are the same but for an appended sentence, and the first pair of different questions follows at .92. Of
the shipped suite's own families, sums such as 4 + 9 + 5 and 4 + 5 + 9 reach it: they are different questions, so that
nearness is a warning, which a reader has to settle. A simulated suite has no texts, and its embeddings are draws.

Same questions are fatal from a `SHARE` of 1 % of a domain's test questions on, since so much can move an accuracy by
the hundredths that routers differ by; below that they are an error.

Whether labels of the test set can be reached is checked as far as files tell. A router is code, and whatever code runs
here could open the suite's files: what no audit of files can rule out is left to the audit of a run, which compares
decisions with the oracle's.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.findings import Finding, finding
from bench.splits import normalised
from tasks.suite import Rows, Suite

NEAR = 0.98
SHARE = 0.01
_WORDS = 5  # a shorter text begins many others
_BLOCK = 1 << 24  # similarities held at a time, 64 MB of float32
Pairs = list[tuple[int, int]]  # rows of the suite: one that is tested or tuned on, and one learned from


def same_questions(suite: Suite) -> Iterator[Finding]:
    """Find questions that stand on two sides of a split, word by word or by their passage."""
    tested, learned = suite.rows("test"), _learned(suite)
    pairs = _same(suite, tested, learned)
    leaked = np.array([test for test, _ in pairs], dtype=np.int64)
    domains = suite.queries["domain"].to_numpy()
    worst = max((float(np.isin(suite.rows("test", d), leaked).mean()) for d in set(domains[tested])), default=0.0)
    if pairs:
        yield finding(
            "fatal" if worst >= SHARE else "error",
            f"test questions that also stand in train or validation (up to {worst:.1%} of a domain's)",
            _named(suite, pairs),
            "leave them out of train and validation, as bench.ingest does without --keep-leaks",
        )
    cluster = suite.queries["cluster_id"]
    met = cluster.iloc[tested].isin(cluster.iloc[learned].unique()).to_numpy()
    shared = np.setdiff1d(tested[met], leaked)
    if len(shared):
        yield finding(
            "error",
            "test questions on a passage (cluster_id) that train or validation also ask about",
            suite.queries["query_id"].iloc[shared],
            "split by cluster, so that no passage stands on two sides",
        )
    tuned = _same(suite, suite.rows("validation", "id"), suite.rows("train", "id"))
    if tuned:
        yield finding(
            "warning",
            "validation questions that also stand in train",
            _named(suite, tuned),
            "leave them out of train: what is chosen on validation looks better than it is",
        )
    if not suite.queries[["text", "text_sha256"]].notna().any(axis=None):
        what = "no text and no hash of one: same questions cannot be found"
        yield finding("note", what, [], "bring texts or hashes", 1)


def near_questions(suite: Suite) -> Iterator[Finding]:
    """Find test questions that are nearly one of those learned from: continued, or close by their embeddings."""
    tested, learned = suite.rows("test"), _learned(suite)
    same = np.array([test for test, _ in _same(suite, tested, learned)], dtype=np.int64)
    tested = np.setdiff1d(tested, same)
    continued = _continued(suite, tested, learned)
    if continued:
        yield finding(
            "error",
            "test questions that go on where one of train or validation ends, or the other way round",
            _named(suite, continued),
            "read them; leave those out of train that are the same question with something appended",
        )
    vectors = next((e for e in map(suite.embedding, ("query/large", "query/small")) if e is not None), None)
    if vectors is None or suite.manifest.kind == "simulated":
        why = "there are no query embeddings" if vectors is None else "simulated embeddings stand for no text"
        yield finding("note", f"near-duplicates cannot be found: {why}", [], "embed the texts, where there are any", 1)
        return
    nearest, cosine = _nearest(vectors, tested, learned)
    close = np.flatnonzero(cosine >= NEAR)
    if len(close):
        close = close[np.argsort(-cosine[close], kind="stable")]
        ids = suite.queries["query_id"].to_numpy()
        yield finding(
            "warning",
            f"test questions whose embedding is nearly that of one in train or validation (cosine ≥ {NEAR:g})",
            [f"{ids[tested[i]]} ~ {ids[nearest[i]]} ({cosine[i]:.4f})" for i in close],
            "read them; leave those out of train that are the same question in other words",
        )


def reachable_labels(suite: Suite) -> Iterator[Finding]:
    """Find labels of test queries that stand where those who train routers or agents may read them."""
    replies = suite.replies
    if replies is not None:
        tested = suite.queries["query_id"].iloc[suite.rows("test")]
        graded = tested[tested.isin(replies["query_id"].unique())]
        if len(graded):
            yield finding(
                "note",
                "test queries whose sampled replies ship with their grades (replies.parquet)",
                graded,
                "train agents on the replies to train queries alone, as routers.disrouter does",
            )
    if suite.posteriors and suite.manifest.kind != "simulated":
        yield finding(
            "error",
            "kinds of posteriors in a suite that was not simulated, where nobody can know them",
            suite.posteriors,
            "leave posteriors.parquet out: reference rows would read what was made of labels",
        )


def _learned(suite: Suite) -> Rows:
    return np.concatenate([suite.rows("train", "id"), suite.rows("validation", "id")])


def _named(suite: Suite, pairs: Pairs) -> list[str]:
    ids = suite.queries["query_id"].to_numpy()
    return [f"{ids[test]} = {ids[other]}" for test, other in pairs]


def _same(suite: Suite, tested: Rows, learned: Rows) -> Pairs:
    """Return, for every tested question that was learned from, the first question that it is the same as."""
    found: dict[int, int] = {}
    queries = suite.queries.reset_index(drop=True)
    for keys in (queries["text"].map(normalised, na_action="ignore"), queries["text_sha256"]):
        first = keys.iloc[learned].dropna().drop_duplicates()
        where = pd.Series(first.index, index=pd.Index(first.to_numpy(dtype=object), dtype=object))
        met = keys.iloc[tested].dropna().map(where).dropna()
        for test, other in met.items():
            found.setdefault(int(str(test)), int(other))
    return sorted(found.items())


def _continued(suite: Suite, tested: Rows, learned: Rows) -> Pairs:
    """Return pairs of which one text begins with the other; a text's continuations follow it in sorted order."""
    rows = np.concatenate([tested, learned])
    rows = rows[suite.queries["text"].iloc[rows].notna().to_numpy()]
    spelled = [normalised(text) for text in suite.queries["text"].iloc[rows]]
    is_test, found = np.isin(rows, tested), dict[int, int]()
    begun: list[int] = []  # texts that the current one may continue, each of them a beginning of the next
    for i in sorted(range(len(rows)), key=spelled.__getitem__):
        while begun and not spelled[i].startswith(spelled[begun[-1]]):
            begun.pop()
        for j in begun:
            if is_test[i] != is_test[j]:
                test, other = (i, j) if is_test[i] else (j, i)
                found.setdefault(int(rows[test]), int(rows[other]))
        twice = begun and spelled[i] == spelled[begun[-1]] and is_test[i] == is_test[begun[-1]]
        if not twice and len(spelled[i].split()) >= _WORDS:
            begun.append(i)
    return sorted(found.items())


def _nearest(vectors: NDArray[np.floating], tested: Rows, learned: Rows) -> tuple[Rows, NDArray[np.float32]]:
    """Return for each of n tested rows the learned row of the highest cosine, and that cosine; block by block."""
    nearest, cosine = np.zeros(len(tested), dtype=np.int64), np.full(len(tested), -1.0, dtype=np.float32)
    if not len(learned):
        return nearest, cosine
    against = _unit(vectors[learned]).T
    size = max(1, _BLOCK // len(learned))
    for start in range(0, len(tested), size):
        block = slice(start, start + size)
        product = _unit(vectors[tested[block]]) @ against
        best = product.argmax(axis=1)
        nearest[block], cosine[block] = learned[best], product[np.arange(len(best)), best]
    return nearest, cosine


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    long = vectors.astype(np.float32)
    unit: NDArray[np.float32] = long / np.maximum(np.linalg.norm(long, axis=1, keepdims=True), 1e-12)
    return unit
