"""Record what changed in the lists of one poll.

`list_diff` finds the rows that may have changed, `row_judge` applies the rules to them, and `record_lists` writes the changes
through `changes.record_changes`, batch by batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import (
    ConnectionState,
    IncidentReason,
    IncidentSubject,
    PollReport,
    VerdictFlag,
    VerdictReason,
)
from monitor.domain.records import Record, field
from monitor.domain.rules import same_account, schedule, suppression
from monitor.engine.recording.changes import Change, one_of_each, record_changes
from monitor.engine.recording.labelling import labeller_of
from monitor.engine.recording.list_diff import Compared, Comparison
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.row_judge import RowJudge
from monitor.engine.recording.system_alerts import close_without_alert, record_source_incident
from monitor.engine.recording.unrecognised_statuses import touches_unrecognised
from monitor.store import Connection, alerts, connection_codec, connections, incidents, list_state, sources
from monitor.store.list_state import StoredList

BATCH = 2000
"""Connections judged and written together, so that the memory in use does not grow with the list."""

Absent = dict[str, tuple[int, ConnectionState]]
"""Connections that a list lacks, by external id: row id and state."""


class JudgedChanges(Record):
    """The changes of a batch of connections."""

    changes: list[Change] = field(default_factory=list)
    fingerprints: list[tuple[int, str]] = field(default_factory=list)
    """Row ids and new fingerprints of connections whose listed row differs without changing their state."""

    def add(self, row: int, change: Change | None, fingerprint: str | None) -> None:
        """Add a known connection: its change, or else its new fingerprint, if there is one."""
        if change is not None:
            self.changes.append(change)
        elif fingerprint is not None:
            self.fingerprints.append((row, fingerprint))


class RecordedLists(Record):
    """The result of recording the lists of one poll."""

    recorded: Recorded = field(default_factory=Recorded)
    cohorts: set[int] = field(default_factory=set)
    """Probe cohorts of new and reconnected connections."""
    digests: dict[str | None, str | None] = field(default_factory=dict)
    """By scope, the digest of the list from which its stored connections now follow."""
    suspects: dict[str | None, int] = field(default_factory=dict)
    """By scope, the new number of suspicious lists in a row. Only scopes whose number changes."""
    unrecognised: bool = False
    """True if a connection changed that has, or had, a status that is not known."""
    status_changed: bool = False
    """True if a connection is new or has another status."""
    unreadable_before: dict[str | None, int] = field(default_factory=dict)
    """By scope, the number of lists in a row before this poll that had unreadable rows."""

    @property
    def is_eventful(self) -> bool:
        """True if anything but the scopes' digests follows from the lists."""
        return bool(self.recorded != Recorded() or self.cohorts or self.suspects or self.unreadable_before or self.unrecognised)


def record_lists(
    conn: Connection,
    source: SourceConfig,
    report: PollReport,
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
    clock_skew: float | None,
    stored: Mapping[str | None, StoredList] | None = None,
) -> RecordedLists:
    """Record everything that the lists change, scope by scope. An incomplete list is no evidence of absence.

    `stored` is the state of the source's scopes; without it, it is read.
    """
    comparison = Comparison(conn, source.name, report, now=now, stored=stored)
    compared = comparison.scopes()
    judge = RowJudge(source=source, now=now, clock_skew=clock_skew, labeller=labeller_of(conn, source))
    digests = {each.scope: each.digest for each in compared}
    listed = RecordedLists(digests=digests, unreadable_before=comparison.unreadable())
    absent = _absent_by_scope(conn, compared)

    def record(batches: Iterable[JudgedChanges]) -> None:
        for judged in batches:
            connections.set_fingerprints(conn, judged.fingerprints)
            listed.recorded.add(record_changes(conn, source, judged.changes, channels=channels, now=now))
            distinct = one_of_each(judged.changes)
            listed.unrecognised |= any(map(touches_unrecognised, distinct))
            listed.status_changed |= any(map(_has_other_status, distinct))
            listed.cohorts |= {
                schedule.cohort_of(change.after.snapshot.scope, change.after.snapshot.external_id)
                for change in distinct
                if change.row is None or change.is_reconnect
            }

    for each in compared:
        reconnected = _take_reconnected(conn, each, absent.get(each.scope, {}))
        record(_judge_listed(conn, each, judge, reconnected))
        record([_judge_unreadable(conn, each, judge)])
    before = comparison.suspects()
    missing = _newly_missing(conn, source.name, compared, absent, suspected=before)
    suspicious = {scope for scope, each in missing.items() if suppression.is_mass_failure(each.count, each.of)}
    listed.suspects = {
        scope: before.get(scope, 0) + 1 if scope in suspicious else 0
        for scope in missing
        if scope in suspicious or scope in before
    }
    confirmed = {scope for scope in suspicious if listed.suspects[scope] >= suppression.AGREEING_POLLS}
    listed.recorded.add(_record_suspicions(conn, source, listed.suspects, missing, channels=channels, now=now))
    seen_at = {row.scope: row.last_complete_at for row in sources.all_scopes(conn, source.name)} if absent else {}
    for scope, rows in absent.items():
        if scope not in suspicious or scope in confirmed:
            record(_judge_absent(rows, judge, confirmed=scope in confirmed, seen_at=seen_at.get(scope)))
    return listed


