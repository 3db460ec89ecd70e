"""The ten data sets: records, prompts, scores, reading of local files, hub rows, and the lm-eval tasks made of them."""

import csv
import gzip
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tasks import catalog
from tasks.catalog import DATA_SETS, Item
from tasks.errors import InputError
from tasks.lm_eval import hub

ROOT = Path(__file__).resolve().parent.parent
TASKS = ROOT / "tasks" / "lm_eval"
CHOICES = [name for name, known in DATA_SETS.items() if known.kind == "choice"]


def made(task: str, **changes: Any) -> Item:
    """Return a made-up item of a data set."""
    kind = DATA_SETS[task].kind
    answer = {"choice": ("C",), "number": ("1250",), "span": ("the old mill", "mill")}[kind]
    options = ("a lantern", "the wind", "salt water", "none") if kind == "choice" else ()
    passage = "The old mill stood by the sea." if kind == "span" else None
    return replace(Item("i1", task, "test", passage, "What floats a boat best?", options, answer), **changes)


def record(item: Item) -> dict[str, Any]:
    """Return the JSON record of an item as the local files have it."""
    kind = DATA_SETS[item.task].kind
    gold = list(item.answer) if kind == "span" else item.answer[0]
    return {**asdict(item), "choices": list(item.choices) or None, "answer": gold}


def write(directory: Path, name: str, *lines: str) -> Path:
    file = directory / f"{name}.jsonl.gz"
    file.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return file


def test_the_records_are_those_of_the_paper() -> None:
    published = list(csv.DictReader((ROOT / "bench" / "published" / "datasets.csv").read_text().splitlines()))
    assert [(row["task"], row["domain"]) for row in published] == [(d.name, d.domain) for d in DATA_SETS.values()]
    sizes = {row["task"]: (int(row["n_train"]), int(row["n_test"])) for row in published}
    differing = {name for name, known in DATA_SETS.items() if sizes[name] != (known.n_train, known.n_test)}
    assert differing == {"mmlu", "race_high", "drop", "squad"}


@pytest.mark.parametrize("known", DATA_SETS.values(), ids=lambda known: known.name)
def test_every_record_is_complete(known: catalog.DataSet) -> None:
    task = known.task()
    assert task.name == known.name
    assert task.chance == known.chance == (0.25 if known.kind == "choice" else 0.0)
    assert task.licence
    assert task.description
    assert re.fullmatch(r"[\w-]+/[\w-]+", known.hub)
    assert known.instruction.endswith(".")
    assert ("[A, B, C, D]" in known.instruction) == (known.kind == "choice")


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_prompt_is_instruction_passage_question_options(name: str) -> None:
    item = made(name, context="A passage.")
    instruction, passage, question = catalog.prompt(item).split("\n\n")
    assert instruction == DATA_SETS[name].instruction
    assert passage == "Passage: A passage."
    options = "\nA. a lantern\nB. the wind\nC. salt water\nD. none" if name in CHOICES else ""
    assert question == f"{'Text' if name == 'hellaswag' else 'Question'}: What floats a boat best?{options}"
    assert catalog.prompt(replace(item, context=None)) == f"{instruction}\n\n{question}"


@pytest.mark.parametrize("name", DATA_SETS)
def test_scores(name: str) -> None:
    item = made(name)
    assert catalog.score(f"Let me think.\nThe final answer is: {item.answer[0]}.", item)[0] == 1.0
    assert catalog.score("", item) == (0.0, None)
    assert catalog.score("I don't know!", item) == (0.0, None)


def test_what_counts_as_right() -> None:
    assert catalog.score("It is salt water.", made("arc_challenge")) == (1.0, "C")
    assert catalog.score("Answer: B", made("arc_challenge")) == (0.0, "B")
    assert catalog.score("$1,250.00", made("gsm8k")) == (1.0, "1250")
    assert catalog.score("1250.5", made("gsm8k")) == (0.0, "1250.5")
    assert catalog.score("Mill!", made("squad")) == (1.0, "Mill!")
    assert catalog.score("John Brown", made("squad", answer=("John Smith",))) == (0.0, "John Brown")
    assert catalog.score("young John Smith", made("squad", answer=("John Smith",)))[0] == 1.0
    assert catalog.score("12 yards", made("drop", answer=("14 yards",)))[0] == 0.0
    assert catalog.score("Ann and Bob", made("drop", answer=("Bob and Ann",)))[0] == 1.0


