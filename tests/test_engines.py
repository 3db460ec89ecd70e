"""Engines: the reference against direct computation, servers that fail in every way, pool files that are wrong."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from bench.engines.base import Sampling
from bench.engines.pool import ENGINES, load_pool, open_engine, resolve
from tasks.errors import InputError
from tests.hostile_server import GARBAGE, serving
from tests.servers import ROOT, process_of

POOLS = ROOT / "tasks" / "pools"
GREEDY = Sampling(max_tokens=8)
PROMPTS = ["a b c", "d", "b b b b b a", "c d a", "a"]


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed (make setup-live)")


# --- transformers ---------------------------------------------------------------------------------------------------


def make_model(folder, architecture):
    """A random model of two layers whose context holds 32 tokens; its words are letters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    end, unknown = "<end>", "<unk>"
    words = [end, unknown, "user", "assistant", *"abcdefghijklmnopqrstuvwxyz"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=unknown))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=end, unk_token=unknown)
    if architecture == "llama":
        tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] }}{% endfor %} assistant"
    torch.set_num_threads(1)  # a model this small only loses by two, and a busy machine makes it lose much
    torch.manual_seed(1)
    if architecture == "llama":
        config = LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            bos_token_id=None,
            eos_token_id=0,
            initializer_range=0.5,
        )
        model = LlamaForCausalLM(config)
    else:
        config = GPT2Config(
            vocab_size=len(words),
            n_positions=32,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=None,
            eos_token_id=0,
            initializer_range=0.5,
        )
        model = GPT2LMHeadModel(config)
    # what its authors recommend is not what a benchmark measures
    model.generation_config.update(repetition_penalty=50.0, top_k=1, do_sample=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request, tmp_path_factory):
    pytest.importorskip("torch", reason="torch is not installed (make setup-live)")
    pytest.importorskip("transformers", reason="transformers is not installed (make setup-live)")
    return make_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def engine(folder):
    return reference(folder)


def reference(folder, batch_size=3):
    from bench.engines.transformers import TransformersEngine

    return TransformersEngine(str(folder), dtype="float32", batch_size=batch_size, device="cpu")


def said(replies):
    return [(r.texts, r.finish, r.completion_tokens, r.prompt_tokens) for r in replies]


def test_greedy_replies_are_the_same_in_every_batch_size_and_in_every_process(folder, engine):
    whole = said(engine.generate(PROMPTS, GREEDY))
    assert said(engine.generate(PROMPTS, GREEDY)) == whole
    for batch_size in (1, 2, 16):
        assert said(reference(folder, batch_size).generate(PROMPTS, GREEDY)) == whole
    assert len({texts for texts, *_ in whole}) > 1


def test_a_greedy_reply_is_the_likeliest_token_after_the_prompt(folder, engine):
    import torch
    from transformers import AutoModelForCausalLM

    from routers.language_models import encode, load_tokenizer

    tokenizer, model = load_tokenizer(str(folder)), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for prompt, reply in zip(PROMPTS, engine.generate(PROMPTS, GREEDY), strict=True):
        tokens = encode(tokenizer, prompt)
        assert reply.prompt_tokens == len(tokens)
        while len(tokens) < reply.prompt_tokens + GREEDY.max_tokens and tokens[-1] != 0:
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        made = tokens[reply.prompt_tokens :]
        assert reply.completion_tokens == (len(made),)
        assert reply.finish == ("stop" if made[-1] == 0 else "length",)
        assert reply.texts[0] == tokenizer.decode(made, skip_special_tokens=True)


def test_samples_are_many_repeatable_and_differ(engine):
    import torch

    before = torch.random.get_rng_state()
    sampling = Sampling(max_tokens=6, temperature=1.0, n=7, seed=3)
    replies = engine.generate(PROMPTS, sampling)
    assert all(len(r.texts) == len(r.finish) == len(r.completion_tokens) == 7 for r in replies)
    assert all(len(set(r.texts)) > 1 for r in replies)
    assert all(1 <= n <= 6 for r in replies for n in r.completion_tokens)
    assert said(engine.generate(PROMPTS, sampling)) == said(replies)
    assert said(engine.generate(PROMPTS, Sampling(max_tokens=6, temperature=1.0, n=7, seed=4))) != said(replies)
    assert torch.equal(before, torch.random.get_rng_state())


