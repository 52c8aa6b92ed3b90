"""Instructions in alerts: what to do, by platform and status (PROVIDERS section 3)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from monitor.domain import IncidentReason, IncidentSubject, SourceStatus, Status, VerdictReason, provider_info
from monitor.domain.providers import in_words
from monitor.domain.text import is_plain_id

PLATFORM_NAMES = {
    "twitter": "X",
    "linkedin": "LinkedIn",
    "instagram": "Instagram",
    "threads": "Threads",
    "facebook": "Facebook",
    "tiktok": "TikTok",
    "youtube": "YouTube",
    "pinterest": "Pinterest",
    "bluesky": "Bluesky",
    "mastodon": "Mastodon",
    "telegram": "Telegram",
    "googlebusiness": "Google Business",
    "reddit": "Reddit",
}
"""The platforms' own spelling of their names; others are shown by their slug."""

# How to reconnect, whatever the cause. "{p}" is the provider's name.
_RECONNECT = {
    "twitter": "Reconnect X in {p}.",
    "linkedin": "Reconnect LinkedIn in {p}; for a page, sign in as one of its admins.",
    "instagram": "Reconnect Instagram in {p}; it must still be a Business or Creator profile.",
    "threads": "Reconnect Threads in {p}; a private profile needs this at least every 90 days.",
    "facebook": "Log in to facebook.com, clear any checkpoint, then reconnect in {p} and tick every page and permission again.",
    "tiktok": "Reconnect TikTok in {p}.",
    "youtube": "Reconnect Google in {p} with the Google login that owns the channel.",
    "pinterest": "Log in to Pinterest, then reconnect it in {p}.",
    "bluesky": "Create a new app password in Bluesky under Settings > App passwords and enter it in {p}.",
    "mastodon": "Authorize again on the Mastodon instance, from {p}.",
    "telegram": "Add the bot to the channel again as an admin with the right to post messages.",
    "googlebusiness": "Reconnect Google in {p} with a Google login that still has a role on the location.",
}

# What to check on the platform if access was revoked rather than expired.
_AFTER_REVOCATION = {
    "twitter": "Check in X > Settings > Connected apps whether the app was removed, and whether the profile is suspended.",
    "linkedin": "The member or LinkedIn may have revoked access, or the login is no longer an admin of the page.",
    "instagram": "Access ends if the password is changed, the app is removed, or the profile becomes a personal one.",
    "threads": "Access ends if the app is removed or a Threads permission is missing.",
    "facebook": "Access ends if the password is changed, a checkpoint appears, the app is removed, or the page role is lost.",
    "tiktok": "Check in TikTok > Settings > Security and permissions whether the app was removed.",
    "youtube": "Check myaccount.google.com/permissions and, in a company, the Workspace admin's policy.",
    "pinterest": "Check whether the Pinterest user or the app was deactivated.",
    "bluesky": "The app password was probably deleted, or the profile moved to another server.",
    "mastodon": "Access ends if the password is changed, the app is removed under Authorized apps, or the instance moves.",
    "telegram": "If the token was revoked in BotFather, paste the new one into {p}; if a session was ended under Devices, "
    "connect the service user again.",
    "googlebusiness": "Check myaccount.google.com/permissions and the roles of the location.",
}

# What to check if the platform rejects the connection although the token may be valid.
_WHILE_FAILING = {
    "twitter": "Check whether the X profile is locked or suspended.",
    "linkedin": "Check whether the login is still an admin of the page.",
    "instagram": "Check whether the profile is still a Business or Creator profile and shows no warning in the app.",
    "threads": "Check whether the Threads permissions are still granted.",
    "facebook": "Check whether facebook.com shows a checkpoint and whether the page role still exists.",
    "tiktok": "Check whether TikTok shows a warning on the profile.",
    "youtube": "Check whether the channel is suspended or a Workspace admin blocks the app.",
    "pinterest": "Check whether this user can still log in to Pinterest.",
    "bluesky": "Check whether the profile is active and its app password is still listed.",
    "mastodon": "Check whether the instance is available and the profile is not suspended.",
    "telegram": "In Telegram, check that the channel exists and that the bot is an admin with the right to post messages.",
    "googlebusiness": "Check whether the location still lists this login.",
}

# Why an expired token needs action: the provider alone cannot renew it.
_ONCE_EXPIRED = {
    "instagram": "An expired Instagram token cannot be refreshed.",
    "threads": "An expired Threads token cannot be refreshed.",
    "facebook": "An expired Facebook token cannot be extended.",
    "linkedin": "LinkedIn requires a manual login at least once a year, and every 60 days if the provider cannot refresh it.",
    "tiktok": "TikTok ends a login that was not refreshed for 180 days.",
    "youtube": "Google ends a login that was unused for 6 months.",
}


