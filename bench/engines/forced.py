"""A logits processor for vLLM: a request says which tokens it wants generated; their probabilities stay the model's."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class Forced(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not there where types are checked
    """Forces the tokens of `SamplingParams.extra_args["forced"]`; leaves every other request alone.

    vLLM reports log probabilities from before its processors, so those of forced tokens are the model's own.
    """

    def is_argmax_invariant(self) -> bool:
        """Say that greedy choices change."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[Sequence[int], Any], Any] | None:
        """Return what forces the next token of one request, or None where it forces nothing."""
        wanted = (params.extra_args or {}).get("forced")
        return None if wanted is None else partial(_force, wanted)


def _force(wanted: Sequence[int], said: Sequence[int], logits: Any) -> Any:
    """Leave one token possible: the one of `wanted` that follows the `said` ones; `logits` is (vocabulary,)."""
    token = wanted[len(said)]
    kept = logits[token].clone()
    logits.fill_(-float("inf"))
    logits[token] = kept
    return logits
