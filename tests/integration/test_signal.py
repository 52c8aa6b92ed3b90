"""Cases in which a verdict was once wrong, each as a sequence: what is notified, when, and what is not.

Every sequence runs the real cycle against the simulated world, on both databases. The other files of this folder test the same
rules in detail; here each case has one sequence that shows the promise from end to end, and the silence of the days after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from monitor.demo.payloads import PostError, ProbeScript, Shape, remaining
from monitor.demo.world import World
from monitor.domain import Alert
from monitor.store import Store
from monitor.store.schema import connections
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLL = timedelta(minutes=15)

Notified = list[tuple[timedelta, str]]
"""What was notified, with the time since the step began."""


def word(alert: Alert) -> str:
    """Return an alert as "stage", "reminder", or its event with the reason of the verdict or, without one, of the alert."""
    if alert.reason in ("stage", "reminder"):
        return alert.reason
    ends = alert.event.value == "recovered" or not alert.connection
    return f"{alert.event.value}/{alert.reason if ends else alert.verdict_reason}"


@dataclass(kw_only=True)
class Story:
    """One source named agency over time, as the daemon runs it."""

    cycle: Cycle
    every: timedelta
    """The polling interval."""
    api_clock: ManualClock
    """The clock of the API, and of the platforms behind it."""

    @property
    def world(self) -> World:
        return self.cycle.world

    def connect(self, platform: str, name: str = "", **facts: Any) -> str:
        """Connect an account and return its id."""
        made = self.world.connect("agency", platform, account=name or None, username=name or None, **facts)
        return made.external_id

    def change(self, name: str, **facts: Any) -> None:
        """Change the truth about an account."""
        self.world.change("agency", name, **facts)

    def state(self, name: str, **fields: Any) -> None:
        """Change what the list states about an account."""
        self.world.state("agency", name, **fields)

    async def live(
        self, span: timedelta, *, every: timedelta | None = None, then: Callable[[timedelta], None] | None = None
    ) -> Notified:
        """Let time pass, poll at every interval, and probe what is due. `then` is called before each poll.

        `every` is a longer interval, where nothing happens for long.
        """
        begun, notified = self.cycle.clock.now(), Notified()
        while (passed := self.cycle.clock.now() - begun) < span:
            step = min(every or self.every, span - passed)
            self.cycle.clock.advance(step)
            if self.api_clock is not self.cycle.clock:
                self.api_clock.advance(step)
            if then is not None:
                then(passed + step)
            before = len(self.cycle.alerts)
            await self.cycle.pass_time(timedelta(0))
            await self.cycle.poll()
            await self.cycle.probe(due=True)
            notified += [(passed + step, word(alert)) for alert in self.cycle.alerts[before:]]
        return notified

    def status(self, name: str) -> str:
        """Return the status of an account."""
        return self.cycle.statuses()[f"agency/{name}"]

    def probes(self, name: str) -> int:
        """Return the number of probes of an account so far."""
        return sum(count for path, count in self.world.requests.items() if path.endswith(f"/test-connection/{name}"))

    @property
    def message(self) -> str:
        """The message of the last alert."""
        return self.cycle.alerts[-1].message


Begin = Callable[..., Coroutine[Any, Any, Story]]


@pytest.fixture
async def begin(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Begin]:
    """Makes a story; `config` are further keys of its source, `skew` is added to the API's clock."""
    async with AsyncExitStack() as stack:

        async def made(
            kind: str,
            config: str = "",
            *,
            every: timedelta = POLL,
            skew: timedelta = timedelta(0),
            shape: Shape = Shape.CURRENT,
        ) -> Story:
            api_clock = ManualClock(clock.now() + skew) if skew else clock
            world = World(clock=api_clock)
            world.add_source("agency", kind, shape=shape)
            text = f"poll_every = '{every // MINUTE}m'\n{config}"
            cycle = await stack.enter_async_context(running(store, clock, world, tmp_path, per_source={"agency": text}))
            return Story(cycle=cycle, every=every, api_clock=api_clock)

        yield made


def at(**when: float) -> timedelta:
    """Return a time since the step began."""
    return timedelta(**when)


def times(notified: Notified, what: str) -> list[timedelta]:
    """Return when something was notified."""
    return [when for when, each in notified if each == what]


