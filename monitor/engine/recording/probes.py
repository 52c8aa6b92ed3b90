"""Record one batch of probe results, in one transaction, and detect platform outages.

The path of a probe: `engine/prober.py` runs the probes and calls `record_probes` here. `ProbeTally` counts the results and
applies the rules to those that change something; `_record_changes` finds outages among the changes and passes them on to
`changes`, which writes them and calls `incidents` and `queueing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import ConnectionState, IncidentReason, IncidentSubject, Policy, ProbeFinding, ProbeState, ProbeStatus
from monitor.domain.records import Record, field
from monitor.domain.rules import lifecycle, schedule, suppression
from monitor.domain.rules import probes as probe_rules
from monitor.engine.probe_runner import Batch, ProbeResult
from monitor.engine.recording import Change, Recorded, record_changes, record_source_incident
from monitor.engine.recording.labelling import labeller_of
from monitor.store import Connection, connection_codec, connections, incidents, probes, sources

PROBED_AGAIN_WITHIN = timedelta(minutes=65)
"""A refused connection is probed at least once within this time."""


def record_probes(
    conn: Connection,
    source: SourceConfig,
    batch: Batch,
    results: Sequence[ProbeResult],
    *,
    pause: float | None,
    channels: Sequence[ChannelConfig],
    now: datetime,
    recheck: bool = False,
) -> Recorded:
    """Record everything that follows from these results, in the caller's transaction. The batch's cohorts are done.

    Targets of the batch without a result are due again after `pause` seconds, or immediately without a pause. With `recheck`,
    a refusal within a minute of an earlier one changes nothing.
    """
    answered = any(result.answer is not None for result in results)
    tally = ProbeTally(source=source, now=now, answered=answered, recheck=recheck)
    for result in results:
        tally.count(result)
    tally.judge_news(conn)
    recorded = _record_changes(conn, source, tally.changes, channels=channels, now=now)
    probed = {result.target.id for result in results}
    retry_at = now if pause is None else schedule.postponed(now, pause)
    tally.next_probes.setdefault(retry_at, []).extend(target.id for target in batch.targets if target.id not in probed)
    for next_probe_at, rows in tally.next_probes.items():
        connections.set_next_probe(conn, rows, next_probe_at)
    hour = now.replace(minute=0, second=0, microsecond=0)
    counts = {outcome: (count, tally.milliseconds[outcome]) for outcome, count in tally.outcomes.items()}
    probes.add_rollups(conn, source.name, hour, counts)
    _mark_cohorts(conn, source, batch.cohorts, answered=answered, now=now)
    return recorded


def _record_changes(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Write the changed connections, and the outages that begin or end with them.

    While most connections of a platform are refused, one alert about the outage replaces one per connection.
    """
    recorded = Recorded()
    outages = _outage_changes(conn, source, changes)
    for outage in outages:
        if outage.begins:
            recorded.add(_record_outage(conn, source, outage, channels=channels, now=now))
    recorded.add(record_changes(conn, source, changes, channels=channels, now=now))
    for outage in outages:
        if not outage.begins:
            recorded.add(_record_outage(conn, source, outage, channels=channels, now=now))
            # Most connections have not been probed since. Those that are still refused then get their own alerts, also those
            # that had one before: the outage suppressed worsening and reminders as well, also of this batch.
            incidents.review_platform(conn, now + PROBED_AGAIN_WITHIN, source=source.name, platform=outage.platform)
    return recorded


class OutageChange(NamedTuple):
    """A platform outage that begins or ends."""

    platform: str
    begins: bool
    refused: int
    """Refused connections after the changes."""
    of: int
    """Connections that are probed."""


def _outage_changes(conn: Connection, source: SourceConfig, changes: Sequence[Change]) -> list[OutageChange]:
    """Return the outages that begin or end with these changes, which are not written yet."""
    known = IncidentSubject.OUTAGE.names_in(incidents.open_subjects(conn, source.name))
    shift = _refused_shift(changes)
    if not known and not any(count > 0 for count in shift.values()):
        return []
    stored = connections.count_refused(conn, source.name)
    found = []
    for platform in sorted(known | set(shift)):
        refused, of = stored.get(platform, (0, 0))
        refused += shift[platform]
        is_outage = suppression.is_mass_failure(refused, max(of, refused))
        if is_outage is not (platform in known):
            found.append(OutageChange(platform, is_outage, refused, of))
    return found


def _refused_shift(changes: Sequence[Change]) -> Counter[str]:
    """Return by how much these changes move each platform's number of refused connections."""
    shift: Counter[str] = Counter()
    for change in changes:
        was = change.before is not None and suppression.is_outage_symptom(change.before)
        shift[change.after.snapshot.platform] += suppression.is_outage_symptom(change.after) - was
    return shift


