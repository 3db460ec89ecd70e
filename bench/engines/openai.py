"""The engine for any OpenAI-compatible server: `POST {url}/chat/completions`, several at a time, patiently.

Requests carry the fields that every such server knows. One that fills in the others from the model's recommendations
differs from the engines in process: start vLLM's with `--generation-config vllm`.
"""

import os
import re
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Annotated, Any

import httpx
import tenacity
from pydantic import BaseModel, Field, ValidationError

from bench.engines.base import Finish, Reply, Sampling
from tasks.errors import InputError

_CONTEXT = re.compile(r"context[ _](length|window|size)|maximum model length|(prompt|input) is too long", re.IGNORECASE)
_TRANSIENT = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_WHAT_TO_DO = {
    400: "the server does not take this request; see that it is OpenAI-compatible and knows the model",
    401: "set the key_env of the pool entry to the environment variable that holds a valid key",
    403: "the key in the pool entry's key_env may not use this model",
    404: "see that the pool entry's url ends in /v1 and that the server has the model under that name",
    429: "the server is overloaded or the quota is used up; lower the concurrency, or wait",
}


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)] = 0


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage


class _TransientError(Exception):
    """A failure that may pass: what happened, and after how many seconds the server wants to be asked again."""

    def __init__(self, what: str, status: int | None = None, after_s: float = 0.0) -> None:
        super().__init__(what)
        self.status = status
        self.after_s = after_s


