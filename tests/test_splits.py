"""Splits: no cluster on two sides, shares met, the same whatever the order of the rows."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.splits import SHARES, assign, clusters, partition
from tasks.errors import InputError


def queries(**columns):
    n = len(next(iter(columns.values())))
    frame = pd.DataFrame(
        {
            "query_id": [f"q{i}" for i in range(n)],
            "task": ["t"] * n,
            "domain": ["id"] * n,
            **{name: pd.Series([None] * n, dtype=object) for name in ("text", "passage", "cluster_id", "split")},
        }
    )
    return frame.assign(**columns)


def parted(frame, seed=0, keep_leaks=False):
    frame = frame.assign(cluster_id=clusters(frame))
    parts = partition(frame, seed, keep_leaks)
    return frame.assign(split=parts.split)[parts.keep], parts


rows = st.lists(
    st.tuples(st.integers(0, 30), st.one_of(st.none(), st.integers(0, 12)), st.sampled_from("abc")),
    min_size=1,
    max_size=80,
)


def made(drawn):
    return queries(
        text=[f"Question  {text}" if i % 2 else f"question {text} " for i, (text, _, _) in enumerate(drawn)],
        passage=[None if passage is None else f"passage {passage}" for _, passage, _ in drawn],
        task=[task for _, _, task in drawn],
    )


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 5))
def test_neither_a_question_nor_a_passage_stands_on_two_sides(drawn, seed):
    frame, parts = parted(made(drawn), seed)
    assert parts.keep.all()
    assert set(frame["split"]) <= set(SHARES)
    question = frame["text"].str.split().str.join(" ").str.lower()
    for key in (frame["cluster_id"], frame["passage"], question):
        assert frame.groupby(key)["split"].agg(lambda parts: len(set(parts)) == 1).all()


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(drawn, seed, random):
    frame = made(drawn)
    order = list(range(len(frame)))
    random.shuffle(order)
    first, _ = parted(frame, seed)
    again, _ = parted(frame.iloc[order].reset_index(drop=True), seed)
    columns = ["query_id", "cluster_id", "split"]
    pd.testing.assert_frame_equal(
        first[columns],
        again[columns].sort_values("query_id", key=lambda ids: ids.str[1:].astype(int)).reset_index(drop=True),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=200), st.integers(0, 3))
def test_shares_are_met_to_within_a_cluster_and_no_part_is_empty(sizes, seed):
    cluster = pd.Series(np.repeat([f"c{i}" for i in range(len(sizes))], sizes))
    task = pd.Series(np.repeat([f"t{i % 3}" for i in range(len(sizes))], sizes))
    split = assign(cluster, task, SHARES, seed)
    for part, share in SHARES.items():
        n = (split == part).sum()
        assert n > 0
        assert abs(n - share * len(split)) <= 2 * max(sizes)


def test_shares_are_exact_overall_and_close_in_every_task():
    cluster = pd.Series([f"c{i}" for i in range(1000)])
    task = pd.Series(["small" if i < 50 else "large" for i in range(1000)])
    split = pd.Series(assign(cluster, task, SHARES, 0))
    assert split.value_counts().to_dict() == {"test": 500, "train": 400, "validation": 100}
    assert split[:50].value_counts().to_dict() == pytest.approx({"test": 25, "train": 20, "validation": 5}, abs=1)


def test_the_seed_decides():
    cluster, task = pd.Series([f"c{i}" for i in range(100)]), pd.Series(["t"] * 100)
    assert (assign(cluster, task, SHARES, 1) == assign(cluster, task, SHARES, 1)).all()
    assert (assign(cluster, task, SHARES, 1) != assign(cluster, task, SHARES, 2)).any()


def test_five_queries_fill_three_parts():
    assert set(assign(pd.Series(list("abcde")), pd.Series(["t"] * 5), SHARES, 0)) == set(SHARES)


def test_a_cluster_is_the_hash_of_the_passage_the_question_or_the_id():
    def digest(text):
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    frame = queries(
        text=["Who  IS it?", "why", None, "where"],
        passage=["A passage", None, None, None],
        cluster_id=[None, None, None, "mine"],
    )
    assert clusters(frame).tolist() == [digest("a passage"), digest("why"), digest("q2"), "mine"]


def test_clusters_that_share_a_question_are_one():
    frame = queries(text=["Same?", "same?", "other"], cluster_id=["b", "a", "b"])
    assert clusters(frame).tolist() == ["a", "a", "a"]


def test_queries_without_text_are_no_duplicates_of_each_other():
    assert clusters(queries(text=[None, None])).nunique() == 2


def test_questions_of_test_leave_train():
    frame = queries(text=["one", "two", "three", "ONE ", "four"], split=["train"] * 3 + ["test"] * 2)
    left, parts = parted(frame)
    assert (parts.n_leaked, parts.n_leaks) == (1, 1)
    assert left["query_id"].tolist() == ["q1", "q2", "q3", "q4"]
    kept, parts = parted(frame, keep_leaks=True)
    assert (parts.n_leaked, parts.n_leaks, len(kept)) == (1, 1, 5)


def test_a_passage_shared_with_test_leaves_train_and_validation():
    frame = queries(text=list("abcd"), passage=["p", "p", "r", "p"], split=["train", "validation", "train", "test"])
    left, parts = parted(frame)
    assert left["query_id"].tolist() == ["q2", "q3"]
    assert (parts.n_leaked, parts.n_leaks) == (1, 2)


def test_validation_is_a_fifth_of_train_where_the_data_name_none():
    frame = queries(text=[f"question {i}" for i in range(150)], split=["train"] * 100 + ["test"] * 50)
    left, _ = parted(frame)
    assert left["split"].value_counts().to_dict() == {"train": 80, "test": 50, "validation": 20}
    assert (left["split"][100:] == "test").all()


def test_given_parts_stay_as_they_are():
    given_parts = ["train", "validation", "test", "train"]
    left, parts = parted(queries(text=list("abcd"), split=given_parts))
    assert left["split"].tolist() == given_parts
    assert parts.rule == "as the data name them"


def test_no_router_trains_on_a_held_out_task():
    frame = queries(text=list("abcdefgh"), task=["in"] * 4 + ["out"] * 4, domain=["id"] * 4 + ["ood"] * 4)
    assert (parted(frame)[0]["split"][4:] == "test").all()
    named = frame.assign(split=["train", "train", "train", "test"] * 2)
    left, parts = parted(named)
    assert parts.n_held_out == 3
    assert left["split"][left["domain"] == "ood"].tolist() == ["test"]


def test_a_question_shared_with_a_held_out_task_is_not_trained_on():
    frame = queries(
        text=["same", "other", "more", "still", "Same"], task=["in"] * 4 + ["out"], domain=["id"] * 4 + ["ood"]
    )
    assert parted(frame)[0].set_index("query_id")["split"]["q0"] == "test"


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (["train", None, "test"], "name no part"),
        (["train", "train", "validation"], "none of test"),
    ],
)
def test_half_named_parts_are_refused(split, said):
    with pytest.raises(InputError, match=said):
        parted(queries(text=list("abc"), split=split))
