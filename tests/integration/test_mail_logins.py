"""A mail server with a login: a rejected login is permanent, and the server's text is shown without it."""

from __future__ import annotations

import pytest

from monitor.config import Secret
from monitor.domain.errors import ChannelRejected, ChannelUnreachable
from monitor.notify.apprise import Channel
from monitor.notify.apprise.errors import ServiceResponse, last_refusal
from monitor.notify.messages import Part, Tone
from monitor.store import Store
from tests.support import canary
from tests.support.delivery import channel, numbered, queue, running, states, until
from tests.support.fakes import ManualClock
from tests.support.receivers import MailReceiver, WebhookReceiver

# The receiver listens on loopback only and needs no certificate.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

PART = Part(title="Hello", body="World", tone=Tone.INFO, alert_ids=("one",))
PASSWORD, OLD = canary.MAIL_PASSWORD, canary.OTHER_KEY


def test_the_right_login_mails() -> None:
    with MailReceiver(login=("monitor", PASSWORD)) as mail:
        Channel("ops", Secret(mail.apprise_url_as(f"monitor:{PASSWORD}"))).send(PART)
        assert len(mail.messages) == 1


def test_a_login_that_succeeds_in_the_end_takes_back_its_refusals() -> None:
    """The client tries one way of logging in after the other: only what was refused after that explains a failure."""
    weak, entered, full = (ServiceResponse(status=status, mail=True) for status in (535, 235, 452))
    assert last_refusal([weak, entered]) is None
    assert last_refusal([weak, entered, full]) is full
    assert last_refusal([weak, ServiceResponse(status=221, mail=True)]) is weak


def test_A04_a_rejected_login_is_permanent_and_shown_in_the_servers_words() -> None:
    with MailReceiver(login=("monitor", PASSWORD)) as mail:
        said = r"^E-Mail answered 535 \(5\.7\.8 Authentication credentials invalid\)\.$"
        with pytest.raises(ChannelRejected, match=said) as raised:
            Channel("ops", Secret(mail.apprise_url_as(f"monitor:{OLD}"))).send(PART)
        canary.assert_absent(str(raised.value), "the error")
        assert mail.messages == []


def test_A04_a_server_that_takes_no_mail_without_a_login_is_a_refusal_for_good() -> None:
    with (
        MailReceiver(login=("monitor", PASSWORD)) as mail,
        pytest.raises(ChannelRejected, match=r"E-Mail answered 530 \(5\.7\.0 Authentication required\)"),
    ):
        Channel("ops", Secret(mail.apprise_url())).send(PART)


def test_a_mail_server_that_is_busy_may_pass() -> None:
    with MailReceiver() as mail:
        mail.refused["ops@example.com"] = "452 4.3.1 try again later"
        with pytest.raises(ChannelUnreachable, match=r"E-Mail answered 452 \(4\.3\.1 try again later\)"):
            Channel("ops", Secret(mail.apprise_url())).send(PART)


async def test_A04_a_changed_mail_password_breaks_the_channel_and_the_others_are_notified(
    store: Store, clock: ManualClock
) -> None:
    with MailReceiver(login=("monitor", PASSWORD)) as mail, WebhookReceiver() as other:
        queue(store, numbered(1), "mail")
        both = channel(mail.apprise_url_as(f"monitor:{OLD}"), "mail"), channel(other.apprise_url(), "other")
        async with running(store, clock, *both) as notifier:
            await until(lambda: len(other.received) == 1)
            assert notifier.health()[0].rejected
        assert states(store, "mail") == {"pending": 1}
        assert "535" in other.received[0].text
        canary.assert_absent(other.received[0].text, "the message")
