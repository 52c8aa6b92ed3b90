"""What waits for a channel is said only while it is so: things change between an alert and its delivery. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from monitor.config import ChannelConfig
from monitor.demo.world import World
from monitor.domain.rules.silences import Silence
from monitor.engine import acknowledgements
from monitor.store import Store, connection_queries, outbox
from monitor.store.connection_queries import ConnectionRow
from monitor.store.schema import alerts, deliveries
from tests.support.delivery import HOUR, MINUTE, SECOND, make_notifier
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running
from tests.support.receivers import Received, Reply, WebhookReceiver

DAY = timedelta(days=1)
POLL = timedelta(minutes=15)


@dataclass
class Story:
    """One Mastodon account, the monitor, and where its messages go: /team at once, the others as the test configures them."""

    cycle: Cycle
    hook: WebhookReceiver
    channels: tuple[ChannelConfig, ...]

    async def becomes(self, word: str, *, after: timedelta = POLL) -> None:
        """The provider says another word from now on."""
        world = self.cycle.world
        (world.expire if word == "expired" else world.renew)("agency", "mastodon-0")
        world.state_word("agency", "mastodon-0", word)
        await self.cycle.poll(after=after)
        await self.deliver()

    async def deliver(self, *, after: timedelta = timedelta(0), within: timedelta = 8 * SECOND) -> None:
        """Time passes, and what is due goes out."""
        await self.cycle.pass_time(after)
        notifier = make_notifier(self.cycle.store, self.cycle.clock, *self.channels)
        await notifier.drain(within)  # less than a failing channel waits before it is tried again

    def got(self, path: str) -> list[str]:
        """The status words of what arrived there, in order."""
        return [message.title.partition("]")[0].removeprefix("[").lower() for message in self.messages(path)]

    def messages(self, path: str) -> list[Received]:
        return [each for each in self.hook.received if each.path == path]

    def row(self) -> ConnectionRow:
        with self.cycle.store.begin_read() as conn:
            (row,) = connection_queries.list_connections(conn)
        return row

    def acknowledge(self, *, until: timedelta | None = None) -> None:
        now, row = self.cycle.clock.now(), self.row()
        with self.cycle.store.begin_write() as conn:
            acknowledgements.acknowledge(
                conn, row, now=now, until=None if until is None else now + until, comment="", author="ann"
            )

    def unacknowledge(self) -> None:
        row = self.row()
        with self.cycle.store.begin_write() as conn:
            acknowledgements.unacknowledge(conn, row, now=self.cycle.clock.now(), author="ann")

    def silence(self, lasting: timedelta | None, *, connection: str = "agency/*") -> int:
        now = self.cycle.clock.now()
        ends = None if lasting is None else now + lasting
        wanted = Silence(connections=(connection,), comment="moving", starts_at=now, ends_at=ends)
        with self.cycle.store.begin_write() as conn:
            return acknowledgements.add_silence(conn, wanted, now=now, author="ann")

    def reasons(self, channel: str) -> list[tuple[str, str, str | None]]:
        """Of each delivery of a channel: the event, the state, and the reason that is shown with it."""
        query = select(alerts.c.event, deliveries.c.state, deliveries.c.last_error).join(
            alerts, alerts.c.id == deliveries.c.alert_id
        )
        with self.cycle.store.begin_read() as conn:
            rows = conn.execute(query.where(deliveries.c.channel == channel).order_by(deliveries.c.id))
            return [(event, state, why) for event, state, why in rows]


@pytest.fixture
def hook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def broken() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def hooks(hook: WebhookReceiver, broken: WebhookReceiver) -> tuple[WebhookReceiver, WebhookReceiver]:
    return hook, broken


def channel(hook: WebhookReceiver, name: str, more: str = "") -> str:
    return f'[[channels]]\nname = "{name}"\nurl = "{hook.apprise_url("/" + name)}"\ngroup_wait = "0s"\n{more}\n'


@pytest.fixture
async def story(
    store: Store,
    clock: ManualClock,
    tmp_path: Path,
    hooks: tuple[WebhookReceiver, WebhookReceiver],
    request: pytest.FixtureRequest,
) -> AsyncIterator[Story]:
    """Channels as the test wants them (`chief` at a receiver of its own); else a team, and a boss after two hours."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "mastodon", account="0", username="@u", display_name="U")
    wanted: dict[str, str] = getattr(request, "param", {"team": "", "boss": 'after = "2h"'})
    extra = "".join(channel(hooks[name == "chief"], name, more) for name, more in wanted.items())
    async with running(store, clock, world, tmp_path, extra=extra) as cycle:
        await cycle.poll()
        yield Story(cycle=cycle, hook=hooks[0], channels=cycle.config.channels)


NIGHT = 'quiet_hours = [{ from = "22:00", to = "07:00", except = "critical" }]'


