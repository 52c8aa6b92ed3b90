"""A channel with several recipients: who has a message does not get it again because another refuses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.config import Secret
from monitor.domain.errors import ChannelRejected, ChannelUnreachable
from monitor.notify.apprise import Channel, services
from monitor.notify.apprise.recipients import split
from monitor.notify.messages import Part, Tone
from monitor.store import Store, outbox
from tests.support.delivery import MINUTE, SECOND, channel, numbered, queue, running, states, until
from tests.support.fakes import ManualClock
from tests.support.receivers import MailReceiver, Received, Reply, WebhookReceiver

PART = Part(title="Hello", body="World", tone=Tone.INFO, alert_ids=("one",))
OPS, BOSS = "ops@example.com", "boss@example.com"


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with MailReceiver() as receiver:
        yield receiver


def recipients(mail: MailReceiver) -> list[str]:
    return [str(message["To"]) for message in mail.messages]


async def test_A07_only_the_recipient_who_refused_is_tried_again_also_after_a_restart(
    store: Store, clock: ManualClock, mail: MailReceiver
) -> None:
    mail.refused[BOSS] = "451 not now"
    queue(store, numbered(1))
    both = channel(mail.apprise_url(f"{OPS},{BOSS}"))
    async with running(store, clock, both) as notifier:
        await until(lambda: len(mail.messages) == 1 and states(store) == {"pending": 1})
        await until(lambda: notifier.health()[0].problem is not None)
        assert "recipient 2 of 2" in (notifier.health()[0].problem or "")
        assert BOSS not in (notifier.health()[0].problem or "")
    clock.advance(MINUTE)
    async with running(store, clock, both) as notifier:
        await until(lambda: len(outcomes_of(store, "alert-00001")) >= 3)
        # What is new meanwhile reaches the one who takes messages without delay.
        queue(store, numbered(1, first=2, at=clock.now()))
        notifier.wake()
        await until(lambda: len(mail.messages) == 2)
        mail.refused.clear()
        clock.advance(2 * MINUTE)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 2})
    for number in (1, 2):
        told = [str(message["To"]) for message in mail.messages if f"linkedin-0000{number}" in message.as_string()]
        assert sorted(told) == [BOSS, OPS], "each has each alert once"
    assert "reached" in [outcome for outcome, _ in outcomes_of(store, "alert-00001")]


def outcomes_of(store: Store, alert_id: str) -> list[tuple[str | None, str | None]]:
    with store.begin_read() as conn:
        (row,) = outbox.deliveries_of(conn, alert_id)
    return [(attempt.outcome, attempt.detail) for attempt in row.attempts]


async def test_a_recipient_that_is_gone_for_good_breaks_the_channel_without_holding_up_the_others(
    store: Store, clock: ManualClock
) -> None:
    with TopicReceiver() as ntfy:
        ntfy.replies["b"] = Reply(status=404)
        queue(store, numbered(1))
        async with running(store, clock, channel(f"ntfy://{ntfy.address}/a/b/c?mode=private")) as notifier:
            await until(lambda: states(store) == {"pending": 1} and notifier.health()[0].rejected)
            queue(store, numbered(1, first=2, at=clock.advance(SECOND)))
            notifier.wake()
            await until(lambda: ntfy.topics.count("c") == 2)
            await until(lambda: states(store) == {"pending": 2})
        assert ntfy.topics.count("a") == ntfy.topics.count("c") == 2
        ntfy.replies.clear()
        clock.advance(61 * MINUTE)
        async with running(store, clock, channel(f"ntfy://{ntfy.address}/a/b/c?mode=private")):
            await until(lambda: states(store) == {"sent": 2})
        assert ntfy.topics.count("a") == ntfy.topics.count("c") == 2


class TopicReceiver(WebhookReceiver):
    """An ntfy server that answers by topic."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[str, Reply] = {}
        self.topics: list[str] = []

    def take(self, request: Received) -> Reply:
        """Answers by the topic, which ntfy's JSON names."""
        usual = super().take(request)
        topic = str(request.json.get("topic", "")) if request.body.startswith(b"{") else request.path.strip("/")
        self.topics.append(topic)
        return self.replies.get(topic, usual)