def words(notified: Notified) -> list[str]:
    """Return what was notified, in order."""
    return [each for _, each in notified]


# --- 1 to 3: what the service states


async def test_signal_01_an_expiry_beside_an_odd_field_is_notified_by_the_next_poll(begin: Begin) -> None:
    story = await begin("postpost", every=HOUR)
    names = [story.connect("linkedin", f"a{number}", lifetime=50 * DAY) for number in range(6)]
    assert await story.live(2 * HOUR) == []
    for name in names:
        story.state(name, tokenStatus="expired", tokenExpiresIn=-3600)
    assert await story.live(HOUR) == [(HOUR, "expired/rejected_by_platform")] * 6
    assert story.cycle.source("agency").status == "ok"
    assert set(words(await story.live(2 * DAY))) == {"reminder"}
    for name in names:
        story.world.renew("agency", name)
    assert await story.live(HOUR) == [(HOUR, "recovered/renewed")] * 6
    assert await story.live(2 * DAY) == []


async def test_signal_01_a_row_without_a_readable_status_is_a_problem_of_the_source(begin: Begin) -> None:
    story = await begin("postpost")
    names = [story.connect("linkedin", f"a{number}", lifetime=50 * DAY) for number in range(6)]
    assert await story.live(HOUR) == []
    story.state(names[0], tokenStatus=["expired"])
    assert await story.live(DAY) == [(2 * POLL, "source_failing/rows_unreadable")]
    assert "1 of 6 rows cannot be read" in story.message
    story.world.renew("agency", names[0])
    assert await story.live(DAY) == [(POLL, "source_recovered/rows_unreadable")]


@pytest.mark.parametrize("skew", [-400, 400])
async def test_signal_02_a_wrong_clock_switches_no_date_off(begin: Begin, skew: int) -> None:
    story = await begin("publora", "probe_every = 'off'", every=HOUR, skew=timedelta(seconds=skew))
    name = story.connect("linkedin", lifetime=9 * DAY - timedelta(seconds=skew))
    story.state(name, tokenStatus="valid")
    lenient = HOUR if skew < 0 else timedelta(0)  # the poll after the date, where the API's clock is behind
    assert await story.live(10 * DAY + HOUR) == [
        (3 * HOUR, "monitor_problem/clock_skew"),
        (2 * DAY + lenient, "expiring_soon/expires_within"),
        (6 * DAY + lenient, "stage"),
        (8 * DAY + lenient, "stage"),
        (9 * DAY + lenient, "expired/date_passed"),
        (10 * DAY + lenient, "reminder"),
    ]


async def test_signal_03_a_new_word_is_understood_or_notified_once(begin: Begin) -> None:
    story = await begin("postpost")
    revoked, expired, unknown = (story.connect("facebook", name) for name in ("one", "two", "three"))
    assert await story.live(HOUR) == []
    story.state(revoked, tokenStatus="Revoked")
    story.state(expired, tokenStatus="needs_reauth")
    assert sorted(await story.live(POLL)) == [(POLL, "expired/rejected_by_platform"), (POLL, "revoked/provider_revoked")]
    story.world.renew("agency", revoked)
    story.world.renew("agency", expired)
    assert words(await story.live(POLL)) == ["recovered/recovered"] * 2
    story.state(unknown, tokenStatus="in_limbo")
    assert await story.live(DAY) == [(POLL, "monitor_problem/unrecognised_status")]
    assert "'in_limbo' on 1 connection" in story.message
    story.world.renew("agency", unknown)
    assert await story.live(DAY) == []
    assert await story.live(DAY) == [(POLL, "monitor_recovered/unrecognised_status")], "a day after it was last seen"


async def test_signal_03_a_new_word_is_not_vouched_for_by_an_older_probe(begin: Begin) -> None:
    story = await begin("publora")
    name = story.connect("bluesky", "did")
    story.state(name, tokenStatus="unknown")
    assert await story.live(DAY) == []
    assert story.status(name) == "valid"
    story.change(name, probe=ProbeScript(message="Internal Server Error", http_status=500))
    story.state(name, tokenStatus="in_limbo")
    assert await story.live(POLL) == [(POLL, "monitor_problem/unrecognised_status")]
    assert story.status(name) == "unknown"


# --- 4 and 5: what the platform answers to a probe


