"""Connections as they are shown: with the clock, acknowledgements and silences applied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from monitor.config import Config, SourceConfig
from monitor.config.labelling import Labeller
from monitor.domain import Ack, ConnectionState, Policy, ProbeStatus, Snapshot, Status, VerdictFlag, provider_info, utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import Record, field, replace
from monitor.domain.rules import expiry, lifecycle, silences, suppression
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.freshness import STALE_AFTER_INTERVALS
from monitor.domain.rules.silences import Silence
from monitor.store import Connection, connection_queries, incidents
from monitor.store import silences as stored_silences
from monitor.store.connection_queries import ConnectionRow
from monitor.store.sources import SourceRow
from monitor.views import json_types
from monitor.views.renewals import RenewalView, renewal_view

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""An instant before every report."""


class Suppressions(Record, frozen=True):
    """The acknowledgements and silences in force."""

    now: datetime
    acks: Mapping[int, Ack] = field(default_factory=dict)
    """By the connection's row id."""
    silences: Sequence[Silence] = ()
    """The active ones."""

    @classmethod
    def read(cls, conn: Connection, now: datetime) -> Suppressions:
        """Read them from the store."""
        current = stored_silences.all_current(conn, now)
        return cls(now, incidents.all_acks(conn), [each for each in current if silences.active_until(each, now) is not None])

    def acked(self, row: ConnectionRow) -> bool:
        """Return True if an acknowledgement of the connection is in force."""
        return row.id in self.acks and suppression.ack_covers(self.acks[row.id], row.state, self.now)

    def silenced_until(self, row: ConnectionRow, labels: Mapping[str, str]) -> datetime | None:
        """Return the end of the silences that match the connection, None if there are none."""
        if not self.silences:
            return None
        return silences.silenced_until(
            self.silences,
            source=row.source,
            platform=row.state.snapshot.platform,
            connection=row.public_id,
            external_id=row.state.snapshot.external_id,
            labels=labels,
            now=self.now,
        )


class ConnectionView(Record, frozen=True, kw_only=True):
    """A connection at one instant."""

    row: ConnectionRow
    """Its state with the clock applied, which is not stored."""
    now: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    probe_stale: bool = False
    """True if its last successful probe is too old to prove anything."""
    observed_at: datetime | None = None
    """When its presence or absence in a list was last observed."""
    stale: bool = False
    """True if its source's lists have not reported it for three poll intervals."""
    renewal: RenewalView | None = None
    """Its renewals; None if its provider states nothing about them."""
    acked: bool = False
    """True if it is acknowledged and has not worsened since."""
    silenced_until: datetime | None = None
    """The end of the silences that match it now; the year 9999 means no end."""

    @property
    def id(self) -> str:
        """The public id."""
        return self.row.public_id

    @property
    def snapshot(self) -> Snapshot:
        """The last report of its source."""
        return self.row.state.snapshot

    @property
    def status(self) -> Status:
        """The verdict's status."""
        return self.row.state.verdict.status

    @property
    def probe_status(self) -> ProbeStatus:
        """The result of its probes: unsupported if it cannot be probed, unprobed if its last success is too old."""
        if not provider_info(self.row.provider).has_probes:
            return ProbeStatus.UNSUPPORTED
        return ProbeStatus.UNPROBED if self.probe_stale else self.row.state.probe.status

    @property
    def flags(self) -> list[str]:
        """The flags of the verdict and of the time that has passed since, in alphabetical order."""
        return sorted(self.row.state.verdict.flags | ({VerdictFlag.PROBE_STALE} if self.probe_stale else set()))

    @property
    def expires_at(self) -> datetime | None:
        """The expiry that the verdict rests on, None if there is none."""
        return self.row.state.token.expires_at or expiry.effective_expiry(self.snapshot)

    @property
    def seconds_left(self) -> int | None:
        """The whole seconds until the expiry, negative after it; None if there is none."""
        expires_at = self.expires_at
        return None if expires_at is None else math.floor((expires_at - self.now).total_seconds())

    def json(self) -> json_types.ConnectionJson:
        """Return the JSON form of the connection (INTERFACE: JSON)."""
        snapshot, verdict, probe = self.snapshot, self.row.state.verdict, self.row.state.probe
        error = snapshot.last_error
        return json_types.ConnectionJson(
            id=self.id,
            source=self.row.source,
            provider=self.row.provider,
            scope=snapshot.scope,
            scope_name=self.row.scope_name,
            platform=snapshot.platform,
            external_id=snapshot.external_id,
            username=snapshot.username,
            display_name=snapshot.display_name,
            profile_url=snapshot.profile_url,
            status=verdict.status,
            reason=verdict.reason,
            message=verdict.message,
            since=utc_text(verdict.since),
            expires_at=utc_text(self.expires_at),
            seconds_left=self.seconds_left,
            probe=json_types.ProbeJson(
                status=self.probe_status,
                message=probe.message,
                at=utc_text(self.row.probe_at),
                last_ok_at=utc_text(self.row.probe_ok_at),
            ),
            last_seen_at=utc_text(self.row.last_seen_at),
            last_successful_post_at=utc_text(snapshot.last_successful_post_at),
            last_error=None
            if error is None
            else json_types.PostErrorJson(message=error.message, occurred_at=utc_text(error.occurred_at)),
            scopes=None if snapshot.scopes is None else list(snapshot.scopes),
            lost_permissions=list(self.row.state.lost_permissions),
            renewal=None if self.renewal is None else self.renewal.json(),
            labels=dict(self.labels),
            flags=self.flags,
            acked=self.acked,
            silenced_until=utc_text(self.silenced_until),
            stale=self.stale,
        )