def _record_outage(
    conn: Connection, source: SourceConfig, outage: OutageChange, *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    platform, refused, of = outage.platform, outage.refused, outage.of
    begins = f"{refused} of {of} {platform} connections are refused: the platform or the provider has a problem."
    return record_source_incident(
        conn,
        source,
        subject=IncidentSubject.OUTAGE.of(platform),
        problem=outage.begins,
        reason=IncidentReason.PLATFORM_OUTAGE,
        status=IncidentReason.PLATFORM_OUTAGE if outage.begins else "ok",
        message=begins if outage.begins else f"Most {platform} connections are accepted again.",
        channels=channels,
        now=now,
        platform=platform,
        count=max(refused, 1),
    )


def _mark_cohorts(conn: Connection, source: SourceConfig, cohorts: Sequence[int], *, answered: bool, now: datetime) -> None:
    """Plan the cohorts' next turns. Their time of the last probe does not change if nothing was answered."""
    every, due = source.probe_every, dict[int, datetime | None].fromkeys(cohorts)
    if every is not None:
        for cohort in cohorts:
            due[cohort] = schedule.next_cohort_probe(now, every, source=source.name, cohort=cohort, jitter=source.jitter)
    probes.mark_cohorts(conn, source.name, due, probed_at=now if answered else None)


@lru_cache(maxsize=1024)
def _as_set(permissions: tuple[str, ...]) -> frozenset[str]:
    """Return one shared set for the many connections with equal permissions."""
    return frozenset(permissions)


def is_news(result: ProbeResult, *, answered: bool) -> bool:
    """Return True if the answer changes what is stored of the connection, judged by the little that the target carries.

    A probe without an answer is news only if the API `answered` others: else it is the API that is down.
    """
    target, answer = result.target, result.answer
    if answer is None or result.finding is None:
        return answered and probe_rules.is_change(target.known, None)
    if result.finding is ProbeFinding.OK and answer.permissions and target.permissions != _as_set(answer.permissions):
        return True
    return probe_rules.is_change(target.known, result.finding)


class ProbeTally(Record, kw_only=True):
    """Collects the results of a batch. Whole states are read only for news, which is rare."""

    source: SourceConfig
    now: datetime
    answered: bool
    """True if the API answered at least one probe of the batch."""
    recheck: bool = False
    """True if users requested the probes."""
    news: list[ProbeResult] = field(default_factory=list)
    """Results that probably change something."""
    changes: list[Change] = field(default_factory=list)
    next_probes: dict[datetime | None, list[int]] = field(default_factory=dict)
    """Unchanged connections by the time of their next probe (None: with their cohort)."""
    outcomes: Counter[str] = field(default_factory=Counter)
    milliseconds: Counter[str] = field(default_factory=Counter)
    """Durations by outcome."""

    def count(self, result: ProbeResult) -> None:
        """Count one result, and sort it into news or unchanged."""
        self.outcomes[result.outcome] += 1
        self.milliseconds[result.outcome] += round(result.seconds * 1000)
        if is_news(result, answered=self.answered):
            self.news.append(result)
        else:
            self._unchanged(result, result.target.known, self.source.policy_for(result.target.platform))

    def judge_news(self, conn: Connection) -> None:
        """Apply the rules to the news, on the connections' whole states."""
        if not self.news:
            return
        row = sources.find_source(conn, self.source.name)
        states = connection_codec.load(conn, [result.target.id for result in self.news])
        labeller = labeller_of(conn, self.source)
        for result in self.news:
            state = states.get(result.target.id)
            if state is not None:  # None where it was retired while it was being probed
                policy = labeller.policy(state.snapshot)
                self._judge(result, state, policy, clock_skew=row.clock_skew if row else None)

    def _judge(self, result: ProbeResult, state: ConnectionState, policy: Policy, *, clock_skew: float | None) -> None:
        context = self.source.context(policy, now=self.now, clock_skew=clock_skew)
        if self.recheck and probe_rules.is_same_refusal(state.probe, result.finding, self.now):
            return  # the probe that is planned to confirm the first refusal stays due
        after = lifecycle.probed(state, result.answer, context)
        if after == state:
            self._unchanged(result, state.probe, policy)
            return
        next_probe_at = self._next_own_probe(result, after.probe, policy)
        self.changes.append(Change(row=result.target.id, before=state, after=after, next_probe_at=next_probe_at))

    def _unchanged(self, result: ProbeResult, known: ProbeState, policy: Policy) -> None:
        if result.finding is ProbeFinding.OK and not result.target.individual:
            return  # nearly all results: the next probe is its cohort's
        next_probe_at = self._next_own_probe(result, known, policy)
        if result.target.individual or next_probe_at is not None:
            self.next_probes.setdefault(next_probe_at, []).append(result.target.id)

    def _next_own_probe(self, result: ProbeResult, probe: ProbeState, policy: Policy) -> datetime | None:
        """Return when a connection is probed ahead of its cohort's turn; None: with its cohort.

        A refused connection is. So is one without an answer, but only once: a second probe in a row without evidence is not
        urgent.
        """
        every, finding = self.source.probe_every, result.finding
        if every is None:
            return None
        if result.target.known.silent_since is not None and not probe_rules.is_evidence(finding):
            refused = probe.status is ProbeStatus.FAILING
            return schedule.next_failing_probe(self.now, every, confirmed=True) if refused else None
        if probe.status is ProbeStatus.FAILING:
            confirmed = probe_rules.is_confirmed(probe, policy.confirm_failures, self.now)
            unclear = probe.finding in probe_rules.UNCLEAR and probe.refusals > 1
            return schedule.next_failing_probe(self.now, every, confirmed=confirmed, unclear=unclear)
        undecided = finding is ProbeFinding.TRANSIENT and probe.status is ProbeStatus.UNPROBED
        if undecided or finding is None:
            return schedule.next_failing_probe(self.now, every, confirmed=True)
        return None
