"""What is asked of models when a suite is recorded: questions with their prompts, and who judges the replies."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks import catalog, gold, graded, prompts
from tasks.errors import InputError, one_of
from tasks.types import Domain, Split, Task

VERIFY_PROMPT = (
    "Here are a question and an answer that somebody gave.\n\nQuestion: {question}\n\nAnswer: {answer}\n\n"
    "Is the answer correct? Reply with one word, yes or no."
)
Sizes = Mapping[Split, int]


@dataclass(frozen=True)
class Item:
    """One query of a recording.

    `prompt` is the user message that asks it. `score` maps a reply to (correctness in [0, 1], parsed answer or None).
    `shareable` says whether question and answers may be shipped as text.
    """

    query_id: str
    task: str
    domain: Domain
    split: Split
    cluster_id: str
    text: str
    prompt: str
    score: Callable[[str], tuple[float, str | None]]
    shareable: bool

    @property
    def text_sha256(self) -> str:
        """The sha256 of the question's UTF-8 bytes, by which a text can be matched to a suite without texts."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def items(names: Sequence[str], sizes: Sizes, data_dir: Path | None = None, seed: int = 0) -> list[Item]:
    """Return what is asked of graded families and of data sets of the catalog: test first, then train, validation.

    Only in-domain tasks are trained on. Data sets are read from `data_dir`, else from the hub. Raises `InputError` for
    an unknown name, and where nothing is asked for or a task cannot give as many.
    """
    for name in names:
        one_of("task", name, [*graded.FAMILIES, *catalog.DATA_SETS])
    found = [item for name in names for item in _of(name, sizes, data_dir, seed)]
    if not found:
        raise InputError("no question was asked for; name tasks and a size, such as --limit test=300")
    parts = ("test", "train", "validation")
    return sorted(found, key=lambda item: parts.index(item.split))


def tasks_of(names: Sequence[str]) -> tuple[Task, ...]:
    """Return the tasks called `names` as a suite's manifest lists them."""
    families = {task.name: task for task in graded.tasks()}
    return tuple(families[name] if name in families else catalog.data_set(name).task() for name in names)


def _of(name: str, sizes: Sizes, data_dir: Path | None, seed: int) -> list[Item]:
    domain = tasks_of([name])[0].domain
    wanted = {split: n for split, n in sizes.items() if n and (split == "test" or domain == "id")}
    if name in graded.FAMILIES:
        return [_graded_item(q) for split, n in wanted.items() for q in graded.questions(name, split, n, seed)]
    return [
        _catalog_item(known, domain, split)
        for split, n in wanted.items()
        for known in _part(name, split, n, wanted.get("train", 0), data_dir)
    ]


def _part(name: str, split: Split, n: int, n_train: int, data_dir: Path | None) -> list[catalog.Item]:
    """Return the first n of a part; validation comes from the train lines too, after those and off their passages."""
    read = partial(gold.data_set_items, name, data_dir=data_dir)
    if split != "validation":
        found = read("test" if split == "test" else "train", limit=n)
    else:
        lines = read("train")
        learned = {item.cluster_id for item in lines[:n_train]}
        found = [item for item in lines[n_train:] if item.cluster_id not in learned][:n]
    if len(found) < n:
        raise InputError(f"{name} has only {len(found)} {split} questions of the {n} asked for; lower --limit")
    return found


def _catalog_item(known: catalog.Item, domain: Domain, split: Split) -> Item:
    return Item(
        query_id=known.id,
        task=known.task,
        domain=domain,
        split=split,
        cluster_id=known.cluster_id,
        text=catalog.text(known),
        prompt=prompts.prompt(known.task, catalog.text(known)),
        score=gold.judge(known),
        shareable=False,
    )


def _graded_item(q: graded.Question) -> Item:
    return Item(
        query_id=q.query_id,
        task=q.task,
        domain=graded.FAMILIES[q.task].domain,
        split=q.split,
        cluster_id=hashlib.sha256(q.text.encode()).hexdigest()[:16],
        text=q.text,
        prompt=prompts.prompt(q.task, q.text),
        score=gold.judge(q),
        shareable=True,
    )
