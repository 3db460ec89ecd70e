"""The suite `qwen2.5-sim`: the paper's pool and data sets, drawn from the calibrated world. Simulated, and says so.

python -m bench.simulate --out DIR
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.world import Facts, Parameters, calibrate, seen_variance
from tasks import storage
from tasks.cli import Parser, console, run
from tasks.errors import InputError
from tasks.scenarios import SCENARIOS
from tasks.suite import Suite
from tasks.types import Encoder, Manifest, Model, Published, Task

Array = NDArray[Any]
NAME = "qwen2.5-sim"
DIMENSION = 16
_LATENTS, _AGENTS = 0, 9  # places among the random streams, of which agents can be drawn anew
N_TRAIN, N_VALIDATION = 10_000, 2_000
THREE_MODELS = ("qwen2.5-1.5b", "qwen2.5-3b", "qwen2.5-14b")  # the reduced pool of Tables 4, 15 and 16
# An out-of-domain question looks half like those of the in-domain task it resembles, half like nothing seen.
RESEMBLES = {"squad": "drop", "hellaswag": "cosmosqa", "headqa": "mmlu"}
ASSUMPTIONS = (
    "Every outcome is simulated: drawn from a latent-variable world calibrated to the published accuracies, oracle "
    "rows and Table 5 of the DiSRouter paper; no model was run.",
    "Simulated ranks between external and self routers follow from the assumption of what an external router sees: at "
    "external_specificity 0 only the difficulty that all models share, at 1 every model's own margin. Table 5 does "
    "not settle it.",
    "Query, answer and agent signals are set to Table 5's balanced test of the 7B model, read as a classifier trained "
    "at the natural base rate and cut at .5 (external) or at the balance threshold (agents).",
    "The sft checkpoint is fitted to the published SFT rows (noise and three thresholds), so its in-domain rows are no "
    "prediction; agents are as self-aware out of domain as in it, which the published rows contradict.",
    "Queries are independent: no two share a passage. An agent's own answer is right where the base model's is.",
)


@dataclass(frozen=True)
class Latents:
    """What is drawn once for all signals: z (n,), own parts, loadings ρ and thresholds b, each (n, K)."""

    shared: Array
    own: Array
    rho: Array
    bases: Array

    @property
    def latent(self) -> Array:
        """(n, K) L = √ρ·z + √(1−ρ)·ε."""
        mixed: Array = np.sqrt(self.rho) * self.shared[:, None] + np.sqrt(1.0 - self.rho) * self.own
        return mixed


def simulate(seed: int = 0, external_specificity: float = 0.0, scale: float = 1.0) -> Suite:
    """Return the simulated suite; `scale` shrinks every part for quick tests (1 is the published test sizes).

    Raises `InputError` where specificity or scale lie outside [0, 1] or (0, 1], or the seed is negative.
    """
    if not 0.0 <= external_specificity <= 1.0:
        raise InputError(f"external specificity is {external_specificity}, outside [0, 1]")
    if not 0.0 < scale <= 1.0:
        raise InputError(f"scale is {scale}, outside (0, 1]")
    if seed < 0:
        raise InputError(f"seed is {seed}, but must be at least 0")
    facts = Facts.read()
    p = calibrate(facts, external_specificity)
    queries = _queries(facts, scale)
    every = np.random.SeedSequence(seed).spawn(16)
    streams = iter(every[_LATENTS + 1 : _AGENTS])
    world = _latents(queries, facts, p, np.random.default_rng(every[_LATENTS]))
    correct = _correct(world, queries, facts)
    task_part = _TaskPart(facts, queries, next(streams))
    embeddings, posteriors, seen = {}, {}, {}
    for level, noise in (("small", p.noise_query_small), ("large", p.noise_query_large)):
        mean, variance = _external_signal(world, noise, external_specificity, np.random.default_rng(next(streams)))
        embeddings[f"query/{level}"] = task_part.embed(mean / np.sqrt(1.0 - variance), next(streams))
        posteriors[f"query/{level}"] = ndtr((world.bases - mean) / np.sqrt(variance))
        seen[level] = mean, variance
    answer = world.latent + p.noise_answer * np.random.default_rng(next(streams)).standard_normal(world.latent.shape)
    mean, variance = seen["large"]
    precision = 1.0 / variance + 1.0 / p.noise_answer**2
    mean = (mean / variance + answer / p.noise_answer**2) / precision
    posteriors["answer"] = ndtr((world.bases - mean) * np.sqrt(precision))
    for j, (model, stream) in enumerate(zip(facts.models.index, next(streams).spawn(len(facts.models)), strict=True)):
        embeddings[f"answer/{model}"] = task_part.embed(answer[:, [j]] / np.sqrt(1.0 + p.noise_answer**2), stream)
    latency = facts.table("latency_s")[_task_codes(queries, facts)].astype(np.float32)
    return Suite(
        manifest=_manifest(facts, p, seed, scale),
        queries=queries,
        outcomes={"correct": correct, "latency_s": latency},
        verifications=_votes(world, p, np.random.default_rng(next(streams))),
        self_routes=_self_routes(world, p, facts, correct, latency, every[_AGENTS]),
        embeddings=embeddings,
        posteriors={kind: values.astype(np.float32) for kind, values in posteriors.items()},
    )


def part_sizes(available: Array, total: int) -> Array:
    """Return how many of `total` each task gives: the same for all, or all it has, and the others make up for it."""
    sizes = np.zeros(len(available), dtype=np.int64)
    for place, task in enumerate(order := np.argsort(available, kind="stable")):
        sizes[task] = min(available[task], round((total - sizes.sum()) / (len(order) - place)))
    return sizes


def _queries(facts: Facts, scale: float) -> pd.DataFrame:
    inside = (facts.datasets["domain"] == "id").to_numpy()
    seen = np.zeros(len(inside), dtype=np.int64)
    seen[inside] = part_sizes(facts.datasets["n_train"].to_numpy()[inside], N_TRAIN + N_VALIDATION)
    validation = np.round(seen * N_VALIDATION / (N_TRAIN + N_VALIDATION)).astype(np.int64)
    sizes = {"train": seen - validation, "validation": validation, "test": facts.datasets["n_test"].to_numpy()}
    parts = []
    for split, counts in sizes.items():
        for (task, row), count in zip(facts.datasets.iterrows(), counts, strict=True):
            n = max(int(count * scale), 1) if count else 0
            ids = [f"{task}-{split}-{i:05d}" for i in range(n)]
            parts.append(pd.DataFrame({"query_id": ids, "task": task, "domain": row["domain"], "split": split}))
    queries = pd.concat(parts, ignore_index=True)
    return queries.assign(cluster_id=queries["query_id"], text=None, text_sha256=None)


def _task_codes(queries: pd.DataFrame, facts: Facts) -> Array:
    codes: Array = facts.datasets.index.get_indexer(pd.Index(queries["task"]))
    return codes


def _latents(queries: pd.DataFrame, facts: Facts, p: Parameters, rng: np.random.Generator) -> Latents:
    n, k = len(queries), len(facts.models)
    outside = (queries["domain"] == "ood").to_numpy(dtype=np.int64)
    rho = np.array([p.loadings["id"], p.loadings["ood"]])[outside]
    bases = ndtri(facts.accuracy())[_task_codes(queries, facts)]
    return Latents(rng.standard_normal(n), rng.standard_normal((n, k)), rho, bases)


def _correct(world: Latents, queries: pd.DataFrame, facts: Facts) -> Array:
    """Mark the easiest of every part: each task × model accuracy is the published one to 1/n, whatever the seed."""
    correct = np.zeros(world.latent.shape, dtype=np.float32)
    latent, accuracy, code = world.latent, facts.accuracy(), _task_codes(queries, facts)
    for part in queries.groupby(["task", "split"], sort=False).indices.values():
        rank = latent[part].argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        correct[part] = rank < np.round(accuracy[code[part[0]]] * len(part))
    return correct


def _external_signal(world: Latents, noise: float, specificity: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return mean and variance (n, K) of every latent given the external signal; the means are the signal."""
    shared = world.shared + noise * rng.standard_normal(len(world.shared))
    mean = np.sqrt(world.rho) * shared[:, None] / (1.0 + noise**2)
    if specificity > 0.0:
        own = world.own + noise / np.sqrt(specificity) * rng.standard_normal(world.own.shape)
        mean += np.sqrt(1.0 - world.rho) * own * specificity / (specificity + noise**2)
    return mean, 1.0 - np.asarray(seen_variance(world.rho, noise, specificity))


