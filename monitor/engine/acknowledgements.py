"""Acknowledgements, silences and retirements as the command line and the web pages write them, with their history entries.

Every function runs in the caller's transaction. `author` is the user who makes the change, as it is stored and shown: "anna",
"command line (ann)", "channel ops".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from monitor.domain import Ack, Event, EventKind
from monitor.domain.errors import MonitorError
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.engine import audit
from monitor.store import Connection, connections, former_ids, history, incidents, pending, purging, silences
from monitor.store.connection_queries import ConnectionRow
from monitor.store.incidents import Incident

_MAX_LENGTH = 400
_ALL_SOURCES = ""
"""Source of the history entry of a silence that covers more than one source."""


class NotPossible(MonitorError):
    """The change does not apply to the connection in its present state."""


def acknowledge(
    conn: Connection, row: ConnectionRow, *, now: datetime, until: datetime | None, comment: str, author: str
) -> None:
    """Acknowledge a connection's incident in its present status. `row` has changes by time applied.

    Raises NotPossible if no incident is open.
    """
    incident = incident_to_acknowledge(conn, row)
    verdict = row.state.verdict
    ack = Ack(status=verdict.status, stage=row.state.stage, at=now, until=until, comment=comment or None, author=author)
    incidents.acknowledge(conn, incident.id, ack)
    entry = Event(
        kind=EventKind.ACKNOWLEDGED,
        at=now,
        new=verdict.status,
        reason="ack",
        message=_message(author, comment, until=until),
        author=author,
    )
    history.append(conn, row.source, row.id, [entry])
    audit.record("acknowledge", author=author, target=row.public_id)


def unacknowledge(conn: Connection, row: ConnectionRow, *, now: datetime, author: str) -> None:
    """Remove a connection's acknowledgement. Its incident is reviewed immediately. Raises NotPossible if there is none."""
    incident = acknowledged_incident(conn, row)
    incidents.unacknowledge(conn, [incident.id], next_review_at=now)
    pending.restore_escalations(conn, [incident.id], now)
    entry = Event(kind=EventKind.UNACKNOWLEDGED, at=now, reason="taken_back", message=_message(author, ""), author=author)
    history.append(conn, row.source, row.id, [entry])
    audit.record("unacknowledge", author=author, target=row.public_id)


def incident_to_acknowledge(conn: Connection, row: ConnectionRow) -> Incident:
    """Return a connection's open incident. Raises NotPossible if there is none."""
    incident = incidents.find_open(conn, [row.id]).get(row.id)
    if incident is None:
        status = row.state.verdict.status
        raise NotPossible(f"{_name(row)} has no open incident (it is {status}): there is nothing to acknowledge.")
    return incident


def acknowledged_incident(conn: Connection, row: ConnectionRow) -> Incident:
    """Return a connection's open incident that is acknowledged. Raises NotPossible if there is none."""
    incident = incidents.find_open(conn, [row.id]).get(row.id)
    if incident is None:
        raise NotPossible(f"{_name(row)} has no open incident (it is {row.state.verdict.status}).")
    if incident.ack is None:
        raise NotPossible(f"{_name(row)} is not acknowledged.")
    return incident


def require_monitored(row: ConnectionRow) -> None:
    """Raise NotPossible if a connection is retired."""
    if row.retired_at is not None:
        raise NotPossible(f"{_name(row)} is already retired.")


def add_silence(conn: Connection, silence: Silence, *, now: datetime, author: str) -> int:
    """Store a new silence, have the open incidents reviewed, and return its number."""
    number = silences.add(conn, replace(silence, author=author), now)
    incidents.review_all(conn, now)
    entry = Event(
        kind=EventKind.SILENCED,
        at=now,
        new=str(number),
        reason="silence",
        message=_message(author, silence.comment, until=silence.ends_at),
        author=author,
    )
    _add_silence_event(conn, silence, entry)
    audit.record("silence", author=author, target=number)
    return number


def remove_silence(conn: Connection, number: int, *, now: datetime, author: str) -> None:
    """Remove a silence and have the suppressed incidents reviewed. Raises MonitorError if there is none to remove."""
    known = silences.find_silence(conn, number)
    if not silences.remove(conn, number, now, author=author):
        raise MonitorError(
            f"There is no silence {number}. `token-monitor silence list` lists all silences."
            if known is None
            else f"Silence {number} was removed already."
        )
    incidents.review_all(conn, now)
    pending.resume_silenced(conn, now)
    if known is not None:
        message = _message(author, "")
        entry = Event(kind=EventKind.UNSILENCED, at=now, new=str(number), reason="silence", message=message, author=author)
        _add_silence_event(conn, known, entry)
    audit.record("unsilence", author=author, target=number)


def retire(conn: Connection, row: ConnectionRow, *, now: datetime, author: str) -> None:
    """Retire a connection that was removed on purpose: it is no longer monitored. Raises NotPossible if it is retired."""
    require_monitored(row)
    connections.retire(conn, row.id, now)
    former_ids.delete_of(conn, row.id)
    incidents.close_many(conn, [incident.id for incident in incidents.find_open(conn, [row.id]).values()], now)
    entry = Event(
        kind=EventKind.RETIRED,
        at=now,
        old=row.state.verdict.status,
        message=_message(author, "removed on purpose (`token-monitor forget`)"),
        author=author,
    )
    history.append(conn, row.source, row.id, [entry])
    audit.record("forget", author=author, target=row.public_id)


def require_unlisted(row: ConnectionRow, configured: Collection[str]) -> None:
    """Raise NotPossible if a connection is still listed by one of the configured sources: the next poll would store it again."""
    if row.retired_at is None and not row.state.missing and row.source in configured:
        raise NotPossible(
            f"{_name(row)} is still listed by its source, and the next poll would store it again: remove the account at the "
            "service, or remove its source or user from the configuration."
        )


def purge(conn: Connection, keys: Collection[int], *, author: str) -> None:
    """Erase the connections with these row ids. The log has no trace of them but the row ids."""
    purging.purge(conn, keys)
    for key in keys:
        audit.record("purge", author=author, target=key)


def _add_silence_event(conn: Connection, silence: Silence, entry: Event) -> None:
    """Add one history entry, however many connections the silence matches. They find it by the silence's number."""
    source = silence.sources[0] if len(silence.sources) == 1 else _ALL_SOURCES
    history.append(conn, source, None, [entry])


def _message(author: str, comment: str, *, until: datetime | None = None) -> str:
    made_by = f"By {clean(author, otherwise='an unknown user')}"
    end = f", until {until:%Y-%m-%d %H:%M} UTC" if until is not None else ""
    reason = clean(comment, limit=_MAX_LENGTH)
    return f"{made_by}{end}: {reason}" if reason else f"{made_by}{end}."


def _name(row: ConnectionRow) -> str:
    return clean(row.public_id, limit=_MAX_LENGTH)
