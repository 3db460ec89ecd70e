"""What a fitted router decides: what it predicts is predicted once, and decided on for every alpha."""

import time
from typing import NamedTuple

import numpy as np

from routers.base import FloatArray, IntArray, PredictiveRouter, QueryView, Router, RoutingEnv
from tasks.errors import InputError
from tasks.scenarios import Scenario


class Predicted(NamedTuple):
    """(n, K) P(correct) of a router whose decisions follow from it alone, else None; and the seconds that it took."""

    correctness: FloatArray | None
    seconds: float


def predict(router: Router, queries: QueryView) -> Predicted:
    """Return what a fitted router predicts, where that is all that it decides by."""
    if not isinstance(router, PredictiveRouter) or type(router).route is not PredictiveRouter.route:
        return Predicted(None, 0.0)
    start = time.perf_counter()
    return Predicted(router.predict_correctness(queries), time.perf_counter() - start)


def decisions(
    name: str, router: Router, queries: QueryView, env: RoutingEnv, scenario: Scenario, predicted: Predicted
) -> IntArray:
    """Return (n,) indices into the pool; raises `InputError` where the router called `name` returns anything else."""
    if predicted.correctness is not None and isinstance(router, PredictiveRouter):
        chosen = np.asarray(router.decide(predicted.correctness, queries.pool, scenario))
    else:
        chosen = np.asarray(router.route(queries, env, scenario))
    if (
        chosen.shape != (len(queries),)
        or chosen.dtype.kind not in "iu"
        or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(queries.pool))
    ):
        raise InputError(
            f"router {name} returned no model index in 0 … {len(queries.pool) - 1} for each of {len(queries)} queries"
        )
    return chosen.astype(np.int64)
