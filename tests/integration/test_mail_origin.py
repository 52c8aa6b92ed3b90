"""Mails as a real SMTP server receives them: where they come from, for mail programs and for readers."""

from __future__ import annotations

import socket
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest

from monitor.notify import DeliverySettings
from monitor.store import Store
from tests.support.delivery import QUICK, channel, make_notifier, queue, running, states, until
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.receivers import MailReceiver

PUBLIC = replace(QUICK, public_url="https://tokens.example/monitor", config_file="agency.toml")
HOST = socket.gethostname()


async def delivered(
    store: Store, clock: ManualClock, *, settings: DeliverySettings, parameters: str = "", **over: Any
) -> EmailMessage:
    """The mail about one alert."""
    queue(store, [make_alert(connection="agency/linkedin-1", at=clock.now())])
    with MailReceiver() as mail:
        async with running(store, clock, channel(mail.apprise_url() + parameters, **over), settings=settings):
            await until(lambda: states(store) == {"sent": 1})
        (message,) = mail.messages
    return message


def text(message: EmailMessage, kind: str = "html") -> str:
    """The text of the mail; `kind` is html or plain."""
    part = message.get_body((kind,))
    assert part is not None
    return " ".join(str(part.get_content()).split())


async def test_a_mail_states_where_it_comes_from_and_where_to_change_that(store: Store, clock: ManualClock) -> None:
    message = await delivered(store, clock, settings=PUBLIC)
    page = "https://tokens.example/monitor"
    sent = f"Sent by the token expiry monitor on {HOST} ({page}). Its settings: channel ops in agency.toml."
    link = f'<a href="{page}" style="color:inherit">{page}</a>'
    assert sent.replace(page, link, 1) in text(message)
    assert f"Sent by the token expiry monitor on {HOST} (" in text(message, "plain")
    assert text(message).count("Sent by") == 1


async def test_without_a_public_url_the_footer_names_only_the_host(store: Store, clock: ManualClock) -> None:
    message = await delivered(store, clock, settings=QUICK)
    assert f"Sent by the token expiry monitor on {HOST}. Its settings: channel ops in config.toml." in text(message)


@pytest.mark.parametrize("format", ["", "&format=text"], ids=["html", "text"])
async def test_mail_programs_can_sort_mails_by_channel_and_do_not_reply(store: Store, clock: ManualClock, format: str) -> None:  # noqa: A002 - as in the URL
    message = await delivered(store, clock, settings=PUBLIC, name="ops", parameters=format)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"] == "Token expiry monitor, channel ops <ops.token-monitor.tokens.example>"
    assert message["References"] == message["In-Reply-To"]


async def test_headers_of_the_url_stay(store: Store, clock: ManualClock) -> None:
    message = await delivered(store, clock, settings=PUBLIC, parameters="&+list-id=<mine.example>")
    assert message.get_all("List-Id") == ["<mine.example>"]
    assert message["Auto-Submitted"] == "auto-generated"


async def test_without_a_public_url_the_list_is_named_after_the_host(store: Store, clock: ManualClock) -> None:
    message = await delivered(store, clock, settings=QUICK)
    assert message["List-Id"].endswith(f"<ops.token-monitor.{HOST}>")


async def test_a_test_message_comes_from_the_same_list(store: Store, clock: ManualClock) -> None:
    with MailReceiver() as mail:
        notifier = make_notifier(store, clock, channel(mail.apprise_url()), settings=PUBLIC)
        await notifier.send_test()
        (message,) = mail.messages
    assert message["List-Id"].endswith("<ops.token-monitor.tokens.example>")
    assert "channel ops in agency.toml" in text(message)