async def test_signal_04_a_limit_changes_nothing_until_it_lasts_a_day(begin: Begin) -> None:
    story = await begin("postpost", every=HOUR)
    name = story.connect("facebook")
    story.connect("mastodon")
    assert await story.live(DAY) == []
    story.change(name, probe=ProbeScript(message="(#4) Application request limit reached"))
    notified = await story.live(4 * DAY)
    assert words(notified) == ["source_failing/probes_unanswered"]
    assert DAY <= notified[0][0] <= DAY + at(hours=14), "a day after the first such answer"
    assert story.status(name) == "valid"
    story.change(name, probe=None)
    assert words(await story.live(DAY)) == ["source_recovered/probes_unanswered"]


@pytest.mark.parametrize("text", ["Something odd: 77", "Your account is temporarily locked. Log in to unlock it.", "(#506)"])
async def test_signal_04_other_refusals_fail_at_the_third_probe_after_an_hour(begin: Begin, text: str) -> None:
    story = await begin("postpost", every=5 * MINUTE)
    name = story.connect("facebook")
    assert await story.live(7 * HOUR) == []
    story.change(name, probe=ProbeScript(message=text))
    asked, first = story.probes(name), list[timedelta]()

    def note(passed: timedelta) -> None:
        if story.probes(name) > asked and not first:
            first.append(passed - story.every)

    notified = await story.live(8 * HOUR, then=note)
    assert notified == [(first[0] + HOUR + 5 * MINUTE, "failing/probe_failing")]
    assert text in story.message
    story.change(name, probe=None)
    assert words(await story.live(2 * HOUR)) == ["recovered/recovered"]


async def test_signal_05_a_span_that_expired_beside_a_server_error_changes_nothing(begin: Begin) -> None:
    story = await begin("postpost")
    name = story.connect("youtube")
    story.state(name, tokenStatus="valid", accessTokenExpiresAt="2026-02-01T00:00:00.000Z", tokenExpiresIn="expired")
    script = ProbeScript(message="Request failed with status code 503", fields={"tokenExpiresIn": "expired"})
    story.change(name, probe=script)
    assert await story.live(20 * HOUR) == []
    story.change(name, probe=None)
    assert await story.live(2 * DAY) == []
    assert story.status(name) == "valid"


# --- 6, 7, 13 and 14: renewals


async def renew_hourly(story: Story, name: str, times: int) -> Notified:
    """Let the service renew a two-hour token every hour."""
    notified = Notified()
    for _ in range(times):
        notified += await story.live(HOUR)
        story.world.renew("agency", name, lifetime=2 * HOUR)
    return notified


@pytest.mark.parametrize("fails", [False, True], ids=["silent", "503"])
async def test_signal_06_hourly_renewals_that_stop_are_overdue_before_the_date_and_expired_at_it(
    begin: Begin, fails: bool
) -> None:
    story = await begin("postbreeze")
    name = story.connect("twitter", lifetime=2 * HOUR)
    assert await renew_hourly(story, name, 5) == []
    story.state(name, status="ACTIVE")
    if fails:
        story.change(name, refresh_error="Service Unavailable", refresh_error_status=503)
    assert await story.live(3 * HOUR) == [
        (at(minutes=90), "expiring_soon/renewal_overdue"),
        (at(hours=2), "expired/refresh_overdue"),
    ]
    assert await story.live(2 * DAY, every=HOUR) == [(23 * HOUR, "reminder"), (47 * HOUR, "reminder")]
    story.world.renew("agency", name, lifetime=2 * HOUR)
    assert await story.live(POLL) == [(POLL, "recovered/renewed")]
    assert await renew_hourly(story, name, 8) == []


async def test_signal_06_a_refused_refresh_without_the_time_of_its_attempt_counts_at_the_date(begin: Begin) -> None:
    story = await begin("postbreeze")
    name = story.connect("twitter", lifetime=2 * HOUR)
    assert await story.live(HOUR) == []
    story.state(name, status="ACTIVE")
    story.change(name, refresh_error_status=400, refresh_error=None, refresh_attempt_at=None)
    assert await story.live(DAY) == [(HOUR, "expired/refresh_rejected")]


