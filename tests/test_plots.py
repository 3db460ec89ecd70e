"""The figures: which are drawn, that names are data, that nulls stay out, and that bytes repeat."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from bench import plots, sweep_plot

SUITE = {"name": "made-up", "kind": "simulated"}


def row(router: str, accuracy: float | None, cost: float | None, **other: Any) -> dict[str, Any]:
    """A row as far as the figures read it."""
    utility = None if accuracy is None or cost is None else accuracy - 0.5 * cost
    strata = {"easy_cost": cost, "hard_cost": None if cost is None else cost + 0.1, "unsolvable_cost": None}
    known = {"reference": False, "scenario": "balance", "alpha": 0.5, "split": "id"}
    return {"router": router, "accuracy": accuracy, "cost": cost, "utility": utility, **strata, **known, **other}


def some_rows() -> list[dict[str, Any]]:
    return [
        row("oracle", 0.9, 0.2, reference=True),
        row("single:small", 0.5, 0.1, reference=True),
        row("single:large", 0.8, 1.0, reference=True),
        row("best_single", 0.5, 0.1),
        row("forc", 0.7, 0.4, unsolvable_cost=0.3),
        row("knn", 0.65, 0.5),
    ]


def svg_text(path: Path) -> str:
    """The texts of a figure: matplotlib draws glyphs as paths and leaves what they say in comments."""
    return " ".join(re.findall(r"<!-- (.*?) -->", path.read_text()))


def test_every_scenario_and_split_gets_both_figures_in_three_formats(tmp_path: Path) -> None:
    rows = some_rows() + [{**r, "split": "ood"} for r in some_rows()]
    rows += [{**r, "scenario": None, "alpha": 0.35} for r in some_rows()]
    written = plots.draw(rows, SUITE, tmp_path)
    stems = [
        f"{kind}_{part}"
        for part in ("alpha0.35_id", "balance_id", "balance_ood")
        for kind in ("cost_accuracy", "easy_hard_cost")
    ]
    assert [path.name for path in written] == [f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg", "csv")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written if path.suffix == ".png")


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (plots.draw(some_rows(), SUITE, tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("kind", ["simulated", "recorded"])
def test_simulated_outcomes_are_marked_and_only_those(kind: str, tmp_path: Path) -> None:
    for path in plots.draw(some_rows(), {"name": "made-up", "kind": kind}, tmp_path):
        if path.suffix == ".svg":
            assert ("simulated outcomes" in svg_text(path)) == (kind == "simulated")


def test_rows_without_numbers_are_left_out_and_not_drawn_at_zero(tmp_path: Path) -> None:
    nothing = row("nothing", None, None)
    plots.draw([*some_rows(), nothing], SUITE, tmp_path)
    for path in tmp_path.glob("*.csv"):
        assert "nothing" not in pd.read_csv(path)["router"].tolist()
        assert "nothing" not in svg_text(path.with_suffix(".svg"))
    assert plots.draw([nothing], SUITE, tmp_path / "none") == []


def test_frames_hold_what_is_drawn(tmp_path: Path) -> None:
    plots.draw(some_rows(), SUITE, tmp_path)
    points = pd.read_csv(tmp_path / "cost_accuracy_balance_id.csv").set_index("router")
    assert points["kind"].to_dict() == {
        "single:small": "single model",
        "single:large": "single model",
        "oracle": "oracle",
        "knn": "dominated router",
        "best_single": "Pareto-optimal router",
        "forc": "Pareto-optimal router",
    }
    assert points.loc["forc", ["cost", "accuracy", "utility"]].tolist() == pytest.approx([0.4, 0.7, 0.5])
    strata = pd.read_csv(tmp_path / "easy_hard_cost_balance_id.csv").set_index("router")
    assert set(strata.index) == {"oracle", "best_single", "forc", "knn"}
    assert strata["discrimination"].is_monotonic_increasing
    assert strata.loc["forc", "unsolvable"] == 0.3
    assert pd.isna(strata.loc["knn", "unsolvable"])


@pytest.mark.parametrize(
    "name", ["$a_b$ and $c", "<b>&\"'", "_hidden", "x" * 300, "模型", "line\nbreak\x01", "--", r"\frac{"]
)
def test_names_are_data(name: str, tmp_path: Path) -> None:
    rows = [*some_rows(), row(name, 0.6, 0.3), row(f"single:{name}", 0.6, 0.35, reference=True)]
    written = plots.draw(rows, {"name": name, "kind": "simulated"}, tmp_path)
    for path in written:
        if path.suffix == ".svg":
            ElementTree.parse(path)  # noqa: S314  # our own file: is it well-formed?
    assert name in pd.read_csv(tmp_path / "cost_accuracy_balance_id.csv", keep_default_na=False)["router"].tolist()


def test_file_names_are_safe_and_stay_apart(tmp_path: Path) -> None:
    scenarios = ["../../etc/passwd", ".._.._etc_passwd", "a b", "a/b", "é" * 300, "CON\x00"]
    rows = [{**r, "scenario": scenario} for scenario in scenarios for r in some_rows()]
    names = {plots.figure_name("cost_accuracy", r) for r in rows}
    assert len(names) == len(scenarios)
    assert all(re.fullmatch(r"cost_accuracy_[A-Za-z0-9_.-]{1,80}_id", name) for name in names)
    assert {path.parent for path in plots.draw(rows[: len(some_rows())], SUITE, tmp_path)} == {tmp_path}


@pytest.mark.parametrize(("alpha", "text"), [(0.5, "α = .5"), (0.35, "α = .35"), (0.0, "α = 0"), (1.0, "α = 1")])
def test_alpha_label(alpha: float, text: str) -> None:
    assert plots.alpha_label(alpha) == text


@pytest.mark.parametrize("name", ["forc", "$a_b$", "模型", "x" * 300])
def test_a_sweep_is_one_figure_a_split_whose_bytes_repeat(name: str, tmp_path: Path) -> None:
    rows = [
        {**one, "scenario": None, "alpha": alpha, "split": split}
        for alpha in (0.0, 0.25, 1.0)
        for split in ("id", "ood")
        for one in [*some_rows(), row(name, 0.6 - alpha / 9, 0.3 - alpha / 9)]
    ]
    first, second = (sweep_plot.draw(rows, SUITE, tmp_path / place) for place in ("a", "b"))
    assert [path.name for path in first] == [
        f"frontier_{split}.{kind}" for split in ("id", "ood") for kind in ("png", "svg", "csv")
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    shown = svg_text(tmp_path / "a" / "frontier_id.svg")
    assert "3 alphas, α = 0 to 1, in-domain" in shown
    assert "simulated outcomes, made-up" in shown
    assert name in pd.read_csv(tmp_path / "a" / "frontier_id.csv")["router"].tolist()
