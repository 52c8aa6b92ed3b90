"""Building blocks of the scenarios: problems with their events, repairs, and the platforms' lifetimes."""

from __future__ import annotations

from datetime import datetime, timedelta

from benchmarks.accuracy.ground_truth import DAY, HOUR, Kind, Notification
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.payloads import WORD_FIELD, Health, PostError, ProbeScript
from monitor.domain import AlertEvent

DEAD = (AlertEvent.EXPIRED, AlertEvent.REVOKED, AlertEvent.FAILING)
"""The alert events that report an account that cannot publish, where its credential is the cause."""
BLOCKED = (AlertEvent.FAILING,)
"""The alert events that report an account that cannot publish for another reason."""
ANY = (AlertEvent.EXPIRING_SOON, AlertEvent.EXPIRED, AlertEvent.REVOKED, AlertEvent.FAILING, AlertEvent.DISCONNECTED)

PROBED = ("postpost", "publora")
"""The services that test a connection on demand."""
ROTATIONS = {
    "twitter": (2 * HOUR, HOUR),
    "bluesky": (2 * HOUR, HOUR),
    "youtube": (HOUR, 5 * HOUR / 6),
    "tiktok": (DAY, DAY / 2),
}
"""Lifetime of an access token, and how often the service renews it."""


def state(simulation: Simulation, account: Account, **fields: object) -> None:
    """Override fields of the account's row."""
    simulation.world.state(account.source.name, account.id, scope=account.scope, **fields)


def state_status(simulation: Simulation, account: Account, status: object) -> None:
    """Override the status that the row reports."""
    state(simulation, account, **{WORD_FIELD[account.source.kind]: status})


def end_of_token(simulation: Simulation, account: Account) -> datetime:
    """Return the expiry date of a dated account."""
    date = simulation.listed(account).expires_at
    assert date is not None, f"{account.name} has no date"
    return date


def kill(simulation: Simulation, account: Account, *, listed: bool, detail: str | None = None) -> None:
    """Let the platform reject the token from now on; `listed` if the service's list shows it."""
    error = PostError(message=detail or "Session has expired", occurred_at=simulation.now)
    simulation.change(account, health=Health.EXPIRED, noticed=listed, detail=detail, last_error=error)


def reconnect(simulation: Simulation, account: Account) -> None:
    """Reconnect the account: all its problems end, and its token gets a full lifetime."""
    simulation.end_problems(account)
    if simulation.is_listed(account):
        simulation.world.renew(account.source.name, account.id, scope=account.scope, lifetime=account.lifetime)
        simulation.change(account, last_post_at=simulation.now)


def reconnected_later(simulation: Simulation, account: Account, *, least: timedelta = 4 * HOUR) -> Script:
    """Reconnect after hours or days."""
    yield from simulation.when_open(account, simulation.now + simulation.between(least, least + DAY))
    reconnect(simulation, account)


def probing_time(simulation: Simulation) -> timedelta:
    """Return how long a problem that only a probe shows must last to be notified for certain."""
    return 2 * simulation.truth.one_probe + simulation.truth.probe_every


def expires(simulation: Simulation, account: Account, date: datetime, *, needs: Notification | None = Notification.POLL) -> None:
    """Record that the token expires at a date: expiring before, dead after it."""
    near = max(date - account.window, simulation.now)
    if near < date:
        simulation.begin_problem(account, Kind.EXPIRING, "expires soon", start=near, end=date, date=date)
    simulation.begin_problem(account, Kind.EXPIRED, "expired", start=date, events=DEAD, needs=needs)


def excuse(
    simulation: Simulation,
    account: Account,
    kind: Kind,
    why: str,
    *,
    start: datetime,
    end: datetime | None,
    events: tuple[AlertEvent, ...] | None = None,
    has_reminders: bool = True,
) -> None:
    """Record that an alert is justified by what the service or the platform answers, although nothing is wrong."""
    simulation.begin_problem(
        account, kind, why, start=start, end=end, events=events, needs=None, is_real=False, has_reminders=has_reminders
    )


def answers_probes(simulation: Simulation, account: Account, script: ProbeScript | None) -> None:
    """Replace the answer to the account's probes; None restores the true one."""
    simulation.change(account, probe=script)


def works(simulation: Simulation, account: Account, *, span: str | None = None) -> None:
    """Let the account work whatever date its row reports; every probe answers ok, with `span` as tokenExpiresIn."""
    permissions = list(simulation.listed(account).permissions)
    fields: dict[str, object] = {"permissions": permissions, "tokenExpiresIn": span}
    script = ProbeScript(message=f"Connected as {account.name}", status="ok", fields=fields)
    simulation.change(account, expires_at=None, probe=script)
