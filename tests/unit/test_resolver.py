"""Name resolution with a system resolver that hangs: deadlines, shared lookups, and limits."""

from __future__ import annotations

import _thread
import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from monitor.providers import resolver
from monitor.providers.resolver import SystemResolver

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.7", 0))
SCOPED = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("fe80::1", 0, 0, 1))


@dataclass(kw_only=True)
class System:
    """The C library's resolver: names that begin with `silent` are never answered while it is silent."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: threading.Event = field(default_factory=threading.Event)
    failing: dict[str, int] = field(default_factory=dict)
    """Error numbers by name."""

    def getaddrinfo(self, host: str, *_: object, **__: object) -> list[Any]:
        """Block, fail or return, by the name."""
        self.asked[host] += 1
        if host.startswith("silent"):
            self.answered.wait()
        if host in self.failing:
            raise socket.gaierror(self.failing[host], "failed")
        return [ADDRESS, SCOPED] if host == "both" else [ADDRESS]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    made = System()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    monkeypatch.setattr(resolver, "LOOKUP_WITHIN", 0.5)
    yield made
    made.answered.set()


async def problem_of(used: SystemResolver, host: str) -> OSError:
    with pytest.raises(socket.gaierror) as raised:
        await used.resolve(host, 443)
    return raised.value


async def hang(used: SystemResolver, *hosts: str) -> None:
    """Look up names until each is known to be silent."""
    await asyncio.gather(*(problem_of(used, host) for host in hosts))


@pytest.mark.usefixtures("system")
async def test_the_addresses_have_the_port_of_the_request() -> None:
    used = SystemResolver()
    (found,) = await used.resolve("healthy", 443)
    assert (found["hostname"], found["host"], found["port"], found["family"]) == ("healthy", "192.0.2.7", 443, socket.AF_INET)
    assert [each["host"].partition("%")[0] for each in await used.resolve("both")] == ["192.0.2.7", "fe80::1"]


async def test_N01_a_silent_name_fails_within_the_deadline_and_names_dns(system: System) -> None:
    used = SystemResolver()
    problem = await asyncio.wait_for(problem_of(used, "silent"), 5)
    assert (problem.errno, "DNS does not respond" in str(problem)) == (socket.EAI_AGAIN, True)
    system.answered.set()


async def test_one_lookup_of_a_name_is_in_progress(system: System) -> None:
    used = SystemResolver()
    await hang(used, "silent", "silent", "silent")
    await hang(used, "silent")
    assert system.asked["silent"] == 1


async def test_a_name_that_is_answered_late_is_looked_up_again(system: System) -> None:
    used = SystemResolver()
    await hang(used, "silent")
    system.answered.set()
    async with asyncio.timeout(5):
        while system.asked["silent"] == 1:
            await asyncio.sleep(0.01)
            await asyncio.gather(used.resolve("silent"), return_exceptions=True)
    assert (await used.resolve("silent"))[0]["host"] == "192.0.2.7"


async def test_N31_silent_names_leave_room_for_the_others(monkeypatch: pytest.MonkeyPatch, system: System) -> None:
    monkeypatch.setattr(resolver, "MOST_LOOKUPS", 8)
    monkeypatch.setattr(resolver, "MOST_UNANSWERED_LOOKUPS", 4)
    used = SystemResolver()
    await hang(used, *(f"silent-{number}" for number in range(8)))
    assert (await problem_of(used, "healthy")).errno == socket.EAI_AGAIN, "every place is taken"
    system.answered.set()
    await asyncio.sleep(0.1)
    system.answered.clear()
    used._unanswered |= {f"silent-{number}" for number in range(8)}
    before = system.asked.total()
    await hang(used, *(f"silent-{number}" for number in range(8)))
    assert system.asked.total() - before == 4
    assert (await used.resolve("healthy"))[0]["host"] == "192.0.2.7"


async def test_a_cancelled_request_does_not_end_the_lookup_of_the_others(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOKUP_WITHIN", 5)
    used = SystemResolver()
    first, second = (asyncio.create_task(used.resolve("silent")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    system.answered.set()
    assert (await second)[0]["host"] == "192.0.2.7"


@pytest.mark.parametrize(("number", "silent"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
async def test_the_systems_own_error_is_raised(system: System, number: int, silent: bool) -> None:
    system.failing["wrong"] = number
    used = SystemResolver()
    used._unanswered.add("wrong")
    assert (await problem_of(used, "wrong")).errno == number
    assert ("wrong" in used._unanswered) is silent, "a name that DNS denies is answered"


async def test_a_process_without_free_threads_fails_that_lookup_only(monkeypatch: pytest.MonkeyPatch, system: System) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    used = SystemResolver()
    with monkeypatch.context() as patched:
        patched.setattr(_thread, "start_new_thread", refuse)
        assert (await problem_of(used, "healthy")).errno == socket.EAI_AGAIN
    assert (await used.resolve("healthy"))[0]["host"] == "192.0.2.7"
    assert system.asked["healthy"] == 1