def test_replies_end_by_themselves_or_are_cut_off(engine):
    replies = engine.generate(PROMPTS, Sampling(max_tokens=12, temperature=1.5, n=20))
    seen = {(finish, n) for r in replies for finish, n in zip(r.finish, r.completion_tokens, strict=True)}
    assert all(n == 12 for finish, n in seen if finish == "length")
    assert {finish for finish, _ in seen} == {"stop", "length"}


def test_a_log_probability_is_that_of_a_direct_computation(folder, engine):
    import torch
    from transformers import AutoModelForCausalLM

    from routers.language_models import encode, load_tokenizer

    tokenizer, model = load_tokenizer(str(folder)), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    told = engine.log_probability([*PROMPTS, "a " * 31], "c d")
    ending = tokenizer("c d", add_special_tokens=False)["input_ids"]
    for prompt, value in zip(PROMPTS, told[:-1], strict=True):
        tokens = encode(tokenizer, prompt)
        logits = model(torch.tensor([tokens + ending])).logits[0].log_softmax(-1)
        direct = sum(logits[len(tokens) - 1 + i, token].item() for i, token in enumerate(ending))
        assert value == pytest.approx(direct, abs=1e-5)
    assert told[-1] is None
    with pytest.raises(InputError, match="no tokens"):
        engine.log_probability(["a"], "")


def test_a_prompt_beyond_the_context_is_refused_and_its_neighbours_are_answered(folder, engine):
    alone = said(engine.generate(["a b", "c"], GREEDY))
    replies = engine.generate(["a b", "b " * 40, "c"], GREEDY)
    assert said([replies[0], replies[2]]) == alone
    assert replies[1].texts == replies[1].finish == replies[1].completion_tokens == ()
    assert replies[1].prompt_tokens >= 40
    assert "exceed the model's context of 32" in replies[1].refused
    assert all(r.refused is None for r in (replies[0], replies[2]))
    assert engine.generate([], GREEDY) == []
    engine.close()


