"""A recording → the suite that is in it so far."""

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import provenance
from bench.embed import with_embeddings
from bench.engines.base import Reply
from bench.engines.pool import Pool, PoolEntry
from bench.items import Item, tasks_of
from bench.known import AGENTS, Known
from bench.raw import RawReplies, read_settings
from routers.disrouter.agent import Decision, hear
from tasks import storage, tables
from tasks.answers import normalised
from tasks.errors import InputError
from tasks.files import write_whole
from tasks.suite import Suite
from tasks.types import Manifest, Model

Array = NDArray[Any]
Replies = Mapping[str, Reply]
_STAGES = ("answers", *AGENTS, "votes", "samples")


def assemble(recording: RawReplies, pool: Pool, items: Sequence[Item], name: str, embed: bool) -> Suite:
    """Return the suite of what was recorded for `items`: answers are wanted of every model, further signals may lack.

    A signal that a model gave for some of its queries only is left out for the others, and one that no model gave is
    left out whole. Raises `InputError` where an answer is missing.
    """
    models = [entry.model for entry in pool.entries]
    said = {stage: [recording.done(stage, model) for model in models] for stage in _STAGES}
    asked = {
        stage: np.array([[item.query_id in replies for replies in of_stage] for item in items])
        for stage, of_stage in said.items()
    }
    known = None if recording.known is None else Known(recording.known, items, models)
    made = _tables(items, said)
    drawn = replies_table(items, models, said["samples"])
    if known is not None:
        made = {stage: known.under(stage, table, asked[stage]) for stage, table in made.items()}
        drawn = known.replies(drawn)
    measured, voted = made["answers"], made["votes"]
    for model, lacking in zip(models, np.isnan(measured["correct"]).sum(axis=0), strict=True):
        if lacking:
            raise InputError(f"{model} has not answered {lacking} of {len(items)} questions; record the stage answers")
    routed = {key: made[stage] for stage, key in AGENTS.items() if made[stage]}
    shareable = np.array([item.shareable for item in items])
    texts = measured["answer"]
    _keep_private(recording.directory, replies_table(items, models, said["samples"], shareable=False))
    suite = Suite(
        manifest=_manifest(recording, pool, items, name).model_copy(
            update={
                "rejection_fraction": _rejection_fraction(models, routed, measured),
                "provenance": _provenance(recording, models, items, said, measured, voted).model_dump(mode="json"),
            }
        ),
        queries=_queries(items),
        outcomes=measured | {"answer": np.where(shareable[:, None], texts, np.array(None))},
        samples=made["samples"],
        verifications=voted,
        self_routes=routed,
        read_replies=None if drawn.empty else lambda: drawn,
    )
    if not embed:
        return suite
    before = {} if known is None else known.embeddings(asked["answers"])
    return _embedded(suite, items, texts, recording.directory / "embeddings.parquet", before)


def _tables(items: Sequence[Item], said: Mapping[str, Sequence[Replies]]) -> dict[str, dict[str, Array]]:
    """Return the (n, K) arrays that each stage's replies become."""
    return {
        "answers": outcomes(items, said["answers"]),
        "votes": votes(items, said["votes"]),
        "samples": samples(items, said["samples"]),
        **{stage: self_route(items, said[stage]) for stage in AGENTS},
    }


def _keep_private(directory: Path, drawn: pd.DataFrame) -> None:
    """Write samples that no suite may ship to where the training of agents looks for them."""
    if not drawn.empty:
        buffer = io.BytesIO()
        tables.write(storage.replies_table(drawn), buffer)
        write_whole(directory / "raw" / "replies.parquet", buffer.getvalue())


def _queries(items: Sequence[Item]) -> pd.DataFrame:
    columns = ("query_id", "task", "domain", "split", "cluster_id")
    frame = pd.DataFrame({name: [getattr(item, name) for item in items] for name in columns}, dtype=object)
    texts = [item.text if item.shareable else None for item in items]
    return frame.assign(text=pd.Series(texts, dtype=object), text_sha256=[item.text_sha256 for item in items])


