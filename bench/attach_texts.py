"""Query texts onto a suite that ships without them, from the data sets on this machine, matched by sha256.

python -m bench.attach_texts pocket-public --data-dir datasets
"""

import hashlib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.suites import open_suite
from tasks import catalog, storage
from tasks.cli import Parser, console, run
from tasks.errors import InputError
from tasks.suite import Suite


def main(argv: Sequence[str] | None = None) -> int:
    """Write a new suite with the texts that were found, and say which were not."""
    args = _arguments(argv)
    suite = open_suite(args.suite)
    name = f"{suite.manifest.name}-texts"
    out = args.out or Path("suites") / name
    if out.resolve().is_relative_to(storage.SHIPPED.resolve()) or out.resolve() == Path(args.suite).resolve():
        raise InputError(f"{out} is the suite itself, or in the package, where nothing is changed; name another --out")
    attached = with_texts(suite, texts_of(suite, args.data_dir))
    before, after = (one.queries["text"].isna() for one in (suite, attached))
    if not before.any():
        raise InputError(f"suite {suite.manifest.name} has the texts of all its {len(before)} queries already")
    if after.sum() == before.sum():
        raise InputError(
            f"none of the {before.sum()} texts that suite {suite.manifest.name} lacks is in {args.data_dir}, where "
            f"files such as {suite.manifest.tasks[0].name}.jsonl.gz with the questions that were asked are wanted"
        )
    storage.save(replace(attached, manifest=attached.manifest.model_copy(update={"name": name})), out)
    say = partial(console().print, soft_wrap=True)
    say(f"{before.sum() - after.sum()} of {before.sum()} texts found")
    for task, ids in suite.queries["query_id"][after].groupby(suite.queries["task"]):
        say(f"  {task}: {len(ids)} not found: {', '.join(ids)}")
    say(f"suite: {out}")
    return 0


def _arguments(argv: Sequence[str] | None) -> Namespace:
    parser = Parser("bench.attach_texts", __doc__.splitlines()[0])
    parser.add_argument("suite", metavar="SUITE", help="a suite's name or directory")
    parser.add_argument("--data-dir", required=True, type=Path, metavar="DIR", help="data sets as local JSON Lines")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the new suite (default: suites/NAME-texts)")
    return parser.parse_args(argv)


def texts_of(suite: Suite, data_dir: Path) -> dict[str, str]:
    """Return the texts of the suite's tasks that are data sets of the catalog and have a file in `data_dir`, by sha256.

    Raises `InputError` where a file is damaged.
    """
    found = {}
    for task in suite.manifest.tasks:
        if task.name in catalog.DATA_SETS and catalog.file(data_dir, task.name) is not None:
            for item in catalog.read(data_dir, task.name, None):
                text = catalog.text(item)
                found[hashlib.sha256(text.encode()).hexdigest()] = text
    return found


def with_texts(suite: Suite, texts: Mapping[str, str]) -> Suite:
    """Return the suite with the `texts`, by sha256, of the queries that have none."""
    known, found = suite.queries["text"], suite.queries["text_sha256"].map(texts)
    filled = known.where(known.notna(), found).astype(object)
    return replace(suite, queries=suite.queries.assign(text=filled.where(filled.notna(), None)))


if __name__ == "__main__":
    run(main)
