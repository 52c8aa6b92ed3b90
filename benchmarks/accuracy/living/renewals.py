"""Scenarios of renewals: tokens that their service renews all day, lazily, late, in vain, or no longer."""

from __future__ import annotations

from datetime import datetime, timedelta

from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, Kind, Notification
from benchmarks.accuracy.living.truths import (
    DEAD,
    ROTATIONS,
    end_of_token,
    excuse,
    kill,
    reconnect,
    reconnected_later,
)
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.domain import AlertEvent

RETRY = 15 * MINUTE
"""How long Postbreeze waits after a failed refresh of a short token."""
_UPSTREAM = {"refresh_error": "upstream connect error", "refresh_error_status": 503}


def renew(simulation: Simulation, account: Account, lifetime: timedelta) -> datetime:
    """Renew a token as the service does; return its new date."""
    ends = simulation.now + lifetime
    simulation.change(
        account,
        expires_at=ends,
        refreshed_at=simulation.now,
        refresh_attempt_at=simulation.now,
        refresh_error=None,
        refresh_error_status=None,
        noticed=False,  # the service lists a date that is just past as ACTIVE
    )
    return ends


def renewed_all_day(simulation: Simulation, account: Account, lasting: timedelta) -> Script:
    """Renew a short token at its rhythm, minutes earlier or later."""
    lifetime, every = ROTATIONS[account.platform]
    end = simulation.now + lasting
    renew(simulation, account, lifetime)
    while simulation.now < end:
        yield simulation.now + every * (0.95 + 0.1 * simulation.dice.random())
        renew(simulation, account, lifetime)


def renewals_stop(simulation: Simulation, account: Account) -> Script:
    """Stop the renewals of a short token without any error."""
    lifetime, every = ROTATIONS[account.platform]
    yield from renewed_all_day(simulation, account, simulation.between(DAY, 2 * DAY))
    last, ends = simulation.now, end_of_token(simulation, account)
    poll = simulation.truth.poll_interval(account.source.name)
    in_time = last + 1.6 * every + 1.2 * poll < ends  # after half a gap without a renewal, a list is read before the end
    simulation.begin_problem(
        account,
        Kind.EXPIRING,
        "its renewals stopped",
        start=last + 1.1 * every,
        end=ends,
        due=ends - MINUTE,
        needs=Notification.POLL if in_time else None,
    )
    due = max(ends, last + 1.6 * every) + simulation.truth.one_poll_of(account.source.name)
    simulation.begin_problem(account, Kind.EXPIRED, "its renewals stopped", start=ends, events=DEAD, due=due)
    yield ends
    yield from reconnected_later(simulation, account)
    renew(simulation, account, lifetime)


def renewed_lazily(simulation: Simulation, account: Account) -> Script:
    """Renew a short token only when it is used, up to 20 hours after its date, as the service always does: no alert."""
    lifetime, _ = ROTATIONS[account.platform]
    while simulation.now < simulation.end:
        renew(simulation, account, lifetime)
        yield simulation.now + lifetime + simulation.between(MINUTE, 20 * HOUR)


def renewals_never_stated(simulation: Simulation, account: Account) -> Script:
    """Renew a short token without lastRefreshedAt, at any time: only its date moves; no alert."""
    lifetime, every = ROTATIONS[account.platform]
    while simulation.now < simulation.end:
        ends = simulation.now + lifetime
        simulation.change(account, expires_at=ends, refreshed_at=None, refresh_attempt_at=None, noticed=False)
        yield simulation.now + every


def refresh_fails_for_hours(simulation: Simulation, account: Account) -> Script:
    """Let the refresh of a short token fail with 503 for hours, and succeed in the end."""
    lifetime, every = ROTATIONS[account.platform]
    yield from renewed_all_day(simulation, account, simulation.between(DAY, 2 * DAY))
    yield simulation.now + every
    ends, until = end_of_token(simulation, account), simulation.now + simulation.between(HOUR / 2, 5 * HOUR)
    _fails_until(simulation, account, ends, needs=None)
    while simulation.now < until:
        simulation.change(account, refresh_attempt_at=simulation.now, **_UPSTREAM)
        yield simulation.now + RETRY
    simulation.end_problems(account)
    renew(simulation, account, lifetime)


def refresh_fails_until_death(simulation: Simulation, account: Account) -> Script:
    """Let the refresh of a short token fail with 503 until a person reconnects the account."""
    lifetime, every = ROTATIONS[account.platform]
    yield from renewed_all_day(simulation, account, simulation.between(DAY, 2 * DAY))
    yield simulation.now + every
    ends = end_of_token(simulation, account)
    _fails_until(simulation, account, ends, needs=Notification.POLL)
    until = ends + simulation.between(4 * HOUR, DAY)
    while simulation.now < until:
        simulation.change(account, refresh_attempt_at=simulation.now, **_UPSTREAM)
        yield simulation.now + RETRY
    yield from simulation.when_open(account, simulation.now)
    reconnect(simulation, account)
    renew(simulation, account, lifetime)


