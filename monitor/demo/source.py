"""One simulated API key: its connections, and their answers, encoded once per change."""

from __future__ import annotations

import gzip
import heapq
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from monitor.demo import payloads
from monitor.demo.payloads import SimConnection

TIKTOK_WINDOW = timedelta(days=30)
WINDOW = timedelta(days=7)
POSTBREEZE_LIMITS = ((60, timedelta(seconds=60)), (1000, timedelta(minutes=15)))
"""Requests allowed per key and span, as Postbreeze publishes them."""

EVERYWHERE = "*"
"""Selects every scope of a key, whereas None selects the owner's scope."""

_MOST_VIEWS = 5_000


class Trouble(StrEnum):
    """The ways in which a whole source can fail."""

    CUT = "cut"  # the connection is reset without an answer
    SERVER_ERROR = "server_error"
    UNAUTHORIZED = "unauthorized"  # 401, as for a wrong key
    FORBIDDEN = "forbidden"  # 403, the plan has no API access
    RATE_LIMITED = "rate_limited"
    HTML = "html"  # 200 with a sign-in page
    TRUNCATED = "truncated"  # the body ends before its announced length
    ENVELOPE = "envelope"  # 200 with a body that reports a failure
    REDIRECT = "redirect"  # 302 to `location`


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A failure of a source, with its parameters."""

    trouble: Trouble
    status: int = 500
    """The 5xx status of server_error."""
    retry_after: str | None = None
    """The literal Retry-After header; rate_limited sends 30 by default."""
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedUser:
    """A user of a workspace key."""

    id: str
    """24 hexadecimal digits."""
    username: str
    """An e-mail address."""
    display_name: str


class EncodedBody:
    """An encoded answer, compressed at most once."""

    __slots__ = ("_zipped", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._zipped: bytes | None = None

    def zipped(self) -> bytes:
        """Return the answer, gzipped."""
        if self._zipped is None:
            self._zipped = gzip.compress(self.plain, compresslevel=1, mtime=0)
        return self._zipped


class RateWindow:
    """A limit of requests per span, counted in fixed windows."""

    def __init__(self, limit: int, per: timedelta) -> None:
        self.limit = limit
        self.per = per
        self._ends: datetime | None = None
        self._used = 0

    def spend(self, now: datetime) -> timedelta | None:
        """Count one request. Return None, or the time to wait if the limit is reached."""
        if self._ends is None or now >= self._ends:
            self._ends, self._used = now + self.per, 0
        if self._used >= self.limit:
            return self._ends - now
        self._used += 1
        return None


@dataclass(slots=True, kw_only=True, eq=False)
class SimSource:
    """One API key at one simulated provider. Tests read it; only the World changes it."""

    name: str
    kind: str
    key: str
    shape: payloads.Shape = payloads.Shape.CURRENT
    expiring_within: timedelta | None = None
    """The provider's window of expiring_soon; None for the documented one."""
    users: dict[str, ManagedUser] = field(default_factory=dict)
    workspaces: dict[str, str] = field(default_factory=dict)
    """Postbreeze: id to name."""
    workspace_access: bool = True
    error_field: str = "error"
    """PostPost and Publora: the field of an error body that holds the text, `error` or `message`."""
    clock_skew: timedelta = timedelta(0)
    """Time by which this provider's Date header is ahead of the clock."""
    latency: timedelta = timedelta(0)
    lists_held_until: threading.Event | None = None
    """The answers to requests for the list are sent once this is set; None to send them immediately."""
    extra_headers: dict[str, str] = field(default_factory=dict)
    budgets: list[RateWindow] = field(default_factory=list)
    outage: Outage | None = None
    calls: Counter[str] = field(default_factory=Counter)
    """Number of requests by kind: list, probe, users, workspaces, one, health, other."""
    scopes: dict[str | None, dict[str, SimConnection]] = field(default_factory=dict)
    attic: dict[tuple[str | None, str], SimConnection] = field(default_factory=dict)
    """Connections that vanished and may be restored."""
    _rows: dict[SimConnection, bytes] = field(default_factory=dict)
    _probes: dict[SimConnection, EncodedBody] = field(default_factory=dict)
    _views: dict[str | None, dict[object, EncodedBody]] = field(default_factory=dict)
    _orders: dict[str | None, list[SimConnection]] = field(default_factory=dict)
    _due: list[tuple[float, int, SimConnection]] = field(default_factory=list)

    def __iter__(self) -> Iterator[SimConnection]:
        """Yield every connection, scope by scope."""
        for connections in self.scopes.values():
            yield from connections.values()

    def __len__(self) -> int:
        return sum(len(connections) for connections in self.scopes.values())

    def find(self, external_id: str, scope: str | None = EVERYWHERE) -> SimConnection:
        """Return the listed connection of an id. Raises KeyError if there is none."""
        candidates = self.scopes.values() if scope == EVERYWHERE else [self.scopes.get(scope, {})]
        for connections in candidates:
            if external_id in connections:
                return connections[external_id]
        raise KeyError(f"{self.name} lists no connection {external_id}")

    def window(self, platform: str) -> timedelta:
        """Return how long before the date this provider reports expiring_soon for a platform."""
        if self.expiring_within is not None:
            return self.expiring_within
        return TIKTOK_WINDOW if self.kind == "publora" and platform == "tiktok" else WINDOW

    def put(self, connection: SimConnection) -> None:
        """List a connection, replacing one of the same id and scope."""
        listed = self.scopes.setdefault(connection.scope, {})
        self._forget(listed.get(connection.external_id, connection))
        listed[connection.external_id] = connection

    def take(self, connection: SimConnection) -> None:
        """Remove a connection from the list."""
        del self.scopes[connection.scope][connection.external_id]
        self._forget(connection)

    def _forget(self, connection: SimConnection) -> None:
        """Drop the encoded answers about one connection and the lists that contain it."""
        self._rows.pop(connection, None)
        self._probes.pop(connection, None)
        for view in (connection.scope, EVERYWHERE):
            self._views.pop(view, None)
            self._orders.pop(view, None)

    def pass_time(self, now: datetime) -> None:
        """Drop the encoded answers that time has changed."""
        at = now.timestamp()
        while self._due and self._due[0][0] <= at:
            connection = heapq.heappop(self._due)[2]
            if connection in self._rows or connection in self._probes:
                self._forget(connection)

    def row(self, connection: SimConnection, now: datetime) -> bytes:
        """Return a connection's listed row, encoded."""
        window = self.window(connection.platform)
        listed = payloads.listed_row(self.kind, connection, now, window=window, shape=self.shape)
        row = self._rows[connection] = msgspec.json.encode(listed)
        self._until(connection, now)
        return row

    def rows(self, connections: Iterable[SimConnection], now: datetime) -> bytes:
        """Return listed rows, encoded and separated by commas."""
        kept = self._rows.get
        return b",".join([kept(each) or self.row(each, now) for each in connections])

    def probe(self, connection: SimConnection, now: datetime) -> EncodedBody:
        """Return a connection's test-connection answer, encoded."""
        body = self._probes.get(connection)
        if body is None:
            answer = payloads.probe_answer(self.kind, connection, now)
            body = self._probes[connection] = EncodedBody(msgspec.json.encode(answer))
            self._until(connection, now)
        return body

    def _until(self, connection: SimConnection, now: datetime) -> None:
        moment = payloads.changes_at(connection, now, self.window(connection.platform))
        if moment is not None:
            heapq.heappush(self._due, (moment.timestamp(), id(connection), connection))

    def view(self, scope: str | None, name: object, build: Callable[[], bytes]) -> EncodedBody:
        """Return the list of one scope (or EVERYWHERE), built once and cached until one of its connections changes."""
        views = self._views.setdefault(scope, {})
        body = views.get(name)
        if body is None:
            if len(views) >= _MOST_VIEWS:
                views.clear()
            body = views[name] = EncodedBody(build())
            self._views[scope] = views
        return body

    def newest_first(self, scope: str | None = EVERYWHERE) -> Sequence[SimConnection]:
        """Return the connections of one scope, or of all, by descending connection time (ties: last added first)."""
        order = self._orders.get(scope)
        if order is None:
            listed: Iterable[SimConnection] = self if scope == EVERYWHERE else self.scopes.get(scope, {}).values()
            order = self._orders[scope] = sorted(listed, key=lambda each: each.connected_at)[::-1]
        return order
