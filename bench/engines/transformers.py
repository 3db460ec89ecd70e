"""The engine of the reference: transformers, in process; deterministic in float32 with fixed chunks."""

import time
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from bench.engines.base import Finish, Reply, Sampling
from routers.language_models import (
    Dtype,
    context_length,
    encode,
    encode_continuation,
    load_model,
    load_tokenizer,
    refusal,
)
from tasks.errors import InputError

_T = TypeVar("_T")


class TransformersEngine:
    """A causal language model of a folder or hub id.

    Prompts go through the model in chunks of `batch_size`, in the order given and padded on the left. In float32 the
    same chunk gives the same replies, bit for bit; sampling takes its seed from `Sampling.seed` and the chunk's texts.
    The sampling settings that a model's authors recommend (top_p, repetition penalty) are not applied.
    """

    def __init__(self, model: str, dtype: Dtype = "auto", batch_size: int = 16, device: str | None = None) -> None:
        import torch

        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; allowed: 1 and more")
        self._batch_size = batch_size
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer = load_tokenizer(model)
        self._model: Any = load_model(model, dtype).to(self._device).eval()
        self._context = context_length(self._model.config)
        ends = self._model.generation_config.eos_token_id
        if ends is None:
            ends = self._tokenizer.eos_token_id
        self._ends: list[int] = [ends] if isinstance(ends, int) else list(ends or [])

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[Reply]:
        """Return one reply a prompt, in order; greedy at temperature 0."""
        return [reply for chunk in _chunks(prompts, self._batch_size) for reply in self._chunk(chunk, sampling)]

    def log_probability(self, prompts: Sequence[str], continuation: str) -> list[float | None]:
        """Return log P(the reply begins with the tokens of `continuation` | prompt) in nats, by one forward pass.

        A prompt that the context cannot hold together with `continuation` gets None.
        """
        ending = encode_continuation(self._tokenizer, continuation)
        rows = [encode(self._tokenizer, prompt) for prompt in prompts]
        fitting = [i for i, row in enumerate(rows) if refusal(len(row), len(ending), self._context) is None]
        result: list[float | None] = [None] * len(rows)
        for chunk in _chunks(fitting, self._batch_size):
            for i, value in zip(chunk, self._score([rows[i] + ending for i in chunk], ending), strict=True):
                result[i] = value
        return result

    def close(self) -> None:
        """Free the model's memory; the engine is of no use afterwards."""
        import gc

        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _chunk(self, prompts: Sequence[str], sampling: Sampling) -> list[Reply]:
        start = time.perf_counter()
        rows = [encode(self._tokenizer, prompt) for prompt in prompts]
        refused = [refusal(len(row), sampling.max_tokens, self._context) for row in rows]
        fitting = [row for row, reason in zip(rows, refused, strict=True) if reason is None]
        seed = zlib.crc32("\0".join(prompts).encode("utf-8", "surrogatepass"), sampling.seed)
        generated = iter(self._sample(fitting, sampling, seed) if fitting else [])
        outputs = [[] if reason else list(islice(generated, sampling.n)) for reason in refused]
        latency_s = (time.perf_counter() - start) / len(prompts)
        return [
            self._reply(output, len(row), latency_s, reason)
            for output, row, reason in zip(outputs, rows, refused, strict=True)
        ]

    def _sample(self, rows: Sequence[Sequence[int]], sampling: Sampling, seed: int) -> list[list[int]]:
        """Return the generated tokens of every sample, the `n` of one prompt together, each padded at its end."""
        import torch
        from transformers import GenerationConfig

        greedy = sampling.temperature == 0
        ids, mask = self._padded(rows)
        settings: Any = GenerationConfig  # it is not annotated
        config = settings(
            max_new_tokens=sampling.max_tokens,
            do_sample=not greedy,
            num_return_sequences=sampling.n,
            eos_token_id=self._ends or None,
            pad_token_id=self._pad,
            repetition_penalty=1.0,
            **({} if greedy else {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}),
        )
        with torch.inference_mode(), torch.random.fork_rng(enabled=not greedy):
            if not greedy:
                torch.manual_seed(seed)
            output = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        tokens: list[list[int]] = output[:, ids.shape[1] :].tolist()
        return tokens

    def _reply(self, samples: Sequence[Sequence[int]], n_prompt: int, latency_s: float, reason: str | None) -> Reply:
        kept = [self._until_end(sample) for sample in samples]
        finish: list[Finish] = ["stop" if tokens and tokens[-1] in self._ends else "length" for tokens in kept]
        texts = [
            self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for tokens in kept
        ]
        return Reply(tuple(texts), tuple(finish), tuple(len(tokens) for tokens in kept), n_prompt, latency_s, reason)

    def _until_end(self, tokens: Sequence[int]) -> list[int]:
        """Cut the padding off; the token that ends a reply was generated and counts."""
        for i, token in enumerate(tokens):
            if token in self._ends:
                return list(tokens[: i + 1])
        return list(tokens)

    def _score(self, rows: Sequence[Sequence[int]], ending: Sequence[int]) -> list[float]:
        import torch

        ids, mask = self._padded(rows)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)  # a forward pass, unlike generate, does not skip the padding
        with torch.inference_mode():
            output = self._model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=len(ending) + 1
            )
        logits = output.logits[:, -len(ending) - 1 : -1].float().log_softmax(-1)
        target = torch.tensor(ending, device=self._device).expand(len(rows), -1)
        scores: list[float] = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1).double().sum(-1).tolist()
        return scores

    @property
    def _pad(self) -> int:
        """Any token serves: padding is masked out before a prompt and cut off after a reply."""
        return self._ends[0] if self._ends else 0

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Return token ids and attention mask, both (rows, longest row), padded on the left."""
        import torch

        width = max(len(row) for row in rows)
        ids = [[self._pad] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
