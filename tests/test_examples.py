"""What agents are trained on: who is to answer what, in which words, in equal parts, and never the same thing twice."""

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.assemble import assemble
from bench.items import items
from bench.raw import RawReplies
from routers.disrouter import prompts as agent
from routers.disrouter.examples import COLUMNS, Examples, accepts, build
from routers.disrouter.extract import by_marks, by_model
from tasks import catalog, graded, prompts, storage
from tasks.errors import InputError
from tasks.scenarios import SCENARIOS
from tasks.suite import Suite
from tests.test_collect import ITEMS, POOL, record
from tests.toys import toy_suite

QUESTIONS = graded.questions("addition", "train", 40)
THRESHOLDS = {"performance_first": Fraction(4, 5), "balance": Fraction(1, 2), "cost_first": Fraction(1, 5)}


def suite_of(n_correct: Any, n: int = 10, wordings: int = 10, model: str = "a") -> Suite:
    """Additions, each sampled n times by model a of two; right replies come in so many `wordings`, in turn."""
    asked = QUESTIONS[: len(n_correct)]
    rows = [
        (q.query_id, model, i, f"Way {i % wordings}. The final answer is: {int(q.answer) + (i >= right)}.", i < right)
        for q, right in zip(asked, n_correct, strict=True)
        for i in range(n)
    ]
    drawn = pd.DataFrame(rows, columns=["query_id", "model", "sample", "text", "correct"]).astype({"correct": float})
    counts = np.full((len(asked), 2), np.nan)
    counts[:, "ab".index(model)] = n_correct
    samples = {"n": np.where(np.isnan(counts), np.nan, n), "n_correct": counts, "n_modal": counts}
    bare = toy_suite(np.zeros((len(asked), 2)), tasks=["addition"] * len(asked), splits="train", samples=samples)
    known = {"query_id": [q.query_id for q in asked], "text": [q.text for q in asked]}
    return replace(bare, queries=bare.queries.assign(**known), read_replies=lambda: drawn)


def mixed(**changes: Any) -> Suite:
    return suite_of([0, 1, 3, 5, 7, 8, 10, 10], **changes)


def cells(made: Examples) -> dict[Any, pd.DataFrame]:
    return dict(iter(made.table.groupby(["scenario", "action"])))


# --- who answers what -----------------------------------------------------------------------------------------------


