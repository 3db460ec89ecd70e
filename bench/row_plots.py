"""Figures of the leaderboard's rows beside cost and accuracy: who answers, which tasks, and utility over alpha."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench import plots
from bench.frontier import SINGLE, Row, winners_by_alpha
from tasks.suite import Suite

if TYPE_CHECKING:  # matplotlib and seaborn take a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARES, TASKS, ANSWER_RATE = "routing_shares", "utility_by_task", "answer_rate"
_MANY = 6  # alphas, beyond which a figure for each is more than anybody looks at
_LINES = ("-", "--", ":", "-.")


def draw(rows: Sequence[Row], suite: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw routing shares and tasks for every alpha and split, and utility over alpha for every split.

    `rows` and `suite` are those of `leaderboard.json`; each figure is written as PNG, SVG and CSV into `directory`.
    What no row is left for is not drawn, nor what belongs to one alpha where there are many. The same rows give the
    same bytes.
    """
    import matplotlib as mpl

    written: list[Path] = []
    about = {"suite": suite["name"], "outcomes": suite["kind"]}
    with mpl.rc_context(plots.STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that the font lacks shows as boxes
        warnings.filterwarnings("ignore", "The set_bad function", PendingDeprecationWarning)  # seaborn still uses it
        for part in plots.panels(rows) if len({row["alpha"] for row in rows}) <= _MANY else []:
            for kind, frame, make in ((SHARES, shares(part), _shares), (TASKS, tasks(part), _tasks)):
                if len(frame):
                    figure = make(frame)
                    plots.set_title(figure.axes[0], plots.label(part[0]), suite)
                    written += plots.save(figure, frame.assign(**about), directory / plots.figure_name(kind, part[0]))
        for split in dict.fromkeys(row["split"] for row in rows):
            mine = [row for row in rows if row["split"] == split]
            frame = over_alpha(mine)
            if len(set(frame["alpha"])) > 1:
                figure = _over_alpha(frame, winners_by_alpha([row for row in mine if not row["reference"]])[1])
                plots.set_title(figure.axes[0], plots.SPLITS.get(split, split), suite)
                written += plots.save(figure, frame.assign(**about), directory / f"{plots.UTILITY_ALPHA}_{split}")
    return written


def draw_agents(suite: Suite, directory: Path) -> list[Path]:
    """Draw how often the agents of a suite answer, asked alone; nothing where no agent met a test query."""
    if not any((table["rejected"][suite.rows("test")] >= 0).any() for table in suite.self_routes.values()):
        return []
    from bench import analyses, charts  # which import the simulation

    about = {"name": suite.manifest.name, "kind": suite.manifest.kind}
    return charts.write(analyses.answer_rate(suite), charts.answer_rate, about, directory / ANSWER_RATE)


def shares(rows: Sequence[Row]) -> pd.DataFrame:
    """Return router, reference, model and share of its answers, by rank; single models have no choice."""
    kept = [row for row in _ordered(rows) if row["share"] and not row["router"].startswith(SINGLE)]
    lines = [
        {"router": row["router"], "reference": row["reference"], "model": model, "share": share}
        for row in kept
        for model, share in row["share"].items()
    ]
    return pd.DataFrame(lines, columns=["router", "reference", "model", "share"])


def tasks(rows: Sequence[Row]) -> pd.DataFrame:
    """Return router, reference, task, accuracy, cost and utility, by rank."""
    lines = [
        {"router": row["router"], "reference": row["reference"], "task": task, **scores}
        for row in _ordered(rows)
        for task, scores in (row["per_task"] or {}).items()
    ]
    return pd.DataFrame(lines, columns=["router", "reference", "task", "accuracy", "cost", "utility"])


def over_alpha(rows: Sequence[Row]) -> pd.DataFrame:
    """Return router, reference, alpha and utility of ranked routers and of single models, by alpha."""
    kept = [row for row in rows if row["utility"] is not None]
    kept = [row for row in kept if not row["reference"] or row["router"].startswith(SINGLE)]
    frame = pd.DataFrame(kept, columns=["router", "reference", "alpha", "utility"])
    return frame.sort_values(["reference", "router", "alpha"], ignore_index=True)


def _ordered(rows: Sequence[Row]) -> list[Row]:
    known = [row for row in rows if row["utility"] is not None]
    return sorted(known, key=lambda row: (row["reference"], -row["utility"], row["router"]))


def _shares(frame: pd.DataFrame) -> "Figure":
    """Draw one bar a router, cut by who answers; cheap models light, dear ones dark."""
    import seaborn as sns

    models, routers = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["router"]))
    columns = min(len(models), 4)
    below = 0.5 + 0.18 * -(-len(models) // columns)
    figure, axes = _framed((6.4, 0.21 * len(routers)), left=1.9, right=0.2, below=below)
    left = np.zeros(len(routers))
    for model, colour in zip(models, sns.color_palette("Blues", len(models) + 1)[1:], strict=True):
        width = frame[frame["model"] == model].set_index("router")["share"].reindex(routers).fillna(0.0).to_numpy()
        name = plots.shorten(model, 22)
        axes.barh(range(len(routers)), width, left=left, color=colour, height=0.75, label=name)
        left += width
    _names(axes, routers, frame)
    axes.set(xlabel="share of queries answered", xlim=(0, 1))
    axes.invert_yaxis()
    sns.despine(ax=axes)
    place: dict[str, Any] = {"loc": "lower center", "ncols": columns, "frameon": False, "borderaxespad": 0.2}
    figure.legend(**place)
    return figure


def _tasks(frame: pd.DataFrame) -> "Figure":
    """Draw utility by router and task as a heat map with its numbers."""
    import seaborn as sns

    grid = frame.pivot_table("utility", "router", "task", sort=False)
    width = max(3.6, 1.4 + 0.62 * grid.shape[1])
    figure, axes = _framed((width + 2.6, max(0.23 * len(grid), 0.8)), left=1.9, right=0.7, below=0.95)
    bar = {"label": "utility", "fraction": 0.3 / width, "pad": 0.15 / width}
    sns.heatmap(grid, ax=axes, cmap="vlag", center=0.0, annot=True, fmt=".2f", annot_kws={"size": 6.5}, cbar_kws=bar)
    axes.set(xlabel=None, ylabel=None)
    axes.set_xticklabels([plots.shorten(str(name), 20) for name in grid.columns], rotation=40, ha="right")
    axes.set_yticklabels([plots.shorten(str(name), 28) for name in grid.index], rotation=0)
    return figure


def _over_alpha(frame: pd.DataFrame, changes: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw utility over the alphas that were run; a dotted line wherever another router takes the lead."""
    import seaborn as sns

    figure, axes = _framed((7.2, 3.7), left=0.6, right=2.0, below=0.5)
    ranked = list(dict.fromkeys(frame[~frame["reference"]]["router"]))
    colours = dict(zip(ranked, sns.husl_palette(len(ranked)), strict=True))
    for place, (name, part) in enumerate(frame.groupby("router", sort=False)):
        look = {"color": colours.get(str(name), plots.FAINT), "linestyle": _LINES[place % len(_LINES)]}
        mark = "o" if name in colours and len(part) <= _MANY else ""
        axes.plot(
            part["alpha"], part["utility"], marker=mark, markersize=3.5, linewidth=1.2, label=_short(name), **look
        )
    for change in changes:
        axes.axvline(change["alpha"], color=plots.MUTED, linewidth=0.7, linestyle=":", zorder=0)
        words = f"{plots.shorten(change['to'], 18)} from {change['alpha']:.2f}"
        style: dict[str, Any] = {"rotation": 90, "size": 6.5, "color": plots.MUTED, "va": "bottom", "ha": "right"}
        axes.annotate(words, (change["alpha"], 0.01), xycoords=("data", "axes fraction"), **style)
    axes.set(xlabel="α", ylabel="utility = accuracy − α · cost")
    sns.despine(ax=axes)
    beside: dict[str, Any] = {"loc": "center right", "frameon": False, "borderaxespad": 0.2}
    figure.legend(**beside)
    return figure


def _framed(size: tuple[float, float], left: float, right: float, below: float) -> tuple["Figure", "Axes"]:
    """Return axes as high as `size` says, in a figure as wide as it says, with margins; all in inches.

    Nothing is fitted, which takes seconds and fails for long names.
    """
    width, height = size[0], size[1] + below + 0.55
    figure = plots.new_figure(width, height)
    box = (left / width, below / height, (width - left - right) / width, size[1] / height)
    return figure, figure.add_axes(box)


def _short(name: object) -> str:
    return plots.shorten(str(name).removeprefix(SINGLE), 26)


def _names(axes: "Axes", routers: Sequence[str], frame: pd.DataFrame) -> None:
    """Write the routers at the left, reference rows in grey italics."""
    reference = set(frame[frame["reference"]]["router"])
    axes.set_yticks(range(len(routers)), [plots.shorten(name, 28) for name in routers])
    for tick, name in zip(axes.get_yticklabels(), routers, strict=True):
        known = name in reference
        tick.set(color=plots.MUTED if known else plots.INK, style="italic" if known else "normal")
