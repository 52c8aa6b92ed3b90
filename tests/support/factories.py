"""Plain values for tests: everything has a default, a test names only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.domain import (
    Alert,
    AlertEvent,
    ConnectionState,
    LastNotified,
    ProbeState,
    ReportedStatus,
    Severity,
    Snapshot,
    Status,
    TokenState,
    Verdict,
)

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def make_snapshot(**over: Any) -> Snapshot:
    """A healthy PostPost row that expires in 60 days."""
    values: dict[str, Any] = {
        "external_id": "linkedin-123",
        "platform": "linkedin",
        "reported": ReportedStatus.VALID,
        "raw_status": "valid",
        "expires_at": NOW + timedelta(days=60),
        "username": "acme",
        "display_name": "Acme Ltd",
        "profile_url": "https://linkedin.example/acme",
    }
    return Snapshot(**{**values, **over})


def make_state(**over: Any) -> ConnectionState:
    """The state after one healthy poll.

    `status` moves token and verdict together; names that are no fields of ConnectionState go to the snapshot.
    """
    status = over.pop("status", Status.VALID)
    own = {name: over.pop(name) for name in list(over) if name in ConnectionState.__struct_fields__}
    snapshot = own.pop("snapshot", None) or make_snapshot(**over)
    values: dict[str, Any] = {
        "snapshot": snapshot,
        "token": TokenState(status=status, reason="stated", message="Reported by the provider.", expires_at=snapshot.expires_at),
        "probe": ProbeState(),
        "verdict": Verdict(status=status, reason="stated", message="Reported by the provider.", since=NOW),
    }
    return ConnectionState(**{**values, **own})


def make_notified(**over: Any) -> LastNotified:
    """The last notification of an incident, of an expired token, just now."""
    values: dict[str, Any] = {"status": Status.EXPIRED, "at": NOW}
    return LastNotified(**{**values, **over})


def make_alert(**over: Any) -> Alert:
    """An alert about an expired connection."""
    values: dict[str, Any] = {
        "id": "alert-1",
        "incident": "incident-1",
        "event": AlertEvent.EXPIRED,
        "reason": "first_notice",
        "severity": Severity.CRITICAL,
        "at": NOW,
        "source": "agency",
        "provider": "postpost",
        "connection": "agency/linkedin-123",
        "external_id": "linkedin-123",
        "platform": "linkedin",
        "label": "Acme Ltd",
        "status": "expired",
    }
    return Alert(**{**values, **over})
