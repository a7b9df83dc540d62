"""A small server on loopback that speaks the OpenAI chat protocol, and misbehaves on request."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEEP = json.dumps({"verdict": "keep", "reason": "It fits."})


class Served:
    """What the server was asked, and how it is to answer.

    `behave(text, n)` gets a request's words and how often these were asked, and returns what to
    say, a status, or seconds to wait before saying something usable.
    """

    def __init__(self, behave: Callable[[str, int], str | int | float] | None = None) -> None:
        self.behave = behave or (lambda text, n: say(text))
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.heard = threading.Event()
        self.lock = threading.Lock()
        self.url = ""


def say(text: str) -> str:
    """What a good model would say, and always the same to the same words."""
    if "You check training data" in text:
        return KEEP
    if "Rewrite the chain" in text:
        return f"Refined: {_line_after(text, 'Chain of thoughts:')}"
    return f"A part of {_line_after(text, 'question:')}"


def _line_after(text: str, mark: str) -> str:
    return (text.partition(mark)[2].strip() or text).splitlines()[0]


@contextmanager
def serving(behave: Callable[[str, int], str | int | float] | None = None) -> Iterator[Served]:
    """Serve on a free port until the block ends."""
    served = Served(behave)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"][-1]["text"]
            with served.lock:
                served.asked.append(text)
                served.bodies.append(body)
                served.times.append(time.monotonic())
                served.headers.append({k.lower(): v for k, v in self.headers.items()})
                served.counts[text] += 1
                n = served.counts[text]
            served.heard.set()
            answer = served.behave(text, n)
            if isinstance(answer, float):
                time.sleep(answer)
                answer = say(text)
            if isinstance(answer, int):
                self._send(answer, {"error": {"message": f"status {answer} by request"}})
                return
            message = {"role": "assistant", "content": answer}
            self._send(
                200,
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
                },
            )

        def _send(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                return  # whoever asked was killed or has hung up

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