def advice(platform: str | None, status: Status, provider: str, reason: str = "", *, lost: Sequence[str] = ()) -> str:
    """Return what to do about a connection in this status, as one to three sentences; empty if nothing is needed.

    `reason` is the verdict's, where it is known: some reasons have specific advice. `lost` are the permissions that it lacks,
    where they are known. The names of an unknown platform and of permissions are inserted unchanged, so they must be harmless.
    """
    slug = platform or ""
    info = provider_info(provider)
    name, service = PLATFORM_NAMES.get(slug, slug or "the connection"), info.label
    if info.advice:
        return _renewal(status, info.advice.replace("{p}", service))
    reconnect = _RECONNECT.get(slug, f"Reconnect {name} in {{p}}.")
    if status is Status.FAILING and reason == VerdictReason.PERMISSIONS_LOST:
        missing = f"the missing ones: {in_words(lost)}" if lost else "the missing ones"
        tick = f"In the platform's dialog, keep every permission selected, especially {missing}."
        return f"{reconnect} {tick}".replace("{p}", service)
    match status:
        case Status.EXPIRING_SOON:
            parts = [_in_time(reconnect)]
        case Status.EXPIRED:
            parts = [reconnect, _ONCE_EXPIRED.get(slug, "")]
        case Status.REVOKED:
            parts = [reconnect, _AFTER_REVOCATION.get(slug, f"A user or {name} revoked the permission.")]
        case Status.FAILING:
            parts = [
                _WHILE_FAILING.get(slug, f"Check whether {name} shows a warning for it."),
                "If there is no problem, " + _lower(reconnect),
            ]
        case Status.DISCONNECTED:
            on_purpose = "{p} no longer lists it. If it was removed on purpose, retire it with: token-monitor forget CONNECTION."
            parts = [on_purpose, "Otherwise, " + _lower(reconnect)]
        case _:
            parts = []
    return " ".join(part for part in parts if part).replace("{p}", service)


PLACEHOLDER = "CONNECTION"
"""Stands for an id in the commands of `advice`."""


def with_id(text: str, public_id: str) -> str:
    """Return advice whose commands name this connection; the placeholder stays if the id is not harmless in a command."""
    return text.replace(PLACEHOLDER, shlex.quote(public_id)) if is_plain_id(public_id) else text


def _renewal(status: Status, renew: str) -> str:
    """Return what to do about a token, secret or date that is not reconnected but replaced."""
    match status:
        case Status.EXPIRING_SOON:
            return _in_time(renew)
        case Status.EXPIRED | Status.REVOKED:
            return renew
        case Status.FAILING | Status.DISCONNECTED:
            return f"Check whether it is still needed. If so: {_lower(renew)}"
        case _:
            return ""


def source_advice(status: str, provider: str) -> str:
    """Return what to do about a source that cannot be read; empty if nothing is needed."""
    service = provider_info(provider).label
    if status == SourceStatus.UNAUTHORIZED:
        return (
            f"Create a new API key in {service} (or check whether the plan still includes API access), replace the api_key "
            "of this source, and reload the monitor. Until then its connections keep their last known status."
        )
    if status == SourceStatus.FAILING and provider_info(provider).reports_are_final:
        return (
            "Check that the program that pushes these reports still runs, and that it reaches the monitor. Until then its "
            "connections keep their last known status. Retire those that no longer exist."
        )
    if status == SourceStatus.FAILING:
        return (
            "Wait. The monitor keeps trying, and the source's connections keep their last known status. "
            f"If it continues, check {service}'s status page and whether this machine can reach it."
        )
    if status == IncidentReason.PLATFORM_OUTAGE:
        return (
            "Wait. Each connection that is still rejected after the outage causes an alert. "
            f"If it continues, check {service}'s status page."
        )
    if status == IncidentReason.SUSPICIOUS_LIST:
        return (
            f"Check in {service} whether these connections were really removed, or whether the key, its plan, workspaces "
            "or users changed. Those that remain missing are reported as disconnected after two more lists."
        )
    if status == IncidentReason.PROBES_UNANSWERED:
        return (
            f"Test these connections in {service}, and check its status page. Until probes give results again, a token that the "
            "platform rejects is noticed only if the list reports it."
        )
    if status == IncidentReason.ROWS_UNREADABLE:
        return (
            f"Check these connections in {service}. If they look normal there, its API has probably changed: update the monitor, "
            "or report this message to its project. Until then a problem of these connections is not detected."
        )
    return ""


def monitor_advice(kind: str, which: str) -> str:
    """Return what to do about a problem of the monitor itself; empty if its message is enough."""
    match kind:
        case IncidentSubject.CHANNEL:
            return f"Fix the problem at its service, or correct its url and reload. `token-monitor test-alert {which}` tests it."
        case IncidentSubject.DELIVERIES:
            return (
                "List the undelivered alerts with `token-monitor alerts`; test the channel with "
                f"`token-monitor test-alert {which}`."
            )
        case IncidentSubject.NETWORK:
            return "Check whether this machine can reach the internet: its network, its name servers, its proxy."
        case IncidentSubject.STATUS:
            return "Check these accounts at the provider, and report the status to the project of this monitor."
        case IncidentSubject.CLOCK:
            return (
                "Check with `timedatectl` that this machine's clock is synchronized (NTP). "
                "If it is, report the wrong Date header to the provider, or to the operator of the proxy."
            )
        case IncidentSubject.DATABASE:
            return "Check whether the database is running, whether this machine can reach it, and whether its disk is full."
        case _:
            return ""


def _in_time(reconnect: str) -> str:
    return "Before it expires, " + _lower(reconnect)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