def _fails_until(simulation: Simulation, account: Account, ends: datetime, *, needs: Notification | None) -> None:
    """Record that a token whose refresh fails dies at its date."""
    simulation.begin_problem(account, Kind.EXPIRING, "the refresh fails", end=ends, needs=None)
    simulation.begin_problem(account, Kind.EXPIRED, "the refresh fails", start=ends, events=DEAD, needs=needs)


def one_failed_refresh(simulation: Simulation, account: Account) -> Script:
    """Let one refresh fail of a token with weeks left; the next attempt is days later."""
    if end_of_token(simulation, account) - simulation.now < 20 * DAY:
        reconnect(simulation, account)
    simulation.change(account, refresh_attempt_at=simulation.now, **_UPSTREAM)
    yield simulation.now + simulation.between(DAY, 3 * DAY)
    simulation.change(account, refresh_attempt_at=simulation.now, refresh_error=None, refresh_error_status=None)


def long_refresh_fails_for_hours(simulation: Simulation, account: Account) -> Script:
    """Let every attempt fail for hours to refresh a token with weeks left: no alert."""
    if end_of_token(simulation, account) - simulation.now < 20 * DAY:
        reconnect(simulation, account)
    for _ in range(10):
        simulation.change(account, refresh_attempt_at=simulation.now, **_UPSTREAM)
        yield simulation.now + HOUR
    reconnect(simulation, account)


def long_refresh_fails_until_death(simulation: Simulation, account: Account) -> Script:
    """Let every attempt fail to refresh a long token, from ten days before its date on."""
    ends = end_of_token(simulation, account)
    yield max(simulation.now, ends - 10 * DAY)
    near = max(ends - account.window, simulation.now)
    due = near + simulation.truth.one_poll_of(account.source.name)
    simulation.begin_problem(account, Kind.EXPIRING, "the refresh fails", end=ends, due=due)
    simulation.begin_problem(account, Kind.EXPIRED, "the refresh fails", start=ends, events=DEAD)
    simulation.change(account, noticed=False)
    while simulation.now < ends:
        simulation.change(account, refresh_attempt_at=simulation.now, **_UPSTREAM)
        yield min(simulation.now + 6 * HOUR, ends)
    yield from reconnected_later(simulation, account)


def reconnected_late(simulation: Simulation, account: Account) -> Script:
    """Reconnect a short token days after its death: connectedAt and the last refresh, with its error, stay as they were."""
    lifetime, every = ROTATIONS[account.platform]
    yield from renewed_all_day(simulation, account, simulation.between(DAY, 2 * DAY))
    never_refreshed, keeps_error, listed = simulation.pick(
        account, [(a, b, c) for a in (False, True) for b in (True, False) for c in (True, False)]
    )
    yield simulation.now + every
    ends = end_of_token(simulation, account)
    error = "invalid_grant"
    simulation.begin_problem(account, Kind.EXPIRING, "the refresh was refused", end=ends, needs=None)
    simulation.begin_problem(account, Kind.EXPIRED, "the refresh was refused", start=ends, events=DEAD)
    simulation.change(account, refresh_attempt_at=simulation.now, refresh_error=error, refresh_error_status=400)
    yield ends
    if listed:
        kill(simulation, account, listed=True)
    yield from simulation.when_open(account, simulation.now + simulation.between(6 * HOUR, 5 * DAY))
    row = simulation.listed(account)
    reconnect(simulation, account)
    simulation.change(
        account,
        expires_at=simulation.now + lifetime,
        refreshed_at=None if never_refreshed else row.refreshed_at,
        refresh_attempt_at=row.refresh_attempt_at,
        refresh_error=error if keeps_error else None,
        refresh_error_status=400 if keeps_error else None,
        noticed=False,
    )
    yield simulation.now + every
    yield from renewed_all_day(simulation, account, DAY)


def renewed_late(simulation: Simulation, account: Account) -> Script:
    """Renew a long token always with two days left: warnings are justified in the first two cycles, later none is."""
    assert account.lifetime is not None
    for _ in range(2):
        ends = end_of_token(simulation, account)
        renewed = ends - 2 * DAY
        excuse(simulation, account, Kind.EXPIRING, "its renewal is not known", start=ends - account.window, end=renewed)
        yield renewed
        _renewed_by_service(simulation, account)
    for _ in range(2):
        yield end_of_token(simulation, account) - 2 * DAY
        _renewed_by_service(simulation, account)


def renewed_late_then_stops(simulation: Simulation, account: Account) -> Script:
    """Renew a long token with two days left, as always, until the renewals stop."""
    yield from renewed_late(simulation, account)
    ends = end_of_token(simulation, account)
    simulation.begin_problem(
        account,
        Kind.EXPIRING,
        "its renewals stopped",
        start=ends - 2 * DAY,
        end=ends,
        due=ends - DAY / 2,
        events=(AlertEvent.EXPIRING_SOON,),
    )
    simulation.begin_problem(account, Kind.EXPIRED, "its renewals stopped", start=ends, events=DEAD)
    yield ends
    yield from reconnected_later(simulation, account)


def _renewed_by_service(simulation: Simulation, account: Account) -> None:
    assert account.lifetime is not None
    simulation.end_problems(account)
    renew(simulation, account, account.lifetime)