async def test_signal_06_a_service_that_renews_after_the_date_keeps_its_grace(begin: Begin) -> None:
    story = await begin("postbreeze")
    name = story.connect("twitter", lifetime=2 * HOUR)
    for _ in range(4):
        story.state(name, status="ACTIVE")
        assert await story.live(8 * HOUR) == []
        story.world.renew("agency", name, lifetime=2 * HOUR)
    story.state(name, status="ACTIVE")
    assert await story.live(2 * DAY) == [(at(hours=26, minutes=15), "expired/refresh_overdue")]


async def test_signal_07_one_failed_attempt_counts_once_however_often_it_is_polled(begin: Begin) -> None:
    story = await begin("postbreeze")
    long, short = story.connect("instagram", "a", lifetime=49 * DAY + 23 * HOUR), story.connect("twitter", "b", lifetime=DAY)
    assert await story.live(HOUR) == []
    for name in (long, short):
        story.world.fail_refresh("agency", name, status=503, error="Service Unavailable")
    assert await story.live(10 * HOUR) == []
    for attempt in (2, 3):
        for name in (long, short):
            story.world.fail_refresh("agency", name, status=503, error="Service Unavailable")
        expected = [(POLL, "expiring_soon/refresh_failing")] if attempt == 3 else []
        assert await story.live(HOUR) == expected, "the third attempt, and only for the token that lives a day"
    story.world.renew("agency", long)
    story.world.renew("agency", short, lifetime=DAY)
    assert await story.live(20 * HOUR) == [(POLL, "recovered/renewed")]


async def test_signal_13_a_late_reconnect_recovers_and_warns_of_nothing(begin: Begin) -> None:
    story = await begin("postbreeze")
    name = story.connect("twitter", lifetime=2 * HOUR)
    assert await renew_hourly(story, name, 3) == []
    assert await story.live(HOUR) == []
    story.world.fail_refresh("agency", name, status=400)
    assert await story.live(HOUR) == [(POLL, "expiring_soon/refresh_rejected"), (HOUR, "expired/expiry_passed")]
    assert words(await story.live(5 * DAY, every=HOUR)) == ["reminder"] * 5
    story.change(name, expires_at=story.cycle.clock.now() + 2 * HOUR)  # the error, connectedAt and lastRefreshedAt stay
    assert await story.live(HOUR) == [(POLL, "recovered/renewed")]
    story.world.renew("agency", name, lifetime=2 * HOUR)
    assert await renew_hourly(story, name, 8) == []


async def test_signal_13_a_rotating_token_without_a_known_renewal_is_silent(begin: Begin) -> None:
    story = await begin("postbreeze")
    names = [story.connect(platform, lifetime=2 * HOUR) for platform in ("twitter", "youtube", "bluesky", "tiktok")]
    for _ in range(12):
        for name in names:
            story.world.renew("agency", name, lifetime=2 * HOUR)
            story.change(name, refreshed_at=None, refresh_attempt_at=None)
        assert await story.live(HOUR) == []


async def test_signal_14_renewals_two_days_before_the_end_are_learned_and_missed_when_they_stop(begin: Begin) -> None:
    story = await begin("postbreeze", every=8 * HOUR)
    name = story.connect("linkedin", lifetime=60 * DAY)
    cycles: list[Notified] = []
    for _ in range(4):
        begins, quiet = await story.live(8 * HOUR), await story.live(50 * DAY - 8 * HOUR, every=2 * DAY)
        cycles.append(begins + quiet + await story.live(8 * DAY))
        story.world.renew("agency", name, lifetime=60 * DAY)
    learning = ["expiring_soon/renewal_overdue", "stage"]
    assert words(cycles[0]) == learning
    assert words(cycles[1]) == ["recovered/renewed", *learning]
    assert words(cycles[2]) == ["recovered/renewed"], "the third cycle is silent"
    assert cycles[3] == []
    story.state(name, status="ACTIVE")
    assert await story.live(8 * HOUR) + await story.live(50 * DAY - 8 * HOUR, every=2 * DAY) == []
    assert await story.live(10 * DAY + 8 * HOUR) == [
        (at(days=8, hours=16), "expiring_soon/renewal_overdue"),
        (at(days=9), "stage"),
        (at(days=10), "expired/date_passed"),
    ]


# --- 8 to 10 and 16: dates


