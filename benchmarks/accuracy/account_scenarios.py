"""Scripts of single accounts: expiries, losses, and noise that is no problem."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from benchmarks.accuracy.ground_truth import DAY, EVENTS_OF, HOUR, MINUTE, Kind, Notification
from benchmarks.accuracy.simulation import Account, Intent, Script, Simulation
from monitor.demo.payloads import VALIDATED, Health, ProbeScript
from monitor.domain import AlertEvent

TESTED = ("postpost", "publora")
Trouble = Callable[[Simulation, Account], Script]

RIGHTS = "Bot needs channel administrator posting rights"
PASSING = ("Request failed with status code 503", "Rate limit exceeded, try later", "connect ETIMEDOUT", "ECONNRESET")
ODD_STATUSES: tuple[object, ...] = ("checking", None, "valid", "", "VALID ")


def scenario(simulation: Simulation, account: Account) -> Script:
    """Run one scenario after another, with weeks between them; dated tokens expire and are renewed meanwhile."""
    if account.lifetime is not None:
        yield from dated(simulation, account)
        return
    menu = scenarios_of(account)
    while True:
        yield simulation.now + simulation.between(DAY / 2, max(9 * DAY, simulation.days * DAY / 2.5))
        yield from simulation.when_open(account, simulation.now)
        yield from simulation.dice.choice(menu)(simulation, account)
        if account.open or not simulation.is_listed(account):
            return


def scenarios_of(account: Account) -> list[Trouble]:
    """Return the scenarios that fit this account, including noise that is no problem."""
    kind = account.source.kind
    menu: list[Trouble] = [removed, skipped_once, renamed]
    if kind not in ("postpost", "publora"):
        menu += [reconnected_quickly, reconnected_quickly]
    if kind == "postpeer":
        return menu
    menu += [odd_statuses, garbled]
    if account.platform == "telegram":
        menu += [rights_lost, rights_lost, lost_unseen]
    elif kind == "postbreeze" or account.platform not in VALIDATED:
        menu += [lost_in_the_list, lost_in_the_list]
    else:
        menu += [lost_in_the_list, lost_unseen, refused, flapping]
    if kind in TESTED and account.platform in VALIDATED:
        menu += [probe_fails_passingly, probe_refused_once]
    return menu


# --- tokens that expire ----------------------------------------------------------------------------------------------


def dated(simulation: Simulation, account: Account) -> Script:
    """Renew in time, after the warning, too late, or never; occasionally lose the token before its expiry."""
    menu = [trouble for trouble in scenarios_of(account) if trouble is not flapping]
    while True:
        date = simulation.listed(account).expires_at
        assert date is not None
        quiet_until = date - account.window - 3 * DAY
        if quiet_until - simulation.now > 2 * DAY and simulation.dice.random() < 0.6:
            yield simulation.now + simulation.between(DAY / 2, (quiet_until - simulation.now) / 2)
            yield from simulation.when_open(account, simulation.now)
            trouble = simulation.dice.choice([*menu, refresh_fails] if account.source.kind == "postbreeze" else menu)
            yield from trouble(simulation, account)
            if any(problem.holds(simulation.now) for problem in account.open) or not simulation.is_listed(account):
                return
            if simulation.listed(account).expires_at != date:
                continue
        fate = simulation.dice.random()
        if fate < 0.3:
            at = date - account.window - simulation.between(HOUR, 2 * DAY)
        elif fate < 0.7:
            at = date - simulation.between(MINUTE, account.window)
            if fate < 0.4 and account.source.kind in TESTED:
                simulation.play(status_wavers(simulation, account), account)
        elif fate < 0.93:
            at = date + simulation.between(HOUR, 4 * DAY)
        else:
            yield date + simulation.between(DAY, 3 * DAY)
            simulation.intents.append(Intent(action="ack", account=account))
            return
        yield from simulation.when_open(account, max(at, simulation.now + HOUR))
        simulation.renew(account)


def status_wavers(simulation: Simulation, account: Account) -> Script:
    """Alternate the reported status between expiring_soon and valid near the threshold, with the same date."""
    date = simulation.listed(account).expires_at
    assert date is not None
    yield date - account.window + 2 * simulation.truth.one_poll
    for status in ("valid", "expiring_soon") * 4:
        if not simulation.is_listed(account) or simulation.listed(account).expires_at != date:
            return
        simulation.world.state_word(account.source.name, account.id, status, scope=account.scope)
        yield simulation.now + simulation.truth.poll_every
    if simulation.is_listed(account) and simulation.listed(account).expires_at == date:
        simulation.change(account, overrides=None)


def rotating(simulation: Simulation, account: Account) -> Script:
    """Renew a short-lived token as the service does: often slightly late, sometimes at the second attempt."""
    assert account.lifetime is not None
    dies_at = simulation.now + simulation.between(DAY, 4 * simulation.days * DAY)
    while simulation.now < dies_at:
        late = simulation.dice.random() < 0.1
        yield simulation.now + account.lifetime * (1.2 if late else 0.9)
        if simulation.dice.random() < 0.05:
            simulation.world.fail_refresh(account.source.name, account.id, scope=account.scope, status=429, error="slow down")
            yield simulation.now + 10 * MINUTE
        simulation.change(
            account, expires_at=simulation.now + account.lifetime, refreshed_at=simulation.now, refresh_attempt_at=simulation.now
        )
    yield simulation.now + account.lifetime * 0.9
    ends = simulation.listed(account).expires_at
    assert ends is not None
    simulation.world.fail_refresh(account.source.name, account.id, scope=account.scope)
    simulation.change(account, noticed=True)
    soon = simulation.begin_problem(account, Kind.EXPIRING, "the refresh was refused", needs=None)
    soon.end = ends
    simulation.begin_problem(account, Kind.EXPIRED, "the refresh was refused", start=ends)
    yield from simulation.when_open(account, ends + simulation.between(3 * HOUR, 3 * DAY))
    simulation.end_problems(account)
    simulation.world.renew(account.source.name, account.id, scope=account.scope, lifetime=account.lifetime)
    simulation.change(account, noticed=False)  # so that a date just past is listed as ACTIVE, as a lazy renewal is
    yield from rotating(simulation, account)


def refresh_fails(simulation: Simulation, account: Account) -> Script:
    """Let renewals at Postbreeze fail for a while, or until the account is reconnected."""
    name, once = account.source.name, simulation.truth.poll_every
    fate = simulation.dice.random()
    if fate < 0.4:  # one list may show it: no alert is required
        simulation.world.fail_refresh(name, account.id, scope=account.scope, status=503, error="upstream")
        yield simulation.now + 0.45 * once
    elif fate < 0.7:  # one attempt, which many lists show: an alert is allowed, and none is required
        simulation.begin_problem(account, Kind.EXPIRING, "the refresh keeps failing", needs=None)
        simulation.world.fail_refresh(name, account.id, scope=account.scope, status=503, error="upstream")
        yield from simulation.when_open(account, simulation.now + 10 * once)
    else:
        simulation.begin_problem(account, Kind.EXPIRING, "the refresh was refused")
        simulation.world.fail_refresh(name, account.id, scope=account.scope)
        yield from simulation.when_open(account, simulation.now + simulation.between(3 * once, 2 * DAY))
    simulation.renew(account)


# --- problems ----------------------------------------------------------------------------------------------------------


def repaired(simulation: Simulation, account: Account, *, least: timedelta = 4 * HOUR) -> Script:
    """Reconnect after hours or days; seldom never, and then only what the list shows (each costs a probe an hour)."""
    if least <= 4 * HOUR and simulation.dice.random() < 0.06:
        yield simulation.now + simulation.between(DAY, 3 * DAY)
        simulation.intents.append(Intent(action="ack", account=account))
        return
    yield from simulation.when_open(account, simulation.now + simulation.between(least, least + DAY))
    simulation.renew(account)


def lost_in_the_list(simulation: Simulation, account: Account) -> Script:
    """Expire or revoke the token visibly in the list."""
    if simulation.dice.random() < 0.5:
        simulation.begin_problem(account, Kind.REVOKED, "revoked, listed")
        simulation.world.revoke(account.source.name, account.id, scope=account.scope, noticed=True)
    else:
        kind = Kind.EXPIRED
        simulation.begin_problem(account, kind, "rejected by the platform, listed")
        simulation.world.expire(account.source.name, account.id, scope=account.scope)
        for problem in [each for each in account.open if each.kind in (Kind.EXPIRING, kind) and each.start > simulation.now]:
            simulation.truth.finish(problem, simulation.now)
            account.open.remove(problem)
    yield from repaired(simulation, account)


def lost_unseen(simulation: Simulation, account: Account) -> Script:
    """Revoke the token so that only a probe shows it; of a Telegram bot it shows that something is wrong."""
    events = (*EVENTS_OF[Kind.REVOKED], AlertEvent.FAILING) if account.platform == "telegram" else None
    simulation.begin_problem(account, Kind.REVOKED, "revoked, unlisted", needs=Notification.PROBE, events=events)
    simulation.world.revoke(account.source.name, account.id, scope=account.scope, noticed=False)
    yield from repaired(simulation, account, least=1.6 * simulation.truth.probe_every)


def refused(simulation: Simulation, account: Account) -> Script:
    """Let the platform refuse posts for another reason than expiry or revocation."""
    simulation.begin_problem(account, Kind.FAILING, "refused", needs=Notification.PROBE)
    simulation.world.refuse(account.source.name, account.id, scope=account.scope)
    yield from repaired(simulation, account, least=1.6 * simulation.truth.probe_every)


def rights_lost(simulation: Simulation, account: Account) -> Script:
    """Withdraw the bot's rights in the channel, and restore them."""
    simulation.begin_problem(account, Kind.FAILING, "rights lost", needs=Notification.PROBE)
    simulation.world.refuse(account.source.name, account.id, scope=account.scope, detail=RIGHTS)
    yield from repaired(simulation, account, least=0.5 * simulation.truth.probe_every)


