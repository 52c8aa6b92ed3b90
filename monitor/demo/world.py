"""The simulated world: accounts at four providers, whose tokens expire, are renewed or revoked, or disappear.

This module opens no socket: `monitor.demo.server` serves the APIs, and several servers may share one world. The reported
values are derived from the world's clock, or overridden by a test. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.demo import payloads
from monitor.demo.payloads import POSTBREEZE_PLATFORMS, SCOPES, Health, PostError, SimConnection
from monitor.demo.source import EVERYWHERE, ManagedUser, Outage, RateWindow, SimSource, Trouble
from monitor.domain.clock import Clock, SystemClock

DEFAULT_WORKSPACE = "ws_1"
RENEWED_FOR = timedelta(days=60)
"""The default lifetime of a renewed token: that of LinkedIn and Meta."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived, with its time and its headers (lower-case names)."""

    at: datetime
    method: str
    path: str
    headers: Mapping[str, str]


class World:
    """All simulated sources, under one clock."""

    def __init__(self, *, clock: Clock | None = None, expiring_within: timedelta | None = None, remember: int = 1_000) -> None:
        """Create an empty world.

        `expiring_within` is every provider's window of expiring_soon, None for the documented 7 days (Publora's TikTok: 30).

        The last `remember` requests are kept in `seen`.
        """
        self.clock: Clock = clock or SystemClock()
        self.expiring_within = expiring_within
        self.lock = threading.RLock()
        self.sources: dict[str, SimSource] = {}
        self.requests: Counter[str] = Counter()
        """Number of requests by "METHOD /path", without the query."""
        self.seen: deque[Seen] = deque(maxlen=remember)
        self._keys: dict[tuple[str, str], SimSource] = {}
        self._serial = 0

    def add_source(
        self,
        name: str,
        kind: str,
        *,
        key: str | None = None,
        shape: payloads.Shape = payloads.Shape.CURRENT,
        limits: tuple[tuple[int, timedelta], ...] = (),
    ) -> SimSource:
        """Add an API key. `limits` are requests per span; none by default (POSTBREEZE_LIMITS are the documented ones)."""
        source = SimSource(
            name=name,
            kind=kind,
            key=key or f"demo-key-{name}",
            shape=shape,
            expiring_within=self.expiring_within,
            budgets=[RateWindow(limit, per) for limit, per in limits],
        )
        if kind == "postbreeze":
            source.workspaces[DEFAULT_WORKSPACE] = "Main"
        with self.lock:
            if name in self.sources or (kind, source.key) in self._keys:
                raise ValueError(f"There is a source named {name} already, or one with its key.")
            self.sources[name] = source
            self._keys[kind, source.key] = source
        return source

    def by_key(self, kind: str, key: str) -> SimSource | None:
        """Return the source of a key at a provider, or None."""
        return self._keys.get((kind, key))

    def serial(self) -> int:
        """Return the next unused number."""
        with self.lock:
            self._serial += 1
            return self._serial

    def add_user(self, source: str, *, user: str | None = None, display_name: str = "Client") -> ManagedUser:
        """Add a managed user of a workspace key (PostPost, Publora)."""
        identity = user or f"{self.serial():024x}"
        managed = ManagedUser(id=identity, username=f"{identity[-6:]}@clients.example", display_name=display_name)
        with self.lock:
            self.sources[source].users[identity] = managed
        return managed

    # --- connections -------------------------------------------------------------------------------------

    def add(self, source: str, connection: SimConnection) -> SimConnection:
        """List a connection exactly as given."""
        with self.lock:
            self.sources[source].put(connection)
        return connection

    def connect(
        self,
        source: str,
        platform: str,
        *,
        account: str | None = None,
        external_id: str | None = None,
        scope: str | None = None,
        username: str | None = None,
        display_name: str | None = None,
        lifetime: timedelta | None = None,
    ) -> SimConnection:
        """Add a healthy connection, with ids and addresses in the provider's forms.

        `platform` is a common slug or the provider's spelling; without a `lifetime` the token has no date.
        """
        kind, now, number = self.sources[source].kind, self.clock.now(), self.serial()
        account = account or str(100_000_000 + number)
        slug, spelt = platform.lower(), platform
        if kind == "postbreeze":
            spelt, scope = POSTBREEZE_PLATFORMS.get(slug, platform), scope or DEFAULT_WORKSPACE
        handle = username or f"account{number}"
        connection = SimConnection(
            external_id=external_id or new_id(kind, platform, account=account, number=number),
            platform=spelt,
            account=account,
            scope=scope,
            username=handle,
            display_name=display_name or handle.lstrip("@"),
            profile_url=f"https://{slug}.example/{handle.lstrip('@').replace(' ', '')}",
            image_url=f"https://images.example/{number}.jpg",
            connected_at=now - timedelta(days=30) + timedelta(milliseconds=number),
            expires_at=None if lifetime is None else now + lifetime,
            permissions=SCOPES.get(slug, ()),
            refreshed_at=None if lifetime is None else now,
            refresh_attempt_at=None if lifetime is None else now,
            last_post_at=now - timedelta(hours=5),
        )
        return self.add(source, connection)

    def find(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE) -> SimConnection:
        """Return the listed connection. Without `scope` every scope is searched. Raises KeyError if there is none."""
        with self.lock:
            return self.sources[source].find(external_id, scope)

    def change(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE, **fields: object) -> SimConnection:
        """Replace fields of a connection, named as in SimConnection, except its id and scope."""
        with self.lock:
            changed = replace(self.find(source, external_id, scope=scope), **fields)  # type: ignore[arg-type]  # fields by name
            self.sources[source].put(changed)
        return changed

    def expire(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE, noticed: bool = True) -> None:
        """End the token now: its date becomes now if it has one. `noticed=False`: only a probe shows it, the date stays."""
        now = self.clock.now()
        ends = self.find(source, external_id, scope=scope).expires_at
        if noticed and ends is not None:
            ends = min(ends, now)
        error = PostError(message="Session has expired", occurred_at=now)
        self.change(
            source,
            external_id,
            scope=scope,
            health=Health.EXPIRED,
            noticed=noticed,
            expires_at=ends,
            last_error=error,
            detail=None,
        )

    def revoke(
        self,
        source: str,
        external_id: str,
        *,
        scope: str | None = EVERYWHERE,
        noticed: bool | None = None,
        detail: str | None = None,
    ) -> None:
        """Revoke the permission. By default only Postbreeze's list shows it; elsewhere the probe does.

        `noticed=True` at PostPost and Publora lists it as `expired`: their statuses do not distinguish the two.
        """
        known = self.sources[source].kind == "postbreeze" if noticed is None else noticed
        self.change(source, external_id, scope=scope, health=Health.REVOKED, noticed=known, detail=detail)

    def refuse(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE, detail: str | None = None) -> None:
        """Let the platform refuse the probe for a reason that is neither expiry nor revocation."""
        self.change(source, external_id, scope=scope, health=Health.REFUSED, detail=detail)

    def fail_refresh(
        self,
        source: str,
        external_id: str,
        *,
        scope: str | None = EVERYWHERE,
        status: int | None = 401,
        error: str = "invalid_grant",
    ) -> None:
        """Let Postbreeze's attempt to refresh the token fail now."""
        now = self.clock.now()
        self.change(source, external_id, scope=scope, refresh_attempt_at=now, refresh_error=error, refresh_error_status=status)

    def renew(
        self, source: str, external_id: str, *, scope: str | None = EVERYWHERE, lifetime: timedelta | None = None
    ) -> SimConnection:
        """Restore health: a new date if it had one (60 days by default), and no overridden fields."""
        now = self.clock.now()
        dated = self.find(source, external_id, scope=scope).expires_at is not None or lifetime is not None
        return self.change(
            source,
            external_id,
            scope=scope,
            health=Health.FINE,
            noticed=True,
            detail=None,
            expires_at=now + (lifetime or RENEWED_FOR) if dated else None,
            refreshed_at=now if dated else None,
            refresh_attempt_at=now if dated else None,
            refresh_error=None,
            refresh_error_status=None,
            last_error=None,
            probe=None,
            overrides=None,
            omitted=frozenset(),
        )

    def reconnect(self, source: str, external_id: str, *, new_id: str, scope: str | None = EVERYWHERE) -> SimConnection:
        """Reconnect the same account under another id, renewed (Postbreeze, PostPeer)."""
        with self.lock:
            renewed = self.renew(source, external_id, scope=scope)
            self.sources[source].take(renewed)
            return self.add(source, replace(renewed, external_id=new_id, connected_at=self.clock.now()))

    def vanish(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE) -> None:
        """Remove it from the list; a probe answers 404. `restore` reverses this."""
        with self.lock:
            gone = self.find(source, external_id, scope=scope)
            self.sources[source].take(gone)
            self.sources[source].attic[gone.scope, external_id] = gone

    def restore(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE) -> SimConnection:
        """List a vanished connection again, unchanged. Raises KeyError if none of that id vanished."""
        with self.lock:
            attic = self.sources[source].attic
            for key in list(attic):
                if key[1] == external_id and scope in (EVERYWHERE, key[0]):
                    return self.add(source, attic.pop(key))
        raise KeyError(f"Nothing with the id {external_id} has vanished from {source}.")

    def remove(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE) -> None:
        """Remove a connection permanently."""
        with self.lock:
            self.sources[source].take(self.find(source, external_id, scope=scope))

    def rename(self, source: str, external_id: str, *, username: str, display_name: str, scope: str | None = EVERYWHERE) -> None:
        """Change the names of an account."""
        self.change(source, external_id, scope=scope, username=username, display_name=display_name)

    def state(self, source: str, external_id: str, *, scope: str | None = EVERYWHERE, **fields: object) -> None:
        """Override fields of the listed row, by the API's field names, regardless of the truth. `renew` removes the override."""
        with self.lock:
            stated = dict(self.find(source, external_id, scope=scope).overrides or {})
            self.change(source, external_id, scope=scope, overrides=stated | fields)

    def state_word(self, source: str, external_id: str, word: object, *, scope: str | None = EVERYWHERE) -> None:
        """Override the reported status of the token (tokenStatus or status)."""
        self.state(source, external_id, scope=scope, **{payloads.WORD_FIELD[self.sources[source].kind]: word})

    def state_date(self, source: str, external_id: str, date: object, *, scope: str | None = EVERYWHERE) -> None:
        """Override the reported expiry: a datetime in the API's form, any other value unchanged."""
        value = payloads.iso(date) if isinstance(date, datetime) else date
        self.state(source, external_id, scope=scope, **{payloads.DATE_FIELD[self.sources[source].kind]: value})

    # --- whole sources -----------------------------------------------------------------------------------

    def break_source(
        self, source: str, trouble: Trouble, *, status: int = 500, retry_after: str | None = None, location: str = ""
    ) -> None:
        """Let every request with this key fail in a given way, until `recover_source`."""
        self.sources[source].outage = Outage(trouble=trouble, status=status, retry_after=retry_after, location=location)

    def slow_source(self, source: str, latency: timedelta) -> None:
        """Delay every answer."""
        self.sources[source].latency = latency

    def hold_lists(self, source: str) -> threading.Event:
        """Keep back the answers to later requests for the list until the returned event is set."""
        with self.lock:
            self.sources[source].lists_held_until = held = threading.Event()
        return held

    def recover_source(self, source: str) -> None:
        """Let the source answer normally and without delay."""
        self.sources[source].outage = None
        self.sources[source].latency = timedelta(0)


