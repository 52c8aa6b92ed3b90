"""What happens to single accounts, as scripts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, Kind, Notification
from benchmarks.accuracy.simulation import Account, Intent, Script, Simulation
from monitor.demo.payloads import VALIDATED, Health, ProbeScript

TESTED = ("postpost", "publora")
Trouble = Callable[[Simulation, Account], Script]

RIGHTS = "Bot needs channel administrator posting rights"
PASSING = ("Request failed with status code 503", "Rate limit exceeded, try later", "connect ETIMEDOUT", "ECONNRESET")
ODD_WORDS: tuple[object, ...] = ("checking", None, "valid", "", "VALID ")


def scenario(stage: Simulation, account: Account) -> Script:
    """One trouble after another, with weeks of peace between; dated tokens run out and are renewed meanwhile."""
    if account.lifetime is not None:
        yield from dated(stage, account)
        return
    menu = scenarios_of(account)
    while True:
        yield stage.now + stage.between(DAY / 2, max(9 * DAY, stage.days * DAY / 2.5))
        yield from stage.when_open(account, stage.now)
        yield from stage.dice.choice(menu)(stage, account)
        if account.open or not stage.is_listed(account):
            return


def scenarios_of(account: Account) -> list[Trouble]:
    """Return the scenarios that fit this account, including noise that is no problem."""
    kind = account.source.kind
    menu: list[Trouble] = [removed, skipped_once, renamed]
    if kind not in ("postpost", "publora"):
        menu += [reconnected_at_once, reconnected_at_once]
    if kind == "postpeer":
        return menu
    menu += [odd_words, garbled]
    if account.platform == "telegram":
        menu += [rights_lost, rights_lost, lost_unseen]
    elif kind == "postbreeze" or account.platform not in VALIDATED:
        menu += [lost_in_the_list, lost_in_the_list]
    else:
        menu += [lost_in_the_list, lost_unseen, refused, flapping]
    if kind in TESTED and account.platform in VALIDATED:
        menu += [probe_fails_passingly, probe_refused_once]
    return menu


# --- tokens that run out -----------------------------------------------------------------------------------------------


def dated(stage: Simulation, account: Account) -> Script:
    """Renewed in time, after the warning, too late, or never; now and then lost in mid-life."""
    menu = [trouble for trouble in scenarios_of(account) if trouble is not flapping]
    while True:
        date = stage.listed(account).expires_at
        assert date is not None
        quiet_until = date - account.window - 3 * DAY
        if quiet_until - stage.now > 2 * DAY and stage.dice.random() < 0.6:
            yield stage.now + stage.between(DAY / 2, (quiet_until - stage.now) / 2)
            yield from stage.when_open(account, stage.now)
            trouble = stage.dice.choice([*menu, refresh_fails] if account.source.kind == "postbreeze" else menu)
            yield from trouble(stage, account)
            if any(problem.holds(stage.now) for problem in account.open) or not stage.is_listed(account):
                return
            if stage.listed(account).expires_at != date:
                continue
        fate = stage.dice.random()
        if fate < 0.3:
            at = date - account.window - stage.between(HOUR, 2 * DAY)
        elif fate < 0.7:
            at = date - stage.between(MINUTE, account.window)
            if fate < 0.4 and account.source.kind in TESTED:
                stage.play(word_wavers(stage, account), account)
        elif fate < 0.93:
            at = date + stage.between(HOUR, 4 * DAY)
        else:
            yield date + stage.between(DAY, 3 * DAY)
            stage.intents.append(Intent(deed="ack", account=account))
            return
        yield from stage.when_open(account, max(at, stage.now + HOUR))
        stage.renew(account)


def word_wavers(stage: Simulation, account: Account) -> Script:
    """Near the line the provider says now expiring_soon, now valid, about the same date."""
    date = stage.listed(account).expires_at
    assert date is not None
    yield date - account.window + 2 * stage.truth.one_poll
    for word in ("valid", "expiring_soon") * 4:
        if not stage.is_listed(account) or stage.listed(account).expires_at != date:
            return
        stage.world.state_word(account.source.name, account.id, word, scope=account.scope)
        yield stage.now + stage.truth.poll_every
    if stage.is_listed(account) and stage.listed(account).expires_at == date:
        stage.change(account, overrides=None)


def rotating(stage: Simulation, account: Account) -> Script:
    """Renew a short-lived token as the service does: often slightly late, sometimes at the second attempt."""
    assert account.lifetime is not None
    dies_at = stage.now + stage.between(DAY, 4 * stage.days * DAY)
    while stage.now < dies_at:
        late = stage.dice.random() < 0.1
        yield stage.now + account.lifetime * (1.2 if late else 0.9)
        if stage.dice.random() < 0.05:
            stage.world.fail_refresh(account.source.name, account.id, scope=account.scope, status=429, error="slow down")
            yield stage.now + 10 * MINUTE
        stage.change(account, expires_at=stage.now + account.lifetime, refreshed_at=stage.now, refresh_attempt_at=stage.now)
    yield stage.now + account.lifetime * 0.9
    ends = stage.listed(account).expires_at
    assert ends is not None
    stage.world.fail_refresh(account.source.name, account.id, scope=account.scope)
    stage.change(account, noticed=True)
    soon = stage.suffers(account, Kind.EXPIRING, "the refresh was refused", needs=None)
    soon.end = ends
    stage.suffers(account, Kind.EXPIRED, "the refresh was refused", start=ends)
    yield from stage.when_open(account, ends + stage.between(3 * HOUR, 3 * DAY))
    stage.is_well(account)
    stage.world.renew(account.source.name, account.id, scope=account.scope, lifetime=account.lifetime)
    stage.change(account, noticed=False)  # so that a date just past is listed as ACTIVE, as a lazy renewal is
    yield from rotating(stage, account)


def refresh_fails(stage: Simulation, account: Account) -> Script:
    """Postbreeze cannot renew: for a while, or until a person reconnects."""
    name, once = account.source.name, stage.truth.poll_every
    fate = stage.dice.random()
    if fate < 0.4:  # one list may show it: no reason to speak
        stage.world.fail_refresh(name, account.id, scope=account.scope, status=503, error="upstream")
        yield stage.now + 0.45 * once
    elif fate < 0.7:
        stage.suffers(account, Kind.EXPIRING, "the refresh keeps failing", needs=Notification.FOUR_POLLS)
        stage.world.fail_refresh(name, account.id, scope=account.scope, status=503, error="upstream")
        yield from stage.when_open(account, stage.now + 10 * once)
    else:
        stage.suffers(account, Kind.EXPIRING, "the refresh was refused")
        stage.world.fail_refresh(name, account.id, scope=account.scope)
        yield from stage.when_open(account, stage.now + stage.between(3 * once, 2 * DAY))
    stage.renew(account)


# --- troubles ----------------------------------------------------------------------------------------------------------


def mended(stage: Simulation, account: Account, *, least: timedelta = 4 * HOUR) -> Script:
    """After hours or days a person reconnects; seldom never, and then only what the list shows (each costs a probe an hour)."""
    if least <= 4 * HOUR and stage.dice.random() < 0.06:
        yield stage.now + stage.between(DAY, 3 * DAY)
        stage.intents.append(Intent(deed="ack", account=account))
        return
    yield from stage.when_open(account, stage.now + stage.between(least, least + DAY))
    stage.renew(account)


def lost_in_the_list(stage: Simulation, account: Account) -> Script:
    """Expired or revoked, and the list says so."""
    if stage.dice.random() < 0.5:
        stage.suffers(account, Kind.REVOKED, "revoked, listed")
        stage.world.revoke(account.source.name, account.id, scope=account.scope, noticed=True)
    else:
        kind = Kind.EXPIRED
        stage.suffers(account, kind, "rejected by the platform, listed")
        stage.world.expire(account.source.name, account.id, scope=account.scope)
        for problem in [each for each in account.open if each.kind in (Kind.EXPIRING, kind) and each.start > stage.now]:
            stage.truth.finish(problem, stage.now)
            account.open.remove(problem)
    yield from mended(stage, account)


def lost_unseen(stage: Simulation, account: Account) -> Script:
    """Revoked, and only a probe can tell."""
    stage.suffers(account, Kind.REVOKED, "revoked, unlisted", needs=Notification.PROBE)
    stage.world.revoke(account.source.name, account.id, scope=account.scope, noticed=False)
    yield from mended(stage, account, least=1.6 * stage.truth.probe_every)


def refused(stage: Simulation, account: Account) -> Script:
    """Let the platform refuse posts for another reason than expiry or revocation."""
    stage.suffers(account, Kind.FAILING, "refused", needs=Notification.PROBE)
    stage.world.refuse(account.source.name, account.id, scope=account.scope)
    yield from mended(stage, account, least=1.6 * stage.truth.probe_every)


def rights_lost(stage: Simulation, account: Account) -> Script:
    """Somebody takes the bot's rights in the channel, and gives them back."""
    stage.suffers(account, Kind.FAILING, "rights lost", needs=Notification.PROBE)
    stage.world.refuse(account.source.name, account.id, scope=account.scope, detail=RIGHTS)
    yield from mended(stage, account, least=0.5 * stage.truth.probe_every)