def outcomes(items: Sequence[Item], answers: Sequence[Replies]) -> dict[str, Array]:
    """Return the (n, K) arrays of `Suite.outcomes` for n items that K models were asked; missing where one was not."""
    shape = (len(items), len(answers))
    found: dict[str, Array] = {
        name: np.full(shape, np.nan, dtype=np.float32)
        for name in ("correct", "prompt_tokens", "completion_tokens", "latency_s")
    } | {name: np.full(shape, None, dtype=object) for name in ("answer", "finish")}
    found["parsed"] = np.full(shape, -1, dtype=np.int8)
    for m, replies in enumerate(answers):
        for q, item in enumerate(items):
            reply = replies.get(item.query_id)
            if reply is None:
                continue
            correct, said = item.score(reply.texts[0]) if reply.texts else (0.0, None)
            found["correct"][q, m], found["parsed"][q, m] = correct, said is not None
            found["prompt_tokens"][q, m], found["latency_s"][q, m] = reply.prompt_tokens, reply.latency_s
            if reply.texts:
                found["completion_tokens"][q, m] = reply.completion_tokens[0]
                found["answer"][q, m], found["finish"][q, m] = reply.texts[0], reply.finish[0]
    return found


def _rejection_fraction(
    models: Sequence[str], routed: Mapping[tuple[str, str], Mapping[str, Array]], measured: Mapping[str, Array]
) -> dict[str, float]:
    """Return what a rejection costs as a share of an answer, by model that rejects.

    It is measured in completion tokens: a rejection's mean over the mean of the model's plain answers.
    """
    found = {}
    for m, model in enumerate(models):
        tokens = [table["completion_tokens"][table["rejected"][:, m] == 1, m] for table in routed.values()]
        if sum(map(len, tokens)):
            share = np.concatenate(tokens).mean() / np.nanmean(measured["completion_tokens"][:, m])
            found[model] = min(float(share), 1.0)
    return found


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
            heard = hear(said, item.score)
            table["rejected"][q, m], table["latency_s"][q, m] = heard.hands_over, reply.latency_s
            table["completion_tokens"][q, m] = sum(reply.completion_tokens)
            if reply.p_reject is not None:
                table["p_reject"][q, m] = min(reply.p_reject, 1.0)
            if not heard.hands_over:
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
                judged = _judged(item, of_model[item.query_id])
                said = Counter(answer for _, answer in judged if answer is not None)
                table["n"][q, m], table["n_correct"][q, m] = len(judged), sum(c >= 0.5 for c, _ in judged)
                table["n_modal"][q, m] = max(said.values(), default=0)
    return table if (table["n"] >= 0).any() else {}


def replies_table(
    items: Sequence[Item], models: Sequence[str], replies: Sequence[Replies], shareable: bool = True
) -> pd.DataFrame:
    """Return the samples as text, one row each, with the columns of `tables.REPLIES`: what may be shipped, or not."""
    rows = [
        (item.query_id, model, i, reply.texts[i], correct, reply.completion_tokens[i])
        for model, of_model in zip(models, replies, strict=True)
        for item in items
        if item.shareable == shareable and (reply := of_model.get(item.query_id)) is not None
        for i, (correct, _) in enumerate(_judged(item, reply))
    ]
    return pd.DataFrame(rows, columns=list(tables.REPLIES))


def _judged(item: Item, reply: Reply) -> list[tuple[float, str | None]]:
    """Return correctness and parsed answer of every sample; many are the same text, which is read once."""
    known = {text: item.score(text) for text in set(reply.texts)}
    return [known[text] for text in reply.texts]


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


def _manifest(recording: RawReplies, pool: Pool, items: Sequence[Item], name: str) -> Manifest:
    settings, named = read_settings(recording.directory), {item.task for item in items}
    made_with = provenance.sessions(recording.directory)
    return Manifest(
        name=name,
        kind="recorded",
        description=f"{len(items)} questions of {len(named)} tasks, asked of {len(pool.entries)} models",
        pool=tuple(_model(recording, entry, settings["engine"]) for entry in pool.entries),
        cost_rule=pool.cost_rule,
        tasks=tasks_of(sorted(named)),
        versions=made_with[-1].versions if made_with else provenance.versions(),
        parameters=settings | {"pool": [entry.plain() for entry in pool.entries], "cost_rule": pool.cost_rule},
    )


