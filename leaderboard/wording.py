"""How the page writes numbers and names; a value that does not apply is a dash, never 0."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plots import SPLITS, alpha_label

Row = Mapping[str, Any]

ACCOUNTINGS = {
    "paper": "cost as each router's authors charge it",
    "final": "cost of the answering model alone",
    "every_call": "cost of every call",
    "every_call_and_verify": "cost of every call and every verification",
}
SIMULATED = "Simulated outcomes"


def decimal(value: float | None, digits: int = 3) -> str:
    """Return such as ".543", "1.000", "−.012"; a dash for None."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def signed(value: float | None) -> str:
    """Return such as "+.012"; a dash for None."""
    text = decimal(value)
    return text if value is None or text.startswith("−") else f"+{text}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return such as "62.5" of a value in percent; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def whole(value: int | None) -> str:
    """Return such as "51,763"; a dash for None."""
    return "–" if value is None else f"{value:,}"


def span(low: float | None, high: float | None, write: Any = decimal) -> str:
    """Return such as ".037 to .061"; nothing where there is no interval."""
    return "" if low is None or high is None else f"{write(low)} to {write(high)}"


def p_value(value: float) -> str:
    """Return such as "p = .012"."""
    return "p < .001" if value < 0.001 else f"p = {decimal(value)}"


def join(names: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verb(names: Sequence[str], one: str, many: str) -> str:
    """Return the form that goes with so many names."""
    return one if len(names) == 1 else many


def suite_label(suite: Mapping[str, Any]) -> str:
    """Return a suite's name, and that its outcomes are simulated where they are."""
    return f"{suite['name']} (simulated)" if suite["kind"] == "simulated" else str(suite["name"])


def scenario(row: Row) -> str:
    """Return such as "balance, α = .5"."""
    name = f"{row['scenario'].replace('_', ' ')}, " if row["scenario"] else ""
    return name + alpha_label(row["alpha"])


def place(row: Row) -> str:
    """Return such as "in-domain at α = .5"."""
    return f"{SPLITS.get(row['split'], row['split'])} at {alpha_label(row['alpha'])}"


def queries(rows: Sequence[Row]) -> str:
    """Return how many test queries `rows` stand on."""
    counts = sorted({row["n_queries"] for row in rows})
    return f"{' to '.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))} test queries"
