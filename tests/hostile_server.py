"""A chat server that behaves well, or fails in one way.

The way is the first part of the path: `http://127.0.0.1:PORT/500/v1` answers 500 to everything.
python -m tests.hostile_server serves until it is killed; its first line is the address up to the way.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GARBAGE = {
    "html": b"<html>It works!</html>",
    "binary": b"\xff\xfe\x00\x01",
    "empty": b"",
    "deep": b"[" * 100_000,
    "list": b"[]",
    "no-choices": b'{"object": "chat.completion"}',
    "no-choice": b'{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
    "no-message": b'{"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
    "no-usage": b'{"choices": [{"message": {"content": "a"}}]}',
    "negative-usage": b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": -1}}',
    "usage-in-words": b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "one"}}',
    "text-as-number": b'{"choices": [{"message": {"content": 7}}], "usage": {"prompt_tokens": 1}}',
    "choices-as-text": b'{"choices": "a", "usage": {"prompt_tokens": 1}}',
    "message-as-list": b'{"choices": [{"message": ["a"]}], "usage": {"prompt_tokens": 1}}',
}
STATUS = {"301", "401", "403", "404", "418", "429", "500", "503"}
MESSAGES = {
    "context": "This model's maximum context length is 16 tokens. However, you requested 4711 tokens.",
    "bad": "no such field\nmodle",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        mode = self.path.split("/")[1]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        attempt = self.server.note(body, self.headers.get("Authorization"))
        if mode in GARBAGE:
            self.send(200, GARBAGE[mode])
        elif mode in STATUS:
            self.fail(int(mode), f"failing with {mode}; your key was {self.headers.get('Authorization')}")
        elif mode in MESSAGES:
            self.fail(400, MESSAGES[mode])
        elif mode == "refuses-n" and "n" in body:
            self.fail(400, "'n' : number must be at most 1 with this model")
        elif mode == "never":
            self.server.ended.wait(30)
        elif mode == "hangs-up":
            self.close_connection = True
        elif mode == "breaks-off":
            self.send(200, b'{"choices": [{"mess', {"Content-Length": "1000"})
            self.close_connection = True
        elif mode == "no-http":
            self.wfile.write(b"SSH-2.0-hello\r\n")
            self.close_connection = True
        elif mode == "recovers" and attempt <= 3:
            self.fail((429, 500, 503)[attempt - 1], "busy", {"Retry-After": "0.2" if attempt == 1 else "no number"})
        else:
            self.complete(body, 1 if mode == "ignores-n" else body.get("n", 1))

    def complete(self, body: dict[str, Any], n: int) -> None:
        """Repeat the prompt, which is cut off after `max_tokens` words."""
        prompt = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
        time.sleep(self.server.delay_s)
        with self.server.lock:
            self.server.open -= 1
        words = prompt.split()
        text = " ".join(words[: body["max_tokens"]])
        finish = "length" if len(words) > body["max_tokens"] else "stop"
        choices = [{"index": i, "message": {"content": text}, "finish_reason": finish} for i in range(n)]
        usage = {"prompt_tokens": len(words), "completion_tokens": n * len(text.split())}
        self.send(200, json.dumps({"choices": choices, "usage": usage}).encode())

    def fail(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps({"error": {"message": message}}).encode(), headers)

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (usual | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """Remembers what it was asked, and how many requests were open at once."""

    daemon_threads = True
    request_queue_size = 64  # many connect at once

    def __init__(self, handler: type[Handler] = Handler) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.delay_s = 0.0
        self.open = self.most_open = 0

    def url(self, mode: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{mode}/v1"

    def note(self, body: dict[str, Any], key: str | None) -> int:
        """Keep a request; returns how many there were, this one included."""
        with self.lock:
            self.bodies.append(body)
            self.keys.append(key)
            self.times.append(time.monotonic())
            return len(self.bodies)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server on a free port of this machine for as long as the block lasts."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with Server() as running:
        sys.stdout.write(f"http://127.0.0.1:{running.server_port}\n")
        sys.stdout.flush()
        running.serve_forever()