class _TaskPart:
    """Embeddings: the task's place, the signal, and what means nothing, mixed by a rotation of all 16 dimensions."""

    def __init__(self, facts: Facts, queries: pd.DataFrame, seed: np.random.SeedSequence) -> None:
        inside = [str(t) for t, d in facts.datasets["domain"].items() if d == "id"]
        centres = {task: np.eye(len(inside) + 1)[i] for i, task in enumerate(inside)}
        for task, relative in RESEMBLES.items():
            centres[task] = (centres[relative] + np.eye(len(inside) + 1)[-1]) / np.sqrt(2.0)
        place = 3.0 * np.array([centres[str(task)] for task in facts.datasets.index])[_task_codes(queries, facts)]
        self._place = place + 0.3 * np.random.default_rng(seed).standard_normal(place.shape)

    def embed(self, signal: Array, seed: np.random.SeedSequence) -> Array:
        rng = np.random.default_rng(seed)
        idle = 0.5 * rng.standard_normal((len(signal), DIMENSION - self._place.shape[1] - signal.shape[1]))
        rotation = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0]
        mixed: Array = (np.column_stack([self._place, signal, idle]) @ rotation).astype(np.float16)
        return mixed


def _votes(world: Latents, p: Parameters, rng: np.random.Generator) -> dict[str, Array]:
    propensity = np.sqrt(1.0 - p.vote_reliability**2) * rng.standard_normal(world.own.shape)
    yes = rng.binomial(p.votes, ndtr(propensity - p.vote_reliability * world.latent)).astype(np.float32)
    return {"n_yes": yes, "n_valid": np.full_like(yes, p.votes)}


