"""The collector keeps vLLM as busy as a bare call does: a ratio, measured side by side on this machine."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.servers import LIVE, ROOT, ending_group, live_environment, live_model

WANTED = 0.9
ROUNDS = 2  # of both, taking turns, since a machine's speed drifts


def measured(way: str, folder: str) -> dict[str, float]:
    command = [str(LIVE), "-m", "tests.perf.collector_speed", way, folder]
    with ending_group(
        subprocess.Popen(command, cwd=ROOT, env=live_environment(), stdout=subprocess.PIPE, start_new_session=True)
    ) as process:
        said, _ = process.communicate()
        assert process.returncode == 0, f"{way} failed; what it said stands above"
    # vLLM writes to the same stream, also when it ends
    found: dict[str, float] = json.loads(next(line for line in said.splitlines() if line.startswith(b'{"tokens"')))
    return found


def test_the_collector_generates_nearly_as_many_tokens_a_second_as_vllm_called_bare(benchmark: Any) -> None:
    if not benchmark.enabled:
        pytest.skip("takes many minutes; make perf runs it")
    folder = str(live_model(os.environ.get("DISROUTER_TEST_MODEL", "qwen2.5-coder-0.5b")))

    def compare() -> dict[str, float]:
        rounds = [{way: measured(way, folder) for way in ("bare", "collector")} for _ in range(ROUNDS)]
        return {
            way: sum(turn[way]["tokens"] for turn in rounds) / sum(turn[way]["seconds"] for turn in rounds)
            for way in ("bare", "collector")
        }

    speed = benchmark.pedantic(compare, rounds=1)
    ratio = speed["collector"] / speed["bare"]
    benchmark.extra_info.update(speed, ratio=ratio)
    told = f"bare {speed['bare']:.1f}, collector {speed['collector']:.1f} tokens/s, ratio {ratio:.3f}"
    sys.stdout.write(f"\n{told}\n")  # shown by pytest -s
    assert ratio >= WANTED, told
