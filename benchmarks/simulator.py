"""A fast simulated provider, as a process of its own: PostPost's list and probe, a webhook, and a control channel.

It answers ready-made bytes from one asyncio protocol on uvloop, so that it is not what a benchmark measures; its own
ceiling is measured in the same run (benchmarks.baseline). `monitor.demo.server` plays all four APIs faithfully and is slower.
Run as `python -m benchmarks.simulator`; the first line of standard output holds the ports as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import re
import ssl
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

import msgspec
import uvloop

from benchmarks.machine import pin
from benchmarks.population import Population
from benchmarks.rows import LIST_PATH, PLATFORMS, PROBE_PATH, external_id, key_of, probe_answer

IDLE_SECONDS = 5.0
"""Idle connections are closed after this long, as Node does."""

_KEY = re.compile(rb"(?i)\r\nx-api-key: *([^\r]*)")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_GZIP = re.compile(rb"(?i)\r\naccept-encoding:[^\r]*gzip")
_REASONS = {200: b"OK", 401: b"Unauthorized", 404: b"Not Found"}


@dataclass(slots=True)
class Counts:
    """What was asked since the last reset."""

    probes: int = 0
    lists: int = 0
    connections: int = 0
    asked: set[bytes] = field(default_factory=set)
    """Distinct connections that were probed."""
    arrivals: dict[str, float] = field(default_factory=dict)
    """Wall-clock second of each source's first list request."""
    first_list: float | None = None
    """The same of any list request, by the monotonic clock."""
    last_list: float | None = None


class Simulator:
    """The state behind every connection."""

    def __init__(self, populations: dict[bytes, Population], *, latency: float) -> None:
        self.populations = populations
        self.latency = latency
        self.counts = Counts()
        self.hooks: list[tuple[float, float, str]] = []
        """Each webhook call: monotonic and wall-clock instant, and its body."""
        self.turns: list[dict[str, Any]] = []
        self.open: set[Conversation] = set()
        self.silent = False
        self._stamp = (0, b"")

    def date(self) -> bytes:
        """Return the Date header, formatted once a second."""
        second = int(time.time())
        if self._stamp[0] != second:
            self._stamp = (second, formatdate(second, usegmt=True).encode())
        return self._stamp[1]

    def sweep(self) -> None:
        """Close what has been idle for too long, every second."""
        before = time.monotonic() - IDLE_SECONDS
        for conversation in [each for each in self.open if each.last < before]:
            conversation.close()
        asyncio.get_running_loop().call_later(1.0, self.sweep)

    def control(self, what: str, body: bytes) -> object:
        """One request of the harness."""
        wanted: dict[str, Any] = msgspec.json.decode(body) if body else {}
        counts = self.counts
        if what == "counts":
            return {
                "probes": counts.probes,
                "lists": counts.lists,
                "connections": counts.connections,
                "distinct": len(counts.asked),
                "hooks": len(self.hooks),
                "first_list": counts.first_list,
                "last_list": counts.last_list,
                "arrivals": len(counts.arrivals),
            }
        if what == "reset":
            self.counts = Counts()
        elif what == "turn":
            self._turn(**wanted)
        elif what == "silence":
            self.silent = True
            for conversation in [each for each in self.open if not each.controls]:
                conversation.close()
        else:
            return {"turns": self.turns, "hooks": self.hooks, "arrivals": counts.arrivals}[what]
        return {"done": what}

    def _turn(self, source: str, word: str, number: int | None = None) -> None:
        population = next(population for population in self.populations.values() if population.name == source)
        population.turn(word, number)
        named = None if number is None else external_id(number)
        self.turns.append({"source": source, "word": word, "id": named, "answered_at": None, "seen": 0})

    def listed(self, population: Population) -> None:
        """Count an answered list request, and record the changes that it showed for the first time."""
        now = time.monotonic()
        counts = self.counts
        counts.lists += 1
        counts.last_list = now
        if counts.first_list is None:
            counts.first_list = now
        counts.arrivals.setdefault(population.name, time.time())
        for turn in self.turns[-200:]:
            if turn["answered_at"] is None and turn["source"] == population.name:
                turn["answered_at"] = now