async def test_signal_08_a_live_probe_after_the_date_beats_the_date(begin: Begin) -> None:
    story = await begin("postpost")
    name = story.connect("linkedin")
    story.world.state_date("agency", name, story.cycle.clock.now() + DAY)
    story.state(name, tokenStatus="valid", tokenExpiresIn=None)
    notified = await story.live(2 * DAY) + await story.live(6 * DAY, every=HOUR)
    assert notified == [(POLL, "expiring_soon/expires_within"), (DAY, "recovered/recovered")], "the probe at the date decides"
    assert "conflict" in story.cycle.states()[f"agency/{name}"].verdict.flags


async def test_signal_08_a_date_is_not_beaten_by_an_older_probe(begin: Begin) -> None:
    story = await begin("postpost")
    name = story.connect("linkedin", lifetime=DAY)
    story.state(name, tokenStatus="valid")
    assert await story.live(2 * DAY) == [
        (POLL, "expiring_soon/expires_within"),
        (DAY, "expired/date_passed"),
        (2 * DAY, "reminder"),
    ]


async def test_signal_09_a_healthy_tiktok_account_of_the_old_shape_is_silent(begin: Begin) -> None:
    story = await begin("publora", shape=Shape.LEGACY)
    name = story.connect("tiktok")
    for _ in range(8):
        story.world.state_date("agency", name, story.cycle.clock.now() + 12 * HOUR)
        assert await story.live(15 * HOUR) == []


@pytest.mark.parametrize(("kind", "window"), [("publora", 7), ("postpost", 14)])
async def test_signal_10_a_date_that_stays_warns_on_every_platform_and_expires_nothing(
    begin: Begin, kind: str, window: int
) -> None:
    config = f"[sources.policy]\nexpiring_within = '{window}d'\nstages = ['3d', '1d']"
    story = await begin(kind, config, every=HOUR)
    name = story.connect("facebook")
    story.world.state_date("agency", name, story.cycle.clock.now() + 20 * DAY)
    story.state(name, tokenStatus="valid")
    assert await story.live(25 * DAY) == [
        (at(days=20 - window), "expiring_soon/expires_within"),
        (at(days=17), "stage"),
        (at(days=19), "stage"),
    ]
    story.world.renew("agency", name, lifetime=60 * DAY)
    assert await story.live(2 * DAY) == [(HOUR, "recovered/renewed")]


async def test_signal_10_a_span_counts_as_a_date(begin: Begin) -> None:
    story = await begin("postpost", "probe_every = 'off'", every=HOUR)
    name = story.connect("linkedin")
    ends = story.cycle.clock.now() + 8 * DAY

    def count_down(_: timedelta) -> None:
        story.state(name, tokenStatus="unknown", tokenExpiresIn=remaining(ends, story.cycle.clock.now()))

    notified = await story.live(9 * DAY + 2 * HOUR, then=count_down)
    assert words(notified) == ["expiring_soon/expires_within", "stage", "stage", "expired/date_past", "reminder"]
    for (when, _), due in zip(notified, (1, 5, 7, 8, 9), strict=True):
        assert abs(when - due * DAY) <= HOUR


async def test_signal_16_a_date_that_moves_ends_what_rested_on_it(begin: Begin) -> None:
    story = await begin("publora", "probe_every = 'off'")
    name = story.connect("linkedin", lifetime=DAY)
    story.state(name, tokenStatus="unknown")
    assert await story.live(DAY + HOUR) == [(POLL, "expiring_soon/expires_within"), (DAY, "expired/date_passed")]
    story.change(name, expires_at=story.cycle.clock.now() + 60 * DAY)
    assert await story.live(3 * DAY) == [(POLL, "recovered/renewed")]
    assert story.status(name) == "valid"


async def test_signal_16_nothing_is_reminded_of_after_a_date_moved_whose_status_is_unknown(begin: Begin) -> None:
    story = await begin("publora", "probe_every = 'off'", every=HOUR, shape=Shape.LEGACY)
    name = story.connect("facebook", lifetime=DAY)
    assert await story.live(25 * HOUR) == [(DAY, "expired/date_past")]
    story.change(name, expires_at=story.cycle.clock.now() + 60 * DAY)
    story.state(name, tokenStatus="unknown")
    assert await story.live(3 * DAY) == []
    assert story.status(name) == "unknown"
    story.state(name, tokenStatus="valid")
    assert await story.live(DAY) == [(HOUR, "recovered/recovered")]