@given(st.integers(1, 100), st.integers(0, 100))
def test_a_question_is_answered_from_the_threshold_on_however_floats_round(n: int, percent: int) -> None:
    for n_correct in range(n + 1):
        exact = Fraction(n_correct, n) >= 1 - Fraction(percent, 100)
        assert accepts(n_correct, n, percent / 100) == exact


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=1, max_size=16)),
    ),
    st.integers(1, 4),
    st.integers(6, 200),
    st.integers(0, 3),
)
def test_parts_are_equal_balanced_and_never_padded(drawn: Any, wordings: int, total: int, seed: int) -> None:
    n, n_correct = drawn
    suite = suite_of(n_correct, n, wordings)
    right = dict(zip(suite.queries["query_id"], n_correct, strict=True))
    answered = {name: {q for q, c in right.items() if Fraction(c, n) >= t} for name, t in THRESHOLDS.items()}
    supply = {
        (name, action): {q: min(right[q], wordings) if action == "accept" else 1 for q in chosen}
        for name, yes in answered.items()
        for action, chosen in (("accept", yes), ("reject", right.keys() - yes))
    }
    if not all(supply.values()):
        with pytest.raises(InputError, match=r"scenario \w+ has nothing for a to (accept|reject): 0 of \d+ sampled"):
            build(suite, "a", seed, total)
        return
    made = build(suite, "a", seed, total)
    each = min(total // 6, *(sum(by_query.values()) for by_query in supply.values()))
    assert {cell: len(rows) for cell, rows in cells(made).items()} == dict.fromkeys(supply, each)
    assert not made.table.duplicated(["prompt", "completion"]).any()
    for cell, rows in cells(made).items():
        given_by = Counter(rows["query_id"])
        assert given_by.keys() <= supply[cell].keys()
        for query_id, most in supply[cell].items():
            assert given_by[query_id] == most or given_by[query_id] >= max(given_by.values()) - 1
        rejected = rows["completion"] == agent.REJECTION
        assert rejected.all() if cell[1] == "reject" else not rows["completion"].map(agent.rejects).any()
    assert made.statistics["wanted"] == total >= made.statistics["made"] == 6 * each


def test_prompts_and_completions_say_what_agents_are_asked_and_were_right_about() -> None:
    suite = mixed()
    made = build(suite, "a")
    answers = {q.query_id: q.answer for q in QUESTIONS}
    texts = suite.queries.set_index("query_id")["text"]
    for row in made.table.itertuples():
        asked = f"{graded.PROMPT}\n\n{texts[row.query_id]}"
        assert row.prompt == agent.agent_prompt(row.scenario, asked)
        if row.action == "accept":
            assert row.completion.startswith("Let's think step by step: Way ")
            assert row.completion.endswith(f". The final answer is: {answers[row.query_id]}.")
    assert tuple(made.table) == COLUMNS


def test_the_same_seed_gives_the_same_examples_whatever_the_order_of_the_replies() -> None:
    suite = mixed()
    made = build(suite, "a", total=24)
    shuffled = suite.replies.sample(frac=1.0, random_state=1)  # type: ignore[union-attr]
    other_way = replace(suite, read_replies=lambda: shuffled)
    assert build(other_way, "a", total=24).table.equals(made.table)
    assert build(suite, "a", total=24, replies=shuffled).table.equals(made.table)
    assert not build(suite, "a", seed=1, total=24).table.equals(made.table)
    assert len({tuple(row) for row in made.table[["scenario", "action"]].head(6).to_numpy()}) > 1  # mixed


def test_the_statistics_tell_how_a_data_set_came_about(tmp_path: Path) -> None:
    suite = mixed()
    suite.queries.loc[2, "text"] = None
    suite.queries.loc[7, "text"] = suite.queries.loc[6, "text"]
    storage.save(suite, tmp_path / "suite")
    suite = storage.load(tmp_path / "suite")
    found = build(suite, "a", seed=3).statistics
    assert found == {
        "model": "a",
        "suite": "toy",
        "suite_sha256": suite.sha256,
        "seed": 3,
        "wanted": 10_000,
        "lacking": [],
        "made": 12,
        "examples": {name: {"accept": 2, "reject": 2} for name in sorted(SCENARIOS)},
        "tasks": {"addition": {"accept": 6, "reject": 6}},
        "distinct_queries": found["distinct_queries"],
        "mean_completion_words": {"accept": 12.0, "reject": 3.0},
        "thresholds": {"performance_first": 0.8, "balance": 0.5, "cost_first": 0.2},
        "questions": {
            "performance_first": {"accept": 2, "reject": 4},
            "balance": {"accept": 4, "reject": 2},
            "cost_first": {"accept": 4, "reject": 2},
        },
        "n_samples": {"10": 6},
        "skipped": {"question asked before": 1, "question without text": 1},
    }


# --- steps and answers ----------------------------------------------------------------------------------------------

CHOICE = "Question: Which is a fish?\nA. whale\nB. eel\nC. crab\nD. squid"
COT, FINAL = agent.STEPS, agent.ANSWER


@pytest.mark.parametrize(
    ("task", "reply", "steps", "answer"),
    [
        ("addition", "The final answer is: 12.", "", "12"),
        ("addition", "12", "", "12"),
        ("addition", "12.", "", "12"),
        ("addition", "So, the final answer is: 12", "", "12"),
        ("addition", "12. The final answer is: 12.", "", "12"),
        ("addition", "\\boxed{12}", "", "12"),
        ("addition", "5 + 7 = 12", "5 + 7 = 12", "12"),
        ("addition", "5 + 7 equals 12.\n\n**12**", "5 + 7 equals 12", "12"),
        ("addition", "5 + 7 = 12. Therefore, the final answer is: 12.", "5 + 7 = 12", "12"),
        ("addition", "5 + 7 = 12, so the answer is **12**.", "5 + 7 = 12", "12"),
        ("addition", "Let's think step by step: 5 + 7 = 12. The final answer is: 12.", "5 + 7 = 12", "12"),
        ("addition", "**Let’s think step-by-step.**\n\nIt is 12!\n\nAnswer: 12", "It is 12", "12"),
        ("addition", "1. Take 5.\n2. Add 7: 12.\n\n### Final answer:\n\n12", "1. Take 5.\n2. Add 7: 12", "12"),
        ("addition", "1. Add 5 and 7.\n2. The final answer is: 12.", "1. Add 5 and 7", "12"),
        ("addition", "5 + 7 = 12.\nThe final answer is: The final answer is: 12.", "5 + 7 = 12", "12"),
        ("addition", "The answer is 12.\n\n5 + 7 = 12.\n\nThe final answer is: 12.", "", "12"),
        ("addition", "The first answer is 5. Add 7.\nThe final answer is: 12.", "The first answer is 5. Add 7", "12"),
        ("addition", "5 and 7 make\n\\[ 5 + 7 = \\boxed{12} \\]", "5 and 7 make\n\\[ 5 + 7 = 12 \\]", "12"),
        ("addition", "5 + 7 = 12\nThus the answer is $\\boxed{12}$.", "5 + 7 = 12", "12"),
        ("addition", "Add them.\nThe final answer is:\n\\[\n\\boxed{12}\n\\]", "Add them", "12"),
        ("addition", "Add them. The final answer is: 5 and 7 make \\boxed{12}.", "Add them", "12"),
        ("addition", "The answer is 5, no. Add 7. The answer is 12.", "The answer is 5, no. Add 7", "12"),
        ("gsm8k", "He buys 2 * 6 = <<2*6=12>>12 pens.\n#### 12", "He buys 2 * 6 = <<2*6=12>>12 pens", "12"),
        ("gsm8k", "That is $1,200.50.\nAnswer: $1,200.50", "That is $1,200.50", "1200.5"),
        ("weekday", "The final answer is: Wednesday. They met 5 days earlier.", "", "Wednesday"),
        ("weekday", "Ada meets Leo on a Sunday.", "Ada meets Leo on a Sunday", "Sunday"),
        ("weekday", "Two days on.\nIn conclusion, the answer is a Sunday!", "Two days on", "Sunday"),
        ("order", "Ada is older than Leo. Leo is the youngest.", "Ada is older than Leo. Leo is the youngest", "Leo"),
        ("facts", "The capital of Colombia is Bogotá.", "The capital of Colombia is Bogotá", "Bogotá"),
        ("facts", "Paris is the capital of France.", "", "Paris"),
        ("letters", "The last letter is 'T'.", "The last letter is 'T'", "T"),
        ("openbookqa", "C", "", "C"),
        ("openbookqa", "B. eel", "", "B"),
        ("openbookqa", "Eels have gills.\n\nSo the best answer is B. eel", "Eels have gills", "B"),
        ("openbookqa", "Based on common sense, the most likely answer is (B).", "", "B"),
        ("openbookqa", "The final answer is: eel", "", "B"),
        ("squad", "He ran off.\nThe final answer is: the Old Mill.", "He ran off", "the Old Mill"),
        ("squad", "the Old Mill", "", "the Old Mill"),
    ],
)
def test_a_reply_is_taken_apart_and_reads_the_same_put_together(task: str, reply: str, steps: str, answer: str) -> None:
    text = {
        "order": "Ada is older than Leo. Who is the youngest?",
        "letters": "What is the last letter of 'cat'?",
        "openbookqa": CHOICE,
    }.get(task, "?")
    assert by_marks(task, text, reply) == (steps, answer)
    made = agent.completion(steps, answer)
    assert made == (f"{COT}{steps}. {FINAL}{answer}." if steps else f"{FINAL}{answer}.")
    assert prompts.read(task, text, made) == prompts.read(task, text, reply) is not None


@pytest.mark.parametrize("reply", ["", "no idea", "…"])
def test_a_reply_without_an_answer_gives_nothing(reply: str) -> None:
    assert by_marks("addition", "?", reply) is None


@given(st.text() | st.text("Aa1. \n*:$\\boxed{}'is the final answer"), st.sampled_from(["addition", "facts", "squad"]))
def test_no_reply_breaks_the_extractor(reply: str, task: str) -> None:
    said, found = prompts.read(task, "?", reply), by_marks(task, "?", reply)
    assert (found is None) == (said is None)


def replied(text: str) -> Suite:
    """Twenty questions to reject and one to answer, whose ten right replies are `text` and nine times the same."""
    suite = suite_of([0] * 20 + [10])
    drawn, answer = suite.replies.copy(), QUESTIONS[20].answer  # type: ignore[union-attr]
    drawn.loc[drawn.index[-10:], "text"] = [text.format(answer), *[f"The final answer is: {answer}."] * 9]
    return replace(suite, read_replies=lambda: drawn)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The final answer is: 1. No. The final answer is: {}.", "sample that repeats the template"),
        ("The final answer is: 1", "sample whose completion reads otherwise"),
        ("no idea", "sample without an answer that could be extracted"),
    ],
)
def test_a_sample_that_cannot_be_used_is_skipped_and_counted(text: str, reason: str) -> None:
    def careless(task: str, question: str, reply: str) -> tuple[str, str] | None:
        return ("", "2") if reply.endswith("is: 1") else by_marks(task, question, reply)

    found = build(replied(text), "a", extract=careless)
    assert found.statistics["skipped"] == {reason: 1}
    said = cells(found)["balance", "accept"]["completion"]
    assert said.tolist() == [f"The final answer is: {QUESTIONS[20].answer}."]