class Reader:
    """Makes views of stored rows, with each source's settings, or the defaults for a source that is no longer configured."""

    def __init__(
        self, config: Config, sources: Mapping[str, SourceRow], *, now: datetime, suppressions: Suppressions | None = None
    ) -> None:
        self._config = config
        self.suppressions = suppressions or Suppressions(now)
        self._settings: dict[str, SourceConfig] = {source.name: source for source in config.sources}
        self.sources = sources
        self.now = now

    def view(self, row: ConnectionRow) -> ConnectionView:
        """Return the connection at the current time."""
        settings = self._settings.get(row.source)
        labels = row.labels if row.labels is not None else settings.labels if settings else {}
        elapsed = self._elapsed(row, settings)
        observed_at = self.observed_at(row.source, missing=row.state.missing > 0, seen_at=row.last_seen_at)
        return ConnectionView(
            row=elapsed,
            now=self.now,
            labels=labels,
            probe_stale=self._is_probe_stale(row, settings),
            renewal=self._renewal(elapsed, settings),
            observed_at=observed_at,
            stale=observed_at is None or observed_at < self.stale_before(row.source),
            acked=self.suppressions.acked(elapsed),
            silenced_until=self.suppressions.silenced_until(elapsed, labels),
        )

    def _elapsed(self, row: ConnectionRow, settings: SourceConfig | None) -> ConnectionRow:
        """Apply the changes by time since the last write; rows that are not due are returned unchanged."""
        state: ConnectionState = row.state
        if state.next_change_at is None or state.next_change_at > self.now:
            return row
        source = self.sources.get(row.source)
        skew = source.clock_skew if source else None
        if settings is not None:
            context = settings.context(self.policy_of(row), now=self.now, clock_skew=skew)
        else:
            provider = provider_info(row.provider)
            context = Context(now=self.now, provider=provider, policy=self._config.policy, clock_skew=skew)
        return replace(row, state=lifecycle.elapse(state, context))

    def _renewal(self, row: ConnectionRow, settings: SourceConfig | None) -> RenewalView | None:
        state = row.state
        if state.snapshot.refresh is None:
            return None
        policy = self.policy_of(row)
        every = settings.poll_every if settings else self._config.schedule.poll_every
        return renewal_view(state, poll_every=every, policy=policy)

    def policy_of(self, row: ConnectionRow) -> Policy:
        """Return the thresholds of a connection."""
        settings = self._settings.get(row.source)
        if settings is None:
            return self._config.policy
        return Labeller(settings, lambda: {row.state.snapshot.scope or "": row.scope_name}).policy(row.state.snapshot)

    def _is_probe_stale(self, row: ConnectionRow, settings: SourceConfig | None) -> bool:
        """Return True if the last successful probe is older than three intervals, and no other answer came since."""
        every = (settings.probe_every if settings else None) or self._config.schedule.probe_every
        if row.state.probe.status is not ProbeStatus.OK or row.probe_ok_at is None or every is None:
            return False
        return self.now - row.probe_ok_at > STALE_AFTER_INTERVALS * every

    def is_stale(self, source: str, *, missing: bool, observed_at: datetime | None) -> bool:
        """Return True if what a source's lists reported at this instant is older than three poll intervals."""
        at = self.observed_at(source, missing=missing, seen_at=observed_at)
        return at is None or at < self.stale_before(source)

    def observed_at(self, source: str, *, missing: bool, seen_at: datetime | None) -> datetime | None:
        """Return when a connection's presence or absence was last observed."""
        known = self.sources.get(source)
        # Each list that does not contain it is an observation.
        return known.last_success_at if missing and known is not None else seen_at

    def stale_before(self, source: str) -> datetime:
        """Return the instant before which a source's data is stale: by its poll interval, or its `stale_after`."""
        settings = self._settings.get(source)
        if settings is not None and settings.push_token is not None:
            return NEVER if settings.stale_after is None else self.now - settings.stale_after
        every = settings.poll_every if settings else self._config.schedule.poll_every
        return self.now - STALE_AFTER_INTERVALS * every

    def stale_limits(self) -> dict[str, datetime]:
        """Return stale_before() of every source."""
        return {name: self.stale_before(name) for name in self.sources}


def count_acked(conn: Connection, reader: Reader, filters: ConnectionFilter, *, most: int) -> int:
    """Return the number of matching connections with an acknowledgement in force, counted among the first `most` of all.

    Only those that time has changed since they were stored are read as a whole.
    """
    acks = reader.suppressions.acks
    number, changed = 0, []
    for each in connection_queries.stages_among(conn, sorted(acks)[:most], filters):
        if each.next_change_at is not None and each.next_change_at <= reader.now:
            changed.append(each.id)
        else:
            number += suppression.ack_covers_status(acks[each.id], each.status, each.stage, reader.now)
    rows = connection_queries.list_among(conn, changed, filters)
    return number + sum(reader.view(row).acked for row in rows)
