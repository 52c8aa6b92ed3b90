"""Changes between two states of a connection, as events for its history."""

from __future__ import annotations

from datetime import datetime

from monitor.domain import ConnectionState, Event, EventKind, ProbeStatus, Snapshot
from monitor.domain.rules import expiry
from monitor.domain.rules.expiry import LATER_BY
from monitor.domain.rules.same_account import handle


def detect(before: ConnectionState | None, after: ConnectionState, now: datetime) -> tuple[Event, ...]:
    """Return the events, in a fixed order; empty if nothing changed that is worth recording."""
    if before is None:
        verdict = after.verdict
        return (Event(kind=EventKind.APPEARED, at=now, new=verdict.status, reason=verdict.reason, message=verdict.message),)
    found = (
        _presence(before, after, now),
        _renewed(before, after, now),
        _renamed(before.snapshot, after.snapshot, now),
        _scopes(before, after, now),
        _probe(before, after, now),
        _status(before, after, now),
    )
    return tuple(event for event in found if event is not None)


def is_renewal(before: ConnectionState | None, after: ConnectionState) -> bool:
    """Return True if the token was renewed: its date moved later by more than an hour."""
    return before is not None and expiry.moved_later(before.token.expires_at, after.token.expires_at, LATER_BY)


def is_reconnect(before: ConnectionState | None, after: ConnectionState) -> bool:
    """Return True if the account is listed under a new id."""
    return before is not None and before.snapshot.external_id != after.snapshot.external_id


def _status(before: ConnectionState, after: ConnectionState, now: datetime) -> Event | None:
    if before.verdict.status is after.verdict.status:
        return None
    verdict = after.verdict
    return Event(
        kind=EventKind.STATUS_CHANGED,
        at=now,
        old=before.verdict.status,
        new=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
    )


def _presence(before: ConnectionState, after: ConnectionState, now: datetime) -> Event | None:
    if before.missing == 0 and after.missing > 0:
        return Event(kind=EventKind.VANISHED, at=now, message="Absent from a complete list.")
    if before.missing > 0 and after.missing == 0:
        return Event(kind=EventKind.RETURNED, at=now, message="Listed again.")
    return None


def _renewed(before: ConnectionState, after: ConnectionState, now: datetime) -> Event | None:
    """Return an event for a renewal, but not for the all-day rotation of short-lived tokens, which would flood the history."""
    old, new = before.token.expires_at, after.token.expires_at
    if not is_renewal(before, after) or _rotated(after, old, new):
        return None
    return Event(kind=EventKind.RENEWED, at=now, old=_day(old), new=_day(new))


def _rotated(after: ConnectionState, old: datetime | None, new: datetime | None) -> bool:
    """Return True if this is the rotation of a short-lived token; some lists state the access token's date (PROVIDERS 0.3)."""
    if expiry.is_short_lived(after.snapshot, after.token.dated_since):
        return True
    by_hours = not expiry.moved_later(old, new, expiry.SHORT_LIFETIME)
    return by_hours and after.snapshot.platform in expiry.RENEWED_BY_PROVIDER


def _day(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant.isoformat()[:19]}Z"


def _renamed(before: Snapshot, after: Snapshot, now: datetime) -> Event | None:
    """Return an event for a new user name; display names count only if neither has a user name (private channels)."""
    if before.username == after.username and before.display_name == after.display_name:
        return None
    old, new = before.username, after.username
    if handle(old) is None and handle(new) is None:
        old, new = before.display_name, after.display_name
    if handle(old) is None or handle(new) is None or handle(old) == handle(new):
        return None
    return Event(kind=EventKind.RENAMED, at=now, old=old, new=new)


def _scopes(before: ConnectionState, after: ConnectionState, now: datetime) -> Event | None:
    """Return an event for changed permissions between two healthy observations: an empty list with an error is no loss."""
    old, new = before.snapshot.scopes, after.snapshot.scopes
    if old == new or old is None or new is None or set(old) == set(new):
        return None
    if before.verdict.status.needs_attention or after.verdict.status.needs_attention:
        return None
    lost, gained = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    parts = [f"lost {', '.join(lost)}" if lost else "", f"gained {', '.join(gained)}" if gained else ""]
    text = "; ".join(part for part in parts if part)
    return Event(kind=EventKind.SCOPES_CHANGED, at=now, message=f"Permissions {text}.")


def _probe(before: ConnectionState, after: ConnectionState, now: datetime) -> Event | None:
    if before.probe.status is after.probe.status and before.probe.finding is after.probe.finding:
        return None
    if before.probe.status is ProbeStatus.UNPROBED and after.probe.status is ProbeStatus.OK:
        return None
    return Event(
        kind=EventKind.PROBE_CHANGED,
        at=now,
        old=before.probe.finding or before.probe.status,
        new=after.probe.finding or after.probe.status,
        message=after.probe.message,
    )
