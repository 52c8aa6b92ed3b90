"""The state of a connection as text: its expiry as a sentence, and the state in a few words for one line of a list."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.domain import RECOVERY_EVENTS, Alert, AlertEvent, Status, timefmt
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.text import readable

_OVER = frozenset({AlertEvent.EXPIRED, AlertEvent.REVOKED})
_DAYS_ONLY = timedelta(days=2)


def expiry_sentence(alert: Alert, *, zone: ZoneInfo | None, now: datetime) -> str:
    """Return the expiry with its time zone and the time left, as far as the date is trusted."""
    if alert.expires_at is None:
        return "No expiry date is known."
    when = f"{timefmt.moment(alert.expires_at, zone)}, {timefmt.relative(alert.expires_at, now)}"
    ahead = alert.expires_at > now
    if alert.event is AlertEvent.DISCONNECTED:
        return f"Last known expiry: {when}."
    if ahead and alert.event in _OVER:
        return f"Its stated expiry, {when}, no longer applies."
    if not ahead and alert.event not in _OVER and alert.event is not AlertEvent.EXPIRING_SOON:
        return f"Its stated expiry, {when}, is not trusted."
    return f"It {'expires' if ahead else 'expired'} {when}."


def time_left(alert: Alert, *, now: datetime) -> str:
    """Return the time until the expiry in its two largest units; empty without a date, and after it."""
    return timefmt.span(alert.expires_at - now) if alert.expires_at is not None and alert.expires_at > now else ""


def brief(alert: Alert, status: str, *, zone: ZoneInfo | None, now: datetime) -> str:
    """Return the state in a few words: "2 days left (Wed 2 Dec 04:43)". The time zone is stated once for the whole message."""
    if alert.event in RECOVERY_EVENTS:
        return _recovery(alert, zone=zone, now=now)
    date = alert.expires_at
    if alert.event is AlertEvent.EXPIRING_SOON:
        if date is None or date <= now:
            return "expires soon"
        return f"{_length(date - now)} left ({timefmt.short_moment(date, zone, now=now)})"
    if alert.event is AlertEvent.EXPIRED and date is not None and date <= now:
        return f"expired {_length(now - date)} ago ({timefmt.short_moment(date, zone, now=now)})"
    return f"{readable(status)} since {timefmt.short_moment(alert.since, zone, now=now)}" if alert.since else readable(status)


def reminder_words(alert: Alert) -> str:
    """Return "reminder 2"; empty if the alert is not a reminder."""
    if alert.reason != AlertReason.REMINDER:
        return ""
    return f"reminder {alert.reminder}" if alert.reminder else "reminder"


def unchanged_for(alert: Alert) -> str:
    """Return how long the status of a reminder is unchanged; empty where that is unknown, and for other alerts."""
    if alert.reason != AlertReason.REMINDER or alert.since is None or alert.at <= alert.since:
        return ""
    return timefmt.span(alert.at - alert.since)


def duration(alert: Alert) -> str:
    """Return how long the incident of a recovery lasted, since its first problem; empty where that is unknown."""
    opened = alert.opened_at
    return timefmt.span(alert.at - opened) if opened is not None and alert.at > opened else ""


def _recovery(alert: Alert, *, zone: ZoneInfo | None, now: datetime) -> str:
    date = alert.expires_at
    if alert.previous == Status.EXPIRING_SOON:
        return "renewed" if date is None or date <= now else f"renewed, expires {timefmt.short_moment(date, zone, now=now)}"
    lasted = duration(alert)
    return f"works again after {lasted}" if lasted else "works again"


def _length(length: timedelta) -> str:
    """Return a duration: from two days on without hours."""
    return f"{length.days} days" if length >= _DAYS_ONLY else timefmt.span(length)
