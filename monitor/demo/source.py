"""One simulated API key: its connections, and their answers kept encoded until something changes."""

from __future__ import annotations

import gzip
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from monitor.demo import payloads
from monitor.demo.connection import SimConnection

TIKTOK_WINDOW = timedelta(days=30)
WINDOW = timedelta(days=7)
POSTBREEZE_LIMITS = ((60, timedelta(seconds=60)), (1000, timedelta(minutes=15)))
"""Requests allowed per key and span, as Postbreeze publishes them."""

EVERYWHERE = "*"
"""Names the view over every scope of a key, where None names the owner's own."""

_MOST_VIEWS = 5_000


class Trouble(StrEnum):
    """What can be wrong with a whole source."""

    CUT = "cut"  # the connection is reset without an answer
    SERVER_ERROR = "server_error"
    UNAUTHORIZED = "unauthorized"  # 401, as for a wrong key
    FORBIDDEN = "forbidden"  # 403, the plan has no API access
    RATE_LIMITED = "rate_limited"
    HTML = "html"  # 200 with somebody's sign-in page
    TRUNCATED = "truncated"  # the body ends before its announced length
    ENVELOPE = "envelope"  # 200 with a body that says it failed
    REDIRECT = "redirect"  # 302 to `location`


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A trouble with its particulars."""

    trouble: Trouble
    status: int = 500
    """For server_error: which 5xx."""
    retry_after: str | None = None
    """The Retry-After header, word for word; rate_limited says 30 without one."""
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
        """The same, gzipped."""
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
        """Take one request; the time to wait where there is none left, else None."""
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
    """The provider's own window of expiring_soon; None takes the documented one."""
    users: dict[str, ManagedUser] = field(default_factory=dict)
    workspaces: dict[str, str] = field(default_factory=dict)
    """Postbreeze: id to name."""
    workspace_access: bool = True
    error_field: str = "error"
    """PostPost and Publora: the field of an error body that holds the text, `error` or `message`."""
    clock_skew: timedelta = timedelta(0)
    """How far this provider's Date header is ahead."""
    latency: timedelta = timedelta(0)
    extra_headers: dict[str, str] = field(default_factory=dict)
    budgets: list[RateWindow] = field(default_factory=list)
    outage: Outage | None = None
    calls: Counter[str] = field(default_factory=Counter)
    """Requests by what they asked for: list, probe, users, workspaces, one, health, other."""
    scopes: dict[str | None, dict[str, SimConnection]] = field(default_factory=dict)
    attic: dict[tuple[str | None, str], SimConnection] = field(default_factory=dict)
    """What vanished and may come back."""
    _rows: dict[SimConnection, bytes] = field(default_factory=dict)
    _probes: dict[SimConnection, EncodedBody] = field(default_factory=dict)
    _views: dict[str | None, dict[object, EncodedBody]] = field(default_factory=dict)
    _orders: dict[str | None, list[SimConnection]] = field(default_factory=dict)
    _due: list[tuple[float, int, SimConnection]] = field(default_factory=list)

    def __iter__(self) -> Iterator[SimConnection]:
        """Every connection, scope by scope."""
        for connections in self.scopes.values():
            yield from connections.values()

    def __len__(self) -> int:
        return sum(len(connections) for connections in self.scopes.values())

    def find(self, external_id: str, scope: str | None = EVERYWHERE) -> SimConnection:
        """The listed connection of that id; raises KeyError where there is none."""
        candidates = self.scopes.values() if scope == EVERYWHERE else [self.scopes.get(scope, {})]
        for connections in candidates:
            if external_id in connections:
                return connections[external_id]
        raise KeyError(f"{self.name} lists no connection {external_id}")

    def window(self, platform: str) -> timedelta:
        """How long before the date this provider says expiring_soon of a platform."""
        if self.expiring_within is not None:
            return self.expiring_within
        return TIKTOK_WINDOW if self.kind == "publora" and platform == "tiktok" else WINDOW

    def put(self, connection: SimConnection) -> None:
        """List a connection, in place of one of the same id and scope."""
        listed = self.scopes.setdefault(connection.scope, {})
        self._forget(listed.get(connection.external_id, connection))
        listed[connection.external_id] = connection

    def take(self, connection: SimConnection) -> None:
        """List a connection no more."""
        del self.scopes[connection.scope][connection.external_id]
        self._forget(connection)

    def _forget(self, connection: SimConnection) -> None:
        """Drop what is kept encoded of one connection and of the lists that hold it."""
        self._rows.pop(connection, None)
        self._probes.pop(connection, None)
        for view in (connection.scope, EVERYWHERE):
            self._views.pop(view, None)
            self._orders.pop(view, None)

    def pass_time(self, now: datetime) -> None:
        """Drop what time has made untrue."""
        at = now.timestamp()
        while self._due and self._due[0][0] <= at:
            connection = heapq.heappop(self._due)[2]
            if connection in self._rows or connection in self._probes:
                self._forget(connection)

    def row(self, connection: SimConnection, now: datetime) -> bytes:
        """A connection's listed row, encoded."""
        window = self.window(connection.platform)
        listed = payloads.listed_row(self.kind, connection, now, window=window, shape=self.shape)
        row = self._rows[connection] = msgspec.json.encode(listed)
        self._until(connection, now)
        return row

    def rows(self, connections: Iterable[SimConnection], now: datetime) -> bytes:
        """Listed rows, encoded, with commas between them."""
        kept = self._rows.get
        return b",".join([kept(each) or self.row(each, now) for each in connections])

    def probe(self, connection: SimConnection, now: datetime) -> EncodedBody:
        """A connection's test-connection answer, encoded."""
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
        """A list over one scope (or EVERYWHERE), built once and kept until one of its connections changes."""
        views = self._views.setdefault(scope, {})
        body = views.get(name)
        if body is None:
            if len(views) >= _MOST_VIEWS:
                views.clear()
            body = views[name] = EncodedBody(build())
            self._views[scope] = views
        return body

    def newest_first(self, scope: str | None = EVERYWHERE) -> Sequence[SimConnection]:
        """The connections of one scope, or of all, by descending time of connection (ties: last added first)."""
        order = self._orders.get(scope)
        if order is None:
            listed: Iterable[SimConnection] = self if scope == EVERYWHERE else self.scopes.get(scope, {}).values()
            order = self._orders[scope] = sorted(listed, key=lambda each: each.connected_at)[::-1]
        return order
