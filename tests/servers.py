"""Servers that run as processes of their own: ours for tests, and vLLM's on a real model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIVE = ROOT / ".venv-live" / "bin" / "python"
SECONDS_TO_START = 900.0
SECONDS_TO_END = 30.0


@contextlib.contextmanager
def process_of(module: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `python -m module`, whose first line is its address; yield that line and the process, killed at the end."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, f"{module} ended before it served"
            yield address, process
        finally:
            process.kill()


def live_model(name: str) -> Path:
    """Return the folder of a model that vLLM can run here; skips the test where vLLM or the model is absent."""
    models = Path(os.environ.get("DISROUTER_MODELS") or Path.home() / ".cache" / "disrouter-bench" / "models")
    if not LIVE.exists():
        pytest.skip("needs vLLM in .venv-live (make setup-live)")
    if not (models / name / "config.json").is_file():
        pytest.skip(f"needs the model {name} (in $DISROUTER_MODELS, or the user's cache folder)")
    return models / name


def live_environment() -> dict[str, str]:
    """Return the environment of a vLLM process: little memory, every core of a small machine, no hub."""
    few = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0"} if len(os.sched_getaffinity(0)) <= 2 else {}
    wanted = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"} | few
    return wanted | os.environ


@contextlib.contextmanager
def vllm_server(folder: Path, *options: str) -> Iterator[str]:
    """Serve a model folder under its own name by vLLM's server; yield the address up to /v1.

    At the end no process of vLLM's is left, which is asserted: its workers outlive a server that is merely killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(LIVE), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", folder.name, "--generation-config", "vllm"]
    command += ["--enforce-eager", *options]  # compiling the model would take longer than a test asks
    with tempfile.TemporaryFile() as log:
        started = subprocess.Popen(
            command, env=live_environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        with ending_group(started) as process:
            _wait_until_up(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  (our own http address)
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    log.seek(0)
    pytest.fail(f"vLLM's server did not come up:\n{log.read().decode(errors='replace')[-3000:]}")


@contextlib.contextmanager
def ending_group(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process and all that it started when the block ends; they are a session, hence a group, of their own."""
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _wait_until_gone(process.pid)


def _wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"processes of vLLM's are left in the group {group}")