# --- 11 and 12: permissions and posts


async def test_signal_11_a_lost_permission_is_notified_by_the_next_probe_and_its_return_too(begin: Begin) -> None:
    story = await begin("postpost")
    name = story.connect("linkedin", lifetime=50 * DAY)
    assert await story.live(DAY) == []
    granted = story.world.find("agency", name).permissions
    story.change(name, permissions=tuple(each for each in granted if each != "w_member_social"))
    asked = story.probes(name)
    notified = await story.live(7 * HOUR)
    assert words(notified) == ["failing/permissions_lost"]
    assert story.probes(name) == asked + 1, "the first probe suffices"
    assert "lost the permission w_member_social" in story.message
    assert words(await story.live(2 * DAY, every=HOUR)) == ["reminder"] * 2
    story.change(name, permissions=granted)
    assert words(await story.live(7 * HOUR)) == ["recovered/recovered"]
    assert await story.live(DAY) == []


async def test_signal_11_a_lost_scope_is_notified_by_the_next_poll_and_its_return_too(begin: Begin) -> None:
    story = await begin("postbreeze")
    name = story.connect("linkedin", lifetime=50 * DAY)
    assert await story.live(DAY) == []
    granted = story.world.find("agency", name).permissions
    story.change(name, permissions=tuple(each for each in granted if not each.startswith("r_")))
    assert await story.live(HOUR) == [], "publishing does not need these"
    story.change(name, permissions=("r_basicprofile",))
    assert await story.live(20 * HOUR) == [(POLL, "failing/permissions_lost")]
    assert "w_member_social" in story.message
    story.change(name, permissions=granted)
    assert await story.live(DAY) == [(POLL, "recovered/recovered")]


def refuse_post(story: Story, name: str) -> None:
    """Let the platform refuse a post because of the token."""
    error = PostError(message="Error validating access token: Session has expired", occurred_at=story.cycle.clock.now())
    story.change(name, last_error=error)


async def test_signal_12_a_refused_post_is_probed_immediately_and_confirmed_by_the_probe(begin: Begin) -> None:
    story = await begin("postpost")
    dead, alive = story.connect("facebook", "a"), story.connect("facebook", "b")
    assert await story.live(DAY) == []
    for name in (dead, alive):
        refuse_post(story, name)
    story.change(dead, probe=ProbeScript(message="Error validating access token: Session has expired"))
    asked = [story.probes(dead), story.probes(alive)]
    assert await story.live(POLL) == [(POLL, "expired/probe_expired")]
    assert [story.probes(dead), story.probes(alive)] == [asked[0] + 1, asked[1] + 1]
    assert words(await story.live(2 * DAY, every=HOUR)) == ["reminder"] * 2, "the probe of the other account succeeded"
    assert story.status(alive) == "valid"


async def test_signal_12_without_probes_a_refused_post_is_notified_until_a_post_succeeds(begin: Begin) -> None:
    story = await begin("postpost", "probe_every = 'off'")
    name = story.connect("facebook")
    assert await story.live(DAY) == []
    refuse_post(story, name)
    assert await story.live(DAY + HOUR) == [(POLL, "failing/post_rejected"), (DAY + POLL, "reminder")]
    assert "Session has expired" in story.message
    story.change(name, last_post_at=story.cycle.clock.now())
    assert await story.live(POLL) == [(POLL, "recovered/recovered")]
    assert await story.live(2 * DAY, every=HOUR) == []


# --- 15, 17, 18 and 19: accounts that are gone, moved, untested or connected again


async def test_signal_15_a_swapped_key_is_named_and_nothing_recovers(begin: Begin) -> None:
    story = await begin("postpost")
    names = [story.connect("linkedin", f"a{number}", lifetime=50 * DAY) for number in range(8)]
    assert await story.live(HOUR) == []
    for number, name in enumerate(names):
        story.world.vanish("agency", name)
        story.connect("linkedin", f"b{number}", lifetime=50 * DAY)
    notified = await story.live(2 * HOUR)
    assert notified == [(POLL, "source_failing/suspicious_list"), *[(3 * POLL, "disconnected/missing_from_list")] * 8]
    assert "8 of 8 known connections are gone, 8 new ones appeared: was the key changed?" in story.cycle.alerts[0].message
    assert words(await story.live(DAY, every=HOUR)) == ["reminder"] * 8


