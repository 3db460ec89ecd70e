"""The figure of a sweep over alpha: every router a curve, against the hull of the single models."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import plots
from bench.frontier import SINGLE, Row, pareto_points, points_of, upper_hull

FRONTIER = "frontier"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


def draw(rows: Sequence[Row], suite: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw accuracy over cost for every split of `rows` into `directory`, as PNG, SVG and CSV; return the files.

    `rows` and `suite` are those of `leaderboard.json`. The same rows give the same bytes.
    """
    import matplotlib as mpl

    written: list[Path] = []
    with mpl.rc_context(plots.STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that the font lacks shows as boxes
        for split in dict.fromkeys(row["split"] for row in rows):
            written += _draw([row for row in rows if row["split"] == split], suite, directory / f"{FRONTIER}_{split}")
    return written


def _draw(rows: Sequence[Row], suite: Mapping[str, Any], stem: Path) -> list[Path]:
    import seaborn as sns

    ranked = [row for row in rows if not row["reference"]]
    singles = list({row["router"]: row for row in rows if row["router"].startswith(SINGLE)}.values())
    frame = pd.DataFrame(ranked + singles)[["router", "alpha", "cost", "accuracy", "utility"]]
    figure = plots.new_figure(7.2, 5.4, layout="constrained")
    axes = figure.add_subplot()
    hull, best = upper_hull(points_of(singles)), pareto_points(points_of([*ranked, *singles]))
    axes.plot(hull[:, 0], hull[:, 1], "s:", color=plots.MUTED, markersize=4, label="hull of the single models")
    axes.step(*best.T, where="post", color=plots.FAINT, linewidth=3, zorder=0, label="Pareto frontier")
    names = list(dict.fromkeys(row["router"] for row in ranked))
    for place, (name, colour) in enumerate(zip(names, sns.husl_palette(len(names)), strict=True)):
        points = np.unique(points_of([row for row in ranked if row["router"] == name]), axis=0)
        marker = _MARKERS[place % len(_MARKERS)]
        axes.plot(*points.T, marker=marker, color=colour, markersize=4, linewidth=1, label=plots.shorten(name, 28))
    axes.set(xlabel="cost of a query", ylabel="accuracy")
    axes.legend(frameon=False, loc="lower right")
    sns.despine(ax=axes)
    alphas = sorted({row["alpha"] for row in rows})
    span = f"{plots.alpha_label(alphas[0])} to {plots.alpha_label(alphas[-1]).removeprefix('α = ')}"
    split = plots.SPLITS.get(rows[0]["split"], rows[0]["split"])
    plots.set_title(axes, f"{len(alphas)} alphas, {span}, {split}", suite)
    return plots.save(figure, frame.assign(suite=suite["name"], outcomes=suite["kind"]), stem)