def _model(recording: RawReplies, entry: PoolEntry, engine: str) -> Model:
    model, found = entry.record(), provenance.model_sha256(recording.directory, entry, engine)
    if found is None and entry.folder is not None:  # the notes are on a folder that was not used
        return model.model_copy(update={"origin": None, "quantisation": None})
    return model.model_copy(update={"sha256": found})


def _provenance(
    recording: RawReplies,
    models: Sequence[str],
    items: Sequence[Item],
    said: Mapping[str, Sequence[Replies]],
    measured: Mapping[str, Array],
    voted: Mapping[str, Array],
) -> provenance.Provenance:
    """Count what was asked and what came back."""
    ids, task = [item.query_id for item in items], np.array([item.task for item in items])
    asked = {
        stage: {
            model: provenance.calls(there)
            for model, replies in zip(models, of_stage, strict=True)
            if (there := [replies[query_id] for query_id in ids if query_id in replies])
        }
        for stage, of_stage in said.items()
    }
    decided: dict[str, dict[str, Any]] = {stage: _decisions(models, items, said[stage]) for stage in AGENTS}
    if recording.known is not None:
        before = provenance.Provenance.model_validate(recording.known.manifest.provenance)
        asked, decided = _added(before.calls, asked), _added(before.decisions, decided, _summed)
    unparsed = (measured["parsed"] == 0) & ~np.isnan(measured["completion_tokens"])
    by_task = {name: unparsed[task == name].mean(axis=0) for name in sorted(set(task.tolist()))}
    n_valid = {model: float(np.nansum(voted["n_valid"][:, m])) for m, model in enumerate(models)} if voted else {}
    return provenance.Provenance(
        sessions=provenance.sessions(recording.directory),
        calls={stage: of_stage for stage, of_stage in asked.items() if of_stage},
        unparsed={model: {name: float(share[m]) for name, share in by_task.items()} for m, model in enumerate(models)},
        votes_neither={
            model: 1.0 - n_valid[model] / counted.replies
            for model, counted in asked.get("votes", {}).items()
            if counted.replies
        },
        decisions={stage: of_stage for stage, of_stage in decided.items() if of_stage},
        agents={
            key: told
            for key, told in provenance.agents(recording.directory).items()
            if key in {f"{AGENTS[stage][0]}/{model}" for stage in AGENTS for model in asked.get(stage, {})}
        },
    )


def _decisions(models: Sequence[str], items: Sequence[Item], replies: Sequence[Replies]) -> dict[str, dict[str, int]]:
    """Return how many replies of each agent in one stage answer, reject, do both, or neither."""
    found = {}
    for model, of_model in zip(models, replies, strict=True):
        heard = [
            hear(reply.texts[0] if reply.texts else "", item.score).decision
            for item in items
            if (reply := of_model.get(item.query_id)) is not None
        ]
        if heard:
            found[model] = {decision.value: heard.count(decision) for decision in Decision}
    return found


def _added(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], plus: Callable[[Any, Any], Any] = add
) -> dict[str, dict[str, Any]]:
    """Return counts by stage and model, those of the extended suite and those made here."""
    found = {stage: dict(before.get(stage, {})) for stage in dict.fromkeys([*now, *before])}
    for stage, of_stage in now.items():
        for model, new in of_stage.items():
            found[stage][model] = plus(found[stage][model], new) if model in found[stage] else new
    return found


def _summed(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one[name] + other[name] for name in one}


def _embedded(suite: Suite, items: Sequence[Item], answers: Array, cache: Path, before: Mapping[str, Array]) -> Suite:
    """Return the suite with embeddings of questions and answers; an answer that is not there is the empty text."""
    kinds = {"query/small": [item.text for item in items]}
    for m, model in enumerate(suite.pool.names):
        kinds[f"answer/{model}"] = [text or "" for text in answers[:, m]]
    return with_embeddings(suite, kinds, cache, before)
