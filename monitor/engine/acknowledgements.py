"""Acknowledgements and silences as the command line and the web pages write them, with their history entries.

Every function runs in the caller's transaction. `by` names the operator as far as known: "ann", "the status page".
"""

from __future__ import annotations

from datetime import datetime

from monitor.domain import Ack, Event, EventKind
from monitor.domain.errors import MonitorError
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.store import Connection, history, incidents, pending, silences
from monitor.store.connection_queries import ConnectionRow

_MAX_LENGTH = 400
_ALL_SOURCES = ""
"""Source of the history entry of a silence that covers more than one source."""


def acknowledge(conn: Connection, row: ConnectionRow, *, now: datetime, until: datetime | None, comment: str, by: str) -> None:
    """Acknowledge a connection's incident in its present status. `row` has changes by time applied.

    Raises MonitorError if no incident is open.
    """
    incident = incidents.find_open(conn, [row.id]).get(row.id)
    verdict = row.state.verdict
    if incident is None:
        raise MonitorError(f"{_name(row)} has no open incident (it is {verdict.status}): there is nothing to acknowledge.")
    ack = Ack(status=verdict.status, stage=row.state.stage, at=now, until=until, comment=comment or None)
    incidents.acknowledge(conn, incident.id, ack)
    entry = Event(
        kind=EventKind.ACKNOWLEDGED, at=now, new=verdict.status, reason="ack", message=_message(by, comment, until=until)
    )
    history.append(conn, row.source, row.id, [entry])


def unacknowledge(conn: Connection, row: ConnectionRow, *, now: datetime, by: str) -> None:
    """Remove a connection's acknowledgement. Its incident is reviewed immediately. Raises MonitorError if there is none."""
    incident = incidents.find_open(conn, [row.id]).get(row.id)
    if incident is None:
        raise MonitorError(f"{_name(row)} has no open incident (it is {row.state.verdict.status}).")
    if incident.ack is None:
        raise MonitorError(f"{_name(row)} is not acknowledged.")
    incidents.unacknowledge(conn, [incident.id], next_review_at=now)
    pending.restore_escalations(conn, [incident.id], now)
    entry = Event(kind=EventKind.UNACKNOWLEDGED, at=now, reason="taken_back", message=_message(by, ""))
    history.append(conn, row.source, row.id, [entry])


def add_silence(conn: Connection, silence: Silence, *, now: datetime, by: str) -> int:
    """Store a new silence, have the open incidents reviewed, and return its number."""
    number = silences.add(conn, silence, now)
    incidents.review_all(conn, now)
    entry = Event(
        kind=EventKind.SILENCED,
        at=now,
        new=str(number),
        reason="silence",
        message=_message(by, silence.comment, until=silence.ends_at),
    )
    _add_silence_event(conn, silence, entry)
    return number


def remove_silence(conn: Connection, number: int, *, now: datetime, by: str) -> None:
    """Remove a silence and have the suppressed incidents reviewed. Raises MonitorError if there is none to remove."""
    known = silences.find_silence(conn, number)
    if not silences.remove(conn, number, now):
        raise MonitorError(
            f"There is no silence {number}: `token-monitor silence list` shows them."
            if known is None
            else f"Silence {number} was removed already."
        )
    incidents.review_all(conn, now)
    pending.resume_silenced(conn, now)
    if known is not None:
        message = _message(by, "")
        entry = Event(kind=EventKind.UNSILENCED, at=now, new=str(number), reason="silence", message=message)
        _add_silence_event(conn, known, entry)


def _add_silence_event(conn: Connection, silence: Silence, entry: Event) -> None:
    """Add one history entry, however many connections the silence matches. They find it by the silence's number."""
    source = silence.sources[0] if len(silence.sources) == 1 else _ALL_SOURCES
    history.append(conn, source, None, [entry])


def _message(by: str, comment: str, *, until: datetime | None = None) -> str:
    author = f"By {clean(by, otherwise='an unknown operator')}"
    end = f", until {until:%Y-%m-%d %H:%M} UTC" if until is not None else ""
    reason = clean(comment, limit=_MAX_LENGTH)
    return f"{author}{end}: {reason}" if reason else f"{author}{end}."


def _name(row: ConnectionRow) -> str:
    return clean(row.public_id, limit=_MAX_LENGTH)
