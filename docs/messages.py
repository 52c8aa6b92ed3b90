"""Sample messages, as files of text and as pictures of mails. `python -m docs.generate` writes the texts.

`python -m docs.messages` makes the pictures from the mails. It requires Playwright, Debian's chromium and pngquant.
"""
# ruff: noqa: INP001 - a folder of documents is no package

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.config import ChannelConfig, Secret
from monitor.domain import Alert, AlertEvent, Severity
from monitor.domain.records import replace
from monitor.domain.records import replace as replace_record
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.source_reach import Unmonitored
from monitor.notify.links import MessageLinks
from monitor.notify.messages import ChannelLimits, ChannelProfile, Dispatch, Markup, Part, build
from monitor.notify.messages.sizes import ntfy_bytes

FOLDER = Path(__file__).resolve().parent / "messages"
NOW = datetime(2026, 11, 29, 20, 15, tzinfo=UTC)
TIMEZONE = "Europe/Madrid"
NTFY = ChannelProfile(limits=ChannelLimits(body=3_800, size=ntfy_bytes, shared=True), files=True)
"""The profile of ntfy://, which tests compare with the real one."""
MAIL = ChannelProfile(limits=ChannelLimits(body=400_000, title=160), markup=Markup.MAIL, files=True)
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_LINKS = MessageLinks(public_url="https://tokens.example.com", key=b"sample")
_CLIENTS = ("Casa Verde", "Brava Tours", "Northwind Coffee", "Studio Lindgren")
_ACCOUNTS = ("Living", "Kitchen", "Garden", "Events", "Careers", "Stories")
_PLATFORMS = ("linkedin", "instagram", "tiktok", "facebook")


def connection(number: int, **over: object) -> Alert:
    """Return an alert about an account that expires soon, one of several clients."""
    client, platform = _CLIENTS[number % len(_CLIENTS)], _PLATFORMS[number // 2 % len(_PLATFORMS)]
    external_id = f"{platform}-Tz9W5i6{number:03}"
    alert = Alert(
        id=f"69afd2801f0c5be2{number:04}",
        incident=f"0123456789abcdef{number:04}",
        event=AlertEvent.EXPIRING_SOON,
        reason=AlertReason.FIRST,
        severity=Severity.WARNING,
        at=NOW,
        source="agency",
        provider="postpost",
        scope=f"65f0c0ffee00000000000{number % len(_CLIENTS):03}",
        connection=f"agency/65f0c0ffee00000000000{number % len(_CLIENTS):03}/{external_id}",
        external_id=external_id,
        platform=platform,
        label=f"{client} {_ACCOUNTS[number // len(_CLIENTS) % len(_ACCOUNTS)]}",
        status="expiring_soon",
        message="The provider reports that the token expires soon.",
        since=NOW,
        opened_at=NOW,
        expires_at=NOW + (1 + number % 7) * _DAY + 7 * _HOUR + number * timedelta(minutes=13),
        link="https://app.postpost.dev",
        labels={"client": client},
    )
    return replace_record(alert, **over)


def expired(number: int, **over: object) -> Alert:
    """Return an alert about an account whose token has expired."""
    values = {
        "event": AlertEvent.EXPIRED,
        "status": "expired",
        "severity": Severity.CRITICAL,
        "message": "The token has expired.",
        "expires_at": NOW - (2 + number) * _HOUR,
        "since": NOW - (2 + number) * _HOUR,
    }
    return connection(number, **{**values, **over})


def recovered(number: int) -> Alert:
    """Return an alert about an account that was reconnected."""
    return connection(
        number,
        event=AlertEvent.RECOVERED,
        status="valid",
        severity=Severity.CRITICAL,
        reason=AlertReason.RECOVERED,
        previous="expired",
        message="",
        opened_at=NOW - (3 + 5 * number) * _HOUR,
        expires_at=NOW + 60 * _DAY,
    )


def source_down() -> Alert:
    """Return an alert about a source that cannot be read."""
    cause, since = "api.postpost.dev answered 503 Service Unavailable", NOW - timedelta(minutes=45)
    return connection(
        0,
        event=AlertEvent.SOURCE_FAILING,
        status="failing",
        severity=Severity.CRITICAL,
        scope=None,
        connection=None,
        external_id=None,
        platform=None,
        label=None,
        expires_at=None,
        count=2000,
        cause=cause,
        message=Unmonitored(count=2000, since=since).explain(cause),
        unmonitored_since=since,
        labels={},
    )


def reminder(number: int) -> Alert:
    """Return the second reminder about an expired account."""
    since = NOW - 2 * _DAY
    return expired(number, reason=AlertReason.REMINDER, reminder=2, since=since, expires_at=since, opened_at=since - 7 * _DAY)


SCENES: Mapping[str, Sequence[Alert]] = {
    "single": [connection(0)],
    "group-of-17": [*(expired(number) for number in range(3)), *(connection(number) for number in range(3, 17))],
    "group-of-136": [*(expired(number) for number in range(12)), *(connection(number) for number in range(12, 136))],
    "recovery-of-8": [recovered(number) for number in range(8)],
    "reminder": [reminder(0)],
    "source-down": [source_down()],
}


def parts(alerts: Sequence[Alert], profile: ChannelProfile, *, public: bool = True, **channel: object) -> tuple[Part, ...]:
    """Return the messages with these alerts; `public` is True where web.public_url is set."""
    config = replace(ChannelConfig(name="ops", url=Secret("ntfy://localhost/ops")), **channel)
    dispatches = [
        Dispatch(
            alert=alert,
            status_page=_LINKS.about([alert]) if public else None,
            acknowledge=_LINKS.acknowledge(alert, channel="ops", now=NOW) if public and config.actions else None,
        )
        for alert in alerts
    ]
    page_of = _LINKS.about if public else None
    return build.build(dispatches, channel=config, profile=profile, timezone=TIMEZONE, now=NOW, page_of=page_of)


def texts() -> Iterator[tuple[Path, str]]:
    """Yield each file with its text: the messages to ntfy, with and without web.public_url."""
    for name, alerts in SCENES.items():
        for suffix, public in (("", True), ("-without-public-url", False)):
            shown = [f"{part.title}\n\n{part.body}\n" for part in parts(alerts, NTFY, public=public)]
            yield FOLDER / f"{name}{suffix}.txt", "\n---\n\n".join(shown)


def main() -> None:
    """Draw the mails as a phone shows them."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-lcd-text"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page(viewport={"width": 390, "height": 600})
        for name, alerts in SCENES.items():
            picture = FOLDER / f"{name}.png"
            page.set_content(parts(alerts, MAIL)[0].body)
            page.screenshot(path=picture, full_page=True)
            subprocess.run(["pngquant", "--force", "--output", picture, "16", picture], check=True)  # noqa: S603, S607
        browser.close()


if __name__ == "__main__":
    main()
