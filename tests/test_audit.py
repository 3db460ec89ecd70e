"""The audit: every fault that is planted is found, with its ids; sound suites have none; fatal ones are not ranked."""

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import audit, ingest, run
from bench.audit import audit_run, audit_suite
from bench.behaviour import Decided, closeness, of_bundle
from bench.bundle import open_run
from bench.findings import FEW, Finding
from bench.leakage import _nearest
from bench.suites import open_suite
from tasks import storage
from tasks.errors import InputError
from tasks.scenarios import BALANCE, SCENARIOS
from tasks.suite import Suite
from tasks.types import Prices
from tests.toys import toy_suite


def named(findings: list[Finding], start: str) -> Finding:
    found = [one for one in findings if start in one.what]
    assert len(found) == 1, [one.what for one in findings]
    return found[0]


def worst(findings: list[Finding]) -> str:
    return findings[0].severity if findings else "none"


def sound(n: int = 200, texts: Any = None, **recordings: Any) -> Suite:
    """A suite without any fault: three models, distinct questions, tokens, dated prices that fit the dollars."""
    rng = np.random.default_rng(3)
    correct = (rng.random((n, 3)) < [0.3, 0.5, 0.7]).astype(np.float32)
    tokens = {name: rng.integers(10, 99, (n, 3)).astype(np.float32) for name in ("prompt_tokens", "completion_tokens")}
    dollars = {"cost_usd": (tokens["prompt_tokens"] + 2 * tokens["completion_tokens"]) / np.float32(1e6)}
    outcomes = tokens | dollars | recordings.pop("outcomes", {})
    parts = (["train", "validation", "test", "test"] * n)[:n]
    vectors = {"query/small": rng.normal(size=(n, 32)).astype(np.float16)}
    suite = toy_suite(correct, splits=parts, outcomes=outcomes, **({"embeddings": vectors} | recordings))
    suite.queries["text"] = [f"what is thing number {i} called?" for i in range(n)] if texts is None else texts
    priced = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0, date="2026-01-31")
    pool = tuple(model.model_copy(update={"prices": priced}) for model in suite.pool)
    return dataclasses.replace(suite, manifest=suite.manifest.model_copy(update={"pool": pool, "cost_rule": "ours"}))


def repooled(suite: Suite, *changes: dict[str, Any]) -> Suite:
    pool = tuple(model.model_copy(update=change) for model, change in zip(suite.pool, changes, strict=True))
    return dataclasses.replace(suite, manifest=suite.manifest.model_copy(update={"pool": pool}))


def test_a_sound_suite_has_no_faults() -> None:
    assert {one.severity for one in audit_suite(sound())} == {"note"}


def test_the_shipped_suite_has_nothing_above_a_warning() -> None:
    """Its families ask sums in another order: near, and not the same."""
    findings = audit_suite(open_suite("pocket"))
    assert worst(findings) == "warning"
    assert [one.what[:9] for one in findings if one.severity == "warning"] == ["test ques"]


def test_the_simulated_suite_has_notes_only(simulated: Suite) -> None:
    assert {one.severity for one in audit_suite(simulated)} == {"note"}


def test_questions_that_stand_in_train_are_found_in_any_case_and_spacing() -> None:
    suite = sound()
    test, train = suite.rows("test"), suite.rows("train")
    suite.queries.loc[test[:3], "text"] = suite.queries["text"].iloc[train[:3]].str.upper().to_numpy() + " "
    found = named(audit_suite(suite), "test questions that also stand")
    assert (found.severity, found.count) == ("fatal", 3)
    assert found.examples[0] == f"q{test[0]} = q{train[0]}"
    suite.queries["text_sha256"] = suite.queries["text"].map(
        lambda text: hashlib.sha256(" ".join(text.split()).lower().encode()).hexdigest()
    )
    suite.queries["text"] = None  # a suite that ships without texts still has their hashes
    assert named(audit_suite(suite), "test questions that also stand") == found


def test_a_leak_below_one_percent_is_an_error_and_not_fatal() -> None:
    suite = sound(400)
    suite.queries.loc[suite.rows("test")[0], "text"] = suite.queries["text"].iloc[suite.rows("train")[0]]
    assert named(audit_suite(suite), "test questions that also stand").severity == "error"


