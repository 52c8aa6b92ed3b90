"""A service on loopback that answers fixed paths with JSON, for sources with a definition."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class JsonService:
    """The service: its address, the answers by path, and the requests that it received."""

    address: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    """Body by path, or status, headers and body."""
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, path with its query, and headers."""


@contextmanager
def json_service(answers: Mapping[str, Any]) -> Iterator[JsonService]:
    """Serve these answers until the context ends."""
    service = JsonService(answers=dict(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            service.requests.append((self.command, self.path, dict(self.headers.items())))
            found = service.answers.get(self.path.partition("?")[0], (404, {}, {"error": "not found"}))
            status, headers, body = found if isinstance(found, tuple) else (200, {}, found)
            octets = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(octets)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(octets)

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="json-service", daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
