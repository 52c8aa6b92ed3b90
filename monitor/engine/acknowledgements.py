"""Acknowledge and silence: what the command line and the web page both write, and what history keeps of it.

Every function joins the caller's transaction. `by` is who did it, as far as that is known: "ann", "the status page".
"""

from __future__ import annotations

from datetime import datetime

from monitor.domain import Ack, Event, EventKind
from monitor.domain.errors import MonitorError
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.store import Connection, history, incidents, pending, silences
from monitor.store.connection_queries import ConnectionRow

_LONGEST = 400
_WHOLE = ""
"""The source of an entry about a silence that is not about one source alone."""


def acknowledge(conn: Connection, row: ConnectionRow, *, now: datetime, until: datetime | None, comment: str, by: str) -> None:
    """Somebody knows of this connection's incident, as it is now: `row` has the clock applied.

    Raises MonitorError where nothing is open.
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
    """End this connection's acknowledgement: it is judged again at once. Raises MonitorError where there is none."""
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
    """Keep a new silence and have what it touches judged again. Its number."""
    number = silences.add(conn, silence, now)
    incidents.review_all(conn, now)
    entry = Event(
        kind=EventKind.SILENCED,
        at=now,
        new=str(number),
        reason="silence",
        message=_message(by, silence.comment, until=silence.ends_at),
    )
    _note_silence(conn, silence, entry)
    return number


def remove_silence(conn: Connection, number: int, *, now: datetime, by: str) -> None:
    """End a silence for good: what it kept back is judged again. Raises MonitorError where there is none to end."""
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
        _note_silence(conn, known, entry)


def _note_silence(conn: Connection, silence: Silence, entry: Event) -> None:
    """One entry, however many connections it matches: their histories find it by the silence's number."""
    source = silence.sources[0] if len(silence.sources) == 1 else _WHOLE
    history.append(conn, source, None, [entry])


def _message(by: str, comment: str, *, until: datetime | None = None) -> str:
    who = f"By {clean(by, otherwise='somebody')}"
    end = f", until {until:%Y-%m-%d %H:%M} UTC" if until is not None else ""
    why = clean(comment, limit=_LONGEST)
    return f"{who}{end}: {why}" if why else f"{who}{end}."


def _name(row: ConnectionRow) -> str:
    return clean(row.public_id, limit=_LONGEST)
