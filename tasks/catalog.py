"""The ten data sets of the paper: what is asked, where it comes from, and when a reply is right.

Questions are read from local JSON Lines (`read`) or from the hub (`tasks.lm_eval.hub`), as the same items.
"""

import gzip
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from tasks import answers
from tasks.errors import InputError, one_of
from tasks.types import Domain, Task

Part = Literal["train", "test"]
Kind = Literal["choice", "number", "span"]
LETTERS = "ABCDE"


@dataclass(frozen=True)
class Item:
    """One question. `answer` holds what is accepted: one letter, one number, or spans; `choices` is () if open."""

    id: str
    task: str
    split: Part
    context: str | None
    question: str
    choices: tuple[str, ...]
    answer: tuple[str, ...]
    subject: str | None = None

    @property
    def cluster_id(self) -> str:
        """A hash of the passage, else of the question: items on one passage are not independent."""
        shared = self.context or "\n".join((self.question, *self.choices))
        return hashlib.sha256(shared.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DataSet:
    """One data set. `instruction` is the paper's, word for word (Table 12), also for items with three or five options.

    `splits` names the hub's split that serves as train and as test: where test labels are hidden, test is validation.
    `n_train` and `n_test` are the official sizes of those splits; Table 12 has others for MMLU, RACE, DROP and SQuAD.
    """

    name: str
    domain: Domain
    kind: Kind
    hub: str
    configuration: str | None
    splits: tuple[str, str]
    n_train: int
    n_test: int
    licence: str
    description: str
    instruction: str
    revision: str | None = None
    asks: str = "Question"

    @property
    def chance(self) -> float:
        """What guessing scores: a quarter with four options, nothing where the answer is open."""
        return 0.25 if self.kind == "choice" else 0.0

    def task(self) -> Task:
        """Return the data set as a task of a suite."""
        return Task(
            name=self.name,
            domain=self.domain,
            description=self.description,
            source=self.hub,
            licence=self.licence,
            chance=self.chance,
        )


_ONE_OF = "must be one of: [A, B, C, D] without any prefix or suffix."
_SCIENTIFIC = (
    "Choose the most reasonable answer of the multiple choice question based on scientific reasoning and give a final "
    f"answer. The final answer {_ONE_OF}"
)
DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set
    for data_set in (
        DataSet(
            "gsm8k", "id", "number", "openai/gsm8k", "main", ("train", "test"), 7473, 1319, "MIT",
            "grade-school mathematics in words",
            "Given the following math problem, reason and give a final answer to the problem.",
        ),
        DataSet(
            "arc_challenge", "id", "choice", "allenai/ai2_arc", "ARC-Challenge", ("train", "test"), 1119, 1172,
            "CC BY-SA 4.0", "hard science questions of school examinations",
            "Choose the most reasonable answer based on scientific reasoning and give a final answer. The final answer "
            + _ONE_OF,
        ),
        DataSet(
            "mmlu", "id", "choice", "cais/mmlu", "all", ("validation", "test"), 1531, 14042, "MIT",
            "examination questions of 57 subjects", _SCIENTIFIC,
        ),
        DataSet(
            "race_high", "id", "choice", "ehovy/race", "high", ("train", "test"), 62445, 3498,
            "non-commercial research only", "reading comprehension of high-school English examinations",
            "Read the following passage carefully, choose the most suitable answer for the multiple-choice question "
            f"based on commonsense reasoning and give a final answer. The final answer {_ONE_OF}",
        ),
        DataSet(
            "openbookqa", "id", "choice", "allenai/openbookqa", "main", ("train", "test"), 4957, 500,
            "Apache-2.0 (repository); data unknown", "elementary science joined with common knowledge",
            "Use both common sense and basic science knowledge to choose the best answer to the multiple-choice "
            "question. The final answer must be the one of: [A, B, C, D] without any prefix or suffix.",
        ),
        DataSet(
            "drop", "id", "span", "EleutherAI/drop", None, ("train", "validation"), 77409, 9536, "CC BY-SA 4.0",
            "counting, adding and comparing over a passage",
            "Read the following passage carefully and answer the question. You should give the final answer without "
            "any prefix or suffix.",
        ),
        DataSet(
            "cosmosqa", "id", "choice", "allenai/cosmos_qa", None, ("train", "validation"), 25262, 2985, "CC BY 4.0",
            "what everyday stories leave unsaid",
            "Read the given passage and choose the most plausible answer to the question based on context and common "
            f"sense reasoning. The final answer {_ONE_OF}",
            revision="refs/convert/parquet",  # the main branch is a loading script, which `datasets` 4 refuses
        ),
        DataSet(
            "squad", "ood", "span", "rajpurkar/squad", None, ("train", "validation"), 87599, 10570, "CC BY-SA 4.0",
            "finding the answer in a passage of Wikipedia",
            "Answer the questions based on the provided context. Your response must follow the format requirement. The "
            "final answer must be the direct answer to the problem without any prefix or suffix.",
        ),
        DataSet(
            "hellaswag", "ood", "choice", "Rowan/hellaswag", None, ("train", "validation"), 39905, 10042, "MIT",
            "how an everyday scene goes on",
            "Choose the most reasonable continuation for the given text, reason and give a final answer. The final "
            f"answer {_ONE_OF}",
            asks="Text",
        ),
        DataSet(
            "headqa", "ood", "choice", "EleutherAI/headqa", "en", ("train", "test"), 2657, 2742,
            "MIT (repository); reuse allowed with source (exams)", "Spanish health-care examinations, in English",
            _SCIENTIFIC,
        ),
    )
}  # fmt: skip