def removed(simulation: Simulation, account: Account) -> Script:
    """Remove the account: permanently (and `forget` it), or reconnect it days later under the same id or a new one."""
    simulation.begin_problem(account, Kind.GONE, "removed", needs=Notification.TWO_POLLS)
    source = account.source.name
    simulation.world.vanish(source, account.id, scope=account.scope)
    if simulation.dice.random() < 0.3:
        yield simulation.now + simulation.between(DAY, 3 * DAY)
        simulation.intents.append(Intent(action="forget", account=account))
        simulation.end_problems(account)
        return
    yield from simulation.when_open(account, simulation.now + simulation.between(3 * simulation.truth.one_poll, 2 * DAY))
    simulation.world.restore(source, account.id, scope=account.scope)
    if account.source.kind in ("postbreeze", "postpeer") and simulation.dice.random() < 0.5:
        _new_id(simulation, account)
    simulation.renew(account)


def _new_id(simulation: Simulation, account: Account) -> None:
    prefix = account.id.partition("_")[0]
    new = f"{prefix}_again{simulation.world.serial():06x}"
    simulation.world.reconnect(account.source.name, account.id, scope=account.scope, new_id=new)
    account.ids.append(new)


def reconnected_quickly(simulation: Simulation, account: Account) -> Script:
    """Reconnect the same account under a new id between two lists: no alert."""
    _new_id(simulation, account)
    simulation.renew(account)
    yield simulation.now + MINUTE


