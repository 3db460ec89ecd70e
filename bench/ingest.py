"""Outcomes that others recorded → a suite: read, priced, split without leaks, embedded, written whole.

python -m bench.ingest llmrouter dcrouter_*.json.gz default_query_*.jsonl.gz default_llm.json --out suites/llmrouter
"""

import argparse
import datetime
import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench import costs, formats
from bench.embed import with_embeddings
from bench.recordings import Recording, checked, sha256
from bench.sources import Source, open_source
from bench.splits import Parts, clusters, partition
from routers import encoders
from tasks import storage, tables
from tasks.cli import Parser, console, run
from tasks.errors import InputError, one_of
from tasks.files import whole_directory
from tasks.suite import Suite
from tasks.types import Manifest, Model, ModelPool, Task, suite_name

_PACKAGES = ("numpy", "pandas", "pyarrow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status and raises `InputError` for what the user can mend."""
    args = _arguments(argv)
    suite = _imported(args, [open_source(argument) for argument in args.files])
    if args.embeddings:
        _refuse_unless_embeddable(suite)
    # The directory is claimed before the minutes of embedding; nothing stands there until the suite is whole.
    with whole_directory(args.out, marker="suite.json") as scratch:
        suite = embedded(suite) if args.embeddings else suite
        storage.save(suite, scratch)
    _report(suite, args)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("bench.ingest", "Turn outcomes that others recorded into a suite.", formats.__doc__)
    parser.add_argument("format", metavar="FORMAT", help=", ".join(formats.FORMATS))
    parser.add_argument("files", metavar="FILE", nargs="+", help="plain or gzip'd; for lm_eval also MODEL=FILE")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the suite is written")
    parser.add_argument("--costs", metavar="FILE", type=Path, help="JSON or YAML: model → cost in [0, 1]")
    parser.add_argument("--ood", metavar="TASK,…", default="", help="tasks held out of training")
    parser.add_argument("--no-embeddings", dest="embeddings", action="store_false", help="leave the texts unembedded")
    parser.add_argument("--keep-leaks", action="store_true", help="keep test questions that also stand in train there")
    parser.add_argument("--name", metavar="NAME", help="name of the suite (the name of DIR)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the splits that are made (0)")
    parser.add_argument("--prices-date", metavar="YYYY-MM-DD", help="the day on which the prices of the data were so")
    args = parser.parse_intermixed_args(argv)
    one_of("format", args.format, formats.FORMATS)
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; allowed: whole numbers from 0")
    if args.prices_date is not None:
        _refuse_odd_date(args.prices_date, args.format)
    args.name = suite_name(args.name or args.out.resolve().name or "imported")
    return args


def _refuse_odd_date(given: str, format_name: str) -> None:
    try:
        if datetime.date.fromisoformat(given).isoformat() != given:
            raise ValueError(given)
    except ValueError:
        raise InputError(f"--prices-date is '{given}'; a day as YYYY-MM-DD is wanted") from None
    if format_name not in formats.READS_PRICES:
        raise InputError(f"--prices-date dates the prices of {', '.join(formats.READS_PRICES)}; {format_name} has none")


def _imported(args: argparse.Namespace, sources: Sequence[Source]) -> Suite:
    recording = checked(formats.read(args.format, sources))
    cost, rule = costs.derive(recording, args.costs)
    pool = ModelPool([_model(name, cost[name], recording, args.prices_date) for name in recording.models])
    tasks = _tasks(recording.queries, [name.strip() for name in args.ood.split(",") if name.strip()])
    queries = recording.queries.assign(
        domain=recording.queries["task"].map({task.name: task.domain for task in tasks}),
        cluster_id=clusters(recording.queries),
        text_sha256=recording.queries["text"].map(sha256, na_action="ignore"),
    )
    parts = partition(queries, args.seed, args.keep_leaks)
    queries = queries.assign(split=parts.split)[list(tables.QUERIES)][parts.keep].reset_index(drop=True)
    manifest = Manifest(
        name=args.name,
        kind="imported",
        description=f"outcomes recorded by others, imported from the format {args.format}",
        pool=tuple(pool),
        cost_rule=rule,
        tasks=tuple(task for task in tasks if (queries["task"] == task.name).any()),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        assumptions=recording.notes,
        provenance=_provenance(args, sources, queries, parts),
    )
    return Suite(manifest, queries, _arrays(recording, pool, parts.keep))


def _model(name: str, cost: float, recording: Recording, date: str | None) -> Model:
    prices = recording.prices.get(name)
    dated = prices.model_copy(update={"date": date}) if prices else None
    return Model(model=name, cost=cost, parameters=recording.parameters.get(name), prices=dated)


def _tasks(queries: pd.DataFrame, held_out: Sequence[str]) -> list[Task]:
    """Return the tasks by name, out of domain where `held_out` or the data say so."""
    names = sorted(queries["task"].unique())
    for name in held_out:
        one_of("task of --ood", name, names)
    domains = queries["domain"].fillna("id").groupby(queries["task"]).agg(["min", "max"])
    for name, low, high in domains.itertuples():
        if low != high:
            raise InputError(f"task {name} is id in some rows and ood in others; a task is one or the other")
    return [Task(name=n, domain="ood" if n in held_out or domains["min"][n] == "ood" else "id") for n in names]


def _arrays(recording: Recording, pool: ModelPool, keep: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Return the (n, K) arrays of a suite, models in the order of the pool; a column that says nothing is left out."""
    arrays = {}
    for name, frame in recording.outcomes.items():
        if name in tables.OUTCOMES and frame.notna().any(axis=None):
            values = frame.reindex(columns=list(pool.names))[keep]
            boolean = pa.types.is_boolean(tables.OUTCOMES[name].type)
            text = pa.types.is_string(tables.OUTCOMES[name].type)
            kind: Any = np.int8 if boolean else object if text else np.float32
            arrays[name] = (values.fillna(-1) if boolean else values).to_numpy(dtype=kind)
    return arrays


def _provenance(
    args: argparse.Namespace, sources: Sequence[Source], queries: pd.DataFrame, parts: Parts
) -> dict[str, Any]:
    counts = (queries["domain"] + " " + queries["split"]).value_counts().sort_index()
    files = [{"file": s.path.name, "sha256": s.sha256, "rows": len(s.content)} for s in sources]
    return {
        "format": args.format,
        "files": sorted(files, key=lambda file: (str(file["file"]), str(file["sha256"]))),
        "seed": args.seed,
        "splits": parts.rule,
        "queries": {str(part): int(n) for part, n in counts.items()},
        "test_questions_in_train": parts.n_leaked,
        "leaks_removed": 0 if args.keep_leaks else parts.n_leaks,
        "held_out_rows_removed": parts.n_held_out,
    }


def _refuse_unless_embeddable(suite: Suite) -> None:
    empty = suite.queries["text"].isna()
    if empty.any() and not empty.all():
        raise InputError(
            f"{int(empty.sum())} of {len(empty)} queries have no text to embed, first "
            f"{suite.queries['query_id'][empty].iloc[0]!r}; give it to all of them, or pass --no-embeddings"
        )
    if not empty.all():
        encoders.require(instead=", or pass --no-embeddings")


def embedded(suite: Suite) -> Suite:
    """Return the suite with embeddings of its texts and answers; a suite without texts has nothing to embed."""
    texts = suite.queries["text"]
    if texts.isna().any():
        return suite
    kinds, notes = {"query/small": texts.tolist()}, ["embeddings read the first 256 word pieces of a text"]
    answers = pd.DataFrame(suite.outcomes.get("answer"), texts.index, list(suite.pool.names), dtype=object)
    for model, empty in answers.isna().sum().items():
        if empty < len(texts):
            kinds[f"answer/{model}"] = answers[model].fillna("").tolist()
        if 0 < empty < len(texts):
            notes.append(f"answer/{model}: {empty} answers that are not recorded are embedded as the empty text")
    found = with_embeddings(suite, kinds)
    manifest = found.manifest.model_copy(update={"assumptions": (*suite.manifest.assumptions, *notes)})
    return replace(found, manifest=manifest)


def _report(suite: Suite, args: argparse.Namespace) -> None:
    say = partial(console().print, soft_wrap=True)
    manifest, made = suite.manifest, suite.manifest.provenance
    say(f"{manifest.name}: {len(suite.queries)} queries × {len(suite.pool)} models, {len(manifest.tasks)} tasks")
    for part, n in made["queries"].items():
        say(f"  {part}: {n} queries")
    say(f"splits: {made['splits']}")
    for model, accuracy in zip(suite.pool, suite.correct.mean(axis=0, dtype=np.float64), strict=True):
        say(f"  {model.model}: accuracy {accuracy:.4f}, cost {model.cost:.4f}")
    say(f"costs: {manifest.cost_rule}")
    say(
        f"leaks: {made['test_questions_in_train']} test questions also stand in train; "
        f"{made['leaks_removed']} rows left train{' (--keep-leaks)' if args.keep_leaks else ''}"
    )
    if any(task.domain == "ood" for task in manifest.tasks):
        say(f"held out: {made['held_out_rows_removed']} rows of out-of-domain tasks left train and validation")
    for note in manifest.assumptions:
        say(f"note: {note}")
    if not suite.embeddings:
        say(f"note: no embeddings ({'the data hold no texts' if args.embeddings else '--no-embeddings'})")
    learned = set(suite.queries["task"][suite.queries["split"] == "train"])
    unlearned = [task.name for task in manifest.tasks if task.domain == "id" and task.name not in learned]
    if unlearned:
        say(f"warning: no train rows in {', '.join(unlearned)}; routers that learn see nothing of them")
    say(f"suite: {args.out}")


if __name__ == "__main__":
    run(main)
