"""Decide what a poll shows about a source itself: a fault of its API, or of the monitor's own network.

A source that cannot be reached does not raise an alert before the other sources have been polled: where none of them can be
reached on any host, one alert about the monitor's own network replaces one alert per source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain import PollOutcome, SourceStatus
from monitor.domain.records import Record
from monitor.domain.rules.alerting import AlertReason, decide_source_alert
from monitor.domain.text import clean

_CAUSE_LENGTH = 160
"""Maximum length of the cause in a message, so that the sentence after it is never cut off."""

NETWORK_PATIENCE = timedelta(hours=1)
"""Longest time that an unreachable source waits for the other sources to be polled before it raises its own alert."""


class Peer(Record, frozen=True, kw_only=True):
    """Another source, as far as reachability is concerned."""

    host: str
    unreachable: bool
    """True if its last poll could not reach the API."""
    last_poll_at: datetime | None
    last_success_at: datetime | None


class Unmonitored(Record, frozen=True):
    """The connections that are not monitored while their source cannot be read."""

    count: int = 0
    since: datetime | None = None
    """When the first of them was last observed; None: never, or unknown."""
    scopes: tuple[str | None, ...] | None = None
    """The scopes that they belong to; None: all of the source."""

    def explain(self, cause: str) -> str:
        """Return why the source cannot be read, with the number of these connections and since when they are not observed."""
        why = clean(cause, limit=_CAUSE_LENGTH)
        if self.count == 0:
            return why
        unmonitored = self.sentence(None if self.since is None else f"{self.since:%Y-%m-%d %H:%M} UTC")
        return f"{why}{'' if not why or why[-1] in '.!?…' else '.'} {unmonitored}".lstrip()

    def sentence(self, since: str | None) -> str:
        """Return the number of these connections, and since when they are not observed; empty if there are none."""
        if self.count == 0:
            return ""
        some = "1 connection has" if self.count == 1 else f"{self.count} connections have"
        return f"{some} not been {'monitored yet' if since is None else f'monitored since {since}'}."


class NetworkAlert(StrEnum):
    """The alert about the monitor's own network that follows from a poll."""

    NONE = "none"
    PROBLEM = "problem"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePoll:
    """The facts about a source when one of its polls has ended."""

    outcome: PollOutcome
    before: SourceStatus
    """Status before the poll."""
    after: SourceStatus
    """Status after it."""
    host: str
    source_incident: bool
    """True if an incident about this source is open. Only read where `after` is a failure."""
    network_incident: bool
    """True if an incident about the monitor's own network is open."""
    failing_since: datetime
    """Time of the first of its failed polls in a row."""
    peers: Sequence[Peer] = ()
    """The other sources. Only needed where `needs_peers`."""
    now: datetime

    @property
    def unexplained(self) -> bool:
        """True if the source cannot be reached and no alert has reported that."""
        return self.outcome is PollOutcome.UNREACHABLE and self.after is SourceStatus.FAILING and not self.source_incident

    @property
    def needs_peers(self) -> bool:
        """True if the decision depends on the other sources."""
        return self.unexplained and not self.network_incident


class ReachDecision(Record, frozen=True, kw_only=True):
    """The actions for the source itself after a poll."""

    source_alert: AlertReason = AlertReason.NOTHING
    network_alert: NetworkAlert = NetworkAlert.NONE
    poll_others: bool = False
    """Keep the status of before, and poll the other sources first."""


def decide_reach(poll: SourcePoll) -> ReachDecision:
    """Return the alerts that a poll causes about its source and about the monitor's own network."""
    if poll.outcome is not PollOutcome.UNREACHABLE and poll.network_incident:
        return ReachDecision(source_alert=_source_alert(poll), network_alert=NetworkAlert.RECOVERED)
    if not poll.unexplained:
        return ReachDecision(source_alert=_source_alert(poll))
    if poll.network_incident:
        return ReachDecision()
    return _explain(poll)


def _explain(poll: SourcePoll) -> ReachDecision:
    """Compare an unreachable source with the others."""
    source_fault = ReachDecision(source_alert=_source_alert(poll))
    if all(peer.host == poll.host for peer in poll.peers):
        return source_fault  # no other host to compare with
    if any(peer.last_success_at is not None and peer.last_success_at >= poll.failing_since for peer in poll.peers):
        return source_fault
    polled = [peer for peer in poll.peers if peer.last_poll_at is not None and peer.last_poll_at >= poll.failing_since]
    if len(polled) == len(poll.peers):
        return ReachDecision(network_alert=NetworkAlert.PROBLEM) if all(peer.unreachable for peer in polled) else source_fault
    return ReachDecision(poll_others=True) if poll.now - poll.failing_since < NETWORK_PATIENCE else source_fault


def _source_alert(poll: SourcePoll) -> AlertReason:
    broken = poll.after in (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED)
    if broken and poll.before is poll.after and not poll.source_incident:
        return AlertReason.FIRST  # an alert about the network covered it until now, and it still fails
    return decide_source_alert(poll.before, poll.after)