def test_a_model_may_extract_instead() -> None:
    asked = []

    def ask(question: str, output: str) -> str:
        asked.append((question, output))
        answer = output.rpartition(": ")[2]
        steps = output.partition(".")[0] if "Way 2" not in output else "None"
        return (
            "I cannot."
            if "Way 3" in output
            else f"The Extracted Reasoning Parts: <{steps}.>\nThe Extracted Final Answer: <{answer}>"
        )

    made = build(mixed(), "a", extract=by_model(ask))
    said = made.table.loc[made.table["action"] == "accept", "completion"]
    assert set(said.str.partition(FINAL)[0]) <= {"", *(f"{COT}Way {i}. " for i in (0, 1, *range(4, 10)))}
    assert len(asked) == len(set(asked))
    assert set(made.statistics["skipped"]) <= {"sample without an answer that could be extracted"}
    told = agent.extraction_prompt("Is {this} it?", "No: {output}")
    assert "Is {this} it?" in told
    assert "No: {output}" in told
    assert by_model(lambda question, output: "The Extracted Final Answer: 12")("addition", "?", "12") is None


# --- prompts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", graded.FAMILIES)
def test_a_familys_prompt_is_the_one_that_was_recorded(family: str) -> None:
    for item in items([family], {"test": 30}):
        before = "Answer the question. Keep it short and end with: The final answer is: <answer>.\n\n" + item.text
        assert prompts.prompt(item.task, item.text) == item.prompt == before
        words = item.text.replace("?", "").replace(".", "").split()
        for reply in (*words, f"The final answer is: {words[-1]}.", "Monday", "'a'", "3", item.text, "", "Ada or Leo"):
            assert prompts.read(item.task, item.text, reply) == item.score(reply)[1]