def removed(stage: Simulation, account: Account) -> Script:
    """Remove the account: permanently (and `forget` it), or reconnect it days later under the same id or a new one."""
    stage.suffers(account, Kind.GONE, "removed", needs=Notification.TWO_POLLS)
    source = account.source.name
    stage.world.vanish(source, account.id, scope=account.scope)
    if stage.dice.random() < 0.3:
        yield stage.now + stage.between(DAY, 3 * DAY)
        stage.intents.append(Intent(deed="forget", account=account))
        stage.is_well(account)
        return
    yield from stage.when_open(account, stage.now + stage.between(3 * stage.truth.one_poll, 2 * DAY))
    stage.world.restore(source, account.id, scope=account.scope)
    if account.source.kind in ("postbreeze", "postpeer") and stage.dice.random() < 0.5:
        _new_id(stage, account)
    stage.renew(account)


def _new_id(stage: Simulation, account: Account) -> None:
    prefix = account.id.partition("_")[0]
    new = f"{prefix}_again{stage.world.serial():06x}"
    stage.world.reconnect(account.source.name, account.id, scope=account.scope, new_id=new)
    account.ids.append(new)


def reconnected_at_once(stage: Simulation, account: Account) -> Script:
    """Reconnect the same account under a new id between two lists: no alert."""
    _new_id(stage, account)
    stage.renew(account)
    yield stage.now + MINUTE


