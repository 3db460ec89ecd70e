"""Two figures for every scenario and split, each as PNG and SVG beside the CSV frame that feeds it."""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bench.frontier import Floats, Row, pareto_optimal, upper_hull
from tasks.files import write_whole

if TYPE_CHECKING:  # matplotlib and seaborn take a second to import; the page wants only names and the frontier
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS = {"id": "in-domain", "ood": "out-of-domain"}
COST_ACCURACY, EASY_HARD, UTILITY_ALPHA = "cost_accuracy", "easy_hard_cost", "utility_alpha"

# Okabe and Ito's palette stays distinct for colour-blind readers; the markers say the same once more.
INK, MUTED, FAINT, ALARM = "#111111", "#6b6b6b", "#dadada", "#b34700"
KINDS = {
    "single model": ("#8c8c8c", "s"),
    "other reference": ("#CC79A7", "^"),
    "random": ("#000000", "X"),
    "oracle": ("#009E73", "D"),
    "dominated router": ("#8fbfdf", "o"),
    "Pareto-optimal router": ("#0072B2", "o"),
}
STRATA = {"unsolvable": ("#9a9a9a", "X"), "easy": ("#0072B2", "o"), "hard": ("#D55E00", "s")}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: every machine draws the same glyphs
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "svg.hashsalt": "disrouter-bench",
    "text.parse_math": False,  # names are data: a $ in one is a dollar
}


def draw(rows: Sequence[Row], suite: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw both figures for every scenario (or alpha) and split of `rows` into `directory`; return the files.

    `rows` and `suite` are those of `leaderboard.json`. Rows whose numbers do not apply (null) are left out; a figure
    that no row is left for is not drawn. The same rows give the same bytes. Raises `InputError` where a file cannot
    be written.
    """
    import matplotlib as mpl

    written: list[Path] = []
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that the font lacks shows as boxes
        for part in panels(rows):
            for kind, frame in ((COST_ACCURACY, _cost_accuracy_frame(part)), (EASY_HARD, _easy_hard_frame(part))):
                if len(frame):
                    frame = frame.assign(suite=suite["name"], outcomes=suite["kind"])
                    figure = _cost_accuracy(frame, part[0]["alpha"]) if kind == COST_ACCURACY else _easy_hard(frame)
                    set_title(figure.axes[0], label(part[0]), suite)
                    written += save(figure, frame, directory / figure_name(kind, part[0]))
    return written


def panels(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of every scenario (or alpha) and split: by alpha, in-domain before out-of-domain."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row["alpha"], row["scenario"] or "", row["split"]), []).append(row)
    return [found[key] for key in sorted(found)]


def label(row: Row) -> str:
    """Return what a row's panel is called, such as "balance, α = .5, in-domain"."""
    scenario = f"{shorten(row['scenario'].replace('_', ' '), 40)}, " if row["scenario"] else ""
    return f"{scenario}{alpha_label(row['alpha'])}, {SPLITS.get(row['split'], row['split'])}"


def alpha_label(alpha: float) -> str:
    """Return such as "α = .35"."""
    return f"α = {f'{alpha:g}'.removeprefix('0') or '0'}"


def figure_name(kind: str, row: Row) -> str:
    """Return the file name, without suffix, of the figure `kind` for the panel that `row` belongs to."""
    scenario = row["scenario"] or f"alpha{row['alpha']:g}"
    return f"{kind}_{_safe(scenario)}_{_safe(row['split'])}"


def _safe(name: str) -> str:
    """Return `name` where any file system takes it, else what is left of it and a hash that keeps it apart."""
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:60]
    return clean if clean == name else f"{clean}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def shorten(name: str, length: int) -> str:
    """Return `name` on one line of printable characters, cut in the middle to `length`."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in name).split())
    half = (length - 1) // 2
    return line if len(line) <= length else f"{line[:half]}…{line[-half:]}"


def _with(rows: Sequence[Row], *keys: str) -> list[Row]:
    return [row for row in rows if all(row[key] is not None for key in keys)]


def row_kind(row: Row, optimal: set[str]) -> str:
    """Return which of `KINDS` a row is; `optimal` are the Pareto-optimal routers."""
    name: str = row["router"]
    if not row["reference"]:
        return "Pareto-optimal router" if name in optimal else "dominated router"
    if name.startswith("single:") or name in ("smallest", "largest", "best_single_hindsight"):
        return "single model"
    return "oracle" if name.startswith("oracle") else "random" if name == "random" else "other reference"


def _cost_accuracy_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return router, kind, cost, accuracy and utility of every row that has them, routers last."""
    optimal, order = pareto_optimal(rows), list(KINDS)
    columns = ["router", "kind", "cost", "accuracy", "utility"]
    kept = [{**row, "kind": row_kind(row, optimal)} for row in _with(rows, "cost", "accuracy")]
    kept.sort(key=lambda row: (order.index(row["kind"]), row["cost"], row["router"]))
    return pd.DataFrame(kept, columns=columns)


