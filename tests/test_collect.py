"""Recording: what was paid for is never asked again, and an interrupted recording ends as an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import collect as collecting
from bench.assemble import assemble
from bench.collect import collect, jobs, settings
from bench.engines.pool import Engines, Pool, PoolEntry
from bench.items import items, tasks_of
from bench.raw import open_raw
from tasks import storage
from tasks.errors import InputError
from tests.fake_engine import FakeEngine

ROOT = Path(__file__).parent.parent
POOL = Pool(
    tuple(PoolEntry(model=f"adder-{d}", cost=c, hub=f"x/{d}") for d, c in ((2, 0.1), (4, 0.4), (7, 0.9))), "made up"
)
ITEMS = items(["addition"], {"test": 20, "train": 10, "validation": 5})
ARGS = Namespace(
    max_tokens=64, seed=0, n_votes=6, n_samples=4, votes=2, samples=2, chunk=8, engine="transformers", dtype="auto", batch_size=16
)


def record(
    directory: Path, stages: Any = collecting.STAGES, args: Namespace = ARGS, delay_s: float = 0.0
) -> list[FakeEngine]:
    engines: list[FakeEngine] = []

    def start(entry: PoolEntry) -> FakeEngine:
        engines.append(FakeEngine(int(entry.model.split("-")[1]), delay_s))
        return engines[-1]

    with open_raw(directory, settings(args, POOL)) as recording, Engines(start) as loaded:
        collect(recording, jobs(POOL, ITEMS, stages, args), args.chunk, loaded, lambda job, done, total: None)
        storage.save(assemble(recording, POOL, ITEMS, "adders", embed=False), directory / "suite")
    return engines


def test_a_recording_becomes_a_suite_with_every_signal(tmp_path: Path) -> None:
    engines = record(tmp_path / "r")
    assert all(engine.closed for engine in engines)
    suite = storage.load(tmp_path / "r" / "suite")
    assert suite.manifest.kind == "recorded"
    level = np.array([int(i.query_id.split("-")[1]) for i in ITEMS])
    digits = np.array([2, 2, 2, 3, 6])[level - 1]
    np.testing.assert_array_equal(suite.correct, digits[:, None] <= [2, 4, 7])
    agents = suite.self_routes["prompted", "balance"]
    np.testing.assert_array_equal(agents["rejected"][:, :2], digits[:, None] > [2, 4])
    assert (agents["rejected"][:, 2] == -1).all()
    np.testing.assert_allclose(agents["p_reject"][:, 0], np.where(digits > 2, np.exp(-0.1), np.exp(-3.0)), rtol=1e-5)
    assert suite.manifest.rejection_fraction == {"adder-2": pytest.approx(3 / 5), "adder-4": pytest.approx(3 / 5)}
    assert set(suite.verifications["n_yes"][:, 0]) == {4.0}
    assert set(suite.verifications["n_valid"][:, 0]) == {4.0}
    drawn = suite.samples["n"][:, 0]
    np.testing.assert_array_equal(np.isnan(drawn), [item.split == "validation" for item in ITEMS])
    assert set(drawn[~np.isnan(drawn)]) == {4.0}
    assert np.isnan(suite.samples["n"][:, 2]).all()
    assert (suite.outcomes["parsed"] == 1).all()
    assert suite.queries["text"].notna().all()


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    first = record(tmp_path / "r")
    assert sum(len(engine.asked) for engine in first) > 0
    assert record(tmp_path / "r") == []


def test_stages_can_come_one_after_the_other(tmp_path: Path) -> None:
    record(tmp_path / "r", ("answers",))
    assert storage.load(tmp_path / "r" / "suite").available == {"text"}
    record(tmp_path / "r", ("answers", "votes"))
    assert "verifications" in storage.load(tmp_path / "r" / "suite").available
    with pytest.raises(InputError, match="adder-2 has not answered every question yet"):
        record(tmp_path / "other", ("votes",))


def test_a_changed_setting_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "r", ("answers",))
    with pytest.raises(InputError, match="was begun with max_tokens = 64, now it is 32"):
        record(tmp_path / "r", ("answers",), Namespace(**vars(ARGS) | {"max_tokens": 32}))


def test_two_collectors_exclude_each_other(tmp_path: Path) -> None:
    with (
        open_raw(tmp_path / "r", {"a": 1}),
        pytest.raises(InputError, match="another collector is at work"),
        open_raw(tmp_path / "r", {"a": 1}),
    ):
        pass


def test_foreign_directories_and_damaged_chunks_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(InputError, match="no recording"), open_raw(tmp_path / "mine", {}):
        pass
    record(tmp_path / "r", ("answers",))
    chunk = next((tmp_path / "r" / "raw" / "answers" / "adder-2").glob("*.jsonl"))
    chunk.write_text(chunk.read_text()[:-40])
    with pytest.raises(InputError, match=r"line 8 is damaged .* delete that file to ask again"):
        record(tmp_path / "r")
    chunk.unlink()
    again = record(tmp_path / "r", ("answers",))
    assert sum(len(engine.asked) for engine in again) == 8


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.test_collect import record
record(Path({directory!r}), delay_s=0.05)
"""