def skipped_once(simulation: Simulation, account: Account) -> Script:
    """Omit the account from at most one list: no alert yet."""
    simulation.world.vanish(account.source.name, account.id, scope=account.scope)
    yield simulation.now + 0.45 * simulation.truth.poll_interval(account.source.name)
    simulation.world.restore(account.source.name, account.id, scope=account.scope)


def renamed(simulation: Simulation, account: Account) -> Script:
    """Rename the account: no alert."""
    name = f"renamed{simulation.world.serial()}"
    simulation.world.rename(account.source.name, account.id, scope=account.scope, username=name, display_name=name.title())
    yield simulation.now + MINUTE


def odd_statuses(simulation: Simulation, account: Account) -> Script:
    """Alternate the reported status between meaningless values: no alert about the account."""
    for _ in range(8):
        status = simulation.dice.choice(ODD_STATUSES)
        simulation.begin_shared(account.source, Kind.STATUS_UNKNOWN, str(status), needs=None)
        simulation.world.state_word(account.source.name, account.id, status, scope=account.scope)
        yield simulation.now + simulation.truth.poll_every
        simulation.end_shared(account.source, Kind.STATUS_UNKNOWN, str(status))
    simulation.change(account, overrides=None)


def garbled(simulation: Simulation, account: Account) -> Script:
    """Make the date or the status unreadable for hours: no alert about the account."""
    about = account.scope or ""
    simulation.begin_shared(account.source, Kind.ROWS_UNREADABLE, about, needs=None)
    if simulation.dice.random() < 0.5:
        simulation.world.state_date(account.source.name, account.id, "soon™", scope=account.scope)
    else:
        simulation.world.state_word(account.source.name, account.id, 12345, scope=account.scope)
    yield simulation.now + simulation.between(HOUR, 12 * HOUR)
    simulation.change(account, overrides=None)
    simulation.end_shared(account.source, Kind.ROWS_UNREADABLE, about)


def flapping(simulation: Simulation, account: Account) -> Script:
    """Alternate expired and valid from poll to poll: notified a few times."""
    for _ in range(6):
        simulation.begin_problem(account, Kind.EXPIRED, "its status flaps", needs=None)
        simulation.world.state_word(account.source.name, account.id, "expired", scope=account.scope)
        yield simulation.now + 1.1 * simulation.truth.poll_every
        simulation.end_problems(account)
        simulation.change(account, overrides=None)
        yield simulation.now + 1.1 * simulation.truth.poll_every


def probe_fails_passingly(simulation: Simulation, account: Account) -> Script:
    """Answer probes with time-outs and rate limits for two probe intervals: no alert about the account."""
    simulation.begin_shared(account.source, Kind.UNTESTED, account.platform, needs=None)
    for _ in range(4):
        script = ProbeScript(message=simulation.dice.choice(PASSING), http_status=simulation.dice.choice((200, 200, 500, 502)))
        simulation.change(account, probe=script)
        yield simulation.now + simulation.truth.probe_every / 2
    simulation.change(account, probe=None)
    simulation.end_shared(account.source, Kind.UNTESTED, account.platform)


def probe_refused_once(simulation: Simulation, account: Account) -> Script:
    """Refuse one probe and accept the next one: no alert."""
    simulation.refuse_once(account)
    yield simulation.now + 2 * simulation.truth.one_probe
    simulation.change(account, health=Health.FINE)