@pytest.mark.parametrize("name", catalog.DATA_SETS)
def test_a_data_sets_prompt_is_instruction_and_text(name: str, tmp_path: Path) -> None:
    known = catalog.DATA_SETS[name]
    choices = ["a whale", "an eel\nor not", "B", "crab."] if known.kind == "choice" else None
    answer = {"choice": "B", "number": "12", "span": ["the Old Mill"]}[known.kind]
    line = {
        "id": "1",
        "task": name,
        "split": "test",
        "subject": None,
        "context": "A.\n\nB. of C",
        "question": "Who?\nA",
    }
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(line | {"choices": choices, "answer": answer}), "utf-8")
    (item,) = items([name], {"test": 1}, tmp_path)
    assert prompts.prompt(name, item.text) == item.prompt == f"{known.instruction}\n\n{item.text}"
    assert catalog.prompt(catalog.read(tmp_path, name, "test")[0]) == item.prompt
    for reply in ("B", "The answer is an eel", "12", "The final answer is: the Old Mill.", "D. crab.", "whale", ""):
        assert prompts.read(name, item.text, reply) == item.score(reply)[1]


def test_a_task_that_nobody_knows_is_refused() -> None:
    with_text = (partial(prompts.prompt, text="?"), partial(prompts.read, text="?", reply=""))
    for asked in (prompts.instruction, *with_text):
        with pytest.raises(InputError, match="unknown task 'adition'; did you mean 'addition'"):
            asked("adition")


# --- where replies come from, and where examples go -----------------------------------------------------------------


def test_replies_of_a_recording_are_read_even_if_they_never_ship(tmp_path: Path) -> None:
    record(tmp_path / "r")
    suite = storage.load(tmp_path / "r" / "suite")
    secret = [replace(item, shareable=False) for item in ITEMS]
    private = assemble(RawReplies(tmp_path / "r"), POOL, secret, "secret", embed=False)
    assert private.read_replies is None
    kept = storage.load_replies(tmp_path / "r" / "raw" / "replies.parquet")
    found = kept[kept["model"] == "adder-4"].reset_index(drop=True)
    shipped = suite.replies[suite.replies["model"] == "adder-4"].reset_index(drop=True)  # type: ignore[index]
    pd.testing.assert_frame_equal(found, shipped, check_dtype=False)
    bare = replace(suite, read_replies=None)
    assert build(bare, "adder-4", replies=found).table.equals(build(suite, "adder-4").table)
    with pytest.raises(InputError, match="adder-7 has no sampled replies"):
        build(bare, "adder-7", replies=kept)


