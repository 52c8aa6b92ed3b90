"""A real CONNECT proxy on loopback, in threads of its own, that records what it was asked for."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from types import TracebackType
from typing import Any, Self


class TunnelProxy:
    """Opens the tunnels that it is asked for; with `status`, refuses them with it."""

    def __init__(self, *, status: int | None = None) -> None:
        self.heads: list[str] = []
        self.status = status
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Its address for a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], proxy: TunnelProxy) -> None:
        super().__init__(address, _Handler)
        self.proxy = proxy


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(65536)
        proxy: Any = self.server.proxy
        proxy.heads.append(head.decode())
        if proxy.status is not None:
            self.request.sendall(f"HTTP/1.1 {proxy.status} No\r\nContent-Length: 0\r\n\r\n".encode())
            return
        host, _, port = head.split(b" ")[1].decode().partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as upstream:
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._pump(upstream)

    def _pump(self, upstream: socket.socket) -> None:
        other = {self.request: upstream, upstream: self.request}
        while True:
            for ready in select.select(list(other), [], [], 10)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                other[ready].sendall(data)
