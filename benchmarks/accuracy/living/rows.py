"""Scenarios of the services' lists: odd fields, new statuses, unreadable rows, and dates that mean something or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from benchmarks.accuracy.ground_truth import DAY, HOUR, Kind, Notification
from benchmarks.accuracy.living.truths import (
    DEAD,
    PROBED,
    ROTATIONS,
    answers_probes,
    end_of_token,
    excuse,
    expires,
    kill,
    probing_time,
    reconnect,
    reconnected_later,
    state,
    state_status,
    works,
)
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.payloads import VALIDATED, WORD_FIELD, Health, PostError, ProbeScript, Shape, iso, remaining
from monitor.domain import AlertEvent

_ODD_AT_POSTPOST: tuple[Mapping[str, object], ...] = (
    {"tokenExpiresIn": -3600},
    {"lastError": ["Session has expired"]},
    {"lastError": {"message": {"text": "Session has expired"}, "occurredAt": 5}},
    {"username": 42},
    {"displayName": ["Casa Verde"]},
    {"profileUrl": {"href": "https://example.org"}},
    {"profileImageUrl": 1, "lastSuccessfulPost": 17},
)
_ODD_AT_POSTBREEZE: tuple[Mapping[str, object], ...] = (
    {"lastRefreshErrorStatus": "400"},
    {"lastRefreshError": {"code": "invalid_grant"}},
    {"scopes": {"granted": True}},
    {"handle": 7},
    {"displayName": {}, "meta": "none"},
    {"connectedAt": 0},
)
_LOST_STATUSES = ("needs_reauth", "REVOKED", "reconnect_required", " Expired", "revoked", "EXPIRED", "disconnected")
_NEW_STATUSES = ("paused", "limited", "in_review")


def odd_side_field(simulation: Simulation, account: Account) -> Script:
    """List a dead account whose row has a side field of an unexpected type, at first sight or later."""
    at_postbreeze = account.source.kind == "postbreeze"
    odd = simulation.pick(account, _ODD_AT_POSTBREEZE if at_postbreeze else _ODD_AT_POSTPOST)
    if any(name.startswith("lastRefreshError") for name in odd):
        yield simulation.now + HOUR  # it states a failure, whatever its type
    elif simulation.now > simulation.start or (account.variant or 0) % 2:
        state(simulation, account, **odd)
        yield simulation.now + simulation.between(6 * HOUR, DAY)  # odd and healthy: no alert
    simulation.begin_problem(account, Kind.EXPIRED, f"listed as expired, with {odd}", events=DEAD)
    kill(simulation, account, listed=True)
    state(simulation, account, **odd)
    yield from reconnected_later(simulation, account)


def new_status(simulation: Simulation, account: Account) -> Script:
    """Report a status that is new after `valid`: of a dead account, or of a healthy one."""
    status, is_dead = simulation.pick(
        account, [(each, True) for each in (*_LOST_STATUSES, *_NEW_STATUSES)] + [(each, False) for each in _NEW_STATUSES]
    )
    is_known = status in _LOST_STATUSES
    tested = account.source.kind in PROBED and account.platform in VALIDATED
    if is_dead:
        needs = Notification.POLL if is_known else Notification.PROBE if tested else None
        events = (*DEAD, AlertEvent.DISCONNECTED) if status == "disconnected" else DEAD
        simulation.begin_problem(account, Kind.EXPIRED, f"dead, listed as {status!r}", events=events, needs=needs)
        kill(simulation, account, listed=False)
    if not is_known:
        simulation.begin_shared(account.source, Kind.STATUS_UNKNOWN, status, needs=Notification.FOUR_POLLS)
    state_status(simulation, account, status)
    yield simulation.now + simulation.between(probing_time(simulation), probing_time(simulation) + 2 * DAY)
    if not is_known:
        simulation.end_shared(account.source, Kind.STATUS_UNKNOWN, status)
    reconnect(simulation, account)


def unreadable_id(simulation: Simulation, account: Account) -> Script:
    """Leave the id of a row unreadable for days: one alert about the source."""
    name = "platformId" if account.source.kind in PROBED else "id"
    lasting = simulation.between(DAY, 3 * DAY)
    end = simulation.now + lasting + simulation.truth.one_poll_of(account.source.name)
    simulation.truth.incomplete[account.source.name].append((simulation.now, end))
    row = {name: simulation.pick(account, (12345, None, ["x"]))}
    yield from _unreadable(simulation, account, row, lasting, Kind.LIST_PARTIAL)


def unreadable_status(simulation: Simulation, account: Account) -> Script:
    """Leave the status of a row unreadable for days: one alert about the source."""
    name = WORD_FIELD[account.source.kind]
    row: dict[str, object] = {name: simulation.pick(account, (3, {"v": "expired"}, ["valid"]))}
    yield from _unreadable(simulation, account, row, simulation.between(DAY, 3 * DAY), Kind.ROWS_UNREADABLE)


def _unreadable(simulation: Simulation, account: Account, row: Mapping[str, object], lasting: timedelta, kind: Kind) -> Script:
    about = "" if kind is Kind.LIST_PARTIAL else account.scope or ""
    simulation.begin_shared(account.source, kind, about, needs=Notification.TWO_POLLS)
    state(simulation, account, **row)
    yield simulation.now + lasting
    simulation.change(account, overrides=None)
    simulation.end_shared(account.source, kind, about)


def runs_out(simulation: Simulation, account: Account) -> Script:
    """Let a token with an honest date run out; the service's status agrees with it where it has one."""
    date = end_of_token(simulation, account)
    expires(simulation, account, date)
    yield date
    yield from reconnected_later(simulation, account)


