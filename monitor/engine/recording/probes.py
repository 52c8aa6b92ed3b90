"""Record probe results, and detect platform outages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import ConnectionState, IncidentSubject, ProbeAnswer, ProbeFinding, ProbeState, ProbeStatus
from monitor.domain.rules import lifecycle, schedule, suppression
from monitor.domain.rules import probes as probe_rules
from monitor.domain.rules.expiry import Context
from monitor.engine.probe_runner import Batch, ProbeResult
from monitor.engine.recording import Change, Recorded, record_changes, record_source_incident
from monitor.store import Connection, connection_codec, connections, incidents, probes, sources

ASKED_AGAIN_WITHIN = timedelta(minutes=65)
"""A refused connection is probed hourly."""


def record_with_outages(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Write what probes changed; where most of a platform is refused at once, say that instead of each connection's trouble."""
    known = IncidentSubject.OUTAGE.names_in(incidents.open_subjects(conn, source.name))
    shift = _shift(changes)
    recorded = Recorded()
    if not known and not any(count > 0 for count in shift.values()):
        return record_changes(conn, source, changes, channels=channels, now=now)
    stand = connections.count_refused(conn, source.name)
    for platform in sorted(known | set(shift)):
        refused, of = stand.get(platform, (0, 0))
        refused += shift[platform]
        is_outage = suppression.is_mass_failure(refused, max(of, refused))
        if is_outage is (platform in known):
            continue
        recorded.add(_say(conn, source, platform, refused, of, problem=is_outage, channels=channels, now=now))
        if not is_outage:
            # Most of them were only not asked again yet: those that are refused after that speak for themselves, whether
            # they did before the outage or not. It held back what got worse and reminders as well as first words.
            incidents.review_platform(conn, now + ASKED_AGAIN_WITHIN, source=source.name, platform=platform)
    recorded.add(record_changes(conn, source, changes, channels=channels, now=now))
    return recorded


def _shift(changes: Sequence[Change]) -> Counter[str]:
    """How these changes move each platform's number of refused connections."""
    moved: Counter[str] = Counter()
    for change in changes:
        was = change.before is not None and suppression.is_outage_symptom(change.before)
        moved[change.after.snapshot.platform] += suppression.is_outage_symptom(change.after) - was
    return moved


def _say(
    conn: Connection,
    source: SourceConfig,
    platform: str,
    refused: int,
    of: int,
    *,
    problem: bool,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    trouble = f"{refused} of {of} {platform} connections are refused at once: the platform or the provider has trouble."
    return record_source_incident(
        conn,
        source,
        subject=IncidentSubject.OUTAGE.of(platform),
        problem=problem,
        reason="platform_outage",
        status="platform_outage" if problem else "ok",
        message=trouble if problem else f"Most {platform} connections are taken again.",
        channels=channels,
        now=now,
        platform=platform,
        count=max(refused, 1),
    )


def record_probes(
    conn: Connection,
    source: SourceConfig,
    batch: Batch,
    results: Sequence[ProbeResult],
    *,
    pause: float | None,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    """Everything that follows from these answers, in the caller's transaction; the batch's cohorts are done with them.

    Targets of the batch that are not among the results are due again after the `pause`, or at once without one.
    """
    tally = Tally(source=source, now=now)
    for result in results:
        tally.take(result)
    tally.judge(conn)
    recorded = record_with_outages(conn, source, tally.changes, channels=channels, now=now)
    asked = {result.target.id for result in results}
    again = now if pause is None else schedule.postponed(now, pause)
    tally.next_at.setdefault(again, []).extend(target.id for target in batch.targets if target.id not in asked)
    for next_at, rows in tally.next_at.items():
        connections.set_next_probe(conn, rows, next_at)
    hour = now.replace(minute=0, second=0, microsecond=0)
    probes.add_rollups(conn, source.name, hour, {word: (count, tally.spent[word]) for word, count in tally.outcomes.items()})
    _mark_cohorts(conn, source, batch.cohorts, answered=any(result.answer is not None for result in results), now=now)
    return recorded


def _mark_cohorts(conn: Connection, source: SourceConfig, cohorts: Sequence[int], *, answered: bool, now: datetime) -> None:
    """Their next turns. When they were probed stays as it is where nothing was answered."""
    every, due = source.probe_every, dict[int, datetime | None].fromkeys(cohorts)
    if every is not None:
        for cohort in cohorts:
            due[cohort] = schedule.next_cohort_probe(now, every, source=source.name, cohort=cohort, jitter=source.jitter)
    probes.mark_cohorts(conn, source.name, due, probed_at=now if answered else None)


def is_news(source: SourceConfig, result: ProbeResult) -> bool:
    """Whether the answer changes what is known of the connection, judged by the little that its target carries."""
    if result.finding is None:
        return False
    ok = result.finding is ProbeFinding.OK  # the fate of nearly all of them, and nothing has to confirm it
    confirm = 1 if ok else source.policy_for(result.target.platform).confirm_failures
    return probe_rules.is_news(result.target.known, result.finding, confirm=confirm)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a batch of answers comes to. Only news is worth reading a connection's whole state for."""

    source: SourceConfig
    now: datetime
    news: list[ProbeResult] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    next_at: dict[datetime | None, list[int]] = field(default_factory=dict)
    """Connections that did not change, by their own next probe (None: with their cohort)."""
    outcomes: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    """Milliseconds by outcome."""

    def take(self, result: ProbeResult) -> None:
        """One more answer, or none."""
        self.outcomes[result.word] += 1
        self.spent[result.word] += round(result.took * 1000)
        if is_news(self.source, result):
            self.news.append(result)
        else:
            self._unchanged(result, result.target.known)

    def judge(self, conn: Connection) -> None:
        """Judge the news on the connections' whole states."""
        if not self.news:
            return
        row = sources.find_source(conn, self.source.name)
        states = connection_codec.load(conn, [result.target.id for result in self.news])
        for result in self.news:
            state = states.get(result.target.id)
            if state is not None and result.answer is not None:  # else it was retired while it was being asked
                self._judge(result, result.answer, state, clock_skew=row.clock_skew if row else None)

    def _judge(self, result: ProbeResult, answer: ProbeAnswer, state: ConnectionState, *, clock_skew: float | None) -> None:
        policy = self.source.policy_for(state.snapshot.platform)
        context = Context(now=self.now, provider=self.source.info, policy=policy, clock_skew=clock_skew)
        after = lifecycle.probed(state, answer, context)
        if after == state:
            self._unchanged(result, state.probe)
            return
        next_at = self._next_individual(after.snapshot.platform, after.probe, result.finding)
        self.changes.append(Change(row=result.target.id, before=state, after=after, next_probe_at=next_at))

    def _unchanged(self, result: ProbeResult, known: ProbeState) -> None:
        next_at = self._next_individual(result.target.platform, known, result.finding)
        if result.target.individual or next_at is not None:
            self.next_at.setdefault(next_at, []).append(result.target.id)

    def _next_individual(self, platform: str, probe: ProbeState, finding: ProbeFinding | None) -> datetime | None:
        """When a connection is probed by itself, before its cohort's turn; None: with its cohort."""
        every = self.source.probe_every
        if every is None:
            return None
        if probe.status is ProbeStatus.FAILING:
            confirmed = probe.refusals >= self.source.policy_for(platform).confirm_failures
            return schedule.next_failing_probe(self.now, every, confirmed=confirmed)
        untold = finding is ProbeFinding.TRANSIENT and probe.status is ProbeStatus.UNPROBED
        if untold or finding is None:
            return schedule.next_failing_probe(self.now, every, confirmed=True)
        return None