def test_the_error_holds_the_reached_recipients_and_a_second_send_skips_them(mail: MailReceiver) -> None:
    mail.refused[OPS] = "451 not now"
    target = Channel("ops", Secret(mail.apprise_url(f"{OPS},{BOSS}")))
    with pytest.raises(ChannelUnreachable) as raised:
        target.send(PART)
    assert len(raised.value.reached) == 1
    assert recipients(mail) == [BOSS]
    mail.refused.clear()
    target.send(PART, done=raised.value.reached)
    assert recipients(mail) == [BOSS, OPS]


def test_A07_a_mailbox_that_does_not_exist_is_a_refusal_for_good_of_that_recipient_alone(mail: MailReceiver) -> None:
    mail.refused[OPS] = f"550 5.1.1 <{OPS}> no such user"
    with pytest.raises(ChannelRejected, match=r"To recipient 1 of 2 .* answered 550 \(5\.1\.1 .* no such user\)") as raised:
        Channel("ops", Secret(mail.apprise_url(f"{OPS},{BOSS}"))).send(PART)
    assert OPS not in str(raised.value)
    assert len(raised.value.reached) == 1
    assert recipients(mail) == [BOSS]


def test_a_copy_goes_with_the_first_recipient_only(mail: MailReceiver) -> None:
    Channel("ops", Secret(mail.apprise_url(f"{OPS},{BOSS}") + "&cc=copy@example.com")).send(PART)
    assert [message["Cc"] for message in mail.messages] == ["copy@example.com", None]


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("json://127.0.0.1/hook", 1),
        ("mailto://127.0.0.1?from=m@example.com&to=a@example.com", 1),
        ("mailto://127.0.0.1?from=m@example.com&to=a@example.com,b@example.com,c@example.com", 3),
        ("ntfy://127.0.0.1/a/b", 2),
        ("mmost://127.0.0.1/3ccdd113474722377935511fc85d3dd4?channels=a,b", 2),
        ("rocket://user:pass@127.0.0.1/#a/#b", 2),
        ("matrix://user:pass@127.0.0.1/#a/#b/#c", 3),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#a/#b", 2),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/12315545", 2),
        ("discord://1234567890/abcdefghijk", 1),
        ("gotify://127.0.0.1/token", 1),
    ],
)
def test_every_service_is_split_into_its_recipients_with_keys_that_stay(url: str, count: int) -> None:
    import apprise

    services.load_for(url)
    found = split(apprise.Apprise.instantiate(url))
    assert len(found) == count
    assert len({recipient.key for recipient in found}) == count
    assert [recipient.key for recipient in split(apprise.Apprise.instantiate(url))] == [recipient.key for recipient in found]


def test_a_refusal_of_all_is_for_good_only_where_every_recipient_refuses_so() -> None:
    with TopicReceiver() as ntfy:
        target = Channel("ops", Secret(f"ntfy://{ntfy.address}/a/b?mode=private"))
        ntfy.replies = {"a": Reply(status=404), "b": Reply(status=500)}
        with pytest.raises(ChannelUnreachable):
            target.send(PART)
        ntfy.replies = {"a": Reply(status=404), "b": Reply(status=410)}
        with pytest.raises(ChannelRejected):
            target.send(PART)
        ntfy.topics.clear()
        ntfy.replies = {"a": Reply(status=429, headers={"Retry-After": "77"})}
        with pytest.raises(ChannelUnreachable) as raised:
            target.send(PART)
        assert raised.value.retry_after == 77
        assert ntfy.topics == ["a"], "a service that asks for patience is not asked again for the next recipient"