def _judge_listed(conn: Connection, compared: Compared, judge: RowJudge, reconnected: Absent) -> Iterator[JudgedChanges]:
    """Yield, batch by batch, what the listed rows change. `reconnected` as returned by _take_reconnected."""
    snapshots = compared.snapshots()
    while batch := list(islice(snapshots, BATCH)):
        rows = [compared.ids.get(snapshot.external_id) for snapshot in batch]
        known = connection_codec.load_grouped(conn, [row for row in rows if row is not None])
        judged = JudgedChanges()
        for snapshot, row in zip(batch, rows, strict=True):
            key = snapshot.external_id
            fingerprint = compared.fingerprints.get(key)
            if row is None or row not in known:
                judged.changes.append(judge.new(snapshot, fingerprint or "", reconnected.get(key)))
                continue
            change = judge.listed(row, known[row], snapshot, fingerprint, due=key in compared.due)
            judged.add(row, change, fingerprint)
        yield judged


def _judge_unreadable(conn: Connection, compared: Compared, judge: RowJudge) -> JudgedChanges:
    """Return what changes for connections that are listed in a row that cannot be read."""
    judged = JudgedChanges()
    if compared.unreadable:
        known = _load(conn, compared, compared.unreadable)
        for row, state in known.values():
            if state.missing or VerdictFlag.UNREADABLE not in state.verdict.flags:
                judged.add(row, judge.unreadable(row, state), None)
    return judged


def _judge_absent(absent: Absent, judge: RowJudge, *, confirmed: bool, seen_at: datetime | None) -> Iterator[JudgedChanges]:
    """Yield, batch by batch, what changes for connections that a list lacks. `seen_at` as for RowJudge.missed."""
    rows = iter(absent.values())
    while batch := list(islice(rows, BATCH)):
        judged = JudgedChanges()
        for row, state in batch:
            judged.add(row, judge.missed(row, state, confirmed=confirmed, seen_at=seen_at), None)
        yield judged


def _take_reconnected(conn: Connection, compared: Compared, absent: Absent) -> Absent:
    """Return by its new external id each connection whose account is listed under a new one, and take it from `absent`.

    Its old id must be absent, or missing for long enough where the list proves no absence. In a list that was read to its end,
    and proves none only because a row states no id, it is enough that no other row names it: one account is listed once.
    """
    new = {key for key in compared.touched if key not in compared.ids}
    if not new or not (absent or compared.lost or compared.unlisted):
        return {}
    lost = _load(conn, compared, compared.lost) if compared.lost else {}
    gone = {key: each for key, each in lost.items() if each[1].verdict.reason == VerdictReason.MISSING_FROM_LIST}
    gone |= _load(conn, compared, compared.unlisted) if compared.unlisted else {}
    gone |= absent
    found = same_account.match(compared.rows.snapshots_of(new), (state.snapshot for _, state in gone.values()))
    for old in found.values():
        absent.pop(old, None)
    return {key: gone[old] for key, old in found.items()}


def _has_other_status(change: Change) -> bool:
    return change.before is None or change.before.verdict.status is not change.after.verdict.status


def _absent_by_scope(conn: Connection, compared: Sequence[Compared]) -> dict[str | None, Absent]:
    """Return the absent connections of each scope that has some."""
    return {each.scope: _load(conn, each, each.absent) for each in compared if each.absent}


