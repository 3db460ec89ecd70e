"""The engine for OpenAI-compatible servers against vLLM's own server on a real small model."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.engines.base import Reply, Sampling
from tasks.errors import InputError
from tests.servers import live_model, vllm_server

MODEL = "smollm2-135m"
CONTEXT = 512
KEY = "sk-of-the-tests"
PROMPTS = ["What is 3 + 4?", "Name a colour.", "Which day comes after Monday?", "Write a long story about a boat."]
GREEDY = Sampling(max_tokens=24)

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed (make test)")
    for name in ("httpx", "tenacity", "transformers")
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    folder = live_model(MODEL)
    with vllm_server(folder, "--max-model-len", str(CONTEXT), "--api-key", KEY) as url:
        yield url


@pytest.fixture
def ask(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Open an engine on the server, one request at a time, so that no batch differs from another."""
    from bench.engines.openai import OpenAIEngine

    monkeypatch.setenv("TOY_KEY", KEY)
    opened = []

    def ask(model: str = MODEL, **options: Any) -> OpenAIEngine:
        wanted = {"url": url, "key_env": "TOY_KEY", "concurrency": 1, "attempts": 1, "timeout_s": 300.0} | options
        opened.append(OpenAIEngine(model, **wanted))
        return opened[-1]

    yield ask
    for engine in opened:
        engine.close()


def said(replies: list[Reply]) -> list[tuple[object, ...]]:
    return [(r.texts, r.finish, r.completion_tokens, r.prompt_tokens, r.refused) for r in replies]


def test_greedy_replies_are_the_same_twice_and_tokens_are_those_of_the_model(ask: Callable[..., Any]) -> None:
    from routers.language_models import encode, load_tokenizer

    engine, tokenizer = ask(), load_tokenizer(str(live_model(MODEL)))
    replies = engine.generate(PROMPTS, GREEDY)
    assert said(engine.generate(PROMPTS, GREEDY)) == said(replies)
    assert len({reply.texts for reply in replies}) == len(PROMPTS)
    assert all(reply.latency_s > 0 for reply in replies)
    for prompt, reply in zip(PROMPTS, replies, strict=True):
        assert reply.prompt_tokens == len(encode(tokenizer, prompt))
        generated = len(tokenizer(reply.texts[0], add_special_tokens=False)["input_ids"])
        ended = reply.finish == ("stop",)  # the token that ends a reply was generated and counts
        assert reply.completion_tokens == (generated + ended,)
    assert replies[-1].finish == ("length",)
    assert replies[-1].completion_tokens == (GREEDY.max_tokens,)


def test_several_at_a_time_come_in_order(ask: Callable[..., Any]) -> None:
    prompts = [f"Repeat this number: {i}" for i in range(1000, 1024)]
    replies = ask(concurrency=8).generate(prompts, GREEDY)
    assert sum(str(1000 + i) in reply.texts[0] for i, reply in enumerate(replies)) > len(prompts) // 2


def test_samples_are_many_and_differ(ask: Callable[..., Any]) -> None:
    for reply in ask().generate(PROMPTS, Sampling(max_tokens=16, temperature=1.0, n=5)):
        assert len(reply.texts) == len(reply.finish) == len(reply.completion_tokens) == 5
        assert len(set(reply.texts)) > 1
        assert all(1 <= n <= 16 for n in reply.completion_tokens)


@pytest.mark.parametrize("n_words", [2 * CONTEXT, 100 * CONTEXT])
def test_a_prompt_beyond_the_context_is_refused_and_its_neighbours_are_answered(
    ask: Callable[..., Any], n_words: int
) -> None:
    before, refused, after = ask().generate([PROMPTS[0], "boat " * n_words, PROMPTS[1]], GREEDY)
    assert refused.texts == refused.finish == refused.completion_tokens == ()
    assert str(CONTEXT) in refused.refused
    assert "\n" not in refused.refused
    assert before.refused is after.refused is None
    assert all((before.texts, after.texts))


def test_a_reply_that_the_context_cuts_off_is_told_as_cut(ask: Callable[..., Any]) -> None:
    """Where prompt and reply do not fit together, vLLM's server answers as far as it can; the other engines refuse."""
    (reply,) = ask().generate(["boat " * (CONTEXT - 80)], Sampling(max_tokens=CONTEXT - 12))
    used = reply.prompt_tokens + reply.completion_tokens[0]
    assert CONTEXT - 80 < used <= CONTEXT
    assert (reply.finish == ("length",)) == (used == CONTEXT)


def test_more_tokens_than_the_context_holds_are_one_line(ask: Callable[..., Any]) -> None:
    assert str(CONTEXT) in fails(ask(), Sampling(max_tokens=CONTEXT + 1))


def test_it_does_not_tell_how_likely_a_given_reply_is(ask: Callable[..., Any]) -> None:
    assert ask().log_probability(PROMPTS, "I don't know!") == [None] * len(PROMPTS)


def fails(engine: Any, sampling: Sampling = GREEDY) -> str:
    with pytest.raises(InputError) as caught:
        engine.generate(PROMPTS, sampling)
    assert "\n" not in str(caught.value)
    assert "sk-" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_model_name_is_one_line(ask: Callable[..., Any], url: str) -> None:
    message = fails(ask("smollm3"))
    assert message.startswith(f"{url}/chat/completions answered 404")
    assert "smollm3" in message
    assert "has the model under that name" in message


def test_a_wrong_key_and_none_at_all_are_one_line(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG_KEY", "sk-wrong")
    for engine in (ask(key_env="WRONG_KEY"), ask(key_env=None)):
        assert "answered 401" in (message := fails(engine))
        assert "key_env" in message


def test_an_address_without_v1_is_one_line(ask: Callable[..., Any], url: str) -> None:
    message = fails(ask(url=url.removesuffix("/v1")))
    assert "answered 404" in message
    assert "ends in /v1" in message
