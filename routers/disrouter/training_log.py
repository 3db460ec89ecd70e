"""The picture of a training: what it was told to lower or raise, and how often the agent answers in each scenario."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasks.scenarios import SCENARIOS


def draw(log: pd.DataFrame, path: Path, title: str) -> None:
    """Draw loss or reward, and answer rates by scenario, over steps; `log` has one row a step."""
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.figure import Figure

    with mpl.rc_context(dict[Any, Any](sns.axes_style("whitegrid"))):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        goal, rates = figure.subplots(1, 2)
        told = "reward" if "reward" in log else "loss"
        goal.plot(log["step"], log[told], color="0.75", linewidth=1)
        goal.plot(log["step"], log[told].rolling(10, min_periods=1).mean(), color="black", label="mean of 10 steps")
        goal.set(xlabel="step", ylabel=told)
        goal.legend()
        for scenario, colour in zip(SCENARIOS, sns.color_palette("colorblind"), strict=False):
            for kind, style in (("right", "-"), ("wrong", "--")):
                column = f"answer_rate_{kind}/{scenario}"
                if column in log:
                    seen = log[["step", column]].dropna()
                    label = f"{scenario.replace('_', ' ')}, base model {kind}"
                    rates.plot(seen["step"], seen[column], style, color=colour, marker="o", markersize=3, label=label)
        rates.set(xlabel="step", ylabel="P(agent answers)", ylim=(-0.02, 1.02))
        rates.legend(fontsize="x-small")
        figure.suptitle(title)
        figure.savefig(path, dpi=120, metadata={"Software": None})
