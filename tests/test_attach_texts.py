"""Texts come back onto a suite that ships without them, and nothing else about it changes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import attach_texts
from bench.assemble import assemble
from bench.collect import collect, jobs, settings
from bench.engines.pool import Engines, PoolEntry
from bench.evaluate import evaluate
from bench.items import items
from bench.raw import open_raw
from routers.registry import built_in
from tasks import storage
from tasks.errors import InputError
from tests.fake_engine import FakeEngine
from tests.test_collect import ARGS, POOL
from tests.toys import toy_config, toy_suite

RECORD = {"context": None, "choices": None, "subject": None}


class Counter(FakeEngine):
    """Subtracts one from `digits` of any eight numbers in a row."""

    def _text(self, prompt: str, sampling: Any, sample: int) -> str:
        number = int(re.findall(r"What is (\d+)", prompt)[0])
        return f"The final answer is: {number - 1 - (number % 8 >= self.digits)}."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty questions of GSM8K's form, every third of them in the train part."""
    (tmp_path / "data").mkdir()
    lines = [
        RECORD
        | {
            "id": f"i{n}",
            "task": "gsm8k",
            "split": "test" if n % 3 else "train",
            "question": f"What is {n} − 1? Ü" + "." * n,
        }
        | {"answer": str(n - 1)}
        for n in range(40)
    ]
    (tmp_path / "data" / "gsm8k.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return tmp_path / "data"


@pytest.fixture
def bare(data: Path, tmp_path: Path) -> Path:
    """A recorded suite without texts of those questions, with made-up embeddings."""

    def counter(entry: PoolEntry) -> Counter:
        return Counter(int(entry.model.split("-")[1]))

    asked = items(["gsm8k"], {"test": 20, "train": 8, "validation": 4}, data)
    with open_raw(tmp_path / "r", settings(ARGS, POOL)) as recording, Engines(counter) as engines:
        collect(recording, jobs(POOL, asked, ("answers",), ARGS), 64, engines, lambda job, done, total: None)
        suite = assemble(recording, POOL, asked, "public", embed=False)
    vectors = np.random.default_rng(0).normal(size=(len(asked), 4)).astype(np.float16)
    suite.embeddings.update({"query/small": vectors, "query/large": vectors})
    storage.save(suite, tmp_path / "public")
    return tmp_path / "public"


def test_texts_come_back_and_decisions_stay(bare: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    before = storage.load(bare)
    assert attach_texts.main([str(bare), "--data-dir", str(data), "--out", str(tmp_path / "new")]) == 0
    assert "32 of 32 texts found" in capsys.readouterr().out
    after = storage.load(tmp_path / "new")
    assert after.manifest == before.manifest.model_copy(update={"name": "public-texts"})
    asked = items(["gsm8k"], {"test": 20, "train": 8, "validation": 4}, data)
    assert after.queries["text"].tolist() == [item.text for item in asked]
    others = [column for column in before.queries if column != "text"]
    assert after.queries[others].equals(before.queries[others])
    assert after.available == before.available | {"text"}
    specs = [built_in()[name] for name in ("oracle", "best_single", "knn", "forc")]
    chosen = [
        [one.chosen.tolist() for one in evaluate(s, s, [(spec, spec.build()) for spec in specs], toy_config(s))]
        for s in (before, after)
    ]
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0][0])) > 1
    assert storage.load(bare).sha256 == before.sha256


def test_what_is_not_found_is_listed(bare: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    file = data / "gsm8k.jsonl"
    lines = file.read_text("utf-8").splitlines()
    test = [line for line in lines if '"split": "test"' in line]
    file.write_text("\n".join(line for line in lines if line not in (test[3], test[5])), "utf-8")
    attach_texts.main([str(bare), "--data-dir", str(data), "--out", str(tmp_path / "new")])
    said = capsys.readouterr().out
    ids = [json.loads(test[n])["id"] for n in (3, 5)]
    assert "30 of 32 texts found" in said
    assert f"gsm8k: 2 not found: {', '.join(ids)}\n" in said
    texts = storage.load(tmp_path / "new").queries.set_index("query_id")["text"]
    assert texts[texts.isna()].index.tolist() == ids


def test_a_new_suite_is_named_after_the_old_one(bare: Path, data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    attach_texts.main(["public/", "--data-dir", "data"])
    assert storage.load(tmp_path / "suites" / "public-texts").queries["text"].notna().all()


def test_what_cannot_be_done_is_one_line(bare: Path, data: Path, tmp_path: Path) -> None:
    given = [str(bare), "--data-dir"]
    with pytest.raises(InputError, match=r"none of the 32 texts that suite public lacks .* such as gsm8k.jsonl.gz"):
        attach_texts.main([*given, str(tmp_path), "--out", str(tmp_path / "new")])
    for out in (bare, storage.SHIPPED / "public-texts"):
        with pytest.raises(InputError, match="name another --out"):
            attach_texts.main([*given, str(data), "--out", str(out)])
    (data / "gsm8k.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"gsm8k.jsonl, line 1"):
        attach_texts.main([*given, str(data), "--out", str(tmp_path / "new")])
    suite = toy_suite([[0, 1]])
    suite.queries["text"] = "a question"
    storage.save(suite, tmp_path / "toy")
    with pytest.raises(InputError, match="has the texts of all its 1 queries already"):
        attach_texts.main([str(tmp_path / "toy"), "--data-dir", str(data), "--out", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()