def _easy_hard_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return mean costs by stratum, worst discriminator first; single models have no choice and are left out."""
    kept = [row for row in _with(rows, "easy_cost", "hard_cost") if row_kind(row, set()) != "single model"]
    frame = pd.DataFrame({name: [row[name] for row in kept] for name in ("router", "reference")})
    for stratum in STRATA:
        frame[stratum] = pd.Series([row[f"{stratum}_cost"] for row in kept], dtype=float)
    frame["discrimination"] = frame["hard"] - frame["easy"]
    return frame.sort_values(["discrimination", "router"], ignore_index=True)


def _cost_accuracy(frame: pd.DataFrame, alpha: float) -> "Figure":
    """Draw accuracy over cost, the hull of the single models, and lines of equal utility at `alpha`."""
    import seaborn as sns

    figure = new_figure(7.2, 5.8)
    axes = figure.add_axes((0.075, 0.145, 0.865, 0.775))
    kinds = {kind: look for kind, look in KINDS.items() if kind in set(frame["kind"])}
    sns.scatterplot(frame, x="cost", y="accuracy", s=38, linewidth=0.5, ax=axes, zorder=3, **apart("kind", kinds))
    hull = upper_hull(frame[frame["kind"] == "single model"][["cost", "accuracy"]].to_numpy(np.float64))
    axes.plot(hull[:, 0], hull[:, 1], color=KINDS["single model"][0], linewidth=0.9, zorder=2)
    _limits(axes, frame)
    _iso_utility(axes, alpha)
    axes.set_xlabel("cost of a query")
    _finish(axes, len(kinds))
    _labels(axes, frame)
    return figure


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> "Figure":
    """Return an empty figure, sizes in inches, in which a pixel is a point until it is saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=72, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def set_title(axes: "Axes", text: str, suite: Mapping[str, Any]) -> None:
    """Write the panel's name and, below it, the suite's, in words and colour where its outcomes are simulated."""
    axes.set_title(text, loc="left", pad=20)
    name = shorten(str(suite["name"]), 28)
    simulated = suite["kind"] == "simulated"
    look: dict[str, Any] = {"color": ALARM, "weight": "bold"} if simulated else {"color": MUTED}
    words = f"simulated outcomes, {name}" if simulated else name
    axes.annotate(words, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", size=8, **look)


def apart(column: str, looks: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return seaborn's arguments that tell the values of `column` apart by colour and by marker."""
    return {
        "hue": column,
        "style": column,
        "hue_order": list(looks),
        "style_order": list(looks),
        "palette": {value: colour for value, (colour, _) in looks.items()},
        "markers": {value: marker for value, (_, marker) in looks.items()},
    }


def _finish(axes: "Axes", n_entries: int) -> None:
    """Take away the box and put the legend, in one line, under the axes."""
    import seaborn as sns

    sns.despine(ax=axes)
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "borderaxespad": 3.6}
    axes.legend(**place, ncols=n_entries, frameon=False, handletextpad=0.1, columnspacing=1.2)


def _limits(axes: "Axes", frame: pd.DataFrame) -> None:
    """Start at cost 0 and leave room for labels."""
    right = max(float(frame["cost"].max()), 0.01)
    low, high = float(frame["accuracy"].min()), float(frame["accuracy"].max())
    margin = max(0.08 * (high - low), 0.01)
    axes.set_xlim(-0.03 * right, 1.06 * right)
    axes.set_ylim(low - margin, high + margin)


def _iso_utility(axes: "Axes", alpha: float) -> None:
    """Draw faint lines accuracy = utility + alpha · cost, each with its utility where it leaves the axes."""
    from matplotlib.ticker import MaxNLocator

    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    small: dict[str, Any] = {"textcoords": "offset points", "color": MUTED, "size": 6.5}
    for utility in MaxNLocator(18).tick_values(low - alpha * right, high - alpha * left):
        start, end = utility + alpha * left, utility + alpha * right
        axes.plot([left, right], [start, end], color=FAINT, linewidth=0.6, zorder=1)
        if low <= end <= high:
            axes.annotate(f"{utility:.2f}".replace("-", "−"), (right, end), (3, 0), va="center", **small)
    axes.annotate("utility", (right, high), (3, 6), **small)
    axes.set(xlim=(left, right), ylim=(low, high))


def _labels(axes: "Axes", frame: pd.DataFrame) -> None:
    """Name every point, points that coincide once, each name at the nearest place that is still free.

    Boxes are (left, bottom, right, top) in points.
    """
    points = axes.transData.transform(frame[["cost", "accuracy"]].to_numpy())
    taken = [np.array([x - 4.5, y - 4.5, x + 4.5, y + 4.5]) for x, y in points]
    for _, group in frame.groupby([frame["cost"].round(4), frame["accuracy"].round(4)], sort=False):
        names = dict.fromkeys(shorten(name.removeprefix("single:"), 30) for name in group["router"])
        colour = INK if group["kind"].str.contains("router").any() else MUTED
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "color": colour}
        place = (group["cost"].iloc[0], group["accuracy"].iloc[0])
        text = axes.annotate(shorten(" = ".join(names), 64), place, (0, 0), size=6.8, **style)
        box = np.array(text.get_window_extent().extents)
        shift = _free_place(box, np.array(taken), np.array(axes.bbox.extents))
        text.set_position((shift[0], shift[1]))
        taken.append(box + np.tile(shift, 2))
        _leader(axes, points[group.index[0]], taken[-1])