class Conversation(asyncio.Protocol):
    """One HTTP/1.1 connection."""

    def __init__(self, simulator: Simulator, *, controls: bool = False) -> None:
        self._simulator = simulator
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.controls = controls
        self.last = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclasses
        if self.controls:
            return
        self._simulator.open.add(self)
        self._simulator.counts.connections += 1
        if self._simulator.silent:
            self.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._simulator.open.discard(self)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self.last = time.monotonic()
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end]
            length = _LENGTH.search(head)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(buffer) < size:
                break
            self._answer(head, buffer[end + 4 : size])
            buffer = buffer[size:]
        self._buffer = buffer

    def _answer(self, head: bytes, body: bytes) -> None:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0]
        simulator = self._simulator
        if method == b"POST" and path.startswith(PROBE_PATH):
            platform_id = path[len(PROBE_PATH) :]
            simulator.counts.probes += 1
            simulator.counts.asked.add(platform_id)
            self._send(200, probe_answer(platform_id))
        elif path == LIST_PATH:
            self._list(head)
        elif path.startswith(b"/control/"):
            self._give(200, msgspec.json.encode(simulator.control(path[9:].decode(), body)))
        elif method == b"POST" and path.startswith(b"/hook"):
            simulator.hooks.append((time.monotonic(), time.time(), body.decode("utf-8", "replace")))
            self._give(200, b"{}")
        else:
            self._send(404, b'{"error":"Not found"}')

    def _list(self, head: bytes) -> None:
        key = _KEY.search(head)
        population = self._simulator.populations.get(key[1]) if key else None
        if population is None:
            self._send(401, b'{"error":"Invalid API key"}')
            return
        zipped = _GZIP.search(head) is not None
        body = population.body(zipped=zipped)
        self._simulator.listed(population)
        self._send(200, body, b"Content-Encoding: gzip\r\n" if zipped else b"")

    def _send(self, status: int, body: bytes, more: bytes = b"") -> None:
        """Answer after the provider's latency."""
        latency = self._simulator.latency
        if latency:
            asyncio.get_running_loop().call_later(latency, self._give, status, body, more)
        else:
            self._give(status, body, more)

    def _give(self, status: int, body: bytes, more: bytes = b"") -> None:
        if self._transport is None:
            return
        head = (
            b"HTTP/1.1 %d %b\r\nDate: %b\r\nServer: bench\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"Content-Length: %d\r\n%b\r\n" % (status, _REASONS[status], self._simulator.date(), len(body), more)
        )
        self.last = time.monotonic()
        self._transport.write(head + body if len(body) < 65_536 else head)
        if len(body) >= 65_536:
            self._transport.write(body)


def _populations(arguments: argparse.Namespace) -> dict[bytes, Population]:
    """Every source by its key. Numbers go on from one to the next, so that ids differ."""
    at = datetime.fromisoformat(arguments.at)
    populations: dict[bytes, Population] = {}
    first = 0
    for each in arguments.population:
        prefix, sources, size, *same = each.split(":")
        model: Population | None = None
        for number in range(int(sources)):
            name = prefix if sources == "1" else f"{prefix}-{number}"
            made = Population(name=name, first=first, size=int(size), at=at, same_as=model)
            populations[key_of(name).encode()] = made
            if same:
                model = model or made
            else:
                first += int(size)
    if arguments.soon:
        now = datetime.now(UTC)
        dates = tuple(now + timedelta(seconds=12 + place * 1.37) for place in range(arguments.soon))
        first += -first % len(PLATFORMS)  # all at LinkedIn, whose dates are trusted
        soon = Population(name="soon", first=first, size=arguments.soon, at=now, expiries=dates, step=len(PLATFORMS))
        populations[key_of("soon").encode()] = soon
    return populations


async def _serve(arguments: argparse.Namespace) -> None:
    populations = _populations(arguments)
    simulator = Simulator(populations, latency=arguments.latency_ms / 1000)
    for population in populations.values():
        population.prepare()
    gc.freeze()
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(simulator), "127.0.0.1", arguments.port, ssl=tls, backlog=8192)
    control = await loop.create_server(lambda: Conversation(simulator, controls=True), "127.0.0.1", 0, backlog=1024)
    simulator.sweep()
    ports = {"port": server.sockets[0].getsockname()[1], "control": control.sockets[0].getsockname()[1]}
    sys.stdout.write(msgspec.json.encode(ports).decode() + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator")
    parser.add_argument(
        "--population", action="append", default=[], metavar="NAME:SOURCES:SIZE[:same]", help="sources of a size each"
    )
    parser.add_argument("--soon", type=int, default=0, help="connections of a source whose dates pass in 12 s and later")
    parser.add_argument("--at", required=True, help="the instant that dates are reckoned from, RFC 3339")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--certificate", help="PEM file with certificate and key: serve HTTPS")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--core", type=int, default=None)
    arguments = parser.parse_args(argv)
    pin(arguments.core)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(arguments))


if __name__ == "__main__":
    main()