def _self_routes(
    world: Latents, p: Parameters, facts: Facts, correct: Array, latency: Array, seed: np.random.SeedSequence
) -> dict[tuple[str, str], dict[str, Array]]:
    """Draw the agents of both checkpoints: sft from the first stream of `seed`, rl from the second."""
    settings = (("sft", p.noise_agent_sft, p.thresholds_sft), ("rl", p.noise_agent_rl, p.thresholds_rl))
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for (checkpoint, noise, thresholds), stream in zip(settings, seed.spawn(2), strict=True):
        tables = _agents(world, noise, thresholds, facts, correct, latency, np.random.default_rng(stream))
        found |= {(checkpoint, scenario): table for scenario, table in tables.items()}
    return found


def _agents(
    world: Latents,
    noise: float,
    thresholds: dict[str, float],
    facts: Facts,
    correct: Array,
    latency: Array,
    rng: np.random.Generator,
) -> dict[str, dict[str, Array]]:
    """Let every agent but the last, which is untrained, answer where its posterior reaches the scenario's threshold."""
    reject_s = facts.models["reject_s"].to_numpy(dtype=np.float32)
    seen = world.latent + noise * rng.standard_normal(world.latent.shape)
    posterior = ndtr((world.bases - seen / (1.0 + noise**2)) * np.sqrt(1.0 + noise**2) / noise)
    found = {}
    for scenario in SCENARIOS:
        rejected = (posterior < thresholds[scenario]).astype(np.int8)
        rejected[:, -1] = -1
        answered = rejected == 0
        seconds = np.where(answered, latency, reject_s)
        seconds[:, -1] = np.nan
        found[scenario] = {
            "rejected": rejected,
            "correct": np.where(answered, correct, np.float32(np.nan)),
            "latency_s": seconds,
        }
    return found


