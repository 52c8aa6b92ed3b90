"""Scenarios of probes: what platforms answer about healthy and dead accounts, permissions, and tests that cannot be made."""

from __future__ import annotations

from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, Kind, Notification
from benchmarks.accuracy.living.probe_texts import LASTING, PASSING, texts_for
from benchmarks.accuracy.living.truths import (
    ANY,
    BLOCKED,
    DEAD,
    answers_probes,
    excuse,
    kill,
    probing_time,
    reconnect,
    reconnected_later,
    state_status,
)
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.payloads import Health, ProbeScript

PUBLISHING = {
    "linkedin": ("w_member_social",),
    "facebook": ("pages_manage_posts",),
    "instagram": ("instagram_business_content_publish", "instagram_content_publish"),
    "threads": ("threads_content_publish",),
    "twitter": ("tweet.write",),
    "tiktok": ("video.publish",),
    "youtube": ("https://www.googleapis.com/auth/youtube.upload",),
    "pinterest": ("pins:write",),
}
"""The permissions without which an account cannot publish; `instagram_content_publish` is that of the Facebook login."""

FACEBOOK_LOGIN = ("instagram_basic", "instagram_content_publish", "pages_show_list")
_STATISTICS = ("r_member_postAnalytics", "read_insights", "threads_manage_insights", "instagram_business_manage_insights")


def passing_texts(simulation: Simulation, account: Account) -> Script:
    """Answer probes for hours with errors that pass without action; the account is healthy."""
    choice = simulation.pick(account, texts_for(account.platform, PASSING))
    for number in range(4):
        text = choice if account.variant is not None or not number else simulation.dice.choice(PASSING)
        answers_probes(simulation, account, ProbeScript(message=text.message))
        yield simulation.now + simulation.between(2 * HOUR, 5 * HOUR)
    answers_probes(simulation, account, None)


def lasting_texts(simulation: Simulation, account: Account) -> Script:
    """Let an account die or be blocked so that only the text of a probe shows it."""
    text = simulation.pick(account, texts_for(account.platform, LASTING))
    is_blocked = text.meaning == "F"
    simulation.begin_problem(
        account,
        Kind.FAILING if is_blocked else Kind.REVOKED,
        f"probes answer {text.message!r}",
        events=BLOCKED if is_blocked else DEAD,
        needs=Notification.UNCLEAR_PROBES if is_blocked else Notification.PROBE,
    )
    health = {"E": Health.EXPIRED, "R": Health.REVOKED, "C": Health.REVOKED, "F": Health.REFUSED}[text.meaning]
    simulation.change(account, health=health, noticed=False, detail=text.message)
    yield from reconnected_later(simulation, account, least=probing_time(simulation))


def cannot_be_tested(simulation: Simulation, account: Account) -> Script:
    """Answer every probe of one connection with a server error, a page or 404 for weeks; in the end some die, listed."""
    script = simulation.pick(
        account,
        (
            ProbeScript(message="Failed to test connection", http_status=500),
            ProbeScript(message="", http_status=200, is_page=True),
            ProbeScript(message="Connection not found", http_status=404),
            ProbeScript(message="", http_status=502, is_page=True),
        ),
    )
    answers_probes(simulation, account, script)
    simulation.begin_shared(account.source, Kind.UNTESTED, account.platform, needs=None)
    yield simulation.now + simulation.between(min(8 * DAY, 0.5 * simulation.days * DAY), 16 * DAY)
    if simulation.dice.random() < 0.5:
        simulation.begin_problem(account, Kind.EXPIRED, "listed as expired, while probes answer nothing", events=DEAD)
        kill(simulation, account, listed=True)
        answers_probes(simulation, account, script)
        yield from simulation.when_open(account, simulation.now + simulation.between(6 * HOUR, DAY))
    simulation.end_shared(account.source, Kind.UNTESTED, account.platform)
    reconnect(simulation, account)