def only_the_date_runs_out(simulation: Simulation, account: Account) -> Script:
    """Let a token run out of which only the date is reported: its status stays as it was."""
    date = end_of_token(simulation, account)
    tested = account.source.kind in PROBED and account.platform in VALIDATED
    needs = Notification.PROBE if tested else None  # without a probe nothing but a date that is no definition's shows it
    expires(simulation, account, date, needs=needs)
    if account.source.shape is not Shape.LEGACY:
        state_status(simulation, account, simulation.pick(account, ("valid", "unknown")))
    yield date
    simulation.change(account, health=Health.EXPIRED, noticed=False)
    yield from reconnected_later(simulation, account, least=probing_time(simulation))


def only_the_span_runs_out(simulation: Simulation, account: Account) -> Script:
    """Report only tokenExpiresIn, from "8d 0h" to "expired", of a token that runs out."""
    date = end_of_token(simulation, account)
    expires(simulation, account, date)
    status = simulation.pick(account, ("valid", "unknown"))
    while simulation.now < date:
        span = remaining(date, simulation.now)
        state(simulation, account, accessTokenExpiresAt=None, tokenExpiresIn=span, tokenStatus=status)
        yield min(simulation.now + HOUR, date)
    simulation.change(account, health=Health.EXPIRED, noticed=False)
    state(simulation, account, accessTokenExpiresAt=None, tokenExpiresIn="expired", tokenStatus=status)
    yield from reconnected_later(simulation, account, least=probing_time(simulation))


def date_passes_while_it_works(simulation: Simulation, account: Account) -> Script:
    """Let a stored date pass of a token that works: the status stays valid and every probe succeeds."""
    date = end_of_token(simulation, account)
    known = date + simulation.truth.one_probe
    near = max(date - account.window, simulation.now)
    excuse(simulation, account, Kind.EXPIRING, "its stored date is near", start=near, end=known)
    excuse(simulation, account, Kind.EXPIRED, "its stored date is past, and no probe is newer", start=date, end=known)
    works(simulation, account)
    state(simulation, account, accessTokenExpiresAt=iso(date), tokenStatus="valid", tokenExpiresIn=None)
    yield known + simulation.between(2 * DAY, 4 * DAY)
    reconnect(simulation, account)


def stale_date(simulation: Simulation, account: Account) -> Script:
    """Report a date of long ago beside `valid`, as PostPost does of healthy YouTube and TikTok accounts, while probes vary.

    An error answer then has tokenExpiresIn "expired", and a message that is about something else.
    """
    account_ends = simulation.listed(account).expires_at
    has_date = account.platform in ("youtube", "tiktok")
    date = iso(simulation.now - 20 * DAY) if has_date else None
    span = "expired" if has_date else None
    for _ in range(4):
        works(simulation, account, span=span)
        status = "valid" if has_date else "unknown"  # PostPost's status of what has no date
        state(simulation, account, tokenStatus=status, accessTokenExpiresAt=date, tokenExpiresIn=span)
        yield simulation.now + simulation.between(6 * HOUR, DAY)
        text = simulation.pick(account, ("Request failed with status code 503", "Too Many Requests", "socket hang up"))
        answers_probes(simulation, account, ProbeScript(message=text, fields={"tokenExpiresIn": "expired"}))
        yield simulation.now + simulation.between(6 * HOUR, 16 * HOUR)
    simulation.change(account, probe=None, overrides=None, expires_at=account_ends)


def rotating_date(simulation: Simulation, account: Account) -> Script:
    """Report the date of a short access token that the service renews all day, sometimes hours late: no alert."""
    lifetime, _ = ROTATIONS[account.platform]
    ends = simulation.now + simulation.between(2 * DAY, 8 * DAY)
    works(simulation, account)
    while simulation.now < ends:
        state(simulation, account, accessTokenExpiresAt=iso(simulation.now + lifetime))
        late = simulation.dice.random() < 0.2
        yield simulation.now + (lifetime + simulation.between(HOUR, 12 * HOUR) if late else 0.8 * lifetime)
    simulation.change(account, probe=None, overrides=None)


def reconnected_as_unknown(simulation: Simulation, account: Account) -> Script:
    """Expire by date, then reconnect: a date 60 days ahead, and the status `unknown`."""
    date = end_of_token(simulation, account)
    expires(simulation, account, date)
    yield date + simulation.between(4 * HOUR, 2 * DAY)
    reconnect(simulation, account)
    state_status(simulation, account, "unknown")
    yield simulation.now + simulation.between(2 * DAY, 3 * DAY)
    simulation.change(account, overrides=None)


def failed_post(simulation: Simulation, account: Account) -> Script:
    """Report an error of posting: one that names the token and is newer than the last post, or one that means nothing now."""
    tested = account.platform in VALIDATED
    now = simulation.now
    messages = (
        "Error validating access token: Session has expired",
        "The token used in the request has expired",
        "invalid_grant",
    )
    fate = simulation.pick(account, ("dead", "old", "media", "dead"))
    message = simulation.dice.choice(messages)
    simulation.change(account, last_post_at=now - 2 * DAY)
    if fate == "dead":
        needs = Notification.PROBE if tested else Notification.TWO_POLLS
        simulation.begin_problem(account, Kind.EXPIRED, "the last post was refused", events=DEAD, needs=needs)
        simulation.change(account, last_error=PostError(message=message, occurred_at=now), health=Health.EXPIRED, noticed=False)
        yield from reconnected_later(simulation, account, least=probing_time(simulation))
        return
    error = PostError(message=message, occurred_at=now - 3 * DAY)
    if fate == "media":
        error = PostError(message="Media upload failed: Invalid image format", occurred_at=now)
    simulation.change(account, last_error=error)
    yield simulation.now + simulation.between(DAY, 2 * DAY)
    simulation.change(account, last_error=None)