def redraw_agents(suite: Suite, noise: float) -> dict[str, dict[str, Array]]:
    """Return the self-routes, by scenario, of rl agents that see their margin with noise of this standard deviation.

    All else stays as it was drawn for `suite`, so that at its own `noise_agent_rl` they are its own. Raises
    `InputError` where noise is not positive, and where the suite is not what this module draws with its full pool.
    """
    if not noise > 0.0:
        raise InputError(f"noise is {noise}, but must be above 0")
    known, facts = dict(suite.manifest.parameters), Facts.read()
    try:
        seed, scale = int(known.pop("seed")), float(known.pop("scale"))
        p = Parameters.model_validate(known)
    except (KeyError, TypeError, ValueError):  # pydantic's errors are ValueErrors
        raise InputError(f"{suite.manifest.name} holds no parameters of a world that bench.simulate draws") from None
    queries = _queries(facts, scale)
    streams = np.random.SeedSequence(seed).spawn(_AGENTS + 1)
    world = _latents(queries, facts, p, np.random.default_rng(streams[_LATENTS]))
    if not np.array_equal(_correct(world, queries, facts), suite.correct):
        raise InputError(f"{suite.manifest.name} is not what bench.simulate draws, whole, with its parameters")
    stream = np.random.default_rng(streams[_AGENTS].spawn(2)[1])
    return _agents(world, noise, p.thresholds_rl, facts, suite.correct, suite.outcomes["latency_s"], stream)


def _manifest(facts: Facts, p: Parameters, seed: int, scale: float) -> Manifest:
    m, everything = facts.models, tuple(str(name) for name in facts.models.index)
    pools = {len(everything): everything, len(THREE_MODELS): THREE_MODELS}
    return Manifest(
        name=NAME,
        kind="simulated",
        description="The DiSRouter paper's pool and data sets at published test sizes, simulated from its tables",
        pool=tuple(
            Model(model=str(name), cost=row["cost"], parameters=int(row["parameters"])) for name, row in m.iterrows()
        ),
        cost_rule="the paper's normalised costs (Table 1)",
        tasks=tuple(
            Task(name=str(name), domain=row["domain"], source="published sizes and accuracies (Tables 10 and 12)")
            for name, row in facts.datasets.iterrows()
        ),
        rejection_fraction={str(name): row["reject_s"] / row["answer_s"] for name, row in m.dropna().iterrows()},
        encoders={
            f"query/{level}": Encoder(name=f"simulated signal ({level})", dimension=DIMENSION)
            for level in ("small", "large")
        },
        parameters={**p.model_dump(mode="json"), "seed": seed, "scale": scale},
        assumptions=ASSUMPTIONS,
        published=tuple(
            Published(pool=pools[row["n_models"]], **{str(k): v for k, v in row.items() if k != "n_models"})
            for row in facts.routers.to_dict("records")
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write the simulated suite to a directory."""
    parser = Parser("bench.simulate", __doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the suite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--external-specificity",
        type=float,
        default=0.0,
        metavar="S",
        help="what an external router sees: 0 the shared difficulty (default), 1 every model's own margin",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="F", help="share of the published sizes (default 1)"
    )
    args = parser.parse_args(argv)
    suite = simulate(args.seed, args.external_specificity, args.scale)
    storage.save(suite, args.out)
    console().print(
        f"{NAME}: {len(suite.queries):,} simulated queries × {len(suite.pool)} models in {args.out}", soft_wrap=True
    )
    return 0


if __name__ == "__main__":
    run(main)