def permission_lost(simulation: Simulation, account: Account) -> Script:
    """Withdraw the permission to publish, while probes succeed and the row is valid; later it is granted again."""
    yield simulation.now + simulation.truth.one_probe
    permissions = simulation.listed(account).permissions
    lost = next(each for each in PUBLISHING[account.platform] if each in permissions)
    at_postbreeze = account.source.kind == "postbreeze"
    simulation.begin_problem(
        account,
        Kind.FAILING,
        f"lost {lost}",
        events=BLOCKED,
        needs=Notification.POLL if at_postbreeze else Notification.PROBE,
        mentions=lost,
    )
    simulation.change(account, permissions=tuple(each for each in permissions if each != lost))
    yield from simulation.when_open(account, simulation.now + simulation.between(probing_time(simulation), 3 * DAY))
    simulation.change(account, permissions=permissions)
    reconnect(simulation, account)


def permission_exchanged(simulation: Simulation, account: Account) -> Script:
    """Reconnect an Instagram account through the Facebook login, whose permission to publish has another name: no alert."""
    yield simulation.now + simulation.truth.one_probe
    permissions = simulation.listed(account).permissions
    reconnect(simulation, account)
    simulation.change(account, permissions=FACEBOOK_LOGIN)
    yield simulation.now + simulation.between(2 * DAY, 3 * DAY)
    simulation.change(account, permissions=permissions)


def reading_permission_lost(simulation: Simulation, account: Account) -> Script:
    """Withdraw the permissions to read statistics, which publishing does not need: no alert."""
    permissions = simulation.listed(account).permissions
    simulation.change(account, permissions=tuple(dict.fromkeys((*permissions, *_STATISTICS))))
    yield simulation.now + simulation.truth.one_probe
    simulation.change(account, permissions=tuple(each for each in permissions if each not in _STATISTICS))
    yield simulation.now + simulation.between(DAY, 2 * DAY)
    simulation.change(account, permissions=permissions)


def reconnected_without_permission(simulation: Simulation, account: Account) -> Script:
    """Reconnect a revoked Facebook page without the permission to post: probes then answer in Facebook's words."""
    simulation.begin_problem(account, Kind.REVOKED, "revoked, listed or not", events=DEAD, needs=Notification.PROBE)
    listed = simulation.pick(account, (True, False))
    text = "Error validating access token: The user has not authorized application 123."
    simulation.change(account, health=Health.REVOKED, noticed=listed, detail=text)
    yield from simulation.when_open(account, simulation.now + simulation.between(probing_time(simulation), 2 * DAY))
    permission = "pages_manage_posts"
    permissions = simulation.listed(account).permissions
    reconnect(simulation, account)
    why = f"reconnected without {permission}"
    simulation.begin_problem(account, Kind.FAILING, why, events=BLOCKED, needs=Notification.PROBE, mentions=permission)
    left = tuple(each for each in permissions if each != permission)
    answer = "(#200) Requires pages_manage_posts permission"
    simulation.change(account, health=Health.REFUSED, detail=answer, permissions=left)
    yield from simulation.when_open(account, simulation.now + simulation.between(probing_time(simulation), 2 * DAY))
    simulation.change(account, permissions=permissions)
    reconnect(simulation, account)


def moved_to_mtproto(simulation: Simulation, account: Account) -> Script:
    """Move a channel from a bot to a user session: probes refuse it from now on, and it works."""
    yield simulation.now + simulation.truth.one_probe
    if account.source.kind == "postpost":  # its probe answers as for a revoked bot
        why = "refused like a revoked bot, and works"
        excuse(simulation, account, Kind.REVOKED, why, start=simulation.now, end=None, events=ANY, has_reminders=False)
    simulation.change(account, mtproto=True)
    yield simulation.end


def bot_revoked(simulation: Simulation, account: Account) -> Script:
    """Revoke the bot's token: PostPost answers as for a user session, Publora with status 401."""
    yield simulation.now + simulation.truth.one_probe
    needs = Notification.UNCLEAR_PROBES if account.source.kind == "postpost" else Notification.PROBE
    simulation.begin_problem(account, Kind.REVOKED, "the bot's token was revoked", events=DEAD, needs=needs)
    simulation.change(account, health=Health.REVOKED, noticed=False)
    yield from reconnected_later(simulation, account, least=probing_time(simulation))


def unknown_and_valid(simulation: Simulation, account: Account) -> Script:
    """Alternate `unknown` and `valid` of a healthy account whose probes succeed: no alert."""
    for status in ("unknown", "valid", "Valid", "unknown"):
        state_status(simulation, account, status)
        yield simulation.now + simulation.between(3 * HOUR, 12 * HOUR)
    simulation.change(account, overrides=None)
    yield simulation.now + MINUTE