@needs("torch")
@pytest.mark.parametrize(
    "content", [{}, {"config.json": "{}"}, {"config.json": "{"}, {"config.json": '{"model_type": "llama"}'}]
)
def test_a_folder_that_is_no_model_is_one_line(tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=str(tmp_path)) as caught:
        reference(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_broken_or_lacking_are_no_model(folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    tensors = load_file(weights)
    dropped = sorted(name for name in tensors if "layers.1" in name or "h.1" in name)[0]
    save_file({name: t for name, t in tensors.items() if name != dropped}, weights, {"format": "pt"})
    with pytest.raises(InputError, match="lacks the weights"):
        reference(tmp_path / "m")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be loaded"):
        reference(tmp_path / "m")


@needs("transformers")
def test_a_hub_id_that_cannot_be_had_is_one_line(tmp_path):
    code = (
        "from routers.language_models import load_tokenizer\n"
        "from tasks.errors import InputError\n"
        "try:\n    load_tokenizer('nobody/nothing')\n"
        "except InputError as error:\n    assert 'nobody/nothing' in str(error) and '\\n' not in str(error), error\n"
        "else:\n    raise AssertionError('loaded')\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)


# --- openai ---------------------------------------------------------------------------------------------------------

openai_packages = [needs("httpx"), needs("tenacity")]


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture
def ask(server):
    """Open an engine on the server in one of its modes, with waits that a test can afford."""
    from bench.engines.openai import OpenAIEngine

    opened = []

    def ask(mode, **options):
        options = {"attempts": 3, "longest_wait_s": 0.05, "timeout_s": 5.0} | options
        opened.append(OpenAIEngine("toy", options.pop("url", server.url(mode)), **options))
        return opened[-1]

    yield ask
    for engine in opened:
        engine.close()


class TestServer:
    pytestmark = openai_packages

    def test_replies_come_in_order_several_at_a_time(self, server, ask):
        server.delay_s = 0.05
        prompts = [f"question {i} of many" for i in range(20)]
        replies = ask("well", concurrency=4).generate(prompts, GREEDY)
        assert [r.texts for r in replies] == [(prompt,) for prompt in prompts]
        assert all((r.finish, r.completion_tokens, r.prompt_tokens) == (("stop",), (4,), 4) for r in replies)
        assert all(0.05 <= r.latency_s < 60 for r in replies)
        assert 1 < server.most_open <= 4
        assert ask("well").generate([], GREEDY) == []
        assert ask("well").log_probability(prompts, "no") == [None] * 20

    def test_what_is_asked_is_what_was_meant(self, server, ask):
        sampling = Sampling(max_tokens=2, temperature=1.0, n=3, seed=5)
        (reply,) = ask("well").generate(["one two three"], sampling)
        assert (reply.texts, reply.finish) == (("one two",) * 3, ("length",) * 3)
        assert reply.completion_tokens == (2, 2, 2)
        body = server.bodies[0]
        assert body["messages"] == [{"role": "user", "content": "one two three"}]
        assert (body["model"], body["max_tokens"], body["temperature"], body["n"]) == ("toy", 2, 1.0, 3)
        ask("well").generate(["one two three"], sampling)
        assert server.bodies[1] == body

    def test_a_server_that_refuses_n_is_asked_n_times(self, server, ask):
        engine = ask("refuses-n", concurrency=1)
        replies = engine.generate(["a b", "c"], Sampling(temperature=1.0, n=3))
        assert [(r.texts, r.completion_tokens) for r in replies] == [(("a b",) * 3, (2,) * 3), (("c",) * 3, (1,) * 3)]
        assert [b.get("n") for b in server.bodies] == [3] + [None] * 6
        assert len({b["seed"] for b in server.bodies}) == 6

    def test_a_server_that_ignores_n_is_told_apart(self, ask):
        with pytest.raises(InputError, match="1 samples where 3 were asked for; pass asks_n=False"):
            ask("ignores-n").generate(["a"], Sampling(temperature=1.0, n=3))
        (reply,) = ask("ignores-n", asks_n=False).generate(["a"], Sampling(temperature=1.0, n=3))
        assert reply.texts == ("a",) * 3

    def test_a_server_that_recovers_is_waited_for_as_long_as_it_asks(self, server, ask):
        (reply,) = ask("recovers", attempts=4, longest_wait_s=0.5).generate(["a"], GREEDY)
        assert reply.texts == ("a",)
        assert len(server.bodies) == 4
        assert server.times[1] - server.times[0] >= 0.2
        assert reply.latency_s < 0.2

    @pytest.mark.parametrize(
        ("mode", "attempts", "told"),
        [
            ("301", 1, "answered 301.*correct the url"),
            ("401", 1, "answered 401.*key_env"),
            ("403", 1, "answered 403.*key_env"),
            ("404", 1, "answered 404.*ends in /v1"),
            ("418", 1, "answered 418"),
            ("bad", 1, "answered 400: no such field modle;"),
            ("429", 3, "answered 429.*3 times in a row; .*lower the concurrency"),
            ("500", 3, "answered 500.*3 times in a row"),
            ("503", 3, "answered 503.*3 times in a row"),
            *((mode, 3, "could not be reached.*3 times in a row") for mode in ("hangs-up", "breaks-off", "no-http")),
            *((mode, 1, "gave no chat completion.*OpenAI-compatible") for mode in GARBAGE),
        ],
    )
    def test_a_server_that_fails_is_one_line_without_the_key(
        self, server, ask, monkeypatch, caplog, mode, attempts, told
    ):
        monkeypatch.setenv("TOY_KEY", "sk-secret")
        caplog.set_level("DEBUG")
        with pytest.raises(InputError, match=told) as caught:
            ask(mode, key_env="TOY_KEY").generate(["a"], GREEDY)
        message = str(caught.value)
        assert message.startswith(server.url(mode))
        assert "\n" not in message
        assert "sk-secret" not in message + caplog.text
        assert server.keys == ["Bearer sk-secret"] * attempts

    def test_a_server_that_never_answers_is_left(self, server, ask):
        with pytest.raises(InputError, match="did not answer in time .*2 times in a row; see that the server is up"):
            ask("never", attempts=2, timeout_s=0.2).generate(["a"], GREEDY)
        assert len(server.bodies) == 2

    def test_one_failure_for_good_ends_the_patience_of_all(self, server, ask):
        start = time.monotonic()
        with pytest.raises(InputError, match="answered 500"):
            ask("500", concurrency=2, attempts=2).generate(["a"] * 500, GREEDY)
        assert len(server.bodies) < 20
        assert time.monotonic() - start < 60  # and not 500 requests, each with its back-off

    def test_no_server_at_all(self, ask):
        with pytest.raises(InputError, match="could not be reached.*2 times in a row; see that the server is up"):
            ask("", url="http://127.0.0.1:9/v1", attempts=2).generate(["a"], GREEDY)

    def test_a_context_that_is_too_short_is_a_reply(self, ask):
        (reply,) = ask("context").generate(["a"], GREEDY)
        assert reply.texts == ()
        assert "maximum context length is 16" in reply.refused

    @pytest.mark.parametrize("value", [None, "", "sk-é", "sk\n1"])
    def test_a_key_that_cannot_be_sent(self, ask, monkeypatch, value):
        monkeypatch.delenv("TOY_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("TOY_KEY", value)
        with pytest.raises(InputError, match="TOY_KEY") as caught:
            ask("well", key_env="TOY_KEY")
        assert "sk" not in str(caught.value)


@pytest.fixture(scope="module")
def foreign_server():
    """The same server in a process of its own; the address is that of its modes."""
    with process_of("tests.hostile_server") as (url, _):
        yield url


class TestServerProcess:
    pytestmark = openai_packages

    @pytest.mark.parametrize(
        "mode", ["401", "404", "429", "500", "never", "hangs-up", "breaks-off", "no-http", *GARBAGE]
    )
    def test_a_server_that_fails_is_one_line(self, ask, foreign_server, mode):
        with pytest.raises(InputError) as caught:
            ask(mode, url=f"{foreign_server}/{mode}/v1", attempts=2, timeout_s=0.5).generate(["a", "b"], GREEDY)
        assert str(caught.value).startswith(f"{foreign_server}/{mode}/v1/chat/completions ")
        assert "\n" not in str(caught.value)
        assert "; " in str(caught.value)

    @pytest.mark.parametrize("mode", ["401", "404", "html"])
    def test_the_collector_ends_with_that_line_and_keeps_nothing(self, foreign_server, tmp_path, mode):
        entry = {"model": "m", "cost": 0.1, "server": {"url": f"{foreign_server}/{mode}/v1", "model": "toy"}}
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"cost_rule": "r", "models": [entry]}))
        command = "-m bench.collect --tasks addition --engine openai --limit test=3 --stages answers --no-embeddings"
        places = ["--pool", tmp_path / "pool.yaml", "--out", tmp_path / "r"]
        done = subprocess.run(
            [sys.executable, *command.split(), *places], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "error" in line]
        assert line.startswith(f"error: {foreign_server}/{mode}/v1")
        assert "Traceback" not in done.stderr
        assert not list((tmp_path / "r").rglob("*.jsonl"))

    def test_a_server_that_is_killed_at_work_is_told(self, ask):
        with process_of("tests.hostile_server") as (url, process):
            assert ask("well", url=f"{url}/well/v1").generate(["a b"], GREEDY)[0].texts == ("a b",)
            threading.Timer(0.5, process.kill).start()
            with pytest.raises(InputError, match="could not be reached.*see that the server is up"):
                ask("never", url=f"{url}/never/v1", timeout_s=30.0).generate(["a"] * 5, GREEDY)


# --- vLLM -----------------------------------------------------------------------------------------------------------


def test_an_engine_of_vllm_that_dies_is_told_in_one_line(monkeypatch):
    from bench.engines.vllm import VLLMEngine

    class EngineDeadError(Exception):
        pass

    def dies(*args, **kwargs):
        raise EngineDeadError

    for name in ("vllm", "vllm.v1", "vllm.v1.engine"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    exceptions = SimpleNamespace(EngineDeadError=EngineDeadError)
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", exceptions)
    engine = VLLMEngine.__new__(VLLMEngine)
    engine._llm = SimpleNamespace(generate=dies)
    with pytest.raises(InputError, match="the same command goes on from there"):
        engine._run([[1, 2]], [None])


@needs("vllm")
def test_vllm_refuses_a_folder_that_is_no_model(tmp_path):
    from bench.engines.vllm import VLLMEngine

    with pytest.raises(InputError, match="no config.json"):
        VLLMEngine(str(tmp_path))


# --- pools ----------------------------------------------------------------------------------------------------------


def test_the_pools_that_ship():
    pocket = load_pool(POOLS / "pocket.yaml")
    largest = max(e.parameters for e in pocket.entries)
    assert [e.cost for e in pocket.entries] == [round(0.9 * e.parameters / largest, 2) for e in pocket.entries]
    assert pocket.models.names == ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
    assert load_pool(POOLS / "live.yaml").entries == pocket.entries[:2]
    paper = load_pool(POOLS / "qwen2.5.yaml")
    assert [e.cost for e in paper.entries] == [0.1, 0.2, 0.4, 0.7, 0.9]
    assert [e.hub for e in paper.entries] == [f"Qwen/Qwen2.5-{s}B-Instruct" for s in ("0.5", "1.5", "3", "7", "14")]
    assert paper.models[0].source == "Qwen/Qwen2.5-0.5B-Instruct"


GOOD = {"model": "m", "cost": 0.1, "hub": "a/b"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"cost": 0.1, "hub": "a/b"}, "model number 2, model: Field required"),
        ({"model": "m", "hub": "a/b"}, "model 'm', cost: Field required"),
        (GOOD | {"cost": 1.5}, "model 'm', cost: .*1.5"),
        (GOOD | {"cost": float("nan")}, "model 'm', cost"),
        (GOOD | {"parameters": 0}, "model 'm', parameters"),
        (GOOD | {"hub": "no-owner"}, "model 'm', hub"),
        (GOOD | {"hubb": "a/b"}, "model 'm', hubb: Extra inputs"),
        (GOOD | {"model": ""}, "model number 2, model"),
        (GOOD | {"model": "other"}, "other stands in it twice"),
        ({"model": "m", "cost": 0.1}, "model 'm': one of folder, hub and server"),
        (GOOD | {"server": {"url": "host:80", "model": "m"}}, "model 'm', server, url: allowed: http"),
        (GOOD | {"server": {"url": "http://a:b@host/v1", "model": "m"}}, "no key or password"),
        (GOOD | {"server": {"url": "http://h/v1", "model": "m", "key_env": "a b"}}, "server, key_env"),
        (GOOD | {"server": {"url": "http://h/v1"}}, "server, model: Field required"),
        ("m", "model number 2"),
    ],
)
def test_an_entry_that_is_wrong_is_named(tmp_path, entry, told):
    path = tmp_path / "pool.yaml"
    models = [{"model": "other", "cost": 0.5, "folder": "x"}, entry]
    path.write_text(yaml.safe_dump({"cost_rule": "r", "models": models}))
    with pytest.raises(InputError, match=told) as caught:
        load_pool(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "a: [",
        "\x00",
        "cost_rule: r\nmodels: []",
        "cost_rule: r\nmodels: 3",
        "models: [a]",
        "1: 2",
        "[" * 5000,
    ],
)
def test_a_file_that_is_no_pool_is_named(tmp_path, text):
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="pool.yaml"):
        load_pool(path)
    with pytest.raises(InputError, match="cannot read the pool"):
        load_pool(tmp_path / "none.yaml")