def test_a_shared_passage_is_an_error_and_a_question_tuned_on_twice_a_warning() -> None:
    suite = sound()
    train, validation, test = (suite.rows(part)[1] for part in ("train", "validation", "test"))
    suite.queries.loc[[train, test], "cluster_id"] = "passage"
    suite.queries.loc[validation, "text"] = suite.queries["text"].iloc[train]
    findings = audit_suite(suite)
    assert named(findings, "on a passage") == dataclasses.replace(
        named(findings, "on a passage"), severity="error", count=1, examples=(f"q{test}",)
    )
    assert named(findings, "validation questions").examples == (f"q{validation} = q{train}",)


def test_continued_and_near_questions_are_found() -> None:
    suite = sound()
    (test, other, _, short), (train, second) = suite.rows("test")[:4], suite.rows("train")[:2]
    suite.queries.loc[test, "text"] = suite.queries["text"].iloc[train] + " Answer with one word."
    suite.queries.loc[short, "text"] = "what is"  # begins every question, and means nothing
    near = suite.embeddings["query/small"].astype(np.float32)
    near[other] = 3 * near[second] + 0.1
    suite.embeddings["query/small"] = near.astype(np.float16)
    findings = audit_suite(suite)
    assert named(findings, "go on where").examples == (f"q{test} = q{train}",)
    close = named(findings, "embedding is nearly")
    assert close.severity == "warning"
    assert close.examples[0].startswith(f"q{other} ~ q{second} (0.99")


def test_the_nearest_is_the_same_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float16)
    tested, learned = np.arange(100), np.arange(100, 300)
    whole = _nearest(vectors, tested, learned)
    monkeypatch.setattr("bench.leakage._BLOCK", 1)
    rows, cosine = _nearest(vectors, tested, learned)
    assert (rows == whole[0]).all()
    unit = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    assert cosine == pytest.approx((unit[tested] @ unit[learned].T).max(axis=1), abs=1e-5)
    assert len(_nearest(vectors, tested, tested[:0])[0]) == 100