@pytest.mark.parametrize("story", [{"team": NIGHT}], indirect=True)
async def test_an_alert_delayed_by_quiet_hours_is_not_sent_after_a_newer_one(story: Story) -> None:
    await story.becomes("expiring_soon", after=11 * HOUR)  # 23:00
    await story.becomes("expired", after=2 * HOUR)
    await story.becomes("valid", after=2 * HOUR)
    await story.deliver(after=4 * HOUR + MINUTE)  # 07:01
    assert story.got("/team") == ["expired", "recovered"]
    event, state, why = story.reasons("team")[0]
    assert (event, state) == ("expiring_soon", "skipped")
    assert "superseded" in (why or "")


@pytest.mark.parametrize("story", [{"team": NIGHT}], indirect=True)
async def test_an_alert_delayed_by_quiet_hours_is_sent_afterwards_if_it_is_the_newest(story: Story) -> None:
    await story.becomes("expiring_soon", after=11 * HOUR)
    await story.becomes("expired", after=2 * HOUR)
    await story.becomes("expiring_soon", after=2 * HOUR)
    await story.deliver(after=4 * HOUR + MINUTE)
    assert story.got("/team") == ["expired", "expiring soon"]
    assert [state for _, state, _ in story.reasons("team")] == ["skipped", "sent", "sent"]


@pytest.mark.parametrize("removed", [False, True])
async def test_an_escalation_goes_out_when_the_acknowledgement_that_called_it_off_ends(story: Story, removed: bool) -> None:
    await story.becomes("expired")
    story.acknowledge(until=None if removed else 5 * DAY)
    story.silence(HOUR, connection="another/*")  # has everything looked at again
    await story.deliver(after=3 * HOUR)
    assert story.got("/boss") == []
    assert "acknowledged" in (story.reasons("boss")[0][2] or "")
    await story.deliver(after=5 * DAY - 3 * HOUR - MINUTE)
    assert story.got("/boss") == []
    if removed:
        story.unacknowledge()
    story.hook.script(Reply(status=503), Reply(status=503))
    await story.deliver(after=MINUTE)
    await story.deliver(after=MINUTE)
    assert story.got("/boss")[-1] == "expired"
    assert story.reasons("boss")[0][1] == "sent", "with an allowance of three days of its own"
    assert "Late" not in story.messages("/boss")[-1].text


async def test_an_escalation_that_is_acknowledged_again_is_called_off_again(story: Story) -> None:
    await story.becomes("expired")
    story.acknowledge()
    await story.deliver(after=3 * HOUR)
    story.unacknowledge()
    story.acknowledge()
    await story.deliver(after=HOUR)
    story.unacknowledge()
    await story.becomes("valid")
    await story.deliver(after=DAY)
    assert story.got("/boss") == []


async def test_what_got_worse_after_it_was_acknowledged_escalates_once(story: Story) -> None:
    await story.becomes("expiring_soon")
    story.acknowledge()
    await story.deliver(after=3 * HOUR)
    await story.becomes("expired")
    assert story.got("/boss") == []
    await story.deliver(after=2 * HOUR)
    assert story.got("/boss") == ["expired"]


async def test_an_escalation_of_a_past_status_is_not_sent(story: Story) -> None:
    await story.becomes("expired")
    await story.becomes("expiring_soon", after=HOUR)
    await story.deliver(after=HOUR + MINUTE)
    assert story.got("/boss") == []
    assert "status had changed" in (story.reasons("boss")[0][2] or "")
    await story.deliver(after=HOUR)
    assert story.got("/boss") == ["expiring soon"]


async def test_an_escalation_waits_for_an_unsent_newer_alert(story: Story) -> None:
    """Well again within a silence: at its end its escalation and its recovery are due at the same moment."""
    await story.becomes("expired")
    story.silence(4 * HOUR)
    await story.becomes("valid", after=HOUR)
    story.cycle.clock.advance(3 * HOUR)
    notifier = make_notifier(story.cycle.store, story.cycle.clock, *story.channels)
    await notifier.drain(SECOND)
    assert story.got("/boss") == []
    await story.deliver(after=2 * MINUTE)
    assert story.got("/team") == ["expired", "recovered"]
    assert story.got("/boss") == []


async def test_a_silence_puts_an_escalation_off_to_its_end(story: Story) -> None:
    await story.becomes("expired")
    story.silence(5 * DAY)
    await story.deliver(after=3 * HOUR)
    await story.deliver(after=5 * DAY - 3 * HOUR - SECOND, within=SECOND)  # it waits for what is due soon
    assert story.got("/boss") == []
    story.hook.reply = Reply(status=503)
    await story.deliver(after=SECOND)
    story.hook.reply = Reply()
    await story.deliver(after=MINUTE)
    assert story.reasons("boss")[0][:2] == ("expired", "sent"), "with an allowance of three days of its own"
    assert "Late" not in story.messages("/boss")[-1].text