async def test_signal_17_a_bot_that_becomes_a_session_is_one_message_and_never_revoked(begin: Begin) -> None:
    story = await begin("postpost")
    bot, session = story.connect("telegram", "a"), story.connect("telegram", "b")
    story.change(session, mtproto=True)
    assert await story.live(DAY) == []
    assert (story.status(bot), story.status(session)) == ("valid", "unknown")
    story.change(bot, mtproto=True)
    notified = await story.live(8 * HOUR)
    assert words(notified) == ["failing/probe_ambiguous"], "when three probes over an hour agree"
    assert await story.live(3 * DAY, every=HOUR) == [], "without reminders"
    assert "revoked, or replaced by a personal session" in story.message


async def test_signal_18_an_old_success_vouches_for_nothing(begin: Begin) -> None:
    story = await begin("publora", every=HOUR)
    name, other = story.connect("bluesky", "a"), story.connect("bluesky", "b")
    story.state(name, tokenStatus="unknown")
    assert await story.live(DAY) == []
    assert (story.status(name), story.status(other)) == ("valid", "valid")
    story.change(name, probe=ProbeScript(message="Internal Server Error", http_status=500))
    changes: list[timedelta] = []

    def note(passed: timedelta) -> None:
        if story.status(name) == "unknown" and not changes:
            changes.append(passed - story.every)

    notified = await story.live(6 * DAY, then=note)
    assert words(notified) == ["source_failing/probes_unanswered"]
    assert DAY <= notified[0][0] <= 2 * DAY
    assert changes
    assert 12 * HOUR <= changes[0] <= 20 * HOUR, "three probe intervals after the last success"
    story.change(name, probe=None)
    assert words(await story.live(DAY)) == ["source_recovered/probes_unanswered"]
    assert story.status(name) == "valid"


async def test_signal_19_an_account_under_a_new_id_is_reconnected(begin: Begin) -> None:
    story = await begin("postpost")
    old = story.connect("linkedin", "northwind", lifetime=50 * DAY)
    story.connect("linkedin", "other", lifetime=50 * DAY)
    assert await story.live(HOUR) == []
    gone = story.world.find("agency", old)
    story.world.vanish("agency", old)
    assert await story.live(HOUR) == [(2 * POLL, "disconnected/missing_from_list")]
    assert words(await story.live(2 * DAY, every=HOUR)) == ["reminder"] * 2
    renewed = replace(gone, external_id="linkedin-NEW", expires_at=story.cycle.clock.now() + 60 * DAY)
    story.world.add("agency", renewed)
    assert await story.live(POLL) == [(POLL, "recovered/reconnected")]
    assert story.cycle.alerts[-1].connection == "agency/linkedin-NEW"
    assert await story.live(3 * DAY, every=HOUR) == [], "and no reminder"
    assert story.cycle.statuses().keys() == {"agency/linkedin-NEW", "agency/linkedin-other"}


async def test_signal_a_reconnect_without_a_permission_fails_in_the_words_of_the_platform(begin: Begin) -> None:
    story = await begin("postpost")
    name = story.connect("facebook")
    story.state(name, tokenStatus="valid")
    assert await story.live(DAY) == []
    story.world.revoke("agency", name, noticed=True)
    story.state(name, tokenStatus="expired")
    notified = await story.live(7 * HOUR)
    assert words(notified) == ["expired/rejected_by_platform", "revoked/probe_revoked"]
    story.world.renew("agency", name)
    story.state(name, tokenStatus="valid")
    refusal = "(#200) Requires pages_manage_posts permission to manage the object"
    story.change(name, probe=ProbeScript(message=refusal))
    asked = story.probes(name)
    assert await story.live(POLL) == [(POLL, "recovered/recovered"), (POLL, "failing/probe_failing")]
    assert story.probes(name) == asked + 1, "probed immediately, and once"
    assert refusal in story.message
    probe = story.cycle.states()[f"agency/{name}"].probe
    assert (probe.message, probe.at) == (refusal, story.cycle.clock.now())
    story.change(name, probe=None)
    assert words(await story.live(2 * HOUR)) == ["recovered/recovered"]