def new_id(kind: str, platform: str, *, account: str, number: int) -> str:
    """Return an external id in a provider's form: platform-account, soc_… or int_…."""
    if kind == "postbreeze":
        return f"soc_01HZ{number:08X}"
    if kind == "postpeer":
        return f"int_{number:08x}"
    return f"{platform}-{account}"


_MIX = ("linkedin", "instagram", "threads", "tiktok", "twitter", "facebook", "youtube", "bluesky")
"""Platforms in turn; the first four have dates."""
_DATED = 4


def populate(world: World, n: int, *, source: str = "crowd", kind: str = "postpost") -> SimSource:
    """Add one source that lists n healthy connections, with dates 30 to 89 days ahead.

    All dates fall on the same half hour, so that what is stated changes at most once an hour and not all the time.
    The same n always gives the same ids: platformId `linkedin-1000000`, `instagram-1000001`, … at PostPost.
    """
    crowded = world.add_source(source, kind)
    for connection in _people(kind, n, world.clock.now()):
        crowded.put(connection)
    return crowded


def many_sources(
    world: World,
    sources: int,
    each: int,
    *,
    kind: str = "postpost",
    prefix: str = "source",
    latency_ms: float = 0.0,
) -> list[SimSource]:
    """Add sources named source-0, source-1, … with `each` connections; the keys are demo-key-source-0 and so on."""
    made = [populate(world, each, source=f"{prefix}-{number}", kind=kind) for number in range(sources)]
    for source in made:
        source.latency = timedelta(milliseconds=latency_ms)
    return made


def _people(kind: str, n: int, now: datetime) -> Iterator[SimConnection]:
    noon = now.replace(minute=30, second=0, microsecond=0)
    for number in range(n):
        platform, account = _MIX[number % len(_MIX)], str(1_000_000 + number)
        dated = number % len(_MIX) < _DATED
        yield SimConnection(
            external_id=new_id(kind, platform, account=account, number=number),
            platform=POSTBREEZE_PLATFORMS[platform] if kind == "postbreeze" else platform,
            account=account,
            scope=DEFAULT_WORKSPACE if kind == "postbreeze" else None,
            username=f"@person{number}",
            display_name=f"Person {number}",
            profile_url=f"https://{platform}.example/person{number}",
            image_url=f"https://images.example/{number}.jpg",
            connected_at=noon - timedelta(days=30) + timedelta(milliseconds=number),
            expires_at=noon + timedelta(days=30 + number % 60) if dated else None,
            refreshed_at=noon - timedelta(days=1) if dated else None,
            refresh_attempt_at=noon - timedelta(days=1) if dated else None,
            permissions=SCOPES.get(platform, ()),
            last_post_at=noon - timedelta(hours=5),
        )
