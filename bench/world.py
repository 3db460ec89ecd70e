"""The simulated world of the paper's experiment, calibrated to its published tables.

A query of task t has a difficulty z; model i also has a part ε_i of its own. With latent L_i = √ρ_i·z + √(1−ρ_i)·ε_i
(all standard normal) and b_i = Φ⁻¹(published accuracy of model i on task t), the model is right where L_i < b_i; its
margin is b_i − L_i. Whoever sees a noisy version of L_i has a normal posterior, so every P(correct | signal, task)
is exact: Φ((b − mean) / sd).

Nothing here draws random numbers: all targets are integrals, done by quadrature, and every parameter is the root or
the least squares solution for a published number.
"""

import io
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import brentq, least_squares
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from tasks.scenarios import SCENARIOS
from tasks.types import Record

Floats = NDArray[np.float64]
GAMMA = 0.5  # the reliability factor of the reward (paper, Eq. 7)
VOTES = 10  # self-verifications a query (paper, Appendix F)
VOTE_AUC = 0.55  # the published AutoMix rows leave .49 to .56: its votes tell next to nothing
CLASSIFIED = "qwen2.5-7b"  # the model whose correctness Table 5 classifies


@dataclass(frozen=True)
class Facts:
    """The published tables: data sets, models, accuracies and seconds (Tables 10–12), router rows, Tables 5 and 6."""

    datasets: pd.DataFrame
    models: pd.DataFrame
    outcomes: pd.DataFrame
    routers: pd.DataFrame
    self_awareness: pd.DataFrame

    @classmethod
    def read(cls) -> "Facts":
        """Read the tables that ship with this package."""
        folder = files("bench") / "published"
        names = ("datasets", "models", "outcomes", "routers", "self_awareness")
        with_index = {"datasets": "task", "models": "model", "self_awareness": "classifier"}
        found = {name: pd.read_csv(io.StringIO((folder / f"{name}.csv").read_text("utf-8"))) for name in names}
        return cls(**{name: f.set_index(with_index[name]) if name in with_index else f for name, f in found.items()})

    @cached_property
    def costs(self) -> Floats:
        """(K,) model costs."""
        return self.models["cost"].to_numpy(dtype=np.float64)

    def table(self, column: str, domain: str | None = None) -> Floats:
        """Return one column of the published outcomes as (tasks, models), of one domain or of all tasks."""
        wide = self.outcomes.pivot_table(index="task", columns="model", values=column)
        tasks = self.datasets.index if domain is None else self.datasets.index[self.datasets["domain"] == domain]
        return np.asarray(wide.loc[tasks, self.models.index], dtype=np.float64)

    def accuracy(self, domain: str | None = None) -> Floats:
        """Return the published accuracies in [0, 1] as (tasks, models)."""
        return self.table("accuracy_percent", domain) / 100.0

    def row(self, router: str, domain: str, scenario: str, n_models: int) -> Floats:
        """Return one published row as (accuracy, cost)."""
        r = self.routers
        found = r[
            (r["router"] == router) & (r["split"] == domain) & (r["scenario"] == scenario) & (r["n_models"] == n_models)
        ]
        return np.asarray(found[["accuracy", "cost"]], dtype=np.float64).reshape(2)


class Parameters(Record):
    """Every parameter of the simulated world; noises are standard deviations on the scale of the latents."""

    external_specificity: Annotated[float, Field(ge=0.0, le=1.0)]
    loadings: dict[str, tuple[float, ...]]
    noise_query_large: float
    noise_query_small: float
    noise_answer: float
    noise_agent_rl: float
    noise_agent_sft: float
    thresholds_rl: dict[str, float]
    thresholds_sft: dict[str, float]
    vote_reliability: float
    votes: int = VOTES