class OpenAIEngine:
    """The model that a server calls `model`; `url` is the server's address up to `/v1`.

    `concurrency` requests are open at a time, each for up to `timeout_s` of silence and `attempts` times, with
    exponential back-off up to `longest_wait_s`. `asks_n` is False for a server that ignores the parameter n; one that
    refuses it is found out. The key is read from the environment variable `key_env`, and no message tells it.
    """

    def __init__(
        self,
        model: str,
        url: str,
        key_env: str | None = None,
        concurrency: int = 16,
        timeout_s: float = 300.0,
        attempts: int = 6,
        longest_wait_s: float = 60.0,
        asks_n: bool = True,
    ) -> None:
        self._model = model
        self._address = f"{url.rstrip('/')}/chat/completions"
        self._concurrency = concurrency
        self._attempts = attempts
        self._wait = tenacity.wait_random_exponential(multiplier=min(1.0, longest_wait_s), max=longest_wait_s)
        self._longest_wait_s = longest_wait_s
        self._asks_n = asks_n
        self._key = _key(key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=concurrency)
        # a request waits for a free connection as long as it takes: the others may be slow, which is no failure
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout_s, pool=None), limits=limits)

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[Reply]:
        """Return one reply a prompt, in order; the first request that fails for good ends all of them.

        Raises `InputError` with the address, what happened there, and what to do. A server counts the tokens of a
        prompt's samples together: they are shared out evenly.
        """
        given_up = threading.Event()
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = [pool.submit(self._reply, prompt, sampling, given_up) for prompt in prompts]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                given_up.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def log_probability(self, prompts: Sequence[str], continuation: str) -> list[float | None]:  # noqa: ARG002  (asked by the protocol)
        """Return None for each prompt: chat servers do not tell how likely a given reply is."""
        return [None for _ in prompts]

    def close(self) -> None:
        """Close the connections; the server goes on."""
        self._client.close()

    def _reply(self, prompt: str, sampling: Sampling, given_up: threading.Event) -> Reply:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": 1.0,
            "seed": zlib.crc32(prompt.encode("utf-8", "surrogatepass"), sampling.seed),
        }
        n = sampling.n
        if n == 1 or self._asks_n:
            response, latency_s = self._ask(body | ({"n": n} if n > 1 else {}), given_up)
            if n == 1 or not _refuses_n(response):
                return self._read(response, n, latency_s)
            self._asks_n = False
        singles = []
        for i in range(n):  # vLLM seeds the samples of one request likewise
            response, latency_s = self._ask(body | {"seed": body["seed"] + i}, given_up)
            singles.append(self._read(response, 1, latency_s))
        return _joined(singles)

    def _ask(self, body: dict[str, Any], given_up: threading.Event) -> tuple[httpx.Response, float]:
        """Return the server's answer, 200 or 400, and the seconds that it took; asks again where that may help."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=tenacity.stop_after_attempt(self._attempts) | tenacity.stop_when_event_set(given_up),
            wait=self._seconds_to_wait,
            sleep=tenacity.sleep_using_event(given_up),
            reraise=True,
        )
        try:
            return retrying(self._post, body)
        except _TransientError as error:
            tries = retrying.statistics["attempt_number"]
            advice = _WHAT_TO_DO.get(error.status or 0, "see that the server is up and well, and run again")
            raise self._error(f"{error}, {tries} times in a row", advice) from None

    def _post(self, body: dict[str, Any]) -> tuple[httpx.Response, float]:
        start = time.perf_counter()
        try:
            response = self._client.post(self._address, json=body)
        except _TRANSIENT as error:
            what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "could not be reached"
            raise _TransientError(f"{what} ({type(error).__name__}: {error})") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._error(f"cannot be asked ({type(error).__name__}: {error})", "correct the pool entry") from None
        status = response.status_code
        if status == 429 or status >= 500:
            raise _TransientError(f"answered {status}: {_message(response)}", status, self._after_s(response))
        if status not in (200, 400, 413, 422):
            advice = _WHAT_TO_DO.get(status, "correct the url of the pool entry")
            raise self._error(f"answered {status}: {_message(response)}", advice)
        return response, time.perf_counter() - start

    def _seconds_to_wait(self, state: tenacity.RetryCallState) -> float:
        """Return at least what the server asked for; jitter keeps the threads from coming back all at once."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.after_s if isinstance(error, _TransientError) else 0.0
        return max(self._wait(state), asked)

    def _after_s(self, response: httpx.Response) -> float:
        """Return the seconds of Retry-After, no more than the longest wait; a date there is not worth the trouble."""
        given = response.headers.get("retry-after", "")
        return min(float(given), self._longest_wait_s) if re.fullmatch(r"\d{1,9}(\.\d+)?", given) else 0.0

    def _read(self, response: httpx.Response, n: int, latency_s: float) -> Reply:
        if response.status_code != 200:
            reason = _message(response)
            if _CONTEXT.search(reason):
                return Reply((), (), (), 0, latency_s, self._presentable(reason))
            raise self._error(f"answered {response.status_code}: {reason}", _WHAT_TO_DO[400])
        try:
            completion = _Completion.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the answer"
            advice = "see that the pool entry's url is that of an OpenAI-compatible server"
            raise self._error(f"gave no chat completion ({where}: {first['msg']})", advice) from None
        if len(completion.choices) != n:
            what = f"gave {len(completion.choices)} samples where {n} were asked for"
            raise self._error(what, "pass asks_n=False: one request a sample")
        each, more = divmod(completion.usage.completion_tokens, n)
        finish: list[Finish] = ["length" if c.finish_reason == "length" else "stop" for c in completion.choices]
        return Reply(
            texts=tuple(choice.message.content or "" for choice in completion.choices),
            finish=tuple(finish),
            completion_tokens=tuple(each + (i < more) for i in range(n)),
            prompt_tokens=completion.usage.prompt_tokens,
            latency_s=latency_s,
        )

    def _error(self, what: str, advice: str) -> InputError:
        return InputError(f"{self._address} {self._presentable(what)}; {advice}")

    def _presentable(self, text: str) -> str:
        """Return one short printable line of what a server said, without the key should it repeat that."""
        if self._key:
            text = text.replace(self._key, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= 300 else f"{line[:300]}…"


def _key(variable: str | None) -> str | None:
    """Return the key in an environment variable; raises `InputError` where there is none, or none that can be sent."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        state = "is not set" if not key else "holds characters that no key has"
        raise InputError(f"the environment variable {variable}, the pool entry's key_env, {state}; put the key there")
    return key


def _message(response: httpx.Response) -> str:
    """Return what the server says of an error: `error.message` or `message` of its JSON, else the text as it is."""
    try:
        content = response.json()
    except (ValueError, RecursionError):
        return response.text[:2000]
    error = content.get("error", content) if isinstance(content, dict) else content
    told = error.get("message", error) if isinstance(error, dict) else error
    return str(told)[:2000]


def _refuses_n(response: httpx.Response) -> bool:
    """Tell whether the server refuses the parameter n by name, as those do that give one sample a request."""
    told = _message(response)
    return response.status_code in (400, 422) and not _CONTEXT.search(told) and bool(re.search(r"\bn\b", told))


def _joined(singles: Sequence[Reply]) -> Reply:
    """Return the samples of several requests as those of one, which took as long as all of them."""
    latency_s = sum(reply.latency_s for reply in singles)
    refused = next((reply for reply in singles if reply.refused is not None), None)
    if refused is not None:
        return Reply((), (), (), refused.prompt_tokens, latency_s, refused.refused)
    return Reply(
        texts=tuple(reply.texts[0] for reply in singles),
        finish=tuple(reply.finish[0] for reply in singles),
        completion_tokens=tuple(reply.completion_tokens[0] for reply in singles),
        prompt_tokens=singles[0].prompt_tokens,
        latency_s=latency_s,
    )
