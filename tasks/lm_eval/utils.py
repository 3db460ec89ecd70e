"""What the YAML files beside this one call: lm-eval loads it by its path, so it finds the project by its own place.

    lm_eval --model hf --model_args pretrained=… --apply_chat_template --include_path tasks/lm_eval --tasks disrouter

Questions come from the hub. They come from local JSON Lines (see `tasks.catalog.read`) where DISROUTER_DATA_DIR names
their folder, or `--metadata '{"data_dir": "…"}'` does.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)  # last, so that an installed project is preferred

from tasks import catalog  # noqa: E402
from tasks.lm_eval import hub  # noqa: E402


def dataset(task: str, data_dir: str | None = None, **_: Any) -> dict[str, Any]:
    """Return the test questions of a data set as {hub's split name: `datasets.Dataset`}; lm-eval's `custom_dataset`.

    lm-eval passes the task's `dataset_kwargs` and all metadata. Raises `InputError` where local data cannot be read.
    """
    from datasets import Dataset

    folder = data_dir or os.environ.get("DISROUTER_DATA_DIR")
    items = catalog.read(Path(folder), task, "test") if folder else hub.items(task, "test")
    return {catalog.data_set(task).splits[1]: Dataset.from_list([asdict(item) for item in items])}


def doc_to_text(doc: dict[str, Any]) -> str:
    """Return the prompt of a question, the same that `bench.collect` sends."""
    return catalog.prompt(catalog.item(doc))


def doc_to_target(doc: dict[str, Any]) -> str:
    """Return the first accepted answer."""
    return catalog.item(doc).answer[0]


def process_results(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return whether the one reply is right, and whether an answer could be read from it: both 0 or 1."""
    correct, parsed = catalog.score(results[0], catalog.item(doc))
    return {"acc": correct, "parsed": float(parsed is not None)}
