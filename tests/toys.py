"""Suites small enough to check by hand."""

from typing import Any

import numpy as np
import pandas as pd

from bench.config import RunConfig
from tasks.scenarios import BALANCE
from tasks.suite import Suite
from tasks.types import Encoder, Manifest, Model, Task


def toy_suite(
    correct: Any, costs: Any = None, tasks: Any = None, domains: Any = None, splits: Any = "test", **recordings: Any
) -> Suite:
    """A suite from a (n, K) matrix; `tasks` (n,) names, `domains` {task: id|ood}, models named a, b, c …"""
    correct = np.asarray(correct, dtype=np.float32)
    n, k = correct.shape
    tasks = ["t"] * n if tasks is None else list(tasks)
    domains = domains or {}
    costs = np.linspace(0.1, 0.9, k) if costs is None else costs
    ids = [f"q{i}" for i in range(n)]
    queries = pd.DataFrame(
        {
            "query_id": ids,
            "task": tasks,
            "domain": [domains.get(t, "id") for t in tasks],
            "split": splits,
            "cluster_id": ids,
            "text": None,
            "text_sha256": None,
        }
    )
    names = list(dict.fromkeys(tasks))
    manifest = Manifest(
        name="toy",
        kind="imported",
        pool=tuple(Model(model=chr(97 + j), cost=float(c)) for j, c in enumerate(costs)),
        tasks=tuple(Task(name=t, domain=domains.get(t, "id")) for t in names),
        encoders={
            "query/small": Encoder(name="made up"),
            "query/large": Encoder(name="made up", alias_of="query/small"),
        },
        rejection_fraction=recordings.pop("rejection_fraction", {}),
    )
    outcomes = {"correct": correct} | recordings.pop("outcomes", {})
    embeddings = recordings.pop(
        "embeddings", {"query/small": np.random.default_rng(0).normal(size=(n, 4)).astype(np.float16)}
    )
    return Suite(manifest, queries, outcomes, embeddings=embeddings, **recordings)


def toy_config(suite: Suite, **changes: Any) -> RunConfig:
    """The balance scenario on a suite's in-domain queries, unless `changes` say otherwise."""
    settings = {
        "suite": suite.manifest.name,
        "suite_sha256": "",
        "routers": (),
        "scenarios": (BALANCE,),
        "splits": ("id",),
        "models": suite.pool.names,
    }
    return RunConfig(**(settings | changes))