def _load(conn: Connection, compared: Compared, external_ids: Iterable[str]) -> dict[str, tuple[int, ConnectionState]]:
    """Return row id and state of those of the connections that are stored, by external id."""
    rows = {compared.ids[key]: key for key in external_ids if key in compared.ids}
    return {rows[row]: (row, state) for row, state in connection_codec.load(conn, rows).items()}


class Missing(Record, frozen=True):
    """The connections of one scope that its list newly lacks."""

    count: int
    of: int
    """The number of connections that were not missing before. While a list is suspected: of those known before that."""
    appeared: int
    """The number of listed connections that were not known."""


def _newly_missing(
    conn: Connection,
    source: str,
    compared: Sequence[Compared],
    absent: Mapping[str | None, Absent],
    *,
    suspected: Collection[str | None],
) -> dict[str | None, Missing]:
    """Return the newly missing connections by scope. `suspected` are scopes whose last list was suspicious.

    Only scopes whose list proves absence. Any other list neither confirms nor disproves a suspicion.
    """
    found = {}
    for each in compared:
        if each.proves_absence:
            rows = absent.get(each.scope, {})
            newcomers = _newcomers(conn, source, each.scope) if each.scope in suspected else frozenset[str]()
            found[each.scope] = Missing(
                count=sum(state.missing == 0 and key not in newcomers for key, (_, state) in rows.items()),
                of=each.present - len(newcomers),
                appeared=sum(key not in each.ids for key in each.touched) - (len(each.absent) - len(rows)),
            )
    return found


def _newcomers(conn: Connection, source: str, scope: str | None) -> frozenset[str]:
    """Return the connections that have been listed only since most others disappeared: other accounts of a changed key."""
    incident = incidents.find_open_source(conn, source, subject=IncidentSubject.MISSING.of(scope or ""))
    return frozenset() if incident is None else frozenset(list_state.added_since(conn, source, scope, incident.opened_at))


def _record_suspicions(
    conn: Connection,
    source: SourceConfig,
    suspects: dict[str | None, int],
    missing: Mapping[str | None, Missing],
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    """Record one alert for each scope of which most connections are suddenly missing, and its end.

    Once enough lists agree, the incident closes without an alert, because the connections get their own; the count of the
    scope in `suspects` then restarts. It also closes without one if none of the missing connections was listed again.
    """
    recorded = Recorded()
    for scope, count in suspects.items():
        subject = IncidentSubject.MISSING.of(scope or "")
        agreed = count >= suppression.AGREEING_POLLS
        if agreed or (count == 0 and not _some_returned(conn, source.name, scope, missing[scope])):
            close_without_alert(conn, source.name, subject, now)
            suspects[scope] = 0
            continue
        if count > 1:
            continue
        recorded.add(
            record_source_incident(
                conn,
                source,
                subject=subject,
                problem=count == 1,
                reason=IncidentReason.SUSPICIOUS_LIST,
                status=IncidentReason.SUSPICIOUS_LIST if count else "ok",
                message=_suspicion_text(scope, missing[scope], suspicious=count > 0),
                channels=channels,
                now=now,
                count=max(missing[scope].count, 1),
            )
        )
    return recorded


def _some_returned(conn: Connection, source: str, scope: str | None, missing: Missing) -> bool:
    """Return True if a connection that was missing when the scope's incident began is listed again, not merely forgotten."""
    incident = incidents.find_open_source(conn, source, subject=IncidentSubject.MISSING.of(scope or ""))
    if incident is None:
        return False
    first = alerts.first_of_incident(conn, incident.id)
    return (first.count if first else missing.of) - missing.count > list_state.count_retired_since(
        conn, source, scope, incident.opened_at
    )


def _suspicion_text(scope: str | None, missing: Missing, *, suspicious: bool) -> str:
    """Return the message of an alert that a suspicion begins or ends."""
    where = f" of {scope}" if scope else ""
    count, of, appeared = missing.count, missing.of, missing.appeared
    if suspicious and appeared:
        new = f"{appeared} new one{' appeared' if appeared == 1 else 's appeared'}"
        return (
            f"{count} of {of} known connections{where} are gone, {new}: was the key changed? "
            "The known connections keep their status until two more lists agree."
        )
    if suspicious:
        return (
            f"{count} of {of} connections{where} are suddenly missing from the list. "
            "They keep their status until two more lists agree."
        )
    if count:
        still = f"{count} of {of} {'is' if count == 1 else 'are'} still missing"
        return f"Some connections{where} are listed again; {still}. Each of them causes an alert if it remains missing."
    return f"The connections{where} are listed again."
