"""A recording → the suite beside its raw replies, with its card; made again only where something has changed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
import tasks
from bench.assemble import assemble
from bench.engines.pool import Pool
from bench.items import Item
from bench.raw import RawReplies
from tasks import storage
from tasks.files import write_whole
from tasks.suite import Suite


@dataclass(frozen=True)
class Wanted:
    """What was asked for: the pool, the questions, the suite's name, embeddings, and what else decides the replies."""

    pool: Pool
    items: Sequence[Item]
    name: str
    embed: bool
    options: tuple[Any, ...] = ()


def standing(recording: RawReplies, wanted: Wanted) -> Suite | None:
    """Return the suite that stands there, where nothing that it was made of has changed since; else None.

    Then there is nothing to ask either, and a finished recording is neither read nor embedded again.
    """
    try:
        known = json.loads((recording.directory / "assembled.json").read_text("utf-8"))
        if known["made_of"] != _made_of(recording, wanted):
            return None
        suite = storage.load(recording.directory / "suite")
        return suite if suite.sha256 == known["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):  # what is lacking or damaged is made again
        return None


def finish(recording: RawReplies, wanted: Wanted) -> Suite:
    """Write the suite that is in a recording so far, with its card; raises `InputError` where an answer is missing."""
    from bench import card

    directory = recording.directory / "suite"
    suite = assemble(recording, wanted.pool, wanted.items, wanted.name, wanted.embed)
    storage.save(suite, directory, card.markdown(suite))
    saved = storage.load(directory)
    note = {"made_of": _made_of(recording, wanted), "sha256": saved.sha256}
    write_whole(recording.directory / "assembled.json", json.dumps(note, indent=1) + "\n")
    return saved


def _made_of(recording: RawReplies, wanted: Wanted) -> str:
    """Return a hash of all that decides the suite: replies, pool, questions, what was asked for, and our own code."""
    sessions = recording.directory / "sessions.json"
    facts = [
        recording.state(),
        recording.known.sha256 if recording.known is not None else None,
        sessions.read_text("utf-8") if sessions.exists() else None,
        [entry.model_dump() for entry in wanted.pool.entries],
        [wanted.pool.cost_rule, wanted.name, wanted.embed, wanted.options],
        [(item.query_id, item.split, item.text_sha256) for item in wanted.items],
    ]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for package in (bench, tasks):
        for source in sorted(Path(str(package.__file__)).parent.rglob("*")):
            if source.suffix in (".py", ".yaml", ".j2"):
                digest.update(source.read_bytes())
    return digest.hexdigest()
