"""How many tokens a second one model generates on 200 graded questions: vLLM called bare, or through the collector.

.venv-live/bin/python -m tests.perf.collector_speed bare|collector FOLDER prints {"tokens": …, "seconds": …}, loading
not counted. Each is a process of its own, so that neither finds the other's prefixes in its cache.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import collect as collecting
from bench.engines.base import Sampling
from bench.engines.pool import Engines, Pool, PoolEntry
from bench.engines.vllm import VLLMEngine
from bench.items import Item, items
from bench.raw import open_raw
from routers.language_models import encode, load_tokenizer
from tasks import graded

EACH = 20  # questions of each of the ten families


def bare(folder: str, asked: Sequence[Item], warm: Sequence[str]) -> tuple[int, float]:
    """Time one call of `vllm.LLM.generate` with vLLM's own settings; prompts are tokens before the clock starts."""
    from vllm import LLM, SamplingParams

    llm, tokenizer = LLM(folder), load_tokenizer(folder)
    settings = SamplingParams(temperature=0.0, max_tokens=Sampling().max_tokens)

    def generate(prompts: Sequence[str]) -> Any:
        tokens = [{"prompt_token_ids": encode(tokenizer, prompt)} for prompt in prompts]
        start = time.perf_counter()
        return llm.generate(tokens, settings, use_tqdm=False), time.perf_counter() - start

    generate(warm)
    outputs, seconds = generate([item.prompt for item in asked])
    return sum(len(output.outputs[0].token_ids) for output in outputs), seconds


def collector(folder: str, asked: Sequence[Item], warm: Sequence[str]) -> tuple[int, float]:
    """Time what `bench.collect` does with a loaded model, with its own defaults: chunks, templates, files."""
    pool = Pool((PoolEntry(model="m", cost=0.1, folder=folder),), "none")
    with tempfile.TemporaryDirectory() as out, Engines(lambda _: VLLMEngine(folder)) as engines:
        given = ["--tasks", "graded", "--pool", "none", "--engine", "vllm", "--out", out, "--stages", "answers"]
        args = collecting._arguments(given)
        todo = collecting.jobs(pool, asked, args.stages, args)
        engines.of(pool.entries[0]).generate(warm, Sampling())
        with open_raw(Path(out), collecting.settings(args, pool)) as recording:
            start = time.perf_counter()
            collecting.collect(recording, todo, args.chunk, engines, lambda job, done, total: None)
            seconds = time.perf_counter() - start
            replies = recording.done("answers", "m")
    return sum(sum(reply.completion_tokens) for reply in replies.values()), seconds


if __name__ == "__main__":  # vLLM starts processes that import this again
    way, model = sys.argv[1:]
    questions = items(list(graded.FAMILIES), {"test": EACH})
    others = [item.prompt for item in items(list(graded.FAMILIES), {"train": 1})]
    tokens, seconds = {"bare": bare, "collector": collector}[way](model, questions, others)
    sys.stdout.write(json.dumps({"tokens": tokens, "seconds": seconds}) + "\n")
