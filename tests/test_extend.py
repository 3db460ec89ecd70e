"""A recording that goes on from a shipped suite: nothing it holds is asked again, and nothing of it is lost."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import provenance
from bench.assemble import assemble
from bench.collect import STAGES, collect, jobs, settings
from bench.engines.pool import Engines
from bench.items import Item, items
from bench.raw import RawReplies, open_raw
from routers import encoders
from tasks import storage
from tasks.errors import InputError
from tasks.suite import Suite
from tests.fake_engine import FakeEngine
from tests.test_collect import ARGS, ITEMS, POOL

FEWER = [item for item in ITEMS if item.split == "test"]
SECRET = [replace(item, shareable=False) for item in ITEMS]


def record(
    directory: Path,
    stages: Sequence[str],
    asked: Sequence[Item] = ITEMS,
    extend: Suite | None = None,
    embed: bool = False,
    args: Namespace = ARGS,
) -> list[str]:
    """Record into `directory`, and return the prompts that were asked."""
    prompts: list[str] = []
    start = lambda entry: FakeEngine(int(entry.model.split("-")[1]), asked=prompts)  # noqa: E731
    with open_raw(directory, settings(args, POOL), extend) as recording, Engines(start) as loaded:
        collect(recording, jobs(POOL, asked, stages, args), args.chunk, loaded, lambda job, done, total: None)
        storage.save(assemble(recording, POOL, asked, "adders", embed), directory / "suite")
    return prompts


def shipped(directory: Path) -> Suite:
    return storage.load(directory / "suite")


@pytest.mark.parametrize("first", [("answers",), ("answers", "votes"), ("answers", "self_routes"), STAGES])
@pytest.mark.parametrize("asked", [FEWER, ITEMS], ids=["fewer questions", "all questions"])
def test_a_suite_that_was_extended_is_the_suite_of_one_recording(
    first: Sequence[str], asked: Sequence[Item], tmp_path: Path
) -> None:
    whole = record(tmp_path / "whole", STAGES)
    begun = record(tmp_path / "begun", first, asked)
    more = record(tmp_path / "more", STAGES, extend=shipped(tmp_path / "begun"))
    assert sorted(begun + more) == sorted(whole)
    assert shipped(tmp_path / "more").sha256 == shipped(tmp_path / "whole").sha256
    assert record(tmp_path / "more", STAGES) == []  # it knows by itself what it extends


def test_votes_need_answers_as_text(tmp_path: Path) -> None:
    """A suite that ships no answers cannot be voted on elsewhere: the votes would be on another answer."""
    record(tmp_path / "begun", ("answers",), SECRET)
    with pytest.raises(InputError, match="or its answers are not here as text; record the stage answers first"):
        record(tmp_path / "more", ("votes",), SECRET, shipped(tmp_path / "begun"))
    record(tmp_path / "more", ("self_routes", "samples"), SECRET)
    assert {"self_routes/prompted", "samples"} <= shipped(tmp_path / "more").available


def test_embeddings_of_what_cannot_be_read_any_more_are_kept(tmp_path: Path, monkeypatch: Any) -> None:
    embedded: list[str] = []

    def encode(texts: Sequence[str], advance: Any) -> Any:
        embedded.extend(texts)
        return np.stack([np.full(384, sum(map(ord, text)) % 997 / 1000) for text in texts])

    monkeypatch.setattr(encoders, "encode", encode)
    hidden = [replace(item, shareable=item.split != "test") for item in ITEMS]
    record(tmp_path / "whole", ("answers",), hidden, embed=True)
    record(tmp_path / "begun", ("answers",), [item for item in hidden if item.split == "test"], embed=True)
    embedded.clear()
    record(tmp_path / "more", ("answers",), hidden, shipped(tmp_path / "begun"), embed=True)
    assert set(embedded).isdisjoint(item.text for item in FEWER)
    ours, theirs = shipped(tmp_path / "more"), shipped(tmp_path / "whole")
    assert (
        ours.embeddings.keys() == theirs.embeddings.keys() == {"query/small", *(f"answer/{m}" for m in ours.pool.names)}
    )
    for kind, vectors in theirs.embeddings.items():
        np.testing.assert_array_equal(ours.embeddings[kind], vectors)


def test_sessions_and_hashes_of_the_suite_stand_in_the_one_that_extends_it(tmp_path: Path) -> None:
    record(tmp_path / "begun", ("answers",))
    before = provenance.session().model_copy(update={"date": "2020-01-02"})
    begun = shipped(tmp_path / "begun")
    models = tuple(model.model_copy(update={"sha256": 64 * "a"}) for model in begun.pool)
    told = begun.manifest.provenance | {
        "sessions": [before.model_dump(mode="json")],
        "agents": {"sft/adder-2": {"sha256": 64 * "b", "training": {"agent": "adder-2"}}},
    }
    old = replace(begun, manifest=begun.manifest.model_copy(update={"pool": models, "provenance": told}))
    provenance.remember_session(tmp_path / "more")
    (tmp_path / "more" / "recording.json").write_text((tmp_path / "begun" / "recording.json").read_text())
    record(tmp_path / "more", ("answers", "votes"), extend=old)
    made = provenance.Provenance.model_validate(shipped(tmp_path / "more").manifest.provenance)
    assert [session.date for session in made.sessions] == ["2020-01-02", provenance.session().date]
    assert provenance.agents(tmp_path / "more") == told["agents"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recording.json").write_text((tmp_path / "begun" / "recording.json").read_text())
    (tmp_path / "other" / "models.json").write_text('{"adder-4": {"stamp": "", "sha256": "ccc"}}')
    with pytest.raises(InputError, match="was recorded with another adder-4"):
        record(tmp_path / "other", ("answers",), extend=old)
    assert not (tmp_path / "other" / "known").exists()


def test_what_cannot_be_extended_is_named(tmp_path: Path) -> None:
    record(tmp_path / "begun", ("answers",))
    begun = shipped(tmp_path / "begun")
    imported = replace(begun, manifest=begun.manifest.model_copy(update={"kind": "imported"}))
    with pytest.raises(InputError, match="is imported, and not one of bench.collect"):
        record(tmp_path / "imported", ("votes",), extend=imported)
    with pytest.raises(InputError, match="suite adders was begun with max_tokens = 64, now it is 32; give the suite's"):
        record(tmp_path / "changed", ("votes",), extend=begun, args=Namespace(**vars(ARGS) | {"max_tokens": 32}))
    with pytest.raises(InputError, match=r"15 of 35 questions .* are not asked for; take the same --tasks"):
        record(tmp_path / "fewer", ("answers",), FEWER, begun)
    other = items(["addition"], {"test": 20, "train": 10, "validation": 5}, seed=1)
    with pytest.raises(InputError, match="are not asked for"):
        record(tmp_path / "others", ("answers",), other, begun)
    record(tmp_path / "more", ("answers", "votes"), extend=begun)
    with pytest.raises(InputError, match="extends another suite"):
        record(tmp_path / "more", ("answers",), extend=shipped(tmp_path / "more"))
    assert RawReplies(tmp_path / "more").done("answers", "adder-2") == {}


def test_a_refused_suite_leaves_no_trace_and_replies_of_ones_own_are_not_counted_twice(tmp_path: Path) -> None:
    record(tmp_path / "begun", ("answers", "votes"))
    begun = shipped(tmp_path / "begun")
    with pytest.raises(InputError, match="give the suite's settings"):
        record(tmp_path / "more", ("answers",), extend=begun, args=Namespace(**vars(ARGS) | {"max_tokens": 32}))
    assert len(record(tmp_path / "more", ("answers", "votes"), extend=begun)) == 0
    record(tmp_path / "own", ("answers",))
    with pytest.raises(InputError, match="has replies of its own already"):
        record(tmp_path / "own", ("votes",), extend=begun)


def test_a_prompt_that_was_refused_is_voted_on_as_an_empty_answer(tmp_path: Path) -> None:
    record(tmp_path / "begun", ("answers",))
    begun = shipped(tmp_path / "begun")
    answers, tokens = begun.outcomes["answer"].copy(), begun.outcomes["completion_tokens"].copy()
    answers[0, 0], tokens[0, 0], answers[1, 0] = None, np.nan, ""
    damaged = replace(begun, outcomes=begun.outcomes | {"answer": answers, "completion_tokens": tokens})
    with open_raw(tmp_path / "more", settings(ARGS, POOL), damaged) as recording:
        found = recording.answers("adder-2")
    assert [found[item.query_id] for item in ITEMS[:2]] == ["", ""]
    assert len(found) == len(ITEMS)


def test_answers_that_nobody_can_read_are_not_embedded_as_nothing(tmp_path: Path) -> None:
    record(tmp_path / "begun", ("answers",), SECRET)
    with pytest.raises(
        InputError, match="35 answers of adder-2 are in the extended suite neither as text nor embedded"
    ):
        record(tmp_path / "more", ("answers",), SECRET, shipped(tmp_path / "begun"), embed=True)
