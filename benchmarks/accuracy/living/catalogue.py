"""The scenarios of the living world by name: where each may happen, and the size of its small run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle, islice, product

from benchmarks.accuracy.ground_truth import DAY
from benchmarks.accuracy.living import identities, probing, renewals, rows
from benchmarks.accuracy.living.probe_texts import LASTING, PASSING, ProbeText
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.source import SimSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An account of a small run."""

    source: str
    platform: str
    variant: int
    """Which variant of the scenario it meets; each source has all of them in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of trouble, or of noise that is no trouble."""

    name: str
    play: Callable[[Simulation, Account], Script]
    play_sources: Callable[[Simulation, Sequence[SimSource], timedelta], Sequence[Script]] | None = None
    """Starts what happens to the whole sources of the accounts, from a given time after the start on."""
    sources: tuple[str, ...]
    platforms: tuple[str, ...]
    variants: int = 1
    """Number of accounts in a small run."""
    left: timedelta | None = None
    """Lifetime left at the start of a small run; None for accounts whose dates do not matter."""
    waits: bool = False
    """True if it begins long before the expiry of the account's token and waits for it."""
    rare: bool = False
    """True if it disturbs the whole source, so that few accounts may meet it."""
    from_start: bool = False
    """True if it has to begin with the account's first poll."""
    lasts: timedelta = 4 * DAY
    """How long it may last, for what does not wait."""
    days: int = 6
    poll_every: str = "1h"
    probe_every: str = "6h"

    def fits(self, account: Account) -> bool:
        """Return True if it may happen to an account."""
        dated = not self.waits or account.lifetime is not None
        return dated and account.source.name in self.sources and account.platform in self.platforms

    def places(self) -> list[Place]:
        """Return the accounts of its small run."""
        where = islice(cycle(product(self.platforms, self.sources)), self.variants)
        return [
            Place(source=source, platform=platform, variant=number // len(self.sources))
            for number, (platform, source) in enumerate(where)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScenario(Scenario):
    """A scenario with one account for each message of a table."""

    texts: tuple[ProbeText, ...]

    def places(self) -> list[Place]:
        """Return an account of the message's platform for each message; Pinterest is never tested."""
        found: list[Place] = []
        numbers: dict[str, int] = {}
        for text in self.texts:
            if text.platform in self.platforms:
                variant = numbers[text.platform] = numbers.get(text.platform, -1) + 1
                found.append(Place(source=self.sources[len(found) % len(self.sources)], platform=text.platform, variant=variant))
        return found


LISTED = ("agency", "brand", "studio")
PROBED = ("agency", "brand")
_DATED = ("linkedin", "instagram", "threads")
_TESTED = ("linkedin", "twitter", "facebook", "mastodon", "bluesky", "youtube")
_TEXTED = (*_TESTED, "instagram", "threads", "tiktok", "telegram")
_SHORT = ("twitter", "bluesky", "youtube", "tiktok")


def _clock_off(simulation: Simulation, sources: Sequence[SimSource], at: timedelta) -> list[Script]:
    return [identities.clock_off(simulation, [each], at, number) for number, each in enumerate(sources)]


def _keys_swapped(simulation: Simulation, sources: Sequence[SimSource], at: timedelta) -> list[Script]:
    return [identities.key_swapped(simulation, each, at) for each in sources]


_ALL = (
    Scenario(
        name="odd_side_field",
        play=rows.odd_side_field,
        sources=LISTED,
        platforms=("facebook", "linkedin", "threads"),
        variants=15,
    ),
    Scenario(name="new_status", play=rows.new_status, sources=LISTED, platforms=("facebook", "linkedin"), variants=26, days=12),
    Scenario(
        name="unreadable_id",
        play=rows.unreadable_id,
        sources=(*LISTED, "peer", "heritage"),
        platforms=("facebook", "linkedin"),
        variants=10,
        rare=True,
    ),
    Scenario(
        name="unreadable_status",
        play=rows.unreadable_status,
        sources=LISTED,
        platforms=("facebook", "linkedin"),
        variants=9,
    ),
    Scenario(
        name="runs_out",
        play=rows.runs_out,
        sources=("agency", "brand", "heritage"),
        platforms=_DATED,
        variants=9,
        left=8 * DAY,
        waits=True,
        days=14,
    ),
    Scenario(
        name="clock_off",
        play=rows.runs_out,
        play_sources=_clock_off,
        sources=("heritage", "agency", "brand"),
        platforms=_DATED,
        variants=9,
        left=8 * DAY,
        waits=True,
        days=14,
    ),
    Scenario(
        name="only_the_date_runs_out",
        play=rows.only_the_date_runs_out,
        sources=("heritage", "agency"),
        platforms=("facebook", "pinterest"),
        variants=6,
        left=11 * DAY,
        waits=True,
        days=17,
    ),
    Scenario(
        name="only_the_span_runs_out",
        play=rows.only_the_span_runs_out,
        sources=PROBED,
        platforms=_DATED,
        variants=6,
        left=9 * DAY,
        waits=True,
        days=14,
    ),
    Scenario(
        name="date_passes_while_it_works",
        play=rows.date_passes_while_it_works,
        sources=PROBED,
        platforms=_DATED,
        variants=6,
        left=8 * DAY,
        waits=True,
        days=15,
    ),
    Scenario(
        name="stale_date", play=rows.stale_date, sources=("agency",), platforms=("youtube", "tiktok", "facebook"), variants=6
    ),
    Scenario(name="rotating_date", play=rows.rotating_date, sources=("heritage",), platforms=_SHORT, variants=4, days=8),
    Scenario(
        name="reconnected_as_unknown",
        play=rows.reconnected_as_unknown,
        sources=("brand",),
        platforms=_DATED,
        variants=3,
        left=3 * DAY,
        waits=True,
        days=10,
    ),
    Scenario(
        name="failed_post",
        play=rows.failed_post,
        sources=PROBED,
        platforms=("pinterest", "linkedin"),
        variants=16,
        days=8,
    ),
    TextScenario(
        name="passing_texts", play=probing.passing_texts, sources=PROBED, platforms=_TEXTED, texts=PASSING, lasts=2 * DAY, days=5
    ),
    TextScenario(name="lasting_texts", play=probing.lasting_texts, sources=PROBED, platforms=_TEXTED, texts=LASTING, days=9),
    Scenario(
        name="cannot_be_tested",
        play=probing.cannot_be_tested,
        sources=PROBED,
        platforms=("facebook", "linkedin"),
        variants=8,
        lasts=20 * DAY,
        days=12,
    ),
    Scenario(
        name="permission_lost",
        play=probing.permission_lost,
        sources=LISTED,
        platforms=("linkedin", "facebook", "instagram"),
        variants=12,
        lasts=6 * DAY,
        days=8,
    ),
    Scenario(
        name="permission_exchanged",
        play=probing.permission_exchanged,
        sources=LISTED,
        platforms=("instagram",),
        variants=3,
    ),
    Scenario(
        name="reading_permission_lost",
        play=probing.reading_permission_lost,
        sources=LISTED,
        platforms=("linkedin", "facebook", "threads"),
        variants=6,
    ),
    Scenario(
        name="reconnected_without_permission",
        play=probing.reconnected_without_permission,
        sources=PROBED,
        platforms=("facebook",),
        variants=4,
        lasts=8 * DAY,
        days=10,
    ),
    Scenario(
        name="moved_to_mtproto", play=probing.moved_to_mtproto, sources=PROBED, platforms=("telegram",), variants=2, days=14
    ),
    Scenario(name="bot_revoked", play=probing.bot_revoked, sources=PROBED, platforms=("telegram",), variants=2, days=7),
    Scenario(
        name="unknown_and_valid", play=probing.unknown_and_valid, sources=PROBED, platforms=("instagram", "linkedin"), variants=4
    ),
    Scenario(name="renewals_stop", play=renewals.renewals_stop, sources=("studio",), platforms=_SHORT, variants=8, days=8),
    Scenario(
        name="renewed_lazily",
        play=renewals.renewed_lazily,
        sources=("studio",),
        platforms=_SHORT,
        variants=4,
        from_start=True,
        days=12,
    ),
    Scenario(
        name="renewals_never_stated",
        play=renewals.renewals_never_stated,
        sources=("studio",),
        platforms=_SHORT,
        variants=4,
        from_start=True,
    ),
    Scenario(
        name="refresh_fails_for_hours",
        play=renewals.refresh_fails_for_hours,
        sources=("studio",),
        platforms=("twitter", "bluesky"),
        variants=4,
    ),
    Scenario(
        name="refresh_fails_until_death",
        play=renewals.refresh_fails_until_death,
        sources=("studio",),
        platforms=("twitter", "bluesky"),
        variants=4,
    ),
    Scenario(
        name="one_failed_refresh",
        play=renewals.one_failed_refresh,
        sources=("studio",),
        platforms=_DATED,
        variants=3,
        left=50 * DAY,
    ),
    Scenario(
        name="long_refresh_fails_for_hours",
        play=renewals.long_refresh_fails_for_hours,
        sources=("studio",),
        platforms=_DATED,
        variants=3,
        left=50 * DAY,
    ),
    Scenario(
        name="long_refresh_fails_until_death",
        play=renewals.long_refresh_fails_until_death,
        sources=("studio",),
        platforms=_DATED,
        variants=3,
        left=11 * DAY,
        waits=True,
        days=15,
    ),
    Scenario(
        name="reconnected_late",
        play=renewals.reconnected_late,
        sources=("studio",),
        platforms=("twitter", "bluesky"),
        variants=8,
        days=14,
    ),
    Scenario(
        name="renewed_late",
        play=renewals.renewed_late,
        sources=("studio",),
        platforms=("pinterest",),
        variants=2,
        left=29 * DAY,
        waits=True,
        from_start=True,
        days=125,
        poll_every="6h",
    ),
    Scenario(
        name="renewed_late_then_stops",
        play=renewals.renewed_late_then_stops,
        sources=("studio",),
        platforms=("pinterest",),
        variants=2,
        left=29 * DAY,
        waits=True,
        from_start=True,
        days=150,
        poll_every="6h",
    ),
    Scenario(
        name="reconnected_under_new_id",
        play=identities.reconnected_under_new_id,
        sources=PROBED,
        platforms=("linkedin", "threads", "facebook"),
        variants=8,
        days=8,
    ),
    Scenario(
        name="key_swapped",
        play=identities.no_trouble,
        play_sources=_keys_swapped,
        sources=("tenant", "heritage", "studio", "peer"),
        platforms=("linkedin", "facebook"),
        variants=32,
        days=5,
    ),
)

SCENARIOS = {each.name: each for each in _ALL}
