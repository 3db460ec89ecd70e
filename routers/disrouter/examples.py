"""What an agent learns from in supervised fine-tuning: answer what its samples get right, reject the rest (§3.2.2).

Of N samples of one model on a training question, a share p is right. For a scenario with alpha, p < 1 − alpha asks for
the rejection; else one of the right samples, put into Table 8's form, is what the agent should have said.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from routers.disrouter.extract import Extractor, by_marks
from routers.disrouter.prompts import ANSWER, REJECTION, STEPS, agent_prompt, completion
from tasks import prompts, tables
from tasks.errors import InputError, examples
from tasks.files import whole_directory, write_whole
from tasks.scenarios import SCENARIOS
from tasks.suite import SOLVED, Suite
from tasks.validation import validate_replies

TOTAL = 10_000  # the paper's (§4.1)
ACTIONS = ("accept", "reject")
COLUMNS = ("query_id", "task", "scenario", "action", "prompt", "completion")
Cell = tuple[str, str]  # scenario, action
Row = tuple[str, ...]


class Question(NamedTuple):
    """A training question and its `n` samples; `right` holds the different texts of the `n_correct` right ones."""

    query_id: str
    task: str
    text: str
    n: int
    n_correct: int
    right: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """Prompts and completions in a mixed order, `table` with `COLUMNS`, and the `statistics` of how they were made."""

    table: pd.DataFrame
    statistics: dict[str, Any]

    def save(self, directory: Path) -> None:
        """Write `examples.parquet` and `examples.json`, both or none; an older data set there is replaced."""
        with whole_directory(directory, marker="examples.json") as scratch:
            columns = {name: pa.array(self.table[name], type=pa.string()) for name in COLUMNS}
            tables.write(pa.table(columns), scratch / "examples.parquet")
            text = json.dumps(self.statistics, indent=1, ensure_ascii=False)
            write_whole(scratch / "examples.json", text + "\n")


def build(
    suite: Suite,
    model: str,
    seed: int = 0,
    total: int = TOTAL,
    replies: pd.DataFrame | None = None,
    extract: Extractor = by_marks,
    one_sided: int | None = None,
) -> Examples:
    """Return at most `total` examples of what a model's agent should say to the suite's `train` questions.

    Scenarios have equal parts, and within each as much is accepted as rejected: all six cells are as large as the
    smallest can be. Each question that a cell has gives one example before any gives two, and none is given twice.
    `replies` are the sampled replies, with the columns of `tables.REPLIES`; by default those that the suite ships.

    Raises `InputError` where texts, replies or a cell's questions are missing. With `one_sided` a scenario lacks an
    action of which it has fewer examples than that, and has the other alone: a small model may hardly ever be right in
    four samples of five, and this is what its agent is to learn. The statistics name the cells that lack. Some scenario
    must accept, and some reject, all the same.
    """
    cells = [(name, action) for action in reversed(ACTIONS) for name in SCENARIOS]  # rejections cost nothing
    if total < len(cells):
        raise InputError(f"{total} examples cannot be shared equally among {len(cells)} cells of scenario and action")
    questions, skipped = training_questions(suite, model, seed, replies)
    fitted = _Fitted(extract, skipped)
    each, drawn, lacking = total // len(cells), dict[Cell, list[Row]](), dict[Cell, str]()
    for name, action in cells:
        mine = [q for q in questions if accepts(q.n_correct, q.n, SCENARIOS[name].alpha) == (action == "accept")]
        completions = fitted.of if action == "accept" else _rejection
        made = list(islice(_examples(mine, name, action, completions), each))
        if len(made) >= (one_sided or 1):
            drawn[name, action], each = made, min(each, len(made))
        else:
            lacking[name, action] = _lacks(name, action, model, len(mine), len(questions))
    missing = {action for action in ACTIONS if all((name, action) in lacking for name in SCENARIOS)}
    if lacking and (missing or one_sided is None):
        raise InputError(next(text for (_, action), text in lacking.items() if not missing or action in missing))
    rows = [row for of_cell in drawn.values() for row in of_cell[:each]]
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=list(COLUMNS), dtype=object)
    known: dict[str, Any] = {
        "model": model,
        "suite": suite.manifest.name,
        "suite_sha256": suite.sha256,
        "seed": seed,
        "wanted": total,
    }
    known |= {"lacking": [f"{name}/{action}" for name, action in lacking]}
    return Examples(table, known | _statistics(table, questions, skipped))


def accepts(n_correct: int, n: int, alpha: float) -> bool:
    """Return whether a question with so many right samples of n is to be answered: p ≥ 1 − alpha, by counts."""
    return n_correct >= math.ceil((1.0 - alpha) * n - 1e-9)


def training_questions(
    suite: Suite, model: str, seed: int = 0, replies: pd.DataFrame | None = None
) -> tuple[list[Question], Counter[str]]:
    """Return the sampled `train` questions and their right samples, both in an order by seed; and what was left out.

    Left out, and counted by reason, are questions without text, those without samples, and those asked before.
    """
    sampled = _sampled(suite, model, replies)
    train = suite.queries.iloc[suite.rows("train")].sort_values("query_id")
    if train.empty or train["text"].isna().all():
        what = "has no train question" if train.empty else "has no texts of its train questions"
        raise InputError(
            f"suite {suite.manifest.name} {what}; "
            + ("record some" if train.empty else "bring them with bench.attach_texts")
        )
    texts = train[train["text"].notna()]
    there = texts[texts["query_id"].isin(sampled)]
    once = there.drop_duplicates(["task", "text"])
    left_out = Counter(
        {
            "question without text": len(train) - len(texts),
            "question without samples": len(texts) - len(there),
            "question asked before": len(there) - len(once),
        }
    )
    rng, found = np.random.default_rng([seed, 0]), []
    for query_id, task, text in once[["query_id", "task", "text"]].itertuples(index=False):
        drawn = sampled[query_id]
        right = [said for said, correct in drawn if correct >= SOLVED]
        different = dict.fromkeys(right[i] for i in rng.permutation(len(right)))
        found.append(Question(query_id, task, text, len(drawn), len(right), tuple(different)))
    return [found[i] for i in rng.permutation(len(found))], left_out


def _sampled(suite: Suite, model: str, replies: pd.DataFrame | None) -> dict[str, list[tuple[str, float]]]:
    """Return text and correctness of a model's samples by query id, in the order in which they were drawn."""
    suite.pool.index_of(model)
    given = suite.replies if replies is None else replies
    if given is None:
        raise InputError(
            f"suite {suite.manifest.name} has no sampled replies as text; record the stage samples, or give the "
            "replies.parquet of a recording's raw folder"
        )
    lacking = [name for name, column in tables.REPLIES.items() if column.required and name not in given]
    if lacking:
        raise InputError(f"replies lack the column {examples(lacking)} (wanted: {', '.join(tables.REPLIES)})")
    mine = given[given["model"] == model].sort_values(["query_id", "sample"])
    if mine.empty:
        there = examples(sorted(set(given["model"]))) or "none"
        raise InputError(f"model {model} has no sampled replies (models that have: {there}); record the stage samples")
    if replies is not None:
        validate_replies(suite, mine, shipped=False)
    found: dict[str, list[tuple[str, float]]] = {}
    for query_id, text, correct in mine[["query_id", "text", "correct"]].itertuples(index=False):
        found.setdefault(query_id, []).append((text, correct))
    return found


