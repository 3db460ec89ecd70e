"""Five formats in which others record outcomes, each read into a `Recording`.

What the files look like:

- `llmrouter`: JSON [{question, scores: {model: score}}], joined on the text as it stands with JSON lines
  {query, task_name}, and a JSON object model → {size, input_price, output_price}; in any number and order.
- `routellm`: a table prompt, {model}, {model}_response; the task is the file's name.
- `routerbench`, wide: a table sample_id, prompt, eval_name, {model}, {model}|model_response, {model}|total_cost.
- `lm_eval`: the sample logs of lm-evaluation-harness 0.4, `<model>/samples_<task>_<time>.jsonl`.
- `long`: a table query_id, task, model, correct and the columns of `LONG`, one row for every query × model.

Tables may say more of a query: split, domain, passage (or context), cluster_id.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.recordings import OUTCOME, QUERY, Recording, joined, pivoted, texts
from bench.sources import Source
from tasks.errors import InputError, examples
from tasks.types import Prices

LONG = (*QUERY, "context", "model", *OUTCOME)
_OF_QUERY = {*QUERY, "context", "prompt"}
_METRICS = ("acc", "exact_match", "acc_norm")
_QUESTION_KEYS = ("question", "query", "problem", "prompt", "input", "text")
_PASSAGE_KEYS = ("passage", "context", "support", "article", "story")


def _queries(table: pd.DataFrame, source: Source, **columns: Any) -> pd.DataFrame:
    """Return what a table says of its queries; the part comes from the file's name unless a column names it."""
    queries = table.assign(**columns)
    if "passage" not in queries and "context" in queries:
        queries = queries.rename(columns={"context": "passage"})
    if "split" not in queries:
        queries = queries.assign(split=source.split)
    return queries.reindex(columns=list(QUERY))


def _task(source: Source, format_name: str) -> str:
    """Return the task that a file's name speaks of: `gsm8k_test_responses.csv.gz` is of gsm8k."""
    named = re.sub(r"^samples_|_\d{4}-\d\d-\d\dT[\d.:-]+$", "", source.stem)
    named = re.sub(r"(?i)(?<![a-z0-9])(train|validation|test|responses)(?![a-z0-9])", "", named)
    return re.sub(r"[-_. ]{2,}", "_", named).strip("-_. ") or format_name


def read_llmrouter(sources: Sequence[Source]) -> Recording:
    """Read scores, tasks and prices; `cluster_id` there is a k-means label, not a shared passage, and is left aside."""
    scores: list[Recording] = []
    partners: list[tuple[Any, Any]] = []
    listed: dict[str, tuple[Prices, int | None]] = {}
    for source in sources:
        content = source.content
        if isinstance(content, dict) and content and all(isinstance(entry, dict) for entry in content.values()):
            listed |= _prices(source, content, listed)
        elif "question" in _keys(content):
            scores.append(_scores(source))
        elif "query" in _keys(content):
            partners += [(r["query"], r["task_name"]) for r in source.records(("query", "task_name"))]
        else:
            raise InputError(
                f"{source.path} is none of the three shapes of llmrouter: a JSON list of {{question, scores}}, "
                "JSON lines of {query, task_name}, or a JSON object model → {size, input_price, output_price}"
            )
    if not scores or not partners:
        lacking = "tasks (JSON lines of {query, task_name})" if scores else "scores (a JSON list of {question, scores})"
        raise InputError(f"no file holds the {lacking}; llmrouter wants both, and prices or --costs")
    recording = joined(scores)
    tasks, notes = _tasks_of(recording.queries["text"], partners)
    known = {model: listed[model] for model in recording.models if model in listed}
    return replace(
        recording,
        queries=recording.queries.assign(task=tasks),
        prices={model: prices for model, (prices, _) in known.items()},
        parameters={model: size for model, (_, size) in known.items() if size},
        notes=notes,
    )


def _keys(content: Any) -> set[str]:
    first = content[0] if isinstance(content, list) and content else content
    return set(first) if isinstance(first, dict) else set()


def _scores(source: Source) -> Recording:
    records = source.records(("question", "scores"))
    for number, record in enumerate(records):
        if not isinstance(record["scores"], dict) or not isinstance(record["question"], str):
            raise InputError(f"{source.path}: record {number} wants question as text and scores as model → score")
    queries = _queries(pd.DataFrame({"text": [record["question"] for record in records]}, dtype=object), source)
    return Recording(queries, {"correct": pd.DataFrame([record["scores"] for record in records])})