async def test_a_silence_that_is_removed_lets_the_escalation_go_out(story: Story) -> None:
    await story.becomes("expired")
    first, second = story.silence(None), story.silence(4 * HOUR)
    await story.deliver(after=3 * HOUR)
    for number in (first, second):
        assert story.got("/boss") == [], "the other silence still covers it"
        with story.cycle.store.begin_write() as conn:
            acknowledgements.remove_silence(conn, number, now=story.cycle.clock.now(), author="ann")
        await story.deliver(after=SECOND)
    assert story.got("/boss") == ["expired"]


async def test_a_silence_of_others_delays_no_escalation(story: Story) -> None:
    await story.becomes("expired")
    story.silence(DAY, connection="agency/another")
    await story.deliver(after=2 * HOUR)
    assert story.got("/boss") == ["expired"]


CHIEF = {"team": "", "chief": 'after = "1h"'}


@pytest.mark.parametrize("story", [CHIEF], indirect=True)
async def test_a_channel_not_notified_of_the_problem_gets_no_recovery(story: Story, broken: WebhookReceiver) -> None:
    await story.becomes("expired")
    broken.reply = Reply(status=503)
    await story.deliver(after=HOUR + MINUTE)
    assert broken.received
    broken.reply = Reply()
    before = len(broken.received)
    await story.becomes("valid")
    await story.deliver(after=MINUTE)
    assert len(broken.received) == before
    assert story.got("/team") == ["expired", "recovered"]


@pytest.mark.parametrize("story", [CHIEF], indirect=True)
async def test_a_channel_possibly_notified_of_the_problem_gets_the_recovery(story: Story, broken: WebhookReceiver) -> None:
    await story.becomes("expired")
    broken.reply = Reply(reset=True)
    await story.deliver(after=HOUR + MINUTE)
    broken.reply = Reply()
    await story.becomes("valid")
    assert broken.received[-1].title.startswith("[RECOVERED]")


@pytest.mark.parametrize("story", [CHIEF], indirect=True)
async def test_a_channel_whose_send_failed_while_the_problem_ended_gets_no_recovery(
    story: Story, broken: WebhookReceiver
) -> None:
    """The recovery is recorded while the escalation is under way."""
    await story.becomes("expired")
    story.cycle.clock.advance(HOUR + MINUTE)
    now = story.cycle.clock.now()
    with story.cycle.store.begin_write() as conn:
        claimed = outbox.claim(conn, channel="chief", owner="held", now=now, lease=10 * MINUTE, limit=10)
    story.cycle.world.renew("agency", "mastodon-0")
    story.cycle.world.state_word("agency", "mastodon-0", "valid")
    await story.cycle.poll(after=MINUTE)
    now = story.cycle.clock.now()
    with story.cycle.store.begin_write() as conn:
        outbox.mark_failed(
            conn, [each.delivery_id for each in claimed], "held", now, next_attempt_at=now, detail="503 Service Unavailable"
        )
    await story.deliver()
    assert broken.received == []
    assert [(event, state) for event, state, _ in story.reasons("chief")] == [("expired", "skipped"), ("recovered", "skipped")]
    assert "not notified of the problem" in (story.reasons("chief")[1][2] or "")


FALLBACK = {"chief": "", "last": "fallback = true"}


def told(story: Story, channel: str) -> list[tuple[str, str]]:
    """What became of the deliveries about the connection."""
    return [(event, state) for event, state, _ in story.reasons(channel) if event in ("expired", "recovered")]


async def days(story: Story, count: int) -> None:
    for _ in range(4 * count):
        await story.deliver(after=6 * HOUR + MINUTE)


@pytest.mark.parametrize("story", [FALLBACK], indirect=True)
async def test_what_is_over_by_the_time_it_is_given_up_is_not_handed_to_the_fallback(
    story: Story, broken: WebhookReceiver
) -> None:
    broken.reply = Reply(status=503)
    await story.becomes("expired")
    await story.becomes("valid", after=DAY)
    await days(story, 4)
    assert told(story, "chief") == [("expired", "dead"), ("recovered", "dead")]
    assert told(story, "last") == [("expired", "skipped"), ("recovered", "skipped")]
    assert all("over by the time" in (why or "") for event, _, why in story.reasons("last") if event in ("expired", "recovered"))


@pytest.mark.parametrize("story", [FALLBACK], indirect=True)
async def test_the_recovery_of_a_notified_problem_is_handed_to_the_fallback(story: Story, broken: WebhookReceiver) -> None:
    await story.becomes("expired")
    broken.reply = Reply(status=503)
    await story.becomes("valid", after=HOUR)
    await days(story, 4)
    assert told(story, "last") == [("recovered", "sent")]


@pytest.mark.parametrize("story", [FALLBACK], indirect=True)
async def test_what_is_still_so_when_it_is_given_up_is_handed_to_the_fallback(story: Story, broken: WebhookReceiver) -> None:
    broken.reply = Reply(status=503)
    await story.becomes("expired")
    await days(story, 4)
    assert ("expired", "sent") in told(story, "last")