def _normal_nodes(n: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def loadings(mean: float, slope: float, n_models: int) -> Floats:
    """Return (K,) loadings ρ_i on the shared difficulty: linear in the model's place, kept within (0, 1)."""
    centre = (n_models - 1) / 2.0
    return np.clip(mean + slope * (np.arange(n_models) - centre) / centre, 1e-3, 1.0 - 1e-3)


def oracle_point(accuracy: Floats, costs: Floats, rho: Floats) -> Floats:
    """Return the paper's oracle as (accuracy, cost), macro over the tasks of `accuracy` (tasks, models)."""
    z, weight = _normal_nodes(96)
    p = ndtr((ndtri(accuracy)[:, :, None] - np.sqrt(rho)[:, None] * z) / np.sqrt(1.0 - rho)[:, None])
    none_so_far = np.cumprod(1.0 - p, axis=1)
    first = p * np.concatenate([np.ones_like(p[:, :1]), none_so_far[:, :-1]], axis=1)
    unsolved = none_so_far[:, -1] @ weight
    return np.array([1.0 - unsolved.mean(), ((first @ weight) @ costs + unsolved * costs[-1]).mean()])


def fit_loadings(facts: Facts, domain: str) -> Floats:
    """Return the (K,) loadings that give the two published oracle cells of a domain (Tables 2 and 3)."""
    accuracy, target = facts.accuracy(domain), facts.row("oracle", domain, "balance", len(facts.costs))
    k = len(facts.costs)

    def miss(t: Floats) -> Floats:
        return oracle_point(accuracy, facts.costs, loadings(t[0], t[1], k)) - target

    fit = least_squares(miss, [0.6, 0.2], bounds=([0.3, -0.2], [0.8, 0.4]))
    return loadings(fit.x[0], fit.x[1], k)


def balanced_test(bases: Floats, weights: Floats, reliability: float, cut: float) -> tuple[float, float, float]:
    """Return accuracy, F1 and AUC of "P(correct | signal, task) ≥ cut" on a balanced test, as Table 5 reports them.

    `bases` (tasks,) are the b of one model, `weights` (tasks,) the shares of the tasks, `reliability` the correlation
    of the signal with the latent. Balanced means that right and wrong answers weigh the same; the classifier itself
    knows the natural base rate.
    """
    grid = np.linspace(-8.0, 8.0, 8001)
    density = np.exp(-(grid**2) / 2.0)
    mass = weights[:, None] / weights.sum() * (density / density.sum())
    p = ndtr((bases[:, None] - reliability * grid) / np.sqrt(1.0 - reliability**2))
    right, wrong = (mass * p).ravel() / (mass * p).sum(), (mass * (1.0 - p)).ravel() / (mass * (1.0 - p)).sum()
    hit, false_alarm = right[p.ravel() >= cut].sum(), wrong[p.ravel() >= cut].sum()
    order = np.argsort(p, axis=None)
    below = np.cumsum(wrong[order]) - wrong[order] / 2.0
    return (hit + 1.0 - false_alarm) / 2.0, 2.0 * hit / (1.0 + hit + false_alarm), float((right[order] * below).sum())


def implied_auc(accuracy: float, f1: float) -> float:
    """Return the AUC of a binormal classifier whose accuracy and F1 on a balanced test are these."""
    # accuracy = (hit + 1 − false)/2 and F1 = 2·hit/(1 + hit + false), solved for the two rates
    hit = f1 * (1.0 - accuracy) / (1.0 - f1)
    false_alarm = hit + 1.0 - 2.0 * accuracy
    return float(ndtr((ndtri(hit) - ndtri(false_alarm)) / np.sqrt(2.0)))


def seen_variance(rho: Floats | float, noise: float, specificity: float) -> Floats | float:
    """Return the variance of E[L | signal] for an external signal of this noise and specificity.

    At specificity 0 the signal is z + noise; at 1 it is every model's own L + noise; between, the own part is seen
    through noise/√specificity.
    """
    own = specificity / (specificity + noise**2) if specificity > 0.0 else 0.0
    return rho / (1.0 + noise**2) + (1.0 - rho) * own


def vote_auc(bases: Floats, weights: Floats, reliability: float) -> float:
    """Return the AUC of the number of yes-votes for correctness; a vote says yes with probability Φ(propensity)."""
    grid = np.linspace(-6.0, 6.0, 1201)
    density = np.exp(-(grid**2) / 2.0)
    p = weights / weights.sum() @ ndtr((bases[:, None] + reliability * grid) / np.sqrt(1.0 - reliability**2))
    counts = binom.pmf(np.arange(VOTES + 1)[:, None], VOTES, ndtr(grid)[None, :])
    right, wrong = counts @ (density * p), counts @ (density * (1.0 - p))
    right, wrong = right / right.sum(), wrong / wrong.sum()
    return float((right * (np.cumsum(wrong) - wrong / 2.0)).sum())


def cascade_point(accuracy: Floats, costs: Floats, rho: Floats, noise: float, threshold: float) -> Floats:
    """Return (accuracy, cost) of a cascade of agents that see their own L + noise, macro over tasks; final-only cost.

    An agent answers where P(correct | what it sees, task) ≥ threshold; the last one always answers.
    """
    z, weight = _normal_nodes(40)
    own = ndtri((np.arange(160) + 0.5) / 160.0)
    bases = ndtri(accuracy)
    latent = np.sqrt(rho)[:, None, None] * z[None, :, None] + np.sqrt(1.0 - rho)[:, None, None] * own
    highest = (1.0 + noise**2) * (bases - noise / np.sqrt(1.0 + noise**2) * ndtri(threshold))
    reached = np.ones((len(accuracy), len(z)))
    point = np.zeros(2)
    for i, cost in enumerate(costs):
        right = latent[i] < bases[:, i, None, None]
        answers = np.ones(right.shape) if i == len(costs) - 1 else ndtr((highest[:, i, None, None] - latent[i]) / noise)
        point += [
            ((reached * (answers * right).mean(axis=2)) @ weight).mean(),
            cost * ((reached * answers.mean(axis=2)) @ weight).mean(),
        ]
        reached = reached * (1.0 - answers.mean(axis=2))
    return point


def fit_sft(facts: Facts, rho: Floats) -> tuple[float, dict[str, float]]:
    """Return noise and the threshold by scenario that come closest to the published SFT rows (Table 2).

    Four parameters for six numbers: a fit, no prediction. The thresholds of the recipe, 1 − alpha, cannot give those
    rows: the published SFT agents reject far more often.
    """
    accuracy = facts.accuracy("id")
    targets = np.array([facts.row("disrouter_sft", "id", name, len(facts.costs)) for name in SCENARIOS])

    def miss(t: Floats) -> Floats:
        points = [cascade_point(accuracy, facts.costs, rho, float(np.exp(t[0])), float(ndtr(q))) for q in t[1:]]
        return np.asarray(points - targets).ravel()

    fit = least_squares(miss, [0.0, *ndtri([1.0 - s.alpha * 0.5 for s in SCENARIOS.values()])])
    return float(np.exp(fit.x[0])), dict(zip(SCENARIOS, ndtr(fit.x[1:]).tolist(), strict=True))


def calibrate(facts: Facts, external_specificity: float = 0.0) -> Parameters:
    """Return the parameters that reproduce the published oracle rows, Table 5, and (SFT only, by fit) Table 2."""
    inside = (facts.datasets["domain"] == "id").to_numpy()
    sizes = facts.datasets["n_test"].to_numpy(dtype=np.float64)[inside]
    place = list(facts.models.index).index(CLASSIFIED)
    bases = ndtri(facts.accuracy("id"))
    rho = {domain: fit_loadings(facts, domain) for domain in ("id", "ood")}
    table5 = {str(name): (float(a), float(f1)) for name, a, f1 in facts.self_awareness.itertuples()}
    thresholds = {name: (1.0 - s.alpha) ** GAMMA for name, s in SCENARIOS.items()}

    def external(noise: float) -> float:
        return float(np.sqrt(seen_variance(float(rho["id"][place]), noise, external_specificity)))

    def own(noise: float) -> float:
        return float(1.0 / np.sqrt(1.0 + noise**2))

    def test(reliability: float, cut: float) -> tuple[float, float, float]:
        return balanced_test(bases[:, place], sizes, reliability, cut)

    llm, agent, weak = table5["llm"][0], table5["disrouter"][0], implied_auc(*table5["bert"])
    sft_noise, sft_thresholds = fit_sft(facts, rho["id"])
    return Parameters(
        external_specificity=external_specificity,
        loadings={domain: tuple(values.tolist()) for domain, values in rho.items()},
        noise_query_large=brentq(lambda s: test(external(s), 0.5)[0] - llm, 0.05, 20.0, xtol=1e-6),
        noise_query_small=brentq(lambda s: test(external(s), 0.5)[2] - weak, 0.05, 200.0, xtol=1e-6),
        noise_answer=brentq(lambda s: test(own(s), 0.5)[0] - llm, 0.05, 20.0, xtol=1e-6),
        noise_agent_rl=brentq(lambda s: test(own(s), thresholds["balance"])[0] - agent, 0.05, 20.0, xtol=1e-6),
        noise_agent_sft=sft_noise,
        thresholds_rl=thresholds,
        thresholds_sft=sft_thresholds,
        vote_reliability=brentq(lambda r: vote_auc(bases[:, 0], sizes, r) - VOTE_AUC, 0.0, 0.9, xtol=1e-6),
    )
