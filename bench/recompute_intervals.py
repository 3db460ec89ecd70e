"""Intervals, paired differences and rank groups once more, apart from bench.statistics and bench.significance.

What is shared with them is which clusters are drawn, since no other draw gives the same figures: NumPy's default
generator, seeded by 0, draws for one task after the other, and each time as many clusters as the task has, in the order
in which their first queries stand. All that is made of the draws is made in another, plain way: one resample at a time,
sums as they come, quantiles between sorted values, Student's t by the incomplete beta function, Holm by its definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr, ndtri

from bench.scored import Floats, Group

Ints = NDArray[np.int64]
LEVEL = 0.95
TIED = 1e-9  # means that are closer are the same, as bench.statistics has it
KEYS = (
    *(f"{name}_{end}" for name in ("utility", "utility_percentile", "utility_every_call") for end in ("low", "high")),
    *("rank_group", "rank_group_every_call", "versus_best_single", "versus_best"),
)


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean utility, or a difference of two: B resamples, and by task what each of its clusters moves it by (m_t,)."""

    value: float
    resampled: Floats
    influence: tuple[Floats, ...]

    def __sub__(self, other: "Mean") -> "Mean":
        parts = tuple(a - b for a, b in zip(self.influence, other.influence, strict=True))
        return Mean(self.value - other.value, self.resampled - other.resampled, parts)

    def percentile(self) -> list[float | None]:
        """Return the percentile interval, or two None where every resample is the same."""
        return [self._quantile(tail) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]

    def bca(self) -> list[float | None]:
        """Return the bias-corrected and accelerated interval (Efron 1987), or two None where there is none."""
        if self._constant:
            return [None, None]
        same = np.abs(self.resampled - self.value) < TIED
        shift = ndtri(np.mean(np.where(same, 0.5, self.resampled < self.value)))
        moved = np.concatenate([part / len(part) for part in self.influence])
        acceleration = (moved**3).sum() / (6.0 * (moved**2).sum() ** 1.5)
        if not np.isfinite(shift):
            return [None, None]
        wanted = [shift + ndtri(tail) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
        return [self._quantile(float(ndtr(shift + w / (1.0 - acceleration * w)))) for w in wanted]

    def p(self) -> float:
        """Return the two-sided p of a mean of 0, by Welch's t; never below what flipping signs could give."""
        if abs(self.value) < TIED:
            return 1.0
        least = 2.0 ** (1 - sum(map(len, self.influence)))
        parts = [((part**2).sum() / (len(part) * (len(part) - 1)), len(part) - 1) for part in self.influence]
        total = sum(variance for variance, _ in parts)
        if total <= TIED**2:
            return least
        freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
        square = self.value**2 / total
        return min(1.0, max(least, 1.0 - float(betainc(0.5, freedom / 2, square / (freedom + square)))))

    @property
    def _constant(self) -> bool:
        return bool(self.resampled.max() - self.resampled.min() < TIED)

    def _quantile(self, share: float) -> float | None:
        if self._constant:
            return None
        place = share * (len(self.resampled) - 1)
        low, values = int(place), np.sort(self.resampled)
        return float(values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low]))


def clusters(group: Group) -> list[list[Ints]]:
    """Return by task the places of every cluster's queries, clusters in the order in which they first stand there."""
    ids = group.bundle.suite.queries["cluster_id"].iloc[group.rows].tolist()
    first: dict[str, int] = {}  # in the split: a cluster of two tasks has one place in both orders
    found: dict[int, dict[int, list[int]]] = {}
    for place, (task, name) in enumerate(zip(group.task.tolist(), ids, strict=True)):
        found.setdefault(task, {}).setdefault(first.setdefault(name, place), []).append(place)
    return [[np.array(found[task][key]) for key in sorted(found[task])] for task in sorted(found)]