def entry_of(tmp_path, **keys):
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump({"cost_rule": "r", "models": [{"model": "m", "cost": 0.1, **keys}]}))
    return load_pool(path).entries[0]


def test_a_folder_that_exists_wins_over_the_hub(tmp_path, monkeypatch):
    entry = entry_of(tmp_path, folder="here", hub="a/b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISROUTER_MODELS", str(tmp_path / "models"))
    assert resolve(entry, "vllm") == "a/b"
    (tmp_path / "here").mkdir()
    assert resolve(entry, "transformers") == "here"
    (tmp_path / "models" / "here").mkdir(parents=True)
    assert resolve(entry, "vllm") == str(tmp_path / "models" / "here")
    with pytest.raises(InputError, match="has no server"):
        resolve(entry, "openai")
    with pytest.raises(InputError, match="did you mean 'vllm'"):
        resolve(entry, "vlm")


def test_an_entry_without_a_place_for_the_engine(tmp_path, monkeypatch):
    monkeypatch.delenv("DISROUTER_MODELS", raising=False)
    with pytest.raises(InputError, match="no folder nowhere; set \\$DISROUTER_MODELS"):
        resolve(entry_of(tmp_path, folder="nowhere"), "vllm")
    server = {"url": "http://h/v1", "model": "theirs"}
    assert resolve(entry_of(tmp_path, server=server), "openai") == "theirs"
    with pytest.raises(InputError, match="has only a server"):
        resolve(entry_of(tmp_path, server=server), "transformers")


@needs("httpx")
@needs("tenacity")
def test_an_engine_opens_on_the_server_of_an_entry(tmp_path, server):
    entry = entry_of(tmp_path, server={"url": server.url("well"), "model": "theirs"})
    engine = open_engine("openai", entry, concurrency=2)
    assert engine.generate(["hello"], GREEDY)[0].texts == ("hello",)
    assert server.bodies[0]["model"] == "theirs"
    engine.close()


@pytest.mark.parametrize(("name", "package"), [("vllm", "vllm"), ("openai", "tenacity"), ("transformers", "torch")])
def test_a_missing_package_is_named_with_what_to_install(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, ENGINES[name].partition(":")[0], raising=False)
    entry = entry_of(tmp_path, folder=str(tmp_path), server={"url": "http://h/v1", "model": "m"})
    with pytest.raises(InputError, match=r"needs the package .*pip install 'disrouter-bench\[live\]'"):
        open_engine(name, entry)