def data_set(name: str) -> DataSet:
    """Return the data set called `name`; raises `InputError` with the names there are."""
    return DATA_SETS[one_of("data set", name, DATA_SETS)]


def text(item: Item) -> str:
    """Return what is asked, without the instruction: passage, question and lettered options."""
    passage = [f"Passage: {item.context}"] if item.context else []
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, item.choices, strict=False))
    question = f"{data_set(item.task).asks}: {item.question}"
    return "\n\n".join([*passage, f"{question}\n{options}" if options else question])


def prompt(item: Item) -> str:
    """Return the user message that asks an item, zero-shot: the paper's instruction (Table 12), then `text`."""
    from tasks import prompts  # which knows the catalog

    return prompts.prompt(item.task, text(item))


def options(text: str) -> tuple[str, ...]:
    """Return the lettered options at the end of what `text` made; () where there are none."""
    start, found = text.rfind(f"\n{LETTERS[0]}. "), list[str]()
    rest = text[start:]
    for letter in LETTERS if start >= 0 else "":
        before, mark, after = rest.partition(f"\n{letter}. ")
        if not mark:
            break
        found, rest = [*found, before], after
    return (*found[1:], rest) if found else ()


def said(task: str, reply: str, choices: Sequence[str]) -> str | None:
    """Return the letter, number or span that a reply answers; None where it could not be parsed."""
    kind = data_set(task).kind
    if kind == "choice":
        return answers.choice(reply, choices)
    return answers.number(reply) if kind == "number" else answers.span(reply)


def score(reply: str, item: Item) -> tuple[float, str | None]:
    """Return correctness (0 or 1) and the parsed answer of a reply; None where it could not be parsed.

    A letter or a number is right where it equals the gold one. A span is right where the best F1 over the accepted
    answers, as the official script of SQuAD or DROP counts it, is more than `answers.SPAN_THRESHOLD`: every exact match
    is, one wrong word of two is not.
    """
    kind, found = data_set(item.task).kind, said(item.task, reply, item.choices)
    if found is None:
        return 0.0, None
    if kind == "choice":
        return float(found == item.answer[0]), found
    if kind == "number":
        return float(found == answers.number(item.answer[0])), found
    f1 = answers.drop_f1 if item.task == "drop" else answers.token_f1
    return float(max(f1(found, gold) for gold in item.answer) > answers.SPAN_THRESHOLD), found