def _free_place(box: Floats, taken: Floats, bounds: Floats) -> Floats:
    """Return the shift (2,) that lets `box` cover least of the boxes `taken` (n, 4) and stay within `bounds`.

    Of places that are equally free the nearest wins.
    """
    angles = np.radians([0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240])
    radii = np.repeat([5.5, 10, 16, 24, 33, 45, 60], len(angles))[:, None]
    directions = np.tile(np.column_stack([np.cos(angles), np.sin(angles)]), (7, 1))
    shifts: Floats = directions * (radii + (box[2:] - box[:2]) / 2)
    places = box + np.tile(shifts, 2)
    shared = np.minimum(places[:, None, 2:], taken[:, 2:]) - np.maximum(places[:, None, :2], taken[:, :2])
    covered = shared.clip(min=0).prod(axis=2).sum(axis=1)
    outside = np.maximum(bounds[:2] - places[:, :2], places[:, 2:] - bounds[2:]).clip(min=0).sum(axis=1)
    best: Floats = shifts[np.argmin(covered + 20 * outside + 0.01 * np.arange(len(places)))]
    return best


def _leader(axes: "Axes", point: Floats, box: Floats) -> None:
    """Tie a name to its point where the name had to move away."""
    end = np.clip(point, box[:2], box[2:])
    if np.hypot(*(end - point)) > 9:
        (x0, x1), (y0, y1) = axes.transData.inverted().transform([point, end]).T
        axes.plot([x0, x1], [y0, y1], color=MUTED, linewidth=0.4, zorder=1.5)


def _easy_hard(frame: pd.DataFrame) -> "Figure":
    """Draw mean cost on easy, hard and unsolvable queries (paper, Fig. 6), the best discriminator on top."""
    import seaborn as sns

    figure = new_figure(5.4, 1.4 + 0.21 * len(frame), layout="constrained")
    axes = figure.add_subplot()
    axes.hlines(frame.index, frame["easy"], frame["hard"], color=FAINT, linewidth=2.2, zorder=1)
    points = frame.reset_index().melt("index", list(STRATA), var_name="stratum", value_name="cost").dropna()
    strata = {name: look for name, look in STRATA.items() if name in set(points["stratum"])}
    sns.scatterplot(points, x="cost", y="index", s=36, ax=axes, zorder=3, **apart("stratum", strata))
    axes.set(xlabel="mean cost of a query", ylabel=None, ylim=(-0.7, len(frame) - 0.3))
    axes.set_xlim(left=-0.03 * axes.get_xlim()[1])
    axes.set_yticks(frame.index, [shorten(name, 28) for name in frame["router"]])
    for tick, reference in zip(axes.get_yticklabels(), frame["reference"], strict=True):
        tick.set(color=MUTED if reference else INK, style="italic" if reference else "normal")
    _finish(axes, len(strata))
    return figure


def save(figure: "Figure", frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Write PNG, SVG and CSV, without the dates and versions that would change their bytes."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    files = {
        stem.with_name(f"{stem.name}.png"): png.getvalue(),
        stem.with_name(f"{stem.name}.svg"): svg.getvalue(),
        stem.with_name(f"{stem.name}.csv"): frame.to_csv(index=False, lineterminator="\n").encode(),
    }
    for path, data in files.items():
        write_whole(path, data)
    return list(files)