def test_a_data_set_is_written_whole_and_the_same_twice(tmp_path: Path) -> None:
    made = build(mixed(), "a")
    for name in ("one", "two", "two"):
        made.save(tmp_path / name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert set(one) == {"examples.parquet", "examples.json"}
    assert pd.read_parquet(tmp_path / "one" / "examples.parquet").astype(object).equals(made.table)
    assert json.loads(one["examples.json"]) == made.statistics
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no examples.json, so it is left alone"):
        made.save(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, read_replies=None), "has no sampled replies as text; record the stage samples, or give"),
        (lambda s: replace(s, queries=s.queries.assign(text=None)), "no texts of its train questions.*attach_texts"),
        (lambda s: replace(s, queries=s.queries.assign(split="test")), "has no train question"),
        (lambda s: suite_of([0, 10], model="b"), r"model a has no sampled replies \(models that have: b\)"),
        (lambda s: s.subset(["b"]), "unknown model 'a'"),
        (lambda s: suite_of([0, 1, 4]), "performance_first has nothing for a to accept: 0 of 3 .* have p ≥ 0.8; other"),
        (lambda s: suite_of([2, 8, 10]), "cost_first has nothing for a to reject: 0 of 3 .* have p < 0.2; other"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        build(change(mixed()), "a")
    assert "\n" not in str(refused.value)


def test_replies_that_are_given_must_fit_the_suite() -> None:
    suite = mixed()
    drawn = suite.replies
    assert drawn is not None
    for bad, message in (
        (drawn.drop(columns="text"), "replies lack the column text"),
        (drawn.iloc[1:], "n is not that of samples.parquet"),
        (drawn.assign(query_id="zebra"), "query_id 'zebra' is unknown"),
        (drawn.assign(model="b"), "model a has no sampled replies"),
    ):
        with pytest.raises(InputError, match=message):
            build(suite, "a", replies=bad)
    with pytest.raises(InputError, match="5 examples cannot be shared equally among 6"):
        build(suite, "a", total=5)


def test_right_samples_of_which_none_fits_are_told_of() -> None:
    with pytest.raises(InputError, match="8 .* have p ≥ 0.8, none with a right sample that fits the template"):
        build(suite_of([0] * 8 + [10] * 8), "a", extract=lambda task, text, reply: None)


# --- the shipped suite ----------------------------------------------------------------------------------------------


def test_every_sampled_model_of_pocket_has_examples_that_read_as_recorded() -> None:
    """The smallest is never right in eight of ten, which is told in one line, and left out where one says so."""
    pocket = storage.load(storage.SHIPPED / "pocket")
    assert sorted(set(pocket.replies["model"])) == sorted(pocket.pool.names[:2])
    with pytest.raises(InputError, match="performance_first has nothing for smollm2-135m to accept"):
        build(pocket, "smollm2-135m")
    for model, lacking in zip(pocket.pool.names[:2], (["performance_first/accept"], []), strict=True):
        made = build(pocket, model, one_sided=60)
        assert made.statistics["lacking"] == lacking
        assert len(set(made.table.groupby(["scenario", "action"]).size())) == 1
        lost = sum(n for reason, n in made.statistics["skipped"].items() if reason.startswith("sample"))
        assert lost <= 0.02 * made.statistics["made"]


def test_a_scenario_may_lack_an_action_if_one_says_so() -> None:
    suite = suite_of(
        [0, 1, 3, 5, 5, 6, 7, 7]
    )  # never right in eight of ten: nothing to accept when performance is first
    with pytest.raises(InputError, match="performance_first has nothing for a to accept"):
        build(suite, "a")
    made = build(suite, "a", one_sided=1)
    assert made.statistics["lacking"] == ["performance_first/accept"]
    sizes = made.table.groupby(["scenario", "action"]).size()
    assert ("performance_first", "accept") not in sizes
    assert sizes.min() == sizes.max()
    never = suite_of([0, 0, 1, 1])
    with pytest.raises(InputError, match="to accept"):
        build(never, "a", one_sided=1)


def test_a_cell_that_is_too_small_does_not_make_all_others_as_small() -> None:
    suite = suite_of([0, 0, 0, 1, 3, 5, 5, 6, 7, 9], wordings=3)
    strict = build(suite, "a").statistics["examples"]
    assert strict["balance"]["accept"] == strict["performance_first"]["accept"] == 3
    loose = build(suite, "a", one_sided=4).statistics
    assert loose["lacking"] == ["performance_first/accept"]
    assert loose["examples"]["balance"]["accept"] > 3