def intervals(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Return by router what stands under `KEYS` in its row; all None where there is no interval."""
    found: dict[str, dict[str, Any]] = {g.router: dict.fromkeys(KEYS) for g in groups}
    tasks, config = clusters(groups[0]), groups[0].bundle.config
    if not config.bootstrap or any(len(task) < 2 for task in tasks):
        return found
    gains = np.array([g.gains(way) for g in groups for way in (g.accounting, "every_call")])
    means = _resample(gains, tasks, config.average == "macro", config.bootstrap)
    for key, mine in (("", means[::2]), ("_every_call", means[1::2])):
        named = {g.router: mean for g, mean in zip(groups, mine, strict=True)}
        ranked = {g.router: named[g.router] for g in groups if not g.facts.reference}
        corrected = _holm(ranked)
        for name, mean in named.items():
            found[name] |= zip((f"utility{key}_low", f"utility{key}_high"), mean.bca(), strict=True)
            if not key:
                plain = mean.percentile()
                found[name] |= zip(("utility_percentile_low", "utility_percentile_high"), plain, strict=True)
        for name, mean in ranked.items():
            better = [corrected[name, other] < 1 - LEVEL and ranked[other].value > mean.value for other in ranked]
            found[name][f"rank_group{key}"] = 1 + sum(better)
            for to, other in () if key else (("versus_best_single", "best_single"), ("versus_best", _leader(groups))):
                if name != other and other in ranked:
                    versus = _versus(mean, ranked[other], other)
                    found[name][to] = versus | {"p_holm": corrected[name, other]}
    return found


def _leader(groups: Sequence[Group]) -> str:
    """Return the ranked router that none beats, the first by name."""
    utilities = {g.router: g.utilities["utility"] for g in groups if not g.facts.reference}
    return min((name for name in utilities if utilities[name] >= max(utilities.values()) - 1e-12), default="")


def _versus(mine: Mean, other: Mean, name: str) -> dict[str, Any]:
    apart = mine - other
    low, high = apart.bca()
    return {"router": name, "difference": apart.value, "low": low, "high": high, "p": apart.p()}


def _resample(values: Floats, tasks: list[list[Ints]], macro: bool, n_resamples: int) -> list[Mean]:
    """Resample the means of `values` (C, n)."""
    rng = np.random.default_rng(0)
    sums, counts, drawn, drawn_counts = [], [], [], []
    for places in tasks:
        m = len(places)
        inside = np.array([values[:, place].sum(axis=1) for place in places])  # (m, C)
        size = np.array([float(len(place)) for place in places])
        times = (np.bincount(rng.integers(0, m, m), minlength=m).astype(np.float64) for _ in range(n_resamples))
        both = [(once @ inside, once @ size) for once in times]
        sums.append(inside)
        counts.append(size)
        drawn.append(np.array([total for total, _ in both]))  # (B, C)
        drawn_counts.append(np.array([[n] for _, n in both]))  # (B, 1)
    whole, n_whole = [inside.sum(axis=0) for inside in sums], [size.sum() for size in counts]
    if macro:
        value = np.mean([s / n for s, n in zip(whole, n_whole, strict=True)], axis=0)
        resampled = np.mean([s / n for s, n in zip(drawn, drawn_counts, strict=True)], axis=0)
        without = [
            (s - inside) / (n - size[:, None]) / len(tasks)
            for s, n, inside, size in zip(whole, n_whole, sums, counts, strict=True)
        ]
    else:
        value, resampled = sum(whole) / sum(n_whole), sum(drawn) / sum(drawn_counts)
        without = [
            (sum(whole) - inside) / (sum(n_whole) - size[:, None]) for inside, size in zip(sums, counts, strict=True)
        ]
    influence = [(len(part) - 1) * (part.mean(axis=0) - part) for part in without]
    return [Mean(float(value[c]), resampled[:, c], tuple(part[:, c] for part in influence)) for c in range(len(values))]


def _holm(ranked: dict[str, Mean]) -> dict[tuple[str, str], float]:
    """Return the p of every difference, by pair of routers in both orders, corrected for all pairs (Holm 1979)."""
    plain = {pair: (ranked[pair[0]] - ranked[pair[1]]).p() for pair in combinations(ranked, 2)}
    corrected, highest = {(name, name): 1.0 for name in ranked}, 0.0
    for done, pair in enumerate(sorted(plain, key=plain.__getitem__)):
        highest = max(highest, min(1.0, (len(plain) - done) * plain[pair]))
        corrected[pair] = corrected[pair[::-1]] = highest
    return corrected