def _tasks_of(questions: pd.Series, partners: Iterable[tuple[Any, Any]]) -> tuple[pd.Series, tuple[str, ...]]:
    pairs = pd.DataFrame(sorted({(str(query), str(task)) for query, task in partners}), columns=["query", "task"])
    several = questions[questions.isin(pairs["query"][pairs["query"].duplicated()])].nunique()
    tasks = questions.map(pairs.drop_duplicates("query").set_index("query")["task"])
    if tasks.isna().any():
        raise InputError(
            f"{int(tasks.isna().sum())} of {len(questions)} questions have no task, first "
            f"{questions[tasks.isna()].iloc[0][:60]!r}; pass the JSON lines whose query is that very text"
        )
    note = f"{several} questions stand under several tasks and are counted under the first by name"
    return tasks, (note,) if several else ()


def _prices(source: Source, content: dict[str, Any], listed: Iterable[str]) -> dict[str, tuple[Prices, int | None]]:
    again = sorted(content.keys() & set(listed))
    if again:
        raise InputError(f"{source.path} prices {examples(again)}, which another file prices already; pass one of them")

    def price(model: str, key: str) -> float | None:
        given = content[model].get(key)
        try:
            amount = None if given in (None, "") else float(given)
        except (TypeError, ValueError):
            amount = -1.0
        if amount is not None and not 0 <= amount < np.inf:
            raise InputError(f"{source.path}: {key} of {model} is {given!r}; USD per million tokens are wanted, from 0")
        return amount

    return {
        model: (
            Prices(
                input_usd_per_mtok=price(model, "input_price"),
                output_usd_per_mtok=price(model, "output_price"),
            ),
            _parameters(entry.get("size")),
        )
        for model, entry in content.items()
    }


