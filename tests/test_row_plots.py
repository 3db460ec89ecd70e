"""The figures of shares, tasks and utility over alpha: frames, files, bytes, and agents."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import row_plots
from tasks.suite import Suite
from tests.pages import EVIL, a_row
from tests.test_plots import svg_text

SUITE = {"name": "made-up", "kind": "simulated"}


def some_rows(alphas: tuple[float, ...] = (0.2, 0.8)) -> list[dict[str, Any]]:
    """knn leads at low alphas, forc at high ones."""
    found = []
    for alpha in alphas:
        other = {"alpha": alpha, "scenario": None}
        rows = [
            a_row("knn", 0.9, 0.8, 1, **other),
            a_row("forc", 0.6, 0.1, 1, **other),
            a_row("single:small", 0.5, 0.1, None, **other),
            a_row("nothing", None, None, None, share=None, per_task=None, **other),
        ]
        for row in rows[:3]:
            row["utility"] = row["accuracy"] - alpha * row["cost"]
        rows[0 if alpha > 0.5 else 1]["rank"] = 2
        found += rows
    return found


def test_every_alpha_and_every_split_get_their_figures_in_three_formats(tmp_path: Path) -> None:
    written = row_plots.draw(some_rows(), SUITE, tmp_path)
    stems = [f"{kind}_alpha{alpha}_id" for alpha in ("0.2", "0.8") for kind in ("routing_shares", "utility_by_task")]
    names = [f"{stem}.{suffix}" for stem in [*stems, "utility_alpha_id"] for suffix in ("png", "svg", "csv")]
    assert [path.name for path in written] == names
    assert all("simulated outcomes" in svg_text(path) for path in written if path.suffix == ".svg")
    again = row_plots.draw(some_rows(), SUITE, tmp_path / "again")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]


def test_frames_hold_what_is_drawn(tmp_path: Path) -> None:
    row_plots.draw(some_rows(), SUITE, tmp_path)
    shares = pd.read_csv(tmp_path / "routing_shares_alpha0.2_id.csv")
    assert shares.groupby("router")["share"].sum().to_dict() == pytest.approx({"forc": 1.0, "knn": 1.0})
    tasks = pd.read_csv(tmp_path / "utility_by_task_alpha0.2_id.csv")
    assert set(tasks["router"]) == {"forc", "knn", "single:small"}
    lines = pd.read_csv(tmp_path / "utility_alpha_id.csv")
    assert lines[lines["router"] == "knn"]["utility"].tolist() == pytest.approx([0.74, 0.26])
    assert "forc from 0.43" in svg_text(tmp_path / "utility_alpha_id.svg")


def test_one_alpha_is_no_curve_and_many_are_no_figures_each(tmp_path: Path) -> None:
    assert not any("utility_alpha" in path.name for path in row_plots.draw(some_rows((0.2,)), SUITE, tmp_path))
    many = row_plots.draw(some_rows(tuple(i / 10 for i in range(8))), SUITE, tmp_path)
    assert {path.stem for path in many} == {"utility_alpha_id"}


def test_names_are_data(tmp_path: Path) -> None:
    scores = {"accuracy": 0.5, "cost": 0.5, "utility": 0.25}
    rows = [a_row(EVIL, 0.5, 0.5, 1, share={"$a_b$": 1.0}, per_task={EVIL: scores, "": scores})]
    assert len(row_plots.draw(rows, {"name": EVIL, "kind": "recorded"}, tmp_path)) == 6


def test_agents_are_drawn_where_there_are_any(simulated: Suite, tmp_path: Path) -> None:
    written = row_plots.draw_agents(simulated, tmp_path)
    assert [path.name for path in written] == ["answer_rate.png", "answer_rate.svg", "answer_rate.csv"]
    assert {"checkpoint", "split", "scenario", "model", "answer_rate"} <= set(pd.read_csv(written[2]))
