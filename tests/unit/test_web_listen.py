"""The address of the status page as a name that the system resolver does not answer."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from monitor.web import server
from monitor.web.server import PortTaken, address_of, take_port


async def test_silent_dns_does_not_block_the_event_loop_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        answered.wait(3)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(server, "LOOKUP_WITHIN", 0.2)
    taking = asyncio.create_task(take_port("status.silent.example:8090"))
    try:
        await asyncio.sleep(0.05)
        assert not taking.done(), "the loop goes on while the name is looked up"
        with pytest.raises(PortTaken, match=r"web.listen is status.silent.example:8090, and DNS does not respond"):
            await taking
    finally:
        answered.set()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_name_of_this_machine_is_bound(host: str) -> None:
    taken = await take_port(f"{host}:0")
    with taken:
        assert address_of(taken).startswith("http://")
