"""What a person should do about it, per platform and status (PROVIDERS section 3). Sentences for alert texts."""

from __future__ import annotations

from monitor.domain import IncidentSubject, SourceStatus, Status, provider_info

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
"""The platforms as they write themselves; others are shown by their slug."""

# How the connection is made good again, whatever ended it. "{p}" is the provider's name.
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

# What to look at on the platform when the connection was taken back rather than run out.
_AFTER_REVOCATION = {
    "twitter": "See X > Settings > Connected apps whether the app was removed, and whether the profile is suspended.",
    "linkedin": "A member, LinkedIn itself or a lost page admin role may have ended it.",
    "instagram": "A changed password, a removed app or a switch to a personal profile ends it.",
    "threads": "A removed app or a missing Threads permission ends it.",
    "facebook": "A changed password, a checkpoint, a removed app or a lost page role ends it.",
    "tiktok": "See TikTok > Settings > Security and permissions whether the app was removed.",
    "youtube": "See myaccount.google.com/permissions, and in a company the Workspace admin's policy.",
    "pinterest": "See whether the Pinterest user or the app was deactivated.",
    "bluesky": "The app password was probably deleted, or the profile moved.",
    "mastodon": "A changed password, an entry removed under Authorized apps, or a moved instance ends it.",
    "telegram": "If the token was revoked in BotFather, paste the new one into {p}; if a session was ended under Devices, "
    "connect the service user again.",
    "googlebusiness": "See myaccount.google.com/permissions and the roles of the location.",
}

# What to mend where the platform answers but refuses, and the token itself may be fine.
_WHILE_FAILING = {
    "twitter": "See whether the X profile is locked or suspended.",
    "linkedin": "See whether the login still is an admin of the page.",
    "instagram": "See whether the profile still is a Business or Creator profile and shows no warning in the app.",
    "threads": "See whether the Threads permissions are still granted.",
    "facebook": "See whether facebook.com asks for a checkpoint and the page role is still there.",
    "tiktok": "See whether TikTok shows a warning on the profile.",
    "youtube": "See whether the channel is suspended and a Workspace admin blocks the app.",
    "pinterest": "See whether Pinterest still lets this user in.",
    "bluesky": "See whether the profile is active and its app password still listed.",
    "mastodon": "See whether the instance is up and the profile not suspended.",
    "telegram": "In Telegram, see that the channel is there and the bot is an admin with the right to post messages.",
    "googlebusiness": "See whether the location still lists this login.",
}

# Whose expired tokens cannot be brought back by the provider alone, or why waiting is a bad idea.
_ONCE_EXPIRED = {
    "instagram": "An expired Instagram token cannot be refreshed.",
    "threads": "An expired Threads token cannot be refreshed.",
    "facebook": "An expired Facebook token cannot be extended.",
    "linkedin": "LinkedIn wants a manual login at least once a year, and every 60 days where the provider cannot refresh.",
    "tiktok": "TikTok ends a login that was not refreshed for 180 days.",
    "youtube": "Google ends a login that was unused for 6 months.",
}


def advice(platform: str | None, status: Status, provider: str) -> str:
    """What a person should do about a connection in this status, as one to three sentences; empty where nothing is needed.

    A platform that is not known here is named as it is, so it has to be a harmless text.
    """
    slug = platform or ""
    name, service = PLATFORM_NAMES.get(slug, slug or "the connection"), provider_info(provider).label
    reconnect = _RECONNECT.get(slug, f"Reconnect {name} in {{p}}.")
    match status:
        case Status.EXPIRING_SOON:
            parts = [_in_time(reconnect)]
        case Status.EXPIRED:
            parts = [reconnect, _ONCE_EXPIRED.get(slug, "")]
        case Status.REVOKED:
            parts = [reconnect, _AFTER_REVOCATION.get(slug, f"Somebody, or {name} itself, took the permission back.")]
        case Status.FAILING:
            parts = [
                _WHILE_FAILING.get(slug, f"See whether {name} shows a warning for it."),
                "If all is well there: " + _lower(reconnect),
            ]
        case Status.DISCONNECTED:
            on_purpose = "{p} no longer lists it. If that was on purpose, retire it with: token-monitor forget CONNECTION."
            parts = [on_purpose, "Otherwise: " + _lower(reconnect)]
        case _:
            parts = []
    return " ".join(part for part in parts if part).replace("{p}", service)


def source_advice(status: str, provider: str) -> str:
    """What a person should do about a source that cannot be read; empty where nothing is needed."""
    service = provider_info(provider).label
    if status == SourceStatus.UNAUTHORIZED:
        return (
            f"Create a new API key in {service} (or see whether the plan still includes API access), put it where this source's "
            "api_key is configured, and reload the monitor. Until then its connections keep their last known status."
        )
    if status == SourceStatus.FAILING:
        return (
            "Wait for now. The monitor keeps trying, and the source's connections keep their last known status. "
            f"If it lasts, see {service}'s status page and whether this machine reaches it."
        )
    if status == "platform_outage":
        patience = "Wait for now. What is still refused when it is over is said one by one."
        return f"{patience} If it lasts, see {service}'s status page."
    if status == "suspicious_list":
        return (
            f"See in {service} whether they are really gone, or whether the key's plan, workspaces or users changed. "
            "Those that stay away are said to be disconnected after two more lists."
        )
    return ""


def monitor_advice(kind: str, which: str) -> str:
    """What a person should do about trouble of the monitor itself; empty where its message says all there is."""
    match kind:
        case IncidentSubject.CHANNEL:
            return f"Put its service or its url right and reload the monitor. `token-monitor test-alert {which}` proves it."
        case IncidentSubject.DELIVERIES:
            return f"See `token-monitor alerts` for what was lost, and whether `token-monitor test-alert {which}` arrives."
        case IncidentSubject.NETWORK:
            return "See whether this machine reaches the internet: its network, its name servers, its proxy."
        case IncidentSubject.DATABASE:
            return "See whether the database runs, whether this machine reaches it, and whether its disk has room."
        case _:
            return ""


def _in_time(reconnect: str) -> str:
    return "Before it runs out: " + _lower(reconnect)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