def test_items_on_one_passage_are_one_cluster() -> None:
    one, two = made("squad"), made("squad", question="Where did it stand?")
    assert one.cluster_id == two.cluster_id != replace(two, context=None).cluster_id
    assert made("mmlu").cluster_id != made("mmlu", choices=("1", "2", "3", "4")).cluster_id


@pytest.mark.parametrize("name", DATA_SETS)
def test_reading_gives_back_what_was_written(tmp_path: Path, name: str) -> None:
    items = [made(name, id=f"i{i}", split="train" if i < 2 else "test", subject=None) for i in range(5)]
    lines = [json.dumps(record(item)) for item in items]
    file = write(tmp_path, name, *lines)
    assert catalog.read(tmp_path, name, "train") == items[:2]
    assert catalog.read(tmp_path, name, "test", limit=2) == items[2:4]
    assert len(catalog.read(tmp_path, name, "test", limit=99)) == 3
    file.unlink()
    (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert catalog.read(tmp_path, name, "test") == items[2:]


GOOD = record(made("mmlu"))
BAD_LINES = {
    "not JSON": '{"id": ',
    "not an item of mmlu": json.dumps({**GOOD, "task": "squad"}),
    "it is not an item": "[]",
    "no answer": json.dumps({key: value for key, value in GOOD.items() if key != "answer"}),
    "answer is None": json.dumps({**GOOD, "answer": None}),
    "answer is ''": json.dumps({**GOOD, "answer": ""}),
    "answer is 3": json.dumps({**GOOD, "answer": 3}),
    "4 options": json.dumps({**GOOD, "answer": "E"}),
    "0 options": json.dumps({**GOOD, "choices": None}),
    "options are": json.dumps({**GOOD, "choices": ["a", 2, "c"]}),
    "question is ' '": json.dumps({**GOOD, "question": " "}),
    "context is 7": json.dumps({**GOOD, "context": 7}),
    "split is 'dev'": json.dumps({**GOOD, "split": "dev"}),
}


@pytest.mark.parametrize(("message", "line"), BAD_LINES.items(), ids=BAD_LINES)
def test_a_damaged_line_is_named(tmp_path: Path, message: str, line: str) -> None:
    write(tmp_path, "mmlu", json.dumps(GOOD), line)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        catalog.read(tmp_path, "mmlu", "test")
    assert "mmlu.jsonl.gz, line 2: " in str(error.value)
    assert "\n" not in str(error.value)


def test_gold_numbers_are_numbers(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", json.dumps({**record(made("gsm8k")), "answer": "many"}))
    with pytest.raises(InputError, match=r"line 1: its answer is 'many', but must be a number"):
        catalog.read(tmp_path, "gsm8k", "test")


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-20], lambda data: b"plain text", lambda data: data[:15] + b"\xff" * 9 + data[24:]],
    ids=["cut off", "not gzip", "overwritten"],
)
def test_a_damaged_file_is_an_input_error(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = write(tmp_path, "mmlu", json.dumps(GOOD))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"mmlu.jsonl.gz"):
        catalog.read(tmp_path, "mmlu", "test")


