"""A suite is validated whole: round trips keep every value, and whatever is off is named."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import storage
from tasks.errors import InputError
from tasks.suite import Suite
from tests.toys import toy_suite


def assert_same(left: Suite, right: Suite) -> None:
    assert left.manifest == right.manifest
    pd.testing.assert_frame_equal(left.queries, right.queries, check_dtype=False)
    for name in ("outcomes", "samples", "verifications", "posteriors"):
        mine, theirs = getattr(left, name), getattr(right, name)
        assert mine.keys() <= theirs.keys()
        for key, values in mine.items():
            np.testing.assert_array_equal(values, theirs[key])
    assert left.self_routes.keys() == right.self_routes.keys()
    for key, table in left.self_routes.items():
        for name, values in table.items():
            np.testing.assert_array_equal(values, right.self_routes[key][name])
    assert left.embeddings.keys() == right.embeddings.keys()
    for kind, vectors in left.embeddings.items():
        np.testing.assert_array_equal(vectors, right.embeddings[kind])


def test_every_table_survives_the_round_trip(simulated: Suite, simulated_dir: Path) -> None:
    assert_same(simulated, storage.load(simulated_dir))


def test_sparse_tables_text_and_flags_survive(tmp_path: Path) -> None:
    gaps = np.array([[10.0, np.nan], [np.nan, 10.0], [10.0, 10.0]], dtype=np.float32)
    suite = toy_suite(
        [[0, 1], [1, 0.5], [1, 1]],
        outcomes={
            "answer": np.array([["x", None], ["y", "ü"], [None, ""]], dtype=object),
            "parsed": np.array([[1, 0], [1, -1], [0, 1]], dtype=np.int8),
            "completion_tokens": np.array([[3, np.nan], [0, 5], [1, 2]], dtype=np.float32),
        },
        samples={"n": gaps, "n_correct": gaps - 4, "n_modal": gaps - 2},
        verifications={"n_yes": gaps - 9, "n_valid": gaps - 1},
    )
    storage.save(suite, tmp_path / "s")
    assert_same(suite, storage.load(tmp_path / "s"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.randoms(use_true_random=False))
def test_row_order_on_disk_does_not_matter(n: int, k: int, random: Any) -> None:
    import tempfile

    suite = toy_suite([[random.random() for _ in range(k)] for _ in range(n)])
    with tempfile.TemporaryDirectory() as folder:
        storage.save(suite, Path(folder) / "s")
        path = Path(folder) / "s" / "outcomes.parquet"
        frame = pq.read_table(path).to_pandas()
        order = list(range(len(frame)))
        random.shuffle(order)
        plain = frame.iloc[order].astype({"query_id": str, "model": str})
        pq.write_table(pa.Table.from_pandas(plain, preserve_index=False), path)
        np.testing.assert_array_equal(storage.load(Path(folder) / "s").correct, suite.correct)


def test_same_suite_same_bytes(simulated: Suite, simulated_dir: Path, tmp_path: Path) -> None:
    storage.save(simulated, tmp_path / "again")
    assert storage.load(tmp_path / "again").sha256 == storage.load(simulated_dir).sha256


def test_models_are_ordered_by_cost_then_size_then_name() -> None:
    suite = toy_suite([[0, 1, 0]], costs=[0.5, 0.5, 0.1])
    assert suite.pool.names == ("c", "a", "b")


def test_strata_follow_the_full_pool() -> None:
    suite = toy_suite([[0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    expected = {"easy": [0, 1, 0, 1], "hard": [1, 0, 1, 0], "unsolvable": [0, 0, 1, 0], "solved_by_all": [0, 0, 0, 1]}
    for pool in (suite, suite.subset(["d", "e"]), suite.subset(["d", "e"]).subset(["e"])):
        assert {name: mask.astype(int).tolist() for name, mask in pool.strata.items()} == expected


def test_subset_keeps_columns_in_step(simulated: Suite) -> None:
    three = simulated.subset(["qwen2.5-14b", "qwen2.5-1.5b", "qwen2.5-3b"])
    np.testing.assert_array_equal(three.correct, simulated.correct[:, [1, 2, 4]])
    np.testing.assert_array_equal(three.posteriors["answer"], simulated.posteriors["answer"][:, [1, 2, 4]])
    assert "answer/qwen2.5-7b" not in three.embeddings
    assert "answer/qwen2.5-3b" in three.embeddings


def sampled_suite() -> Suite:
    """Two questions, two models, of which the second question was sampled from the first model only."""
    n, right = (np.array(rows, dtype=np.float32) for rows in ([[2, 2], [2, np.nan]], [[1, 2], [0, np.nan]]))
    rows = [("q0", "a", 0, "x", 1.0), ("q0", "a", 1, "ü", 0.0), ("q0", "b", 0, "x", 1.0), ("q0", "b", 1, "x", 0.5)]
    rows += [("q1", "a", 0, "", 0.0), ("q1", "a", 1, "y", 0.4)]
    replies = pd.DataFrame(rows, columns=["query_id", "model", "sample", "text", "correct"])
    counts = {"n": n, "n_correct": right, "n_modal": np.minimum(n, 1)}
    return toy_suite([[0, 1], [1, 0]], samples=counts, read_replies=lambda: replies.assign(completion_tokens=[1] * 6))


def test_sampled_replies_survive_and_lose_what_the_pool_loses(tmp_path: Path) -> None:
    suite = sampled_suite()
    storage.save(suite, tmp_path / "s")
    loaded = storage.load(tmp_path / "s")
    pd.testing.assert_frame_equal(loaded.replies, suite.replies, check_dtype=False)
    assert loaded.replies is loaded.replies
    one = loaded.subset(["a"])
    assert one.replies["text"].tolist() == ["x", "ü", "", "y"]
    storage.save(one, tmp_path / "one")
    assert set(storage.load(tmp_path / "one").replies["model"]) == {"a"}
    assert toy_suite([[0, 1]]).replies is None


def test_replies_are_read_only_when_asked_for_and_count_for_the_hash(tmp_path: Path) -> None:
    storage.save(sampled_suite(), tmp_path / "s")
    before = storage.load(tmp_path / "s")
    (tmp_path / "s" / "replies.parquet").write_bytes(b"no table")
    after = storage.load(tmp_path / "s")
    np.testing.assert_array_equal(after.correct, before.correct)
    assert after.sha256 != before.sha256
    with pytest.raises(InputError, match=r"replies.parquet cannot be read as Parquet"):
        _ = after.replies


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.replace({"query_id": {"q1": "q9"}}), "query_id 'q9' is unknown to this suite"),
        (lambda f: f.replace({"model": {"b": "gpt"}}), "model 'gpt' is unknown to this suite"),
        (lambda f: f.assign(sample=0), "row 1 gives a sample that another row has given"),
        (lambda f: f.drop(index=1), "n is not that of samples.parquet for query 'q0' × model 'a'"),
        (lambda f: f.assign(correct=1.0), "n_correct is not that of samples.parquet for query 'q0' × model 'a'"),
        (lambda f: f.assign(correct=2.0), "correct is 2.0 in row 0, outside"),
        (lambda f: f.drop(columns="text"), "no column text"),
        (lambda f: f.assign(prompt="x"), "unknown column prompt"),
    ],
)
def test_replies_that_do_not_fit_are_named(change: Any, message: str, tmp_path: Path) -> None:
    storage.save(sampled_suite(), tmp_path / "s")
    edit(tmp_path / "s" / "replies.parquet", change)
    with pytest.raises(InputError, match=f"replies.parquet: .*{message}"):
        _ = storage.load(tmp_path / "s").replies


def test_replies_nobody_counted_are_named(tmp_path: Path) -> None:
    storage.save(sampled_suite(), tmp_path / "s")
    (tmp_path / "s" / "samples.parquet").unlink()
    with pytest.raises(InputError, match=r"no samples.parquet that counts them"):
        _ = storage.load(tmp_path / "s").replies


def test_a_card_stands_beside_a_suite_and_is_no_part_of_it(tmp_path: Path) -> None:
    suite = toy_suite([[0, 1]])
    storage.save(suite, tmp_path / "bare")
    storage.save(suite, tmp_path / "carded", "# A card\n")
    assert (tmp_path / "carded" / "README.md").read_text() == "# A card\n"
    assert storage.load(tmp_path / "carded").sha256 == storage.load(tmp_path / "bare").sha256


def edit(path: Path, change: Any) -> None:
    frame = pq.read_table(path).to_pandas()
    for column in ("query_id", "model", "task", "text"):
        if column in frame:
            frame[column] = frame[column].astype(object)
    pq.write_table(pa.Table.from_pandas(change(frame), preserve_index=False), path)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def at(column: str, value: Any) -> Any:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[3, column] = value
        return frame.infer_objects()

    return change


BROKEN = {
    "a missing outcome": ("outcomes.parquet", lambda f: f.drop(index=3), "1 of 12 .* missing.*'q1' × model 'a'"),
    "a duplicated outcome": (
        "outcomes.parquet",
        lambda f: pd.concat([f, f.iloc[[3]]]),
        "'q1' × 'a' stands there twice",
    ),
    "an outcome above one": ("outcomes.parquet", at("correct", 1.5), "correct is 1.5 in row 3, outside"),
    "an outcome below zero": ("outcomes.parquet", at("correct", -1.0), "correct is -1.0 in row 3, outside"),
    "NaN": ("outcomes.parquet", at("correct", float("nan")), "correct (is NaN|has 1 empty)"),
    "text for a number": ("outcomes.parquet", lambda f: f.assign(correct="yes"), "holds .*string"),
    "an unknown column": ("outcomes.parquet", lambda f: f.assign(score=1), "unknown column score"),
    "a missing column": ("outcomes.parquet", lambda f: f.drop(columns="correct"), "no column correct"),
    "a foreign model": ("outcomes.parquet", lambda f: f.replace({"model": {"b": "gpt"}}), "names 'gpt'"),
    "a foreign query": ("outcomes.parquet", lambda f: f.replace({"query_id": {"q1": "q9"}}), "names 'q9'"),
    "a query twice": (
        "queries.parquet",
        lambda f: f.replace({"query_id": {"q1": "q0"}}),
        "query_id 'q0' stands there twice",
    ),
    "a foreign task": ("queries.parquet", lambda f: f.assign(task="t2"), "unknown task .*'t2'"),
    "a foreign split": ("queries.parquet", lambda f: f.assign(split="dev"), "holds 'dev' .allowed: train"),
    "the wrong domain": ("queries.parquet", lambda f: f.assign(domain="ood"), "task t is ood there, but id"),
    "an integer for text": ("queries.parquet", lambda f: f.assign(query_id=range(len(f))), "text is wanted"),
    "an infinite latency": ("outcomes.parquet", lambda f: f.assign(latency_s=np.inf), "latency_s is infinite"),
    "embeddings of some": ("embeddings.parquet", lambda f: f.drop(index=1), "wants one vector for each"),
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    storage.save(toy_suite(np.tile([[0, 1, 1], [1, 0, 1]], (2, 1))), tmp_path / "small")
    return tmp_path / "small"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_named(case: str, small: Path) -> None:
    file, change, message = BROKEN[case]
    if file == "embeddings.parquet":
        table = pq.read_table(small / file)
        pq.write_table(table.take([0, 2, 3]), small / file)
    else:
        edit(small / file, change)
    with pytest.raises(InputError, match=message) as caught:
        storage.load(small)
    assert file in str(caught.value) or file.removesuffix(".parquet") in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing"])
@pytest.mark.parametrize("file", ["queries.parquet", "outcomes.parquet", "embeddings.parquet"])
def test_a_damaged_file_is_named(file: str, damage: str, small: Path) -> None:
    path = small / file
    if damage == "missing":
        path.unlink()
        if file == "embeddings.parquet":
            edit_json(small / "suite.json", encoders={})
            assert storage.load(small).embeddings == {}
            return
    else:
        path.write_bytes(path.read_bytes()[:-20] if damage == "truncated" else b"query_id,model,correct\nq0,a,1\n")
    with pytest.raises(InputError, match=file):
        storage.load(small)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "layout version 2 is unknown"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"name": "../up"}, "a suite.s name is letters"),
        ({"kind": "guessed"}, "kind: Input should be"),
        ({"pool": []}, "at least one model"),
        ({"pool": [{"model": "a", "cost": 1.5}]}, "pool.0.cost"),
        ({"pool": [{"model": "a", "cost": 0.1}] * 2}, "names every model once"),
        ({"tasks": []}, "names one task or more"),
        ({"rejection_fraction": {"z": 0.1}}, "unknown model of rejection_fraction 'z'"),
        ({"encoders": {"query/small": {"name": "x", "alias_of": "query/none"}}}, "alias of query/none"),
    ],
)
def test_a_broken_manifest_is_named(changes: dict[str, Any], message: str, small: Path) -> None:
    edit_json(small / "suite.json", **changes)
    with pytest.raises(InputError, match=message):
        storage.load(small)


VECTORS = {
    "text": pa.array([["a", "b"]] * 4, pa.list_(pa.string(), 2)),
    "a lone list": pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32())),
    "bytes without a scale": pa.array([[1, 2]] * 4, pa.list_(pa.int8(), 2)),
    "an empty vector": pa.array([[1.0, 2.0]] * 3 + [None], pa.list_(pa.float32(), 2)),
    "an empty part": pa.array([[1.0, 2.0]] * 3 + [[1.0, None]], pa.list_(pa.float32(), 2)),
    "a number too large": pa.array([[1.0, 1e300]] * 4, pa.list_(pa.float64(), 2)),
}


@pytest.mark.parametrize("case", VECTORS)
def test_odd_vectors_are_named(case: str, small: Path) -> None:
    table = pa.table({"query_id": [f"q{i}" for i in range(4)], "kind": ["query/small"] * 4, "vector": VECTORS[case]})
    pq.write_table(table, small / "embeddings.parquet")
    with pytest.raises(InputError, match="embeddings"):
        storage.load(small)


def test_bytes_beside_a_scale_are_vectors(small: Path) -> None:
    table = pa.table(
        {
            "query_id": [f"q{i}" for i in range(4)],
            "kind": ["query/small"] * 4,
            "vector": pa.array([[1, -2]] * 4, pa.list_(pa.int8(), 2)),
            "scale": [0.5, 1.0, 2.0, 4.0],
        }
    )
    pq.write_table(table, small / "embeddings.parquet")
    assert storage.load(small).embeddings["query/small"].tolist() == [[0.5, -1], [1, -2], [2, -4], [4, -8]]


def test_no_json_and_no_suite_are_named(small: Path, tmp_path: Path) -> None:
    for broken in ("{", "[" * 100_000, "\xff"):
        (small / "suite.json").write_bytes(broken.encode("latin-1"))
        with pytest.raises(InputError, match="Invalid JSON"):
            storage.load(small)
    with pytest.raises(InputError, match="holds no suite.json"):
        storage.load(tmp_path)


def test_saving_replaces_a_suite_and_nothing_else(small: Path, tmp_path: Path) -> None:
    suite = storage.load(small)
    storage.save(suite, small)
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no suite.json, so it is left alone"):
        storage.save(suite, other)
    assert [p.name for p in other.iterdir()] == ["letter.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "small"]
    with pytest.raises(InputError, match="cannot be written"):
        storage.save(suite, other / "letter.txt" / "deeper")
    with pytest.raises(InputError, match="cannot be written"):
        storage.save(suite, tmp_path / ("x" * 300))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a link"):
        storage.save(suite, tmp_path / "link")


def test_a_full_disk_is_one_line_and_what_stood_there_still_stands(small: Path, monkeypatch: Any) -> None:
    suite, before = storage.load(small), sorted(p.name for p in small.parent.iterdir())

    def full(*given: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(InputError, match=r"small cannot be written: No space left on device; free some space"):
            storage.save(suite, small)
    assert storage.load(small).sha256 == suite.sha256
    assert sorted(p.name for p in small.parent.iterdir()) == before


def test_counts_and_agents_must_agree() -> None:
    counts = {"n": np.full((1, 2), 5.0, dtype=np.float32), "n_correct": np.full((1, 2), 6.0, dtype=np.float32)}
    with pytest.raises(InputError, match="n_correct exceeds n for query 'q0'"):
        toy_suite([[0, 1]], samples=counts | {"n_modal": counts["n"]})
    agents = {"rejected": np.array([[1, -1]], dtype=np.int8), "correct": np.full((1, 2), np.nan, dtype=np.float32)}
    with pytest.raises(InputError, match="rejection_fraction lacks a"):
        toy_suite([[0, 1]], self_routes={("rl", "balance"): agents})
    scored = agents | {"correct": np.array([[1, np.nan]], dtype=np.float32)}
    with pytest.raises(InputError, match="wants correct where the agent answered"):
        toy_suite([[0, 1]], self_routes={("rl", "balance"): scored}, rejection_fraction={"a": 0.1})