class _Fitted:
    """Right samples in Table 8's form, extracted when first wanted: what nobody wants is neither made nor counted.

    `skipped` counts, by reason, those that do not fit.
    """

    def __init__(self, extract: Extractor, skipped: Counter[str]) -> None:
        self._extract, self._skipped = extract, skipped
        self._known: dict[tuple[str, str], str | None] = {}

    def of(self, question: Question) -> Iterator[str]:
        """Yield the different completions that a question's right samples give."""
        given = set[str]()
        for reply in question.right:
            key = question.query_id, reply
            if key not in self._known:
                self._known[key] = self._fit(question, reply)
            made = self._known[key]
            if made is not None and made not in given:
                given.add(made)
                yield made

    def _fit(self, question: Question, reply: str) -> str | None:
        found = self._extract(question.task, question.text, reply)
        made = completion(*found) if found else ""
        said = [prompts.read(question.task, question.text, text) for text in (reply, made)]
        if not found:
            self._skipped["sample without an answer that could be extracted"] += 1
        elif any(made.lower().count(part.strip(" :").lower()) > 1 for part in (STEPS, ANSWER)):
            self._skipped["sample that repeats the template"] += 1
        elif said[0] is None or said[0] != said[1]:
            self._skipped["sample whose completion reads otherwise"] += 1
        else:
            return made
        return None


def _rejection(question: Question) -> Iterator[str]:
    del question
    yield REJECTION


def _examples(
    questions: Sequence[Question], scenario: str, action: str, completions: Callable[[Question], Iterator[str]]
) -> Iterator[Row]:
    """Yield one example of each question in turn, until none has another."""
    waiting = [(question, completions(question)) for question in questions]
    while waiting:
        still = []
        for question, more in waiting:
            if (said := next(more, None)) is not None:
                asked = agent_prompt(scenario, prompts.prompt(question.task, question.text))
                yield question.query_id, question.task, scenario, action, asked, said
                still.append((question, more))
        waiting = still


def _lacks(scenario: str, action: str, model: str, n_mine: int, n: int) -> str:
    """Return why a scenario has no example of an action."""
    least = 1.0 - SCENARIOS[scenario].alpha
    counts = f"{n_mine} of {n} sampled train questions have p {'≥' if action == 'accept' else '<'} {least:g}"
    unfit = ", none with a right sample that fits the template" if n_mine else ""
    return f"scenario {scenario} has nothing for {model} to {action}: {counts}{unfit}; other questions are needed"


def _statistics(table: pd.DataFrame, questions: Sequence[Question], skipped: Counter[str]) -> dict[str, Any]:
    """Return what there is to know of a data set, all of it counts but for means of words and thresholds of p."""
    words = table["completion"].map(lambda text: len(text.split()))
    answered = {
        name: sum(accepts(q.n_correct, q.n, scenario.alpha) for q in questions) for name, scenario in SCENARIOS.items()
    }
    return {
        "made": len(table),
        "examples": _counts(table, "scenario"),
        "tasks": _counts(table, "task"),
        "distinct_queries": int(table["query_id"].nunique()),
        "mean_completion_words": {action: float(words[table["action"] == action].mean()) for action in ACTIONS},
        "thresholds": {name: round(1.0 - scenario.alpha, 10) for name, scenario in SCENARIOS.items()},
        "questions": {name: {"accept": n, "reject": len(questions) - n} for name, n in answered.items()},
        "n_samples": {str(n): count for n, count in sorted(Counter(q.n for q in questions).items())},
        "skipped": {reason: n for reason, n in sorted(skipped.items()) if n},
    }


def _counts(table: pd.DataFrame, column: str) -> Mapping[str, Mapping[str, int]]:
    found = table.groupby([column, "action"]).size()
    return {str(name): {a: int(found.get((name, a), 0)) for a in ACTIONS} for name in sorted(set(table[column]))}
