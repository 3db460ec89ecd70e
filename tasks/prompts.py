"""From a task's name and a question's text alone: what a model is told, and what its reply answers.

Tasks are the graded families and the data sets of the catalog; any other raises `InputError` with the names there are.
"""

from tasks import answers, catalog, graded
from tasks.errors import one_of


def instruction(task: str) -> str:
    """Return what stands before every question of a task: our own sentence, or the paper's (Table 12)."""
    return graded.PROMPT if _is_graded(task) else catalog.data_set(task).instruction


def prompt(task: str, text: str) -> str:
    """Return the user message that asks a question, zero-shot: the task's instruction, a blank line, the text."""
    return f"{instruction(task)}\n\n{text}"


def read(task: str, text: str, reply: str) -> str | None:
    """Return the answer of a reply to a question, as its score compares it; None where it cannot be parsed."""
    if not _is_graded(task):
        return catalog.said(task, reply, catalog.options(text))
    kind = graded.kind(task, text)
    return answers.graded(reply, kind, "", graded.choices(kind, text))[1]


def _is_graded(task: str) -> bool:
    return one_of("task", task, [*graded.FAMILIES, *catalog.DATA_SETS]) in graded.FAMILIES
