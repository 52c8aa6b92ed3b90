"""A store full of everything that the pages show: every status, a past, alerts in every state, silences, hostile names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.config import Config, load
from monitor.domain import (
    AlertEvent,
    ConnectionState,
    Event,
    EventKind,
    LastError,
    LastNotified,
    PollOutcome,
    ProbeFinding,
    ProbeState,
    ProbeStatus,
    Refresh,
    Severity,
    SourceStatus,
    Status,
    TokenState,
    Verdict,
)
from monitor.domain.records import replace
from monitor.domain.rules.silences import Silence
from monitor.engine import acknowledgements
from monitor.store import Store, alerts, channel_states, connection_queries, history, outbox, sources
from tests.support import canary
from tests.support.command_line import add_source
from tests.support.factories import make_alert, make_state
from tests.support.incidents import open_incident

CONFIG = f"""\
timezone = "Europe/Berlin"
[database]
url = "sqlite:///unused.db"
[[sources]]
name = "agency"
provider = "postpost"
api_key = "{canary.POSTPOST_KEY}"
labels = {{ client = "acme" }}
[[sources]]
name = "north"
provider = "publora"
api_key = "{canary.PUBLORA_KEY}"
[[sources]]
name = "south"
provider = "postbreeze"
api_key = "{canary.POSTBREEZE_KEY}"
labels = {{ client = "globex" }}
[[sources]]
name = "studio"
provider = "postpeer"
api_key = "{canary.POSTPEER_KEY}"
[[channels]]
name = "ops"
url = "{canary.channel_url("127.0.0.1:9")}"
[[channels]]
name = "night"
url = "json://127.0.0.1:9/night"
severity = "critical"
group_wait = "0s"
"""

KINDS = {
    "agency": "postpost",
    "north": "publora",
    "south": "postbreeze",
    "studio": "postpeer",
}
_PEOPLE = (
    ("linkedin", "Acme Ltd", Status.EXPIRED, -2.0),
    ("instagram", "Acme Stories", Status.EXPIRING_SOON, 4.5),
    ("facebook", "Acme on Facebook", Status.REVOKED, 20.0),
    ("tiktok", "Café Zoë", Status.VALID, 41.0),
    ("threads", "Nordlicht Reisen", Status.EXPIRING_SOON, 1.2),
    ("twitter", "Nordlicht News", Status.FAILING, None),
    ("linkedin", "Juniper & Sons", Status.VALID, 33.0),
    ("youtube", "Harbour Films", Status.VALID, None),
    ("instagram", "Harbour Stills", Status.VALID, 12.0),
    ("pinterest", "Pine Interiors", Status.DISCONNECTED, None),
    ("threads", "Pine Threads", Status.VALID, 58.0),
    ("bluesky", "Skylark", Status.UNKNOWN, None),
    ("linkedin", "Skylark Group", Status.VALID, 12.5),
    ("linkedin", "Moss & Fern", Status.VALID, 13.0),
    ("instagram", "Moss & Fern", Status.VALID, 52.0),
    ("mastodon", "Fern Collective", Status.VALID, None),
)
_MESSAGES = {
    Status.VALID: "The provider reports it as valid.",
    Status.UNKNOWN: "The provider reports no status.",
    Status.EXPIRING_SOON: "The token expires soon.",
    Status.FAILING: "The platform refuses the token: 403 Forbidden.",
    Status.EXPIRED: "The token has expired.",
    Status.REVOKED: "The platform reports that the permission was withdrawn.",
    Status.DISCONNECTED: "The provider no longer lists it.",
}


def web_config(folder: Path) -> Config:
    """Four sources and two channels that nothing listens at."""
    path = folder / "config.toml"
    path.write_text(CONFIG, encoding="utf-8")
    path.chmod(0o600)
    return load(path, {"HOME": str(folder)}).config


def person(number: int, source: str, now: datetime) -> ConnectionState:
    """One of a cast of sixteen."""
    platform, name, status, days = _PEOPLE[number % len(_PEOPLE)]
    since = now - timedelta(days=2 if days is None or days > 0 else -days, hours=number)
    failing = status is Status.FAILING
    own: dict[str, Any] = {}
    if source == "south":
        own["refresh"] = Refresh(connected_at=now - timedelta(days=90), last_refreshed_at=now - timedelta(days=3, hours=number))
        expires_at = None if days is None else now + timedelta(days=days, minutes=number)
        own["token"] = TokenState(
            status=status,
            reason="stated",
            message=_MESSAGES[status],
            expires_at=expires_at,
            renewal_gap=timedelta(days=5),
            renewal_left=timedelta(days=3),
            renewals=2,
        )
    if failing:
        own["lost_permissions"] = ("tweet.write",)
    return make_state(
        status=status,
        external_id=f"{platform}-{source}{number:03}",
        platform=platform,
        display_name=name if number < len(_PEOPLE) else f"{name} {number}",
        username=name.lower().replace(" ", "."),
        expires_at=None if days is None else now + timedelta(days=days, minutes=number),
        scopes=("w_member_social", "r_basicprofile"),
        last_successful_post_at=now - timedelta(hours=5 + number),
        last_error=LastError(message="Image too large", occurred_at=now - timedelta(days=3)) if number % 5 == 0 else None,
        verdict=Verdict(
            status=status, reason="permissions_lost" if failing else "stated", message=_MESSAGES[status], since=since
        ),
        probe=ProbeState(
            status=ProbeStatus.FAILING if failing else ProbeStatus.OK,
            finding=ProbeFinding.FAILING if failing else ProbeFinding.OK,
            message="403 Forbidden" if failing else None,
            at=now - timedelta(hours=2),
            ever_ok=True,
        ),
        **own,
    )


def fill(store: Store, now: datetime, *, each: int = 6) -> list[str]:
    """Four sources with so many connections each, of which one is not read any more; the public ids."""
    for index, (name, kind) in enumerate(KINDS.items()):
        states = [person(index * 4 + number, name, now) for number in range(each)]
        stale = name == "north"
        polled = now - (timedelta(hours=3) if stale else timedelta(minutes=4))
        keys = add_source(
            store,
            name,
            states,
            now=now,
            provider=kind,
            polled_at=polled,
            status=SourceStatus.FAILING if stale else SourceStatus.OK,
        )
        _past(store, name, keys, states, now)
        _polls(store, name, now, failing=stale)
    _failures(store, now)
    _alerts(store, now)
    return [row.public_id for row in _rows(store)]


def _rows(store: Store) -> list[Any]:
    with store.begin_read() as conn:
        return list(connection_queries.list_connections(conn))


def _past(store: Store, source: str, keys: Sequence[int], states: Sequence[ConnectionState], now: datetime) -> None:
    """Seventy days of events."""
    with store.begin_write() as conn:
        for key, state in zip(keys, states, strict=True):
            born, status = now - timedelta(days=70), state.verdict.status
            entries = [
                _entry(EventKind.STATUS_CHANGED, born + timedelta(days=52), "valid", "expiring_soon", "The token expires soon."),
                _entry(EventKind.RENEWED, born + timedelta(days=56), _day(born, 60), _day(born, 116)),
                _entry(EventKind.STATUS_CHANGED, born + timedelta(days=56), "expiring_soon", "valid", "It was renewed."),
                _entry(EventKind.PROBE_CHANGED, born + timedelta(days=30), "ok", "failing", "503 from the platform"),
                _entry(EventKind.RENAMED, born + timedelta(days=10), "old.name", state.snapshot.username),
            ]
            if status is not Status.VALID:
                changed = _entry(EventKind.STATUS_CHANGED, state.verdict.since, "valid", status, state.verdict.message)
                entries.append(changed)
            history.append(conn, source, key, sorted(entries, key=lambda entry: entry.at))


def _entry(kind: EventKind, at: datetime, old: str | None, new: str | None, message: str | None = None) -> Event:
    return Event(kind=kind, at=at, old=old, new=new, message=message)


def _day(born: datetime, days: int) -> str:
    return f"{born + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def _polls(store: Store, source: str, now: datetime, *, failing: bool) -> None:
    with store.begin_write() as conn:
        for number in range(20):
            outcome = PollOutcome.UNREACHABLE if failing and number < 6 else PollOutcome.OK
            sources.record_polls(
                conn,
                [
                    sources.PollRow(
                        source=source,
                        at=now - timedelta(minutes=15 * number + 4),
                        duration_ms=240 + number,
                        outcome=outcome,
                        problem="The API could not be reached." if outcome is not PollOutcome.OK else None,
                        connections=6,
                    )
                ],
            )


def _failures(store: Store, now: datetime) -> None:
    """A source and a channel that do not work."""
    with store.begin_write() as conn:
        row = sources.find_source(conn, "north")
        assert row is not None
        message = "The API could not be reached: connection refused."
        sources.save_source(
            conn, replace(row, message=message, reason="unreachable", failures=6, last_poll_at=now, next_poll_at=now)
        )
        channel_states.record_success(conn, "ops", now - timedelta(minutes=20))
        channel_states.record_failure(conn, "night", now - timedelta(hours=1), problem="404 from the webhook.", broken=True)


def _alerts(store: Store, now: datetime) -> None:
    """An incident and alerts for whatever needs a person; one is acknowledged, one silenced."""
    with store.begin_write() as conn:
        for row in _rows(store):
            state = row.state
            if not state.verdict.status.needs_attention:
                continue
            notified = LastNotified(status=state.verdict.status, at=now)
            incident = open_incident(
                conn, source=row.source, connection_id=row.id, last_notified=notified, now=now - timedelta(hours=3)
            )
            alert = make_alert(
                id=f"alert-{row.id}",
                incident=incident,
                event=AlertEvent(state.verdict.status.value),
                reason="first",
                severity=Severity.CRITICAL if row.id % 2 else Severity.WARNING,
                at=now - timedelta(minutes=row.id),
                source=row.source,
                provider=row.provider,
                connection=row.public_id,
                external_id=state.snapshot.external_id,
                platform=state.snapshot.platform,
                label=state.snapshot.label,
                status=state.verdict.status,
                message=state.verdict.message,
                expires_at=state.snapshot.expires_at,
            )
            alerts.add_alerts(conn, [(alert, row.id, None)])
            outbox.add_deliveries(conn, [(alert.id, "ops", now), (alert.id, "night", now)], now)
        taken = outbox.claim(conn, channel="ops", owner="me", now=now, lease=timedelta(minutes=5), limit=50)
        outbox.mark_sent(conn, [each.delivery_id for each in taken[:-1]], "me", now, detail="200")
        failed = outbox.claim(conn, channel="night", owner="me", now=now, lease=timedelta(minutes=5), limit=2)
        outbox.mark_failed(
            conn,
            [each.delivery_id for each in failed],
            "me",
            now,
            next_attempt_at=None,
            detail="404 from the webhook.",
            permanent=True,
        )
        broken = [row for row in _rows(store) if row.state.verdict.status in (Status.REVOKED, Status.FAILING)]
        acknowledgements.acknowledge(conn, broken[0], now=now, until=None, comment="Ann calls them", author="ann")
        active = Silence(
            connections=(broken[-1].public_id,), comment="Moving house", starts_at=now, ends_at=now + timedelta(days=2)
        )
        acknowledgements.add_silence(conn, active, now=now, author="ann")
        coming = Silence(
            sources=("studio",), comment="Release", starts_at=now + timedelta(days=1), ends_at=now + timedelta(days=3)
        )
        acknowledgements.add_silence(conn, coming, now=now, author="bob")
