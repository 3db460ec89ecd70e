"""The card of a recorded suite: its numbers are those of the suite, and nothing in a name breaks its tables."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import card, markdown, provenance
from tasks import storage
from tasks.scenarios import SCENARIOS
from tasks.suite import Suite
from tests.test_collect import record
from tests.toys import toy_suite

SNAPSHOT = Path(__file__).parent / "snapshots" / "card.md"
MACHINE = provenance.Machine(processor="Some CPU", instruction_sets=("avx2", "fma"), cores=2, memory_gib=24)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """The fake models' recording, begun on one day and ended on another."""
    directory = tmp_path_factory.mktemp("card") / "r"
    record(directory, ("answers",))
    with pytest.MonkeyPatch.context() as patch:
        for date in ("2031-05-04", "2031-05-06"):
            session = provenance.Session(date=date, machine=MACHINE, versions={"python": "3.11", "numpy": "2"})
            patch.setattr(provenance, "session", lambda now=session: now)
            provenance.remember_session(directory)
    record(directory)
    return storage.load(directory / "suite")


def renamed(suite: Suite, **names: str) -> Suite:
    """The suite with other names of models (with _ for -) and tasks."""
    text = suite.manifest.model_dump_json()
    for old, new in names.items():
        text = text.replace(f'"{old.replace("_", "-")}"', f'"{new}"')
    queries = suite.queries.assign(task=suite.queries["task"].replace(names))
    return replace(suite, queries=queries, manifest=type(suite.manifest).model_validate_json(text))


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def test_the_card_is_the_snapshot(recorded: Suite) -> None:
    """To accept a change, delete the snapshot, run once (which fails), and read the difference."""
    shown = card.markdown(recorded)
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(shown, "utf-8")
        pytest.fail(f"{SNAPSHOT.name} was missing and is now written: read it")
    assert shown == SNAPSHOT.read_text("utf-8")


def test_names_show_as_text_and_break_no_table(recorded: Suite) -> None:
    odd = renamed(recorded, adder_2="a|b <img src=x onerror=y>", adder_4="**b** `c` [d](e)", addition="sum | <b>")
    shown = card.markdown(odd)
    assert "<img" not in shown
    assert "<b>" not in shown
    assert r"a\|b &lt;img src=x onerror=y&gt;" in shown
    assert r"\*\*b\*\* \`c\` \[d\](e)" in shown
    plain = [cells(line) for line in card.markdown(recorded).splitlines() if line.startswith("|")]
    assert [cells(line) for line in shown.splitlines() if line.startswith("|")] == plain
    assert len(plain) > 15


def test_what_is_not_known_is_a_dash_and_no_nought(recorded: Suite) -> None:
    """Without training questions no single model can be chosen; without sessions nobody knows when or where."""
    tested = np.flatnonzero(recorded.queries["split"] == "test")
    bare = Suite(
        recorded.manifest.model_copy(update={"provenance": {}, "rejection_fraction": {}}),
        recorded.queries.iloc[tested].reset_index(drop=True).assign(text=None),
        {name: values[tested] for name, values in recorded.outcomes.items()},
    )
    shown = card.markdown(replace(bare, outcomes=bare.outcomes | {"answer": np.full(bare.correct.shape, None)}))
    assert "| in-domain | 0.5 | – | – | 0.840 | – | – |" in shown
    assert "recorded on a day that was not written down" in shown
    assert "- machine: not written down" in shown
    assert "Not shipped as text: questions, answers, sampled replies." in shown
    assert "votes on one's own answer" not in shown


def test_headroom_is_that_of_the_formulas() -> None:
    """Two tasks in and one out of domain, models of cost .1 and .9, worked out by hand from the definitions."""
    rng = np.random.default_rng(3)
    tasks = ["big"] * 60 + ["small"] * 20 + ["other"] * 30
    splits = (["train", "validation", "test"] * 20) + (["train", "validation", "test", "test"] * 5) + ["test"] * 30
    correct = (rng.random((110, 2)) < [0.45, 0.8]).astype(float)
    suite = toy_suite(correct, tasks=tasks, domains={"other": "ood"}, splits=splits)
    found = {(row["domain"], row["alpha"]): row for row in card.headroom_rows(suite)}
    assert len(found) == 6
    frame = suite.queries.assign(i=range(110))
    for (domain, mark), row in found.items():
        alpha = next(s.alpha for s in SCENARIOS.values() if f"{s.alpha:g}" == mark)
        gained = correct - alpha * np.array([0.1, 0.9])
        learned = frame[frame["split"] == "validation"].groupby("task")["i"]
        chosen = np.mean([gained[i].mean(axis=0) for _, i in learned], axis=0).argmax()
        tested = frame[(frame["split"] == "test") & (frame["domain"] == ("id" if domain == "in-domain" else "ood"))]
        by_task = [gained[i] for _, i in tested.groupby("task")["i"]]
        assert row["model"] == suite.pool.names[chosen]
        assert row["best"] == pytest.approx(np.mean([g[:, chosen].mean() for g in by_task]))
        assert row["oracle"] == pytest.approx(np.mean([g.max(axis=1).mean() for g in by_task]))
        assert row["headroom"] == pytest.approx(row["oracle"] - row["best"])
        errors = [np.var(g.max(axis=1) - g[:, chosen], ddof=1) / len(g) for g in by_task]
        assert row["smallest"] == pytest.approx(2.801585 * np.sqrt(np.mean(errors) / len(errors)), rel=1e-5)


def test_the_smallest_difference_in_closed_form() -> None:
    """s² = 2 with n = 2 in each of two tasks: √(1 + 1) / 2 standard errors; s² = 4/3 with n = 4 in one: √(1/3)."""
    both = card.smallest_difference(np.array([1.0, -1.0, 3.0, 1.0]), np.array([0, 0, 1, 1]))
    assert both == pytest.approx((1.959964 + 0.841621) * np.sqrt(0.5), rel=1e-6)
    one = card.smallest_difference(np.array([1.0, 1.0, -1.0, -1.0]), np.array([5, 5, 5, 5]))
    assert one == pytest.approx((1.959964 + 0.841621) * np.sqrt(1 / 3), rel=1e-6)
    assert card.smallest_difference(np.full(4, 0.5), np.array([0, 0, 1, 1])) == 0.0
    assert card.smallest_difference(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1])) is None


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    """By simulation: two tasks of 200 and 50 queries, a true difference as large as the formula says."""
    rng, task = np.random.default_rng(0), np.repeat([0, 1], [200, 50])
    spread = np.where(task == 0, 0.3, 0.6)
    error = np.sqrt(0.3**2 / 200 + 0.6**2 / 50) / 2
    n, found = 4000, 0
    for _ in range(n):
        difference = rng.normal(0.0, spread)
        true = card.smallest_difference(difference, task)
        mean = np.mean([(difference + true)[task == t].mean() for t in (0, 1)])
        found += abs(mean) > 1.959964 * error
    assert 0.78 < found / n < 0.82


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.12345, "0.123"), ("a\nb  c", "a b c"), (3, "3"), ("|", r"\|")]
)
def test_a_value_in_a_cell(value: Any, shown: str) -> None:
    assert markdown.shown(value) == shown
