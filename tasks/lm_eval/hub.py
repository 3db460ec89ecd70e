"""The ten data sets as the hub has them: rows of ten shapes, made into the same items as the local files."""

from collections.abc import Callable, Mapping
from typing import Any

from tasks import catalog
from tasks.catalog import LETTERS, Item, Part

Row = Mapping[str, Any]


def items(name: str, split: Part, limit: int | None = None) -> list[Item]:
    """Return the first `limit` items of a split (all by default), in official order, from the hub or its cache.

    Needs the package `datasets`. Items that the hub has without an answer are an `InputError`, as in local files.
    """
    from datasets import load_dataset  # here, since most users of the catalog have no need of it

    known = catalog.data_set(name)
    part = known.splits[0 if split == "train" else 1]
    rows = load_dataset(known.hub, known.configuration, split=part, revision=known.revision)
    chosen = rows if limit is None else rows.select(range(min(limit, len(rows))))
    return [item(name, split, f"{name}-{part}-{i}", row) for i, row in enumerate(chosen)]


def item(name: str, split: Part, number: str, row: Row) -> Item:
    """Return the item of one hub row; `number` names it where the data set gives no id of its own."""
    record = {"id": number, "task": name, "split": split, "context": None, "choices": None, "subject": None}
    return catalog.item({**record, **_SHAPES[name](row)})


def _gsm8k(row: Row) -> Row:
    return {"question": row["question"], "answer": row["answer"].rpartition("####")[2].strip().replace(",", "")}


def _labelled(row: Row, question: str) -> Row:
    options, label = row["choices"], row["answerKey"]  # labels are A to E, for some items 1 to 5
    return {
        "id": row["id"],
        "question": question,
        "choices": options["text"],
        "answer": LETTERS[list(options["label"]).index(label)],
    }


def _race(row: Row) -> Row:
    return {"context": row["article"], "question": row["question"], "choices": row["options"], "answer": row["answer"]}


def _mmlu(row: Row) -> Row:
    plain = {key: row[key] for key in ("question", "choices", "subject")}
    return {**plain, "answer": LETTERS[row["answer"]]}


def _drop(row: Row) -> Row:
    validated = row["validated_answers"]  # a record of lists: one entry an annotator
    others = [{key: validated[key][i] for key in ("number", "date", "spans")} for i in range(len(validated["number"]))]
    accepted = [text for answer in (row["answer"], *others) if (text := _drop_text(answer))]
    return {
        "id": row["query_id"],
        "context": row["passage"],
        "question": row["question"],
        "answer": list(dict.fromkeys(accepted)),
    }


def _drop_text(answer: Row) -> str:
    """Return a number, else the spans joined with "and", else the date: what the official script calls the answer."""
    date = " ".join(answer["date"][part] for part in ("day", "month", "year"))
    return str(answer["number"] or " and ".join(answer["spans"]) or " ".join(date.split()))


def _cosmosqa(row: Row) -> Row:
    options = [row[f"answer{i}"] for i in range(4)]
    return {
        "id": row["id"],
        "context": row["context"],
        "question": row["question"],
        "choices": options,
        "answer": LETTERS[row["label"]],
    }


def _squad(row: Row) -> Row:
    accepted = list(dict.fromkeys(row["answers"]["text"]))
    return {"id": row["id"], "context": row["context"], "question": row["question"], "answer": accepted}


def _hellaswag(row: Row) -> Row:
    return {
        "question": _unmarked(f"{row['activity_label']}: {row['ctx']}"),
        "choices": [_unmarked(ending) for ending in row["endings"]],
        "answer": LETTERS[int(row["label"])],
    }


def _unmarked(text: str) -> str:
    """Return a WikiHow text without its marks, as evaluation tools commonly clean it."""
    plain = text.strip().replace(" [title]", ". ")
    for mark in ("[header]", "[title]", "[step]", "[substeps]"):
        plain = plain.replace(mark, "")
    return " ".join(plain.split())


def _headqa(row: Row) -> Row:
    numbers = [option["aid"] for option in row["answers"]]
    return {
        "id": f"{row['name']}-{row['qid']}",
        "question": row["qtext"],
        "choices": [option["atext"] for option in row["answers"]],
        "answer": LETTERS[numbers.index(row["ra"])],
        "subject": row["category"],
    }


_SHAPES: dict[str, Callable[[Row], Row]] = {
    "gsm8k": _gsm8k,
    "arc_challenge": lambda row: _labelled(row, row["question"]),
    "mmlu": _mmlu,
    "race_high": _race,
    "openbookqa": lambda row: _labelled(row, row["question_stem"]),
    "drop": _drop,
    "cosmosqa": _cosmosqa,
    "squad": _squad,
    "hellaswag": _hellaswag,
    "headqa": _headqa,
}