def test_the_leaked_questions_of_llmrouter_are_found(peer_data: Path, tmp_path: Path, capsys: Any) -> None:
    files = [str(path) for path in sorted((peer_data / "llmrouter").iterdir())]
    for name, flags in (("kept", ["--keep-leaks"]), ("guarded", [])):
        ingest.main(["llmrouter", *files, "--no-embeddings", "--out", str(tmp_path / name), *flags])
    kept, guarded = (audit_suite(storage.load(tmp_path / name)) for name in ("kept", "guarded"))
    found = named(kept, "test questions that also stand")
    assert (found.severity, found.count) == ("fatal", 119)
    assert not [one for one in guarded if one.severity == "fatal"]
    # what the guard does not see: questions of gsm8k that stand in train with a sentence appended, as another task's
    assert named(guarded, "go on where").count == 9
    assert named(kept, "no date").count == 9
    capsys.readouterr()
    assert audit.main([str(tmp_path / "kept")]) == 1
    assert "119" in capsys.readouterr().out
    with pytest.raises(InputError, match="119, such as .*--allow-audit-errors"):
        run.main(["--suite", str(tmp_path / "kept"), "--routers", "best_single", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


OUTCOMES = {
    "alike": (lambda c: c[:, :1].repeat(3, axis=1), "fatal", "domains in which every model", ("id",)),
    "never": (lambda c: c * [0, 1, 1], "error", "never right", ("a",)),
    "always": (lambda c: np.maximum(c, [0, 0, 1]), "warning", "always right", ("c",)),
    "twins": (lambda c: c[:, [0, 1, 1]], "error", "same outcomes", ("b = c",)),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_constant_outcomes_are_found(case: str) -> None:
    change, severity, what, examples = OUTCOMES[case]
    suite = sound()
    suite = dataclasses.replace(suite, outcomes=suite.outcomes | {"correct": change(suite.correct).astype(np.float32)})
    found = named(audit_suite(suite), what)
    assert (found.severity, found.examples) == (severity, examples)


def test_a_task_on_which_models_are_alike_is_found_and_a_tiny_one_is_chance() -> None:
    rng = np.random.default_rng(0)
    sizes = {"flat": FEW, "tiny": FEW - 1, "fine": 100}
    tasks = [task for task, n in sizes.items() for _ in range(n)]
    correct = rng.integers(0, 2, (len(tasks), 2)).astype(np.float32)
    correct[: 2 * FEW - 1] = 1
    assert named(audit_suite(toy_suite(correct, tasks=tasks)), "tasks on whose").examples == ("flat",)
    assert worst(audit_suite(toy_suite([[1, 1]]))) == "warning"  # one query: no rule for costs, and nothing worse


COUNTS = {
    "zero": ("prompt_tokens", lambda t: t * [0, 1, 1], "error", "are all zero", ("a",)),
    "constant prompts": (
        "prompt_tokens",
        lambda t: t * [1, 0, 1] + [0, 7, 0],
        "error",
        "the same for every",
        ("b: 7",),
    ),
    "one letter": ("completion_tokens", lambda t: t * [1, 0, 1] + [0, 1, 0], "warning", "the same for", ("b: 1",)),
}


@pytest.mark.parametrize("case", COUNTS)
def test_odd_token_counts_are_found(case: str) -> None:
    name, change, severity, what, examples = COUNTS[case]
    suite = sound()
    outcomes = suite.outcomes | {name: change(suite.outcomes[name]).astype(np.float32)}
    found = named(audit_suite(dataclasses.replace(suite, outcomes=outcomes)), what)
    assert (found.severity, found.examples) == (severity, examples)


def test_calls_without_tokens_and_without_dollars_are_counted() -> None:
    suite = sound()
    for name in ("completion_tokens", "cost_usd"):
        suite.outcomes[name][suite.rows("test")[:4], 1] = 0
    findings = audit_suite(suite)
    assert named(findings, "sometimes zero").examples == ("b: 4 times",)
    assert named(findings, "cost 0 dollars").examples == ("b: 4 times",)


def test_prices_that_are_unknown_undated_or_off_by_a_factor_are_found() -> None:
    cheap = Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=0.2)
    findings = audit_suite(repooled(sound(), {"prices": None}, {"prices": cheap}, {"cost": 0.0}))
    assert named(findings, "without a price").severity == "error"
    assert named(findings, "no date").examples == ("b",)
    assert named(findings, "otherwise than").examples == ("b: 10 times",)
    assert named(findings, "cost nothing").examples == ("c",)
    none = repooled(sound(), *[{"prices": None, "cost": 0.5}] * 3)
    none = dataclasses.replace(none, manifest=none.manifest.model_copy(update={"cost_rule": ""}))
    findings = audit_suite(none)
    assert named(findings, "without a price").severity == "note"
    assert named(findings, "all of one cost").count == 3
    assert named(findings, "no rule").severity == "warning"


def test_graded_replies_and_posteriors_in_reach_are_told() -> None:
    n, one = 40, np.ones((40, 3), dtype=np.float32)
    posteriors = {"query/small": 0.5 * one}
    replies = pd.DataFrame({"query_id": ["q2", "q3"], "model": "a", "sample": 0, "text": "x", "correct": 1.0})
    counts = np.zeros((n, 3), dtype=np.float32)
    counts[[2, 3], 0] = 1
    samples = {"n": counts, "n_correct": counts, "n_modal": counts}
    suite = sound(n, samples=samples, posteriors=posteriors, read_replies=lambda: replies)
    findings = audit_suite(suite)
    assert named(findings, "replies.parquet").examples == ("q2", "q3")
    assert named(findings, "posteriors").severity == "error"


def decided(suite: Suite, chosen: Any, router: str = "mine", **changes: Any) -> Decided:
    settled = {"reference": False, "signals": frozenset({"QUERY"}), "scenario": BALANCE, "split": "id"}
    return Decided(router=router, rows=suite.rows("test"), chosen=np.asarray(chosen), **(settled | changes))


def test_a_router_that_collapses_is_found_unless_it_sees_nothing() -> None:
    suite = sound()
    ones = np.ones(len(suite.rows("test")), dtype=np.int64)
    found = named(audit_run(suite, [decided(suite, ones)]), "mine sends")
    assert (found.severity, found.examples) == ("warning", ("balance id: b 100.0%",))
    assert audit_run(suite, [decided(suite, ones, signals=frozenset())]) == []
    assert audit_run(suite, [decided(suite, ones, reference=True)]) == []


@pytest.mark.parametrize("scenario", list(SCENARIOS.values()), ids=list(SCENARIOS))
def test_a_router_that_knows_the_outcomes_is_found(scenario: Any) -> None:
    suite, rng = sound(2000), np.random.default_rng(0)
    rows = suite.rows("test")
    solved = suite.correct[rows] >= 0.5
    oracle = np.where(solved.any(axis=1), solved.argmax(axis=1), 2)
    best = (suite.correct[rows] - scenario.alpha * suite.pool.costs).argmax(axis=1)
    for choice in (oracle, best):
        assert closeness(suite, decided(suite, choice, scenario=scenario)) == 1.0
        noisy = np.where(rng.random(len(rows)) < 0.03, (choice + 1) % 3, choice)
        found = named(audit_run(suite, [decided(suite, noisy, scenario=scenario)]), "mine chooses")
        assert found.severity == "error"
    constant = decided(suite, np.full(len(rows), np.bincount(best).argmax()), scenario=scenario)
    assert (closeness(suite, constant) or 0.0) < 0.4
    assert audit_run(suite, [dataclasses.replace(constant, signals=frozenset())]) == []


def test_where_one_model_is_always_best_nobody_is_suspected() -> None:
    suite = sound()
    correct = np.tile(np.float32([0, 0, 1]), (len(suite.correct), 1))
    suite = dataclasses.replace(suite, outcomes=suite.outcomes | {"correct": correct})
    assert closeness(suite, decided(suite, np.full(len(suite.rows("test")), 2))) is None


def test_a_ranked_router_that_declares_labels_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bench.run refuses such a router before it runs; a bundle of other origin is refused by the audit."""
    suite = sound()
    seeing = decided(suite, np.zeros(len(suite.rows("test")), dtype=np.int64), signals=frozenset({"OUTCOME"}))
    assert named(audit_run(suite, [seeing]), "declare OUTCOME").severity == "fatal"
    monkeypatch.setattr(run, "checkout_page", lambda: None)
    storage.save(suite, tmp_path / "s")
    out = tmp_path / "run"
    assert run.main(["--suite", str(tmp_path / "s"), "--routers", "knn", "--out", str(out)]) == 0
    made = json.loads((out / "run.json").read_text())
    assert made["declared"]["knn"]["signals"] == ["QUERY"]
    made["declared"]["oracle"]["reference"] = False
    (out / "run.json").write_text(json.dumps(made))
    assert audit.main([str(out)]) == 1
    bundle = open_run(out)
    findings = audit_run(bundle.suite, of_bundle(bundle))
    assert named(findings, "declare OUTCOME").examples == ("oracle",)
    assert named(findings, "oracle chooses").count == 3


def test_a_run_prints_errors_and_ranks_fatal_ones_only_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "checkout_page", lambda: None)
    suite = sound()
    suite.queries.loc[suite.rows("test")[:9], "text"] = suite.queries["text"].iloc[suite.rows("train")[:9]].to_numpy()
    storage.save(suite, tmp_path / "s")
    command = [
        "--suite",
        str(tmp_path / "s"),
        "--routers",
        "knn",
        "--scenario",
        "balance",
        "--out",
        str(tmp_path / "r"),
    ]
    with pytest.raises(InputError, match=r"ranks would mean nothing: test questions .*: 9, such as q2 = q0") as error:
        run.main(command)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "s"]
    capsys.readouterr()
    assert run.main([*command, "--allow-audit-errors"]) == 0
    assert "audit: fatal: test questions that also stand in train" in capsys.readouterr().out
    kept = json.loads((tmp_path / "r" / "run.json").read_text())["audit"]
    assert (kept[0]["severity"], kept[0]["count"]) == ("fatal", 9)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["pocket", "--json"]) == 0
    assert {one["severity"] for one in json.loads(capsys.readouterr().out)} == {"warning", "note"}
    with pytest.raises(InputError, match="did you mean 'pocket'"):
        audit.main(["pockets"])
    with pytest.raises(SystemExit) as stopped:
        audit.main(["pocket", "--suite", "pocket"])
    assert stopped.value.code == 2
    assert "--suite goes with a run" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"leaderboard\.json"):
        audit.main([str(tmp_path)])


def test_it_does_not_spoil_a_run() -> None:
    """The whole audit of the default suite takes a fraction of a second; generous, since machines are shared."""
    suite = open_suite("pocket")
    start = time.perf_counter()
    audit_suite(suite)
    assert time.perf_counter() - start < 5