def _parameters(size: Any) -> int | None:
    """Return the parameters that "7B" or "350M" speaks of; None for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MB])", str(size).strip(), flags=re.IGNORECASE)
    return round(float(found[1]) * {"M": 1e6, "B": 1e9}[found[2].upper()]) or None if found else None


def read_routellm(sources: Sequence[Source]) -> Recording:
    """Read correctness and answers, one file a task."""
    return joined([_routellm(source) for source in sources])


def _routellm(source: Source) -> Recording:
    table = source.table(("prompt",))
    models = [c for c in table.columns if c not in _OF_QUERY and not (c.endswith("_response") and c[:-9] in table)]
    return _wide(
        source,
        table.rename(columns={"prompt": "text"}),
        models,
        {"answer": "_response"},
        task=table["task"] if "task" in table else _task(source, "routellm"),
    )


def read_routerbench(sources: Sequence[Source]) -> Recording:
    """Read correctness, answers and what each answer cost in USD; `eval_name` is the task."""
    return joined([_routerbench(source) for source in sources])


def _routerbench(source: Source) -> Recording:
    table = source.table(("sample_id", "prompt", "eval_name"))
    table = table.rename(columns={"sample_id": "query_id", "prompt": "text", "eval_name": "task"})
    table = table.drop(columns="oracle_model_to_route_to", errors="ignore")  # a choice, not an outcome
    models = [c for c in table.columns if c not in _OF_QUERY and "|" not in c]
    return _wide(source, table, models, {"answer": "|model_response", "cost_usd": "|total_cost"})


def _wide(
    source: Source, table: pd.DataFrame, models: list[str], suffixes: dict[str, str], **columns: Any
) -> Recording:
    known = {*_OF_QUERY, *models, *(model + suffix for model in models for suffix in suffixes.values())}
    strays = [c for c in table.columns if c not in known]
    if strays or not models:
        problem = f"unknown column {examples(strays)}" if strays else "no column for any model"
        raise InputError(
            f"{source.path} has {problem}; beside those of the query it wants {{model}}, "
            f"{', '.join('{model}' + suffix for suffix in suffixes.values())}"
        )
    outcomes = {"correct": table[models]}
    for name, suffix in suffixes.items():
        there = {f"{model}{suffix}": model for model in models if f"{model}{suffix}" in table}
        if there:
            outcomes[name] = table[list(there)].rename(columns=there)
    return Recording(_queries(table, source, **columns), outcomes)


def read_long(sources: Sequence[Source]) -> Recording:
    """Read one row for every query × model."""
    return pivoted(pd.concat([_long(source) for source in sources], ignore_index=True))


def _long(source: Source) -> pd.DataFrame:
    table = source.table(("query_id", "task", "model", "correct"))
    strays = [c for c in table.columns if c not in LONG]
    if strays:
        raise InputError(f"{source.path} has unknown column {examples(strays)} (columns of long: {', '.join(LONG)})")
    table = table.assign(query_id=texts(table["query_id"]), model=texts(table["model"]))
    for key in ("query_id", "model"):
        if table[key].isna().any():
            raise InputError(f"{source.path}: {key} is empty in row {int(np.flatnonzero(table[key].isna())[0])}")
    queries = _queries(table, source).apply(texts)
    return pd.concat([queries, table[["model", *(c for c in OUTCOME if c in table)]].astype(object)], axis=1)


def read_lm_eval(sources: Sequence[Source]) -> Recording:
    """Read sample logs, one file a model and task; the model is the name of the folder, or MODEL of MODEL=FILE.

    Correctness is the first of acc, exact_match and acc_norm that a file has, else the first that its list `metrics`
    names; of several filters it is strict-match, else the first. A query's text is the question of its doc, after its
    passage; where a doc names none, it is the prompt sent to the first model.
    """
    long = pd.concat([_samples(source) for source in sources], ignore_index=True)
    chosen, notes = [], []
    for task, rows in long.groupby("task", sort=False):
        metrics, filters = sorted(set(rows["metric"])), list(dict.fromkeys(rows["filter"]))
        if len(metrics) > 1:
            raise InputError(f"the logs of {task} are scored by {' and by '.join(metrics)}; pass logs of one metric")
        used = "strict-match" if "strict-match" in filters else filters[0]
        chosen.append(rows[rows["filter"] == used])
        notes.append(f"{task}: correct is {metrics[0]}, filter {used}")
    long = pd.concat(chosen, ignore_index=True)
    prompt = long["text"].isna()
    if prompt.any():
        notes.append(f"text is the prompt sent to the first model: {examples(sorted(set(long['task'][prompt])))}")
        long.loc[prompt, "text"] = long[prompt].groupby("query_id")["prompt"].transform("first")
    return replace(pivoted(long), notes=tuple(notes))


def _samples(source: Source) -> pd.DataFrame:
    records, task = source.records(("doc_id", "doc")), _task(source, "lm_eval")
    metric = _metric(source, records[0])
    rows = pd.DataFrame(
        {
            "query_id": [f"{task}-{record['doc_id']}" for record in records],
            "correct": [record.get(metric) for record in records],
            "filter": [str(record.get("filter", "none")) for record in records],
            "prompt": [_prompt(record) for record in records],
            "answer": [_answer(record.get("filtered_resps")) for record in records],
            "passage": [_said(record["doc"], _PASSAGE_KEYS) for record in records],
            "text": [_said(record["doc"], _QUESTION_KEYS) for record in records],
        },
        dtype=object,
    )
    both = rows["passage"].notna() & rows["text"].notna()
    rows["text"] = rows["text"].where(~both, rows["passage"] + "\n\n" + rows["text"])
    model = source.model or source.path.resolve().parent.name
    return rows.assign(task=task, model=model, metric=metric, split=source.split)


def _metric(source: Source, record: dict[str, Any]) -> str:
    listed = record.get("metrics", [])
    others = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    named = [name for name in (*_METRICS, *others) if name in record]
    if not named:
        raise InputError(f"{source.path} holds no metric: none of {', '.join(_METRICS)}, none that its `metrics` names")
    return str(named[0])


def _said(doc: Any, keys: Iterable[str]) -> str | None:
    said = (doc.get(key) for key in keys) if isinstance(doc, dict) else ()
    return next((value for value in said if isinstance(value, str) and value.strip()), None)


def _prompt(record: dict[str, Any]) -> str | None:
    """Return the prompt that was sent: `arguments` is {gen_args_0: {arg_0: prompt}}, [[prompt, …]] in older logs."""
    value = record.get("arguments")
    while isinstance(value, list | dict) and value:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return value if isinstance(value, str) else None


def _answer(resps: Any) -> str | None:
    """Return the text that a model generated; None for log-likelihoods, which are pairs."""
    return resps[0] if isinstance(resps, list) and resps and isinstance(resps[0], str) else None


FORMATS: dict[str, Callable[[Sequence[Source]], Recording]] = {
    "llmrouter": read_llmrouter,
    "routellm": read_routellm,
    "routerbench": read_routerbench,
    "lm_eval": read_lm_eval,
    "long": read_long,
}
READS_PRICES = ("llmrouter",)


def read(format_name: str, sources: Sequence[Source]) -> Recording:
    """Read the files of one call together; their order does not matter."""
    ordered = sorted(sources, key=lambda source: (source.path.name, source.sha256))
    if format_name != "lm_eval" and any(source.model for source in ordered):
        raise InputError("MODEL=FILE names the model of an lm_eval log; other formats name the model inside")
    return FORMATS[format_name](ordered)
