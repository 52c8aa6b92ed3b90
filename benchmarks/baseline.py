"""The bare loop that everything is compared with: aiohttp on uvloop, the answer decoded, nothing kept.

`python -m benchmarks.baseline probes|lists …` prints one line of JSON per repeat, after one repeat to warm up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import time
from collections.abc import Iterator

import aiohttp
import msgspec
import uvloop

from benchmarks.machine import pin, read
from benchmarks.rows import LIST_PATH, PROBE_PATH, external_id, key_of


class Row(msgspec.Struct, rename="camel"):
    """The fields that decide anything."""

    platform_id: str
    token_status: str | None = None
    access_token_expires_at: str | None = None
    username: str | None = None
    display_name: str | None = None


class Listing(msgspec.Struct):
    """A list's answer."""

    connections: list[Row]


class ProbeAnswer(msgspec.Struct):
    """A probe's answer."""

    status: str
    message: str | None = None


async def _one_round(session: aiohttp.ClientSession, arguments: argparse.Namespace) -> None:
    """`count` requests, so many at once."""
    waiting = _requests(arguments)
    listing, probe = msgspec.json.Decoder(Listing), msgspec.json.Decoder(ProbeAnswer)

    async def worker() -> None:
        for method, url, key in waiting:
            async with session.request(method, url, headers={"x-api-key": key}) as response:
                body = await response.read()
                assert response.status == 200, response.status
                assert listing.decode(body).connections if method == "GET" else probe.decode(body).status == "ok"

    await asyncio.gather(*(worker() for _ in range(arguments.at_once)))


def _requests(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    for number in range(arguments.count):
        if arguments.kind == "probes":
            yield "POST", f"{arguments.url}{PROBE_PATH.decode()}{external_id(number)}", key_of(arguments.source)
        else:
            source = arguments.source if arguments.sources == 1 else f"{arguments.source}-{number % arguments.sources}"
            yield "GET", f"{arguments.url}{LIST_PATH.decode()}", key_of(source)


async def _run(arguments: argparse.Namespace) -> None:
    context = ssl.create_default_context(cafile=arguments.ca_file) if arguments.ca_file else None
    connector = aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await _one_round(session, arguments)
        for _ in range(arguments.repeats):
            wall, cpu = time.monotonic(), time.process_time()
            await _one_round(session, arguments)
            took = {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
            print(json.dumps({**took, "resident": read(os.getpid()).resident}), flush=True)


def main() -> None:
    """Send the requests and print their cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baseline")
    parser.add_argument("kind", choices=["probes", "lists"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--sources", type=int, default=1, help="lists of SOURCE-0 to SOURCE-(n-1) in turn")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ca-file")
    parser.add_argument("--core", type=int, default=None)
    arguments = parser.parse_args()
    pin(arguments.core)
    uvloop.run(_run(arguments))


if __name__ == "__main__":
    main()
