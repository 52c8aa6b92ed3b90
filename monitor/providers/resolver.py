"""Name resolution for HTTP connections by the system's resolver (/etc/hosts, DNS, whatever nsswitch.conf names).

getaddrinfo() holds its thread for 10 s and more if no DNS server responds, and cannot be interrupted. Each lookup has its own
daemon thread, so that it delays neither other names nor the end of the process.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from monitor.domain import threads
from monitor.domain.threads import NoThread

LOOKUP_WITHIN = 8.0
"""Seconds after which DNS counts as not responding: glibc repeats a query after 5 s. Less than any exchange's deadline."""
MOST_LOOKUPS, MOST_UNANSWERED_LOOKUPS = 128, 64
"""Maximum lookups in progress, in total and of names whose last lookup was not answered, so that others can be looked up."""

_Key = tuple[str, socket.AddressFamily]


class SystemResolver(AbstractResolver):
    """The resolver of one event loop. At most one lookup of a name is in progress, however many connections wait for it."""

    def __init__(self) -> None:
        self._pending: dict[_Key, asyncio.Future[list[ResolveResult]]] = {}
        self._unanswered: set[str] = set()
        """Names whose last lookup was not answered."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Return the addresses of a name. Raise OSError: socket.gaierror, with EAI_AGAIN if DNS does not respond."""
        try:
            async with asyncio.timeout(LOOKUP_WITHIN):
                found = await asyncio.shield(self._lookup(host, family))
        except TimeoutError:
            self._unanswered.add(host)
            raise _no_response() from None
        except NoThread:
            raise _no_response() from None
        return [ResolveResult({**address, "port": port}) for address in found]

    async def close(self) -> None:
        """Do nothing: a lookup in progress runs to its end, or ends with the process."""

    def _lookup(self, host: str, family: socket.AddressFamily) -> asyncio.Future[list[ResolveResult]]:
        key = (host, family)
        if key not in self._pending:
            unanswered = sum(name in self._unanswered for name, _ in self._pending)
            if len(self._pending) >= MOST_LOOKUPS or (host in self._unanswered and unanswered >= MOST_UNANSWERED_LOOKUPS):
                raise _no_response()
            self._pending[key] = asyncio.ensure_future(threads.run(partial(_addresses, host, family), name="resolve"))
            self._pending[key].add_done_callback(partial(self._finish, key))
        return self._pending[key]

    def _finish(self, key: _Key, done: asyncio.Future[list[ResolveResult]]) -> None:
        del self._pending[key]
        error = None if done.cancelled() else done.exception()
        if not (isinstance(error, OSError) and error.errno == socket.EAI_AGAIN):
            self._unanswered.discard(key[0])


def _no_response() -> OSError:
    return socket.gaierror(socket.EAI_AGAIN, "DNS does not respond")


def _addresses(host: str, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=_numeric(address),
            port=0,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in found
    ]


def _numeric(address: tuple[object, ...]) -> str:
    """Return the address as text, with the interface of a link-local IPv6 address."""
    if len(address) == 4 and address[3]:
        return socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]  # type: ignore[arg-type]  # of AF_INET6
    return str(address[0])