def item(record: Mapping[str, Any]) -> Item:
    """Return the item of a record with the keys of `Item`, `choices` and `answer` as JSON has them.

    Raises `InputError`, naming what is wrong, where a key or the answer is missing or the answer is not possible.
    """
    missing = [field.name for field in fields(Item) if field.name not in record]
    if missing:
        raise InputError(f"it has no {' and no '.join(missing)}")
    for key in ("id", "question", "context", "subject"):
        value = record[key]
        if not (isinstance(value, str) and value.strip()) and (value is not None or key in ("id", "question")):
            raise InputError(f"its {key} is {value!r}, but must be text")
    if record["split"] not in ("train", "test"):
        raise InputError(f"its split is {record['split']!r}, but must be train or test")
    choices = record["choices"] or ()
    if not _texts(choices):
        raise InputError(f"its options are {choices!r}, but must be texts")
    known = data_set(str(record["task"]))
    plain = {key: record[key] for key in ("id", "split", "context", "question", "subject")}
    return Item(
        task=known.name, choices=tuple(choices), answer=_accepted(known.kind, record["answer"], len(choices)), **plain
    )


def _accepted(kind: Kind, gold: Any, n_choices: int) -> tuple[str, ...]:
    accepted = (gold,) if isinstance(gold, str) else gold or ()
    if not accepted or not _texts(accepted):
        raise InputError(f"its answer is {gold!r}, but must be text, or a list of texts")
    if kind == "choice" and accepted[0] not in tuple(LETTERS[:n_choices]):
        raise InputError(f"its answer is {gold!r}, but it has {n_choices} options, lettered from A")
    if kind == "number" and answers.number(accepted[0]) is None:
        raise InputError(f"its answer is {gold!r}, but must be a number")
    return tuple(accepted)


def _texts(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(one, str) and one.strip() for one in values)


def read(data_dir: Path, name: str, split: Part | None, limit: int | None = None) -> list[Item]:
    """Return the first `limit` items of a split (all by default) of DIR/NAME.jsonl.gz, or of DIR/NAME.jsonl.

    A split that is None means both. Lines are in random order, so the first ones are a random sample. Raises
    `InputError`, naming file and line, where the file is missing or damaged, an item has no answer, or the split has no
    item.
    """
    known = data_set(name)
    if split is not None:
        one_of("split", split, ("train", "test"))
    if limit is not None and limit < 1:
        raise InputError(f"the limit is {limit}, but must be at least 1")
    place = file(data_dir, name)
    if place is None:
        raise InputError(
            f"{data_dir} holds no {name}.jsonl.gz; name the data sets' folder (--data-dir or DISROUTER_DATA_DIR)"
        )
    found = list(itertools.islice((one for one in _items(place, known.name) if split in (None, one.split)), limit))
    if not found:
        raise InputError(f"{place} holds no {split or 'train or test'} item")
    return found


def file(data_dir: Path, name: str) -> Path | None:
    """Return the file of a data set in `data_dir`; None where there is none."""
    return next((f for f in (data_dir / f"{name}.jsonl.gz", data_dir / f"{name}.jsonl") if f.is_file()), None)


def _items(file: Path, name: str) -> Iterator[Item]:
    opened = gzip.open if file.suffix == ".gz" else open
    number = 1
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if not isinstance(record, dict) or record.get("task") != name:
                    raise InputError(f"it is not an item of {name}")
                yield item(record)
                number += 1
    except InputError as error:
        raise InputError(f"{file}, line {number}: {error}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{file}, line {number}: not JSON ({error.msg})") from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{file} is damaged at line {number}: {error}") from error
