"""Paired bootstrap over clusters: what is known of a mean utility, and which routers can be told apart.

Queries that share a passage or a text, a cluster, are drawn together and within their task, as the macro mean has it.
Every column of one table sees the same resamples, so that differences are paired. Intervals condition on the fit: they
say what other queries of these tasks would change, not what another training set or seed would. Where a task has some
20 clusters or fewer they are a little narrow, as all of their kind: 95 % then cover 92 to 93 % (tests/perf).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, t

from tasks.errors import InputError
from tasks.scenarios import Average

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVEL = 0.95
# Utilities closer than that are the same: their last digits come from the order of a sum (see routers.base).
TIED = 1e-9
_CHUNK = 2**18  # counts in memory at a time


@dataclass(frozen=True, eq=False)
class Clusters:
    """What is drawn: m clusters of n queries, ordered by task.

    `member` (n,) is each query's cluster; `task` (m,) codes from 0 to T − 1; `size` (m,) counts queries,
    `peers` (m,) the clusters of the same task. A cluster of two tasks is one in each, since tasks are drawn apart.
    """

    member: Ints
    task: Ints
    size: Ints
    peers: Ints

    @classmethod
    def of(cls, task: Ints, cluster: NDArray[np.object_]) -> "Clusters":
        """Group n queries by `task` (n,) codes and `cluster` (n,) ids; raises `InputError` where there is no query."""
        if len(task) == 0:
            raise InputError("there is no query to draw from")
        names = pd.factorize(cluster)[0].astype(np.int64)
        apart = task * (names.max() + 1) + names
        _, first, member, size = np.unique(apart, return_index=True, return_inverse=True, return_counts=True)
        _, of_task, peers = np.unique(task[first], return_inverse=True, return_counts=True)
        return cls(member.astype(np.int64), of_task.astype(np.int64), size.astype(np.int64), peers[of_task])

    def alone(self) -> Ints:
        """Return the codes of tasks with one cluster: of these no spread can be known, and so no interval."""
        codes: Ints = self.task[self.peers == 1]
        return codes

    def parts(self) -> list[slice]:
        """Return where the clusters of each task stand."""
        ends = np.cumsum(np.bincount(self.task))
        return [slice(int(start), int(end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """C means, such as the utilities of C routers, with B resamples and the jackknife's influence of every cluster.

    `estimate` (C,), `resampled` (B, C), `influence` (m, C) = (m_t − 1) · (mean of the leave-one-out values of the
    cluster's task − the value without this cluster); `clusters` holds m_t.
    """

    estimate: Floats
    resampled: Floats
    influence: Floats
    clusters: Clusters

    def take(self, columns: Ints | list[int]) -> "Bootstrap":
        """Return the columns at these positions."""
        kept = {name: getattr(self, name)[..., columns] for name in ("estimate", "resampled", "influence")}
        return replace(self, **kept)

    def minus(self, column: int) -> "Bootstrap":
        """Return the paired differences of every column to one of them."""
        apart = {
            name: getattr(self, name) - getattr(self, name)[..., [column]]
            for name in ("estimate", "resampled", "influence")
        }
        return replace(self, **apart)

    def percentile(self, level: float = LEVEL) -> Floats:
        """Return (2, C) percentile intervals; NaN where resampling changes nothing, which says nothing."""
        tail = (1.0 - level) / 2
        found: Floats = np.quantile(self.resampled, [tail, 1.0 - tail], axis=0)
        found[:, np.ptp(self.resampled, axis=0) < TIED] = np.nan
        return found

    def bca(self, level: float = LEVEL) -> Floats:
        """Return (2, C) bias-corrected and accelerated intervals (Efron 1987), those of `scipy.stats.bootstrap`.

        NaN where they do not exist: where resampling changes nothing, or every resample lies on one side.
        """
        tail = (1.0 - level) / 2
        apart = self.resampled - self.estimate
        below, at = (apart <= -TIED).mean(axis=0), (np.abs(apart) < TIED).mean(axis=0)
        shift = norm.ppf(below + at / 2)
        usable = (np.ptp(self.resampled, axis=0) >= TIED) & np.isfinite(shift)
        shift = np.where(usable, shift, 0.0)
        peers = self.clusters.peers[:, None].astype(np.float64)
        cubes, squares = (np.sum((self.influence / peers) ** power, axis=0) for power in (3, 2))
        acceleration = np.divide(cubes, 6.0 * squares**1.5, out=np.zeros_like(cubes), where=usable)
        wanted = shift + norm.ppf([[tail], [1.0 - tail]])
        at_quantile = norm.cdf(shift + wanted / (1.0 - acceleration * wanted))
        found = np.full((2, len(shift)), np.nan)
        for column in np.flatnonzero(usable):
            found[:, column] = np.quantile(self.resampled[:, column], at_quantile[:, column])
        return found

    def p_values(self) -> Floats:
        """Return (C,) two-sided p-values of a mean of 0: Welch's t with the jackknife's standard error.

        Counting resamples could not go below 1/B, which is too coarse to correct for many comparisons. No p is below
        2^(1 − m), the least that flipping signs could give, so that few queries prove nothing however alike they are.
        """
        peers = self.clusters.peers[:, None]
        parts = self.influence**2 / (peers * (peers - 1.0))
        variance = np.array([np.sum(parts[part], axis=0) for part in self.clusters.parts()])  # (T, C)
        total, freedom = variance.sum(axis=0), np.bincount(self.clusters.task)[:, None] - 1.0
        known = total > TIED**2
        shares = np.sum(np.divide(variance, total, out=np.ones_like(variance), where=known) ** 2 / freedom, axis=0)
        ratio = np.divide(np.abs(self.estimate), np.sqrt(total), out=np.full_like(total, np.inf), where=known)
        p = np.maximum(2.0 * t.sf(ratio, 1.0 / shares), 2.0 ** (1.0 - len(peers)))
        return np.where(np.abs(self.estimate) < TIED, 1.0, np.minimum(p, 1.0))


def bootstrap(values: Floats, clusters: Clusters, average: Average, n_resamples: int, seed: int = 0) -> Bootstrap:
    """Resample the means of `values` (n, C) over queries, `n_resamples` times, every column alike.

    The same `clusters` and seed give the same resamples, whatever the columns, and the same bytes, whatever the number
    of threads. Raises `InputError` where a task has a single cluster: nothing is known of how others would differ.
    """
    if len(clusters.alone()):
        raise InputError(f"{len(clusters.alone())} tasks have a single query or passage, so that no spread is known")
    rng, parts = np.random.default_rng(seed), clusters.parts()
    table = _sums(values, clusters)
    drawn = np.array([_draw(rng, _exact(table[part]), n_resamples) for part in parts])  # (T, B, C + 1)
    resampled = _mean(drawn).mean(axis=0) if average == "macro" else _mean(drawn.sum(axis=0))
    estimate, influence = _jackknife(table, clusters, average)
    return Bootstrap(estimate, resampled, influence, clusters)


def deviations(values: Floats, clusters: Clusters, average: Average) -> Floats:
    """Return (m, C) shares of every cluster in the error of the means of `values` (n, C), linear in the values.

    Sums over clusters of their products are the jackknife's variances and covariances of the means, which
    `Bootstrap.p_values` tests with.
    """
    peers = clusters.peers[:, None].astype(np.float64)
    found: Floats = _jackknife(_sums(values, clusters), clusters, average)[1] / np.sqrt(peers * (peers - 1.0))
    return found


def _sums(values: Floats, clusters: Clusters) -> Floats:
    """Return (m, C + 1) sums of (n, C) values over the queries of each cluster, and how many queries they are."""
    return np.column_stack([*(np.bincount(clusters.member, column) for column in values.T), clusters.size])


def _jackknife(table: Floats, clusters: Clusters, average: Average) -> tuple[Floats, Floats]:
    """Return the (C,) means of (m, C + 1) sums, and the (m, C) influence of every cluster on them."""
    parts = clusters.parts()
    whole = np.array([np.sum(table[part], axis=0) for part in parts])  # (T, C + 1)
    if average == "macro":
        means, left = _mean(whole), whole[clusters.task] - table
        estimate = means.mean(axis=0)
        without = (_mean(left) - means[clusters.task]) / len(parts)  # up to a constant, which the influence is free of
    else:
        total = whole.sum(axis=0)
        estimate, without = _mean(total), _mean(total - table)
    usual = np.array([without[part].mean(axis=0) for part in parts])
    influence: Floats = (clusters.peers[:, None] - 1.0) * (usual[clusters.task] - without)
    return estimate, influence


def _mean(table: Floats) -> Floats:
    """Return (…, C) means of (…, C + 1) sums, the last of which counts queries."""
    means: Floats = table[..., :-1] / table[..., -1:]
    return means


def _exact(table: Floats) -> Floats:
    """Round (m, C + 1) sums to multiples of a power of two so large that sums of m of them are exact.

    So they are the same in whatever order a product of matrices adds; what that takes away is some 1e-10 of a sum.
    """
    most = max(float(np.abs(table[:, :-1]).max(initial=0.0)), 1e-30) * len(table)
    unit = 2.0 ** (np.ceil(np.log2(most)) - 52)
    return np.column_stack([np.round(table[:, :-1] / unit) * unit, table[:, -1]])


def _draw(rng: np.random.Generator, table: Floats, n_resamples: int) -> Floats:
    """Return (B, C) sums over m rows of `table` (m, C) drawn with replacement, by how often each row was drawn."""
    m, found = len(table), []
    for start in range(0, n_resamples, step := max(1, _CHUNK // m)):
        n = min(step, n_resamples - start)
        places = rng.integers(0, m, (n, m))
        places += m * np.arange(n)[:, None]
        found.append(np.bincount(places.ravel(), minlength=n * m).reshape(n, m).astype(np.float64) @ table)
    return np.concatenate(found)


def holm(p: Floats) -> Floats:
    """Return (k,) p-values corrected for k comparisons, step by step from the smallest (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected


def pairwise(boot: Bootstrap) -> tuple[Floats, Floats]:
    """Return (C, C) p-values of all paired differences, plain and Holm-corrected over the C(C − 1)/2 pairs."""
    plain = np.array([boot.minus(column).p_values() for column in range(len(boot.estimate))])
    rows, columns = np.triu_indices(len(plain), 1)
    corrected = np.ones_like(plain)
    corrected[rows, columns] = corrected[columns, rows] = holm(plain[rows, columns])
    return plain, corrected


def rank_groups(estimate: Floats, corrected: Floats, level: float = LEVEL) -> Ints:
    """Return (C,) 1 + how many are significantly better, so that those who cannot be told apart share one."""
    better = (corrected < 1.0 - level) & (estimate[None, :] > estimate[:, None])
    groups: Ints = 1 + better.sum(axis=1)
    return groups