def test_wrong_encodings_missing_files_and_empty_splits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no squad.jsonl.gz; name the data sets"):
        catalog.read(tmp_path, "squad", "test")
    with pytest.raises(InputError, match=r"did you mean 'squad'"):
        catalog.read(tmp_path, "sqad", "test")
    write(tmp_path, "squad", json.dumps(record(made("squad"))))
    with pytest.raises(InputError, match=r"holds no train item"):
        catalog.read(tmp_path, "squad", "train")
    with pytest.raises(InputError, match=r"limit"):
        catalog.read(tmp_path, "squad", "test", limit=0)
    (tmp_path / "mmlu.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(InputError, match=r"damaged at line 1"):
        catalog.read(tmp_path, "mmlu", "test")


DATED = {"number": "", "spans": [], "date": {"day": "4", "month": "May", "year": "1871"}}
NO_DATE = {"day": "", "month": "", "year": ""}
OPTIONS = ["a lantern", "the wind", "salt water", "none"]
HUB_ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gsm8k": ({"question": "How many?", "answer": "5*250=1,250\n#### 1,250"}, {"answer": ("1250",)}),
    "arc_challenge": (
        {"id": "m7", "question": "What?", "choices": {"text": OPTIONS, "label": list("1234")}, "answerKey": "3"},
        {"id": "m7", "answer": ("C",)},
    ),
    "mmlu": (
        {"question": "What?", "choices": OPTIONS, "answer": 3, "subject": "boats"},
        {"answer": ("D",), "subject": "boats"},
    ),
    "race_high": (
        {"example_id": "high1.txt", "article": "A boat.", "question": "What _ ?", "options": OPTIONS, "answer": "B"},
        {"context": "A boat.", "answer": ("B",)},
    ),
    "openbookqa": (
        {"id": "7-1", "question_stem": "It", "choices": {"text": OPTIONS, "label": list("ABCD")}, "answerKey": "A"},
        {"question": "It", "answer": ("A",)},
    ),
    "drop": (
        {
            "query_id": "q",
            "passage": "A boat.",
            "question": "When?",
            "answer": DATED,
            "validated_answers": {
                "number": ["", "7", ""],
                "spans": [["Ann", "Bob"], [], []],
                "date": [NO_DATE, NO_DATE, NO_DATE],
            },
        },
        {"answer": ("4 May 1871", "Ann and Bob", "7")},
    ),
    "cosmosqa": (
        {"id": "x", "context": "A boat.", "question": "Why?", "label": 1}
        | {f"answer{i}": option for i, option in enumerate(OPTIONS)},
        {"choices": tuple(OPTIONS), "answer": ("B",)},
    ),
    "squad": (
        {"id": "s", "context": "A boat.", "question": "What?", "answers": {"text": ["boat", "a boat", "boat"]}},
        {"answer": ("boat", "a boat")},
    ),
    "hellaswag": (
        {"activity_label": "Boating", "ctx": "[header] How to row [title] Sit. ", "endings": OPTIONS, "label": "2"},
        {"question": "Boating: How to row. Sit.", "answer": ("C",)},
    ),
    "headqa": (
        {
            "name": "Exam_1",
            "qid": 12,
            "qtext": "Which?",
            "ra": 2,
            "category": "boats",
            "answers": [{"aid": i + 1, "atext": option} for i, option in enumerate(OPTIONS)],
        },
        {"id": "Exam_1-12", "answer": ("B",), "subject": "boats"},
    ),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_hub_rows_become_the_same_items(name: str) -> None:
    row, expected = HUB_ROWS[name]
    item = hub.item(name, "test", "row-1", row)
    assert asdict(item) == asdict(replace(item, **expected))
    assert catalog.score(f"The final answer is: {item.answer[-1]}", item)[0] == 1.0


def test_a_hub_row_without_an_answer_is_an_input_error() -> None:
    row = {**HUB_ROWS["squad"][0], "answers": {"text": []}}
    with pytest.raises(InputError, match=r"its answer is \[\]"):
        hub.item("squad", "test", "row-1", row)


def task_file(name: str) -> dict[str, Any]:
    """Return a task's YAML joined with the shared one; functions are given by their names."""

    class Loader(yaml.SafeLoader):
        """Knows lm-eval's own tag."""

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    own = yaml.load((TASKS / f"{name}.yaml").read_text(), Loader)  # noqa: S506  (a SafeLoader with one tag more)
    shared = yaml.load((TASKS / own.pop("include")).read_text(), Loader)  # noqa: S506
    return {**shared, **own}


def lm_eval_functions() -> Any:
    """Return utils.py, loaded by its path as lm-eval does."""
    spec = importlib.util.spec_from_file_location("lm_eval_utils", TASKS / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_one_task_file_for_every_data_set() -> None:
    names = {file.stem for file in TASKS.glob("*.yaml")} - {"_default"}
    assert names == {f"disrouter_{name}" for name in DATA_SETS}


@pytest.mark.parametrize("known", DATA_SETS.values(), ids=lambda known: known.name)
def test_task_files_agree_with_the_catalog(known: catalog.DataSet) -> None:
    task = task_file(f"disrouter_{known.name}")
    assert task["task"] == f"disrouter_{known.name}"
    assert (task["dataset_path"], task.get("dataset_name")) == (known.hub, known.configuration)
    assert (task["test_split"], task["dataset_kwargs"]) == (known.splits[1], {"task": known.name})
    assert task["generation_kwargs"]["max_gen_toks"] == 512
    assert task["num_fewshot"] == 0
    assert task["metadata"] == {"version": 1.0}
    functions = lm_eval_functions()
    for key in ("custom_dataset", "doc_to_text", "doc_to_target", "process_results"):
        module, name = task[key].split(".")
        assert module == "utils"
        assert callable(getattr(functions, name))


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_functions_of_the_tasks(name: str) -> None:
    functions, item = lm_eval_functions(), made(name)
    doc = json.loads(json.dumps(asdict(item)))
    assert functions.doc_to_text(doc) == catalog.prompt(item)
    assert functions.doc_to_target(doc) == item.answer[0]
    assert functions.process_results(doc, [f"Answer: {item.answer[0]}"]) == {"acc": 1.0, "parsed": 1.0}
    assert functions.process_results(doc, [""]) == {"acc": 0.0, "parsed": 0.0}
    metrics = [metric["metric"] for metric in task_file(f"disrouter_{name}")["metric_list"]]
    assert metrics == ["acc", "parsed"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_lm_eval_builds_the_task(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="needs lm-eval (pip install lm-eval)")
    from lm_eval.tasks import TaskManager

    write(tmp_path, name, json.dumps(record(made(name))))
    monkeypatch.setenv("DISROUTER_DATA_DIR", str(tmp_path))
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    loaded = manager.load([f"disrouter_{name}"])
    (task,) = loaded["tasks"].values() if "tasks" in loaded else loaded.values()
    (doc,) = task.test_docs()
    assert task.doc_to_text(doc) == catalog.prompt(made(name))
    assert task.process_results(doc, [f"Answer: {made(name).answer[0]}"]) == {"acc": 1.0, "parsed": 1.0}


@pytest.fixture(scope="module")
def real_data() -> Path:
    """Samples of the real data sets; they lie beside the project on its makers' machines only."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip("needs ../shared/datasets, samples of the ten data sets")
    return folder


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_real_samples(real_data: Path, name: str) -> None:
    table = re.search(rf"^\| {name} \| (\d+) \| (\d+) \|", (real_data / "SOURCES.md").read_text(), re.MULTILINE)
    assert table is not None
    for split, count in (("train", int(table[1])), ("test", int(table[2]))):
        items = catalog.read(real_data, name, split) if count else []  # type: ignore[arg-type]
        assert len(items) == count
        assert len({item.id for item in items}) == count
        for item in items:
            for gold in item.answer:
                assert catalog.score(f"The final answer is: {gold}.", item)[0] == 1.0, (item.id, gold)


@pytest.mark.parametrize(
    ("model", "agreement"), [("mistralai/Mixtral-8x7B-Instruct-v0.1", 0.99), ("gpt-4-1106-preview", 0.97)]
)
def test_real_replies_are_judged_as_their_recorders_did(
    real_data: Path, peer_data: Path, model: str, agreement: float
) -> None:
    """Those who recorded them missed right answers such as "$4.00", which is most of the difference."""
    recorded = pd.read_csv(peer_data / "routellm" / "gsm8k_responses.csv.gz").set_index("prompt")
    items = [item for item in catalog.read(real_data, "gsm8k", "test") if item.question in recorded.index]
    assert len(items) > 400
    replies = [recorded.loc[item.question, f"{model}_response"] for item in items]
    correct, parsed = zip(*map(catalog.score, replies, items), strict=True)
    assert None not in parsed
    assert np.mean(np.array(correct) == recorded.loc[[item.question for item in items], model]) >= agreement