def skipped_once(stage: Simulation, account: Account) -> Script:
    """Missing from one list: nothing to say yet."""
    stage.world.vanish(account.source.name, account.id, scope=account.scope)
    yield stage.now + 0.45 * stage.truth.poll_every
    stage.world.restore(account.source.name, account.id, scope=account.scope)


def renamed(stage: Simulation, account: Account) -> Script:
    """Rename the account: no alert."""
    name = f"renamed{stage.world.serial()}"
    stage.world.rename(account.source.name, account.id, scope=account.scope, username=name, display_name=name.title())
    yield stage.now + MINUTE


def odd_words(stage: Simulation, account: Account) -> Script:
    """Alternate the reported status between meaningless values: no alert."""
    for _ in range(8):
        stage.world.state_word(account.source.name, account.id, stage.dice.choice(ODD_WORDS), scope=account.scope)
        yield stage.now + stage.truth.poll_every
    stage.change(account, overrides=None)


def garbled(stage: Simulation, account: Account) -> Script:
    """Make the row unreadable for hours: no alert."""
    if stage.dice.random() < 0.5:
        stage.world.state_date(account.source.name, account.id, "soon™", scope=account.scope)
    else:
        stage.world.state_word(account.source.name, account.id, 12345, scope=account.scope)
    yield stage.now + stage.between(HOUR, 12 * HOUR)
    stage.change(account, overrides=None)


def flapping(stage: Simulation, account: Account) -> Script:
    """Alternate expired and valid from poll to poll: notified a few times."""
    for _ in range(6):
        stage.suffers(account, Kind.EXPIRED, "its word flaps", needs=None)
        stage.world.state_word(account.source.name, account.id, "expired", scope=account.scope)
        yield stage.now + 1.1 * stage.truth.poll_every
        stage.is_well(account)
        stage.change(account, overrides=None)
        yield stage.now + 1.1 * stage.truth.poll_every


def probe_fails_passingly(stage: Simulation, account: Account) -> Script:
    """Probes answer time-outs and rate limits for a day: nothing to say."""
    for _ in range(4):
        script = ProbeScript(message=stage.dice.choice(PASSING), http_status=stage.dice.choice((200, 200, 500, 502)))
        stage.change(account, probe=script)
        yield stage.now + stage.truth.probe_every / 2
    stage.change(account, probe=None)


def probe_refused_once(stage: Simulation, account: Account) -> Script:
    """One probe is refused and the next one taken: nothing to say."""
    stage.refuse_once(account)
    yield stage.now + 2 * stage.truth.one_probe
    stage.change(account, health=Health.FINE)