def test_killed_ten_times_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    """SIGKILL at random moments; at most the chunk in flight is asked again, and the suite is the same."""
    rng, killed = np.random.default_rng(0), 0
    worker = [sys.executable, "-c", WORKER.format(root=str(ROOT), directory=str(tmp_path / "killed"))]
    while killed < 10:
        process = subprocess.Popen(worker, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        seen = chunks(tmp_path / "killed")
        while process.poll() is None and chunks(tmp_path / "killed") == seen and time.monotonic() < deadline:
            time.sleep(0.005)  # wait until it has begun to write, so that the signal meets it at work
        time.sleep(rng.uniform(0, 0.06))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
    assert killed == 10, "the recording was over before it could be killed ten times"
    subprocess.run(worker, check=True)
    record(tmp_path / "whole")
    killed_suite, whole = (storage.load(tmp_path / name / "suite") for name in ("killed", "whole"))
    assert killed_suite.sha256 == whole.sha256  # the fake engine's latency is a constant


def chunks(directory: Path) -> int:
    return sum(1 for _ in directory.glob("raw/*/*/*.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "vlm"], "did you mean 'vllm'?"),
        (["--stages", "answer"], "did you mean 'answers'?"),
        (["--tasks", "adition"], "did you mean 'addition'?"),
        (["--limit", "many"], "--limit is 'many'"),
        (["--limit", "dev=3"], "parts are test, train, validation"),
        (["--n-votes", "0"], "--n-votes is 0"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    pool = ROOT / "tasks" / "pools" / "pocket.yaml"
    given = {"--tasks": "graded", "--pool": str(pool), "--engine": "vllm", "--out": str(tmp_path / "r")}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        collecting.main([part for pair in given.items() for part in pair])
    assert not list(tmp_path.iterdir())


def test_a_plan_asks_nothing(tmp_path: Path, capsys: Any) -> None:
    pool = ROOT / "tasks" / "pools" / "pocket.yaml"
    collecting.main(
        ["--tasks", "graded", "--pool", str(pool), "--engine", "vllm", "--out", str(tmp_path / "r"), "--plan"]
    )
    said = capsys.readouterr().out
    assert "answers · " in said
    assert "in all" in said
    assert not list(tmp_path.iterdir())


def test_public_questions_keep_their_texts_to_themselves(tmp_path: Path) -> None:
    """Real questions of the paper's data sets: passages stay on one side, texts stay out of the suite."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip("the data sets are not beside this checkout")
    asked = items(["race_high", "squad"], {"test": 20, "train": 80, "validation": 30}, folder)
    counts = {
        (t, s): sum((i.task, i.split) == (t, s) for i in asked)
        for t in ("race_high", "squad")
        for s in ("test", "train", "validation")
    }
    assert list(counts.values()) == [20, 80, 30, 20, 0, 0]
    sides = [{i.cluster_id for i in asked if i.split == split} for split in ("train", "validation")]
    assert not sides[0] & sides[1]
    assert [t.domain for t in tasks_of(["race_high", "squad"])] == ["id", "ood"]

    class Parrot(FakeEngine):
        def _text(self, prompt: str, sampling: Any, sample: int) -> str:
            return "The final answer is: A."

    with open_raw(tmp_path / "r", settings(ARGS, POOL)) as recording:
        todo = jobs(POOL, asked, ("answers",), ARGS)
        collect(recording, todo, 64, Engines(lambda entry: Parrot(1)), lambda job, done, total: None)
        suite = assemble(recording, POOL, asked, "public", embed=False)
    assert suite.queries["text"].isna().all()
    assert suite.queries["text_sha256"].str.len().eq(64).all()
    assert (suite.outcomes["answer"] == None).all()  # noqa: E711  (elementwise)
    assert 0.05 < suite.correct[[i.task == "race_high" for i in asked]].mean() < 0.5


def test_more_questions_than_there_are_and_unknown_tasks_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'squad'"):
        items(["squat"], {"test": 1})
    with pytest.raises(InputError, match="no question was asked for"):
        items(["squad"], {"train": 5}, tmp_path)
    with pytest.raises(InputError):
        items(["squad"], {"test": 5}, tmp_path)
