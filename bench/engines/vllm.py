"""The engine of the paper: vLLM in process, which schedules all prompts of a call together."""

import math
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from typing import Any

from bench.engines.base import Finish, Reply, Sampling
from routers.language_models import encode, encode_continuation, load_tokenizer, refusal
from tasks.errors import InputError

_SECONDS_TO_END = 10.0
_FEW_CORES = 2
# Ends the processes named on its command line as soon as its standard input does: when whoever started it is dead.
_WATCH = """
import os, signal, sys
sys.stdin.read()
for pid in sys.argv[1:]:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class VLLMEngine:
    """A language model of a folder or hub id in vLLM, with prefix caching.

    The options are vLLM's own; None leaves the choice to it. Not batch-invariant: in bfloat16 a greedy reply may
    differ with what else is running. A script that makes one needs `if __name__ == "__main__":`, since vLLM starts
    processes that import it again. The sampling settings that a model's authors recommend are not applied.
    """

    def __init__(
        self,
        model: str,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        data_parallel_size: int = 1,
        max_model_len: int | None = None,
        gpu_memory_utilization: float | None = None,
        enforce_eager: bool = False,
        block_size: int | None = None,
    ) -> None:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # its log would bury the progress bar
        import psutil
        from vllm import LLM

        self._tokenizer = load_tokenizer(model)
        options: dict[str, Any] = {
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
            "data_parallel_size": data_parallel_size,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": gpu_memory_utilization,
            "enforce_eager": enforce_eager,
            "block_size": block_size or _cpu_block_size(),
            "logits_processors": ["bench.engines.forced:Forced"],
            "enable_prefix_caching": True,
        }
        _use_every_core()
        before = set(psutil.Process().children(recursive=True))
        try:
            self._llm: Any = LLM(model, **{key: value for key, value in options.items() if value is not None})
        except (ValueError, RuntimeError, OSError) as error:
            _end(set(psutil.Process().children(recursive=True)) - before)
            raise InputError(
                f"vLLM cannot load {model} ({' '.join(str(error).split())[:200]}); the log above tells more: often "
                "memory is short, so lower max_model_len, or close what else is running"
            ) from None
        self._processes = set(psutil.Process().children(recursive=True)) - before
        self._watch = _watch([process.pid for process in self._processes])
        self._context: int = self._llm.llm_engine.model_config.max_model_len

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[Reply]:
        """Return one reply a prompt, in order; greedy at temperature 0.

        Each prompt that is sampled has a seed of its own, but for CPUs: there vLLM cannot wind a prompt's generator
        back when it splits a long prefill, and ends. Samples drawn on a CPU follow the engine's one seed.
        """
        from vllm import SamplingParams
        from vllm.platforms import current_platform

        seeded = sampling.temperature > 0.0 and not current_platform.is_cpu()

        start = time.perf_counter()
        rows = [encode(self._tokenizer, prompt) for prompt in prompts]
        refused = [refusal(len(row), sampling.max_tokens, self._context) for row in rows]
        asked = [i for i, reason in enumerate(refused) if reason is None]
        settings = [
            SamplingParams(
                n=sampling.n,
                temperature=sampling.temperature,
                max_tokens=sampling.max_tokens,
                seed=zlib.crc32(prompts[i].encode("utf-8", "surrogatepass"), sampling.seed) if seeded else None,
            )
            for i in asked
        ]
        outputs = dict(zip(asked, self._run([rows[i] for i in asked], settings), strict=True))
        latency_s = (time.perf_counter() - start) / max(len(prompts), 1)
        return [
            _reply(outputs[i].outputs if i in outputs else [], len(row), latency_s, refused[i])
            for i, row in enumerate(rows)
        ]

    def log_probability(self, prompts: Sequence[str], continuation: str) -> list[float | None]:
        """Return log P(the reply begins with the tokens of `continuation` | prompt) in nats, by forcing them.

        The prompts' prefills are those of `generate`, where they are cached: scoring a prompt as such would not use
        the cache, and would compute the whole vocabulary at each of its tokens.

        A prompt that the context cannot hold together with `continuation` gets None.
        """
        from vllm import SamplingParams

        ending = encode_continuation(self._tokenizer, continuation)
        rows = [encode(self._tokenizer, prompt) for prompt in prompts]
        asked = [i for i, row in enumerate(rows) if refusal(len(row), len(ending), self._context) is None]
        forced = SamplingParams(
            temperature=0.0, max_tokens=len(ending), ignore_eos=True, logprobs=0, extra_args={"forced": ending}
        )
        result: list[float | None] = [None] * len(rows)
        for i, output in zip(asked, self._run([rows[i] for i in asked], [forced] * len(asked)), strict=True):
            said = output.outputs[0]
            result[i] = math.fsum(scores[token].logprob for scores, token in zip(said.logprobs, ending, strict=True))
        return result

    def close(self) -> None:
        """Free the model's memory: shut vLLM down, then end those of its processes that are left."""
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        _end(self._processes)
        self._watch.kill()
        self._watch.communicate()

    def _run(self, rows: Sequence[Sequence[int]], settings: Sequence[Any]) -> list[Any]:
        if not rows:
            return []
        from vllm.v1.engine.exceptions import EngineDeadError

        tokens = [{"prompt_token_ids": list(row)} for row in rows]
        try:
            outputs: list[Any] = self._llm.generate(tokens, list(settings), use_tqdm=False)
        except EngineDeadError:
            raise InputError(
                "vLLM's engine ended while it was answering; its log above tells why, often memory is short. Whatever "
                "was answered before is kept: the same command goes on from there"
            ) from None
        return outputs


def _reply(outputs: Sequence[Any], n_prompt: int, latency_s: float, reason: str | None) -> Reply:
    finish: list[Finish] = ["length" if output.finish_reason == "length" else "stop" for output in outputs]
    return Reply(
        texts=tuple(output.text for output in outputs),
        finish=tuple(finish),
        completion_tokens=tuple(len(output.token_ids) for output in outputs),
        prompt_tokens=n_prompt,
        latency_s=latency_s,
        refused=reason,
    )


def _cpu_block_size() -> int | None:
    """Return the smallest block that a CPU allows, or None to leave the choice to vLLM.

    Prefixes are shared in whole blocks. The 128 tokens that vLLM takes on a CPU are more than the instruction that
    short questions have in common, so that nothing would be shared.
    """
    from vllm.platforms import current_platform

    return 32 if current_platform.is_cpu() else None


def _use_every_core() -> None:
    """Let a CPU of two cores compute on both, unless the user has said otherwise.

    vLLM keeps one free for its scheduler. Of two that is half of the machine, and takes half as long again or more.
    """
    if len(os.sched_getaffinity(0)) <= _FEW_CORES:
        os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")


def _watch(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """End the processes `pids` should this one be killed: vLLM's own do not notice, and keep the model's memory."""
    command = [sys.executable, "-c", _WATCH, *map(str, pids)]
    # a session of its own: an interrupt from the keyboard is for us to handle
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  (our own code)


def _end(processes: set[Any]) -> None:
    """Wait for processes to end, and kill those that do not."""
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=_SECONDS_TO_END)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=_SECONDS_TO_END)