# --- further cases: what repeats, what never ends, and what an upgrade or a wrong clock leaves behind


@pytest.mark.parametrize("text", ["Your account is temporarily locked. Log in to unlock it.", "(#200) Permissions error"])
async def test_signal_a_service_that_renews_a_refused_account_daily_causes_no_recovery(begin: Begin, text: str) -> None:
    story = await begin("publora", every=HOUR)
    name = story.connect("instagram", lifetime=60 * DAY)
    assert await story.live(7 * HOUR) == []
    story.change(name, probe=ProbeScript(message=text))
    assert words(await story.live(10 * HOUR)) == ["failing/probe_failing"]
    for _ in range(3):
        story.change(name, expires_at=story.cycle.clock.now() + 60 * DAY)
        assert words(await story.live(DAY)) == ["reminder"]
    story.change(name, expires_at=story.cycle.clock.now() + 60 * DAY, probe=None)
    assert await story.live(2 * DAY) == [(HOUR, "recovered/recovered")], "the probe that follows the date"


async def test_signal_a_first_refusal_is_confirmed_hourly_while_the_platform_limits_probes(begin: Begin) -> None:
    story = await begin("postpost", every=MINUTE)
    name = story.connect("facebook")
    assert await story.live(7 * HOUR) == []
    story.change(name, probe=ProbeScript(message="Something odd: 77"))
    asked = story.probes(name)
    while story.probes(name) == asked:
        await story.live(MINUTE)
    story.change(name, probe=ProbeScript(message="Request failed with status code 429"))
    asked = story.probes(name)
    assert await story.live(3 * HOUR) == []
    assert story.probes(name) - asked in range(3, 6)
    story.change(name, probe=ProbeScript(message="Session has expired"))
    assert words(await story.live(2 * HOUR)) == ["expired/probe_expired"]


async def test_signal_the_probe_decides_about_the_date_of_a_row_without_a_status(begin: Begin) -> None:
    story = await begin("publora", shape=Shape.LEGACY)
    name = story.connect("facebook", lifetime=9 * DAY)
    story.change(name, probe=ProbeScript(message="", status="ok"))
    assert await story.live(12 * DAY) == [
        (2 * DAY + POLL, "expiring_soon/expires_within"),
        (6 * DAY, "stage"),
        (8 * DAY, "stage"),
        (9 * DAY, "recovered/recovered"),
    ]


async def test_signal_an_account_that_was_refused_twice_before_the_upgrade_stays_failing(begin: Begin) -> None:
    story = await begin("postpost")
    name = story.connect("linkedin", lifetime=50 * DAY)
    assert await story.live(7 * HOUR) == []
    story.change(name, probe=ProbeScript(message="Something odd: 77"))
    assert words(await story.live(10 * HOUR)) == ["failing/probe_failing"]
    now = story.cycle.clock.now()
    with story.cycle.store.begin_write() as conn:  # as version 0.1 stored it, and its migration
        as_before = {"probe_refusals": 2, "probe_refused_since": now, "probe_ok_at": None, "token_dated_since": None}
        conn.execute(update(connections).values(**as_before, recheck_at=now))
    assert await story.live(5 * HOUR) == []
    story.change(name, probe=None)
    assert words(await story.live(2 * HOUR)) == ["recovered/recovered"]


@pytest.mark.parametrize("wobble", [-2 * HOUR, 2 * HOUR], ids=["backwards", "forwards"])
async def test_signal_a_time_of_renewal_that_moves_without_the_date_teaches_nothing(begin: Begin, wobble: timedelta) -> None:
    story = await begin("postbreeze", every=HOUR)
    name, issued = story.connect("tiktok", lifetime=DAY), story.cycle.clock.now()

    def state_wobbling(passed: timedelta) -> None:
        shown = issued + (wobble if passed // HOUR % 3 == 0 else timedelta(0))
        story.state(name, status="ACTIVE", lastRefreshedAt=shown.isoformat())

    for _ in range(8):
        assert await story.live(12 * HOUR, then=state_wobbling) == []
        story.world.renew("agency", name, lifetime=DAY)
        issued = story.cycle.clock.now()
    assert words(await story.live(DAY, then=state_wobbling)) == ["expiring_soon/renewal_overdue", "expired/refresh_overdue"]
