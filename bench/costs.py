"""Costs: what a model costs in [0, 1], from a file, from prices, or from what was paid; with the rule in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.recordings import Recording
from bench.sources import parse_json, read_bytes
from tasks.errors import InputError, examples, one_of
from tasks.types import Prices

Costs = dict[str, float]
_COSTS_HINT = "pass --costs FILE (JSON or YAML: model → cost in [0, 1])"


def derive(recording: Recording, file: Path | None) -> tuple[Costs, str]:
    """Return the cost of every model and the rule that it comes from; raises `InputError` where nothing tells it.

    A file comes first, then a column `cost`, what each query cost in US dollars, and prices.
    """
    if file is not None:
        return from_file(file, recording.models), f"as given in {file.name} (--costs)"
    if "cost" in recording.outcomes:
        return from_column(recording)
    if "cost_usd" in recording.outcomes and recording.outcomes["cost_usd"].notna().any(axis=None):
        return from_paid(recording, "cost_usd"), "mean cost_usd of a query ÷ that of the dearest model"
    if recording.prices:
        rule = "price ÷ dearest price of the pool; price = mean of input and output price in USD per million tokens"
        return from_prices(recording.prices, recording.models), rule
    raise InputError(f"the data hold neither prices nor costs of {examples(recording.models)}; {_COSTS_HINT}")


def from_file(path: Path, models: Sequence[str]) -> Costs:
    """Read model → cost in [0, 1] from JSON or YAML; it may price more models than `models`, but not fewer."""
    content = _mapping(path)
    lacking = [model for model in models if model not in content]
    if lacking:
        for name in content:  # a misspelt name is the likeliest reason for a lacking one
            one_of(f"model in {path.name}", name, models)
        raise InputError(f"{path} gives no cost for {examples(lacking)}; it wants one for each of {', '.join(models)}")
    for model, cost in content.items():
        if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost <= 1:
            raise InputError(f"{path}: the cost of {model} is {cost!r}; allowed: a number in [0, 1]")
    return {model: float(content[model]) for model in models}


def _mapping(path: Path) -> dict[str, Any]:
    raw = read_bytes(path)
    try:
        content = parse_json(path, raw.decode("utf-8-sig")) if path.suffix == ".json" else yaml.safe_load(raw)
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is neither JSON nor YAML ({' '.join(str(error).split())[:160]})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} wants a mapping from model to cost in [0, 1], but holds {type(content).__name__}")
    return {str(name): cost for name, cost in content.items()}


def from_column(recording: Recording) -> tuple[Costs, str]:
    """Take a column `cost` as it is where it is one number in [0, 1] for each model, else normalise its means."""
    _refuse_gaps(recording, "cost")
    frame = recording.outcomes["cost"]
    constant = (frame.max() == frame.min()).all() and (frame.max() <= 1).all()
    if constant:
        return {str(k): float(v) for k, v in frame.iloc[0].items()}, "column cost, one number for each model, as it is"
    return from_paid(recording, "cost"), "mean of column cost ÷ that of the dearest model"


def from_paid(recording: Recording, name: str) -> Costs:
    """Return each model's mean of a per-query cost column, divided by that of the dearest model."""
    _refuse_gaps(recording, name)
    return _normalised({str(model): float(mean) for model, mean in recording.outcomes[name].mean().items()}, name)


def _refuse_gaps(recording: Recording, name: str) -> None:
    gaps = recording.outcomes[name].isna().to_numpy()
    if gaps.any():
        raise InputError(
            f"{name} is empty for {int(gaps.sum())} of {gaps.size} outcomes, first {recording.cell(gaps)}; "
            f"record it for every query × model, or {_COSTS_HINT}"
        )


def from_prices(prices: Mapping[str, Prices], models: Sequence[str]) -> Costs:
    """Return price ÷ dearest price, where price is the mean of the input and the output price."""
    mean = {}
    for model in models:
        known = prices.get(model, Prices())
        if known.input_usd_per_mtok is None or known.output_usd_per_mtok is None:
            raise InputError(f"the prices lack input_price or output_price of {model}; add them, or {_COSTS_HINT}")
        mean[model] = (known.input_usd_per_mtok + known.output_usd_per_mtok) / 2
    return _normalised(mean, "price")


def _normalised(amounts: Costs, name: str) -> Costs:
    dearest = max(amounts.values())
    if dearest == 0:
        raise InputError(f"the {name} of every model is 0, which tells no costs; {_COSTS_HINT}")
    return {model: amount / dearest for model, amount in amounts.items()}
