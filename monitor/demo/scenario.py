"""Actions in the simulated world, and the script of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from monitor.demo.source import EVERYWHERE, Trouble
from monitor.demo.world import DEFAULT_WORKSPACE, World
from monitor.domain.clock import Clock


class Verb(StrEnum):
    """Event that may happen to a connection or a source."""

    EXPIRE = "expire"
    REVOKE = "revoke"
    REFUSE = "refuse"
    FAIL_REFRESH = "fail_refresh"
    RENEW = "renew"
    VANISH = "vanish"
    RESTORE = "restore"
    STATE_WORD = "state_word"  # detail: the word
    SHORTEN = "shorten"  # the date moves to `seconds` from now
    RENAME = "rename"  # detail: the new name
    BREAK = "break"  # detail: a Trouble word
    SLOW = "slow"  # answers come `seconds` later
    RECOVER = "recover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action on one connection, or on a whole source if `connection` is empty."""

    verb: Verb
    source: str
    connection: str = ""
    scope: str | None = EVERYWHERE
    detail: str | None = None
    seconds: float | None = None


def perform(world: World, action: Action) -> None:
    """Perform an action. Raises KeyError if the source or connection does not exist, ValueError for an unknown detail."""
    if action.connection:
        _to_connection(world, action)
    else:
        _to_source(world, action)


def _to_source(world: World, action: Action) -> None:
    match action.verb:
        case Verb.BREAK:
            world.break_source(action.source, Trouble(action.detail or Trouble.SERVER_ERROR))
        case Verb.SLOW:
            world.slow_source(action.source, timedelta(seconds=action.seconds or 0))
        case Verb.RECOVER:
            world.recover_source(action.source)
        case _:
            raise ValueError(f"{action.verb} needs a connection.")


def _to_connection(world: World, action: Action) -> None:
    source, connection, scope = action.source, action.connection, action.scope
    lifetime = None if action.seconds is None else timedelta(seconds=action.seconds)
    match action.verb:
        case Verb.EXPIRE:
            world.expire(source, connection, scope=scope)
        case Verb.REVOKE:
            world.revoke(source, connection, scope=scope, detail=action.detail)
        case Verb.REFUSE:
            world.refuse(source, connection, scope=scope, detail=action.detail)
        case Verb.FAIL_REFRESH:
            world.fail_refresh(source, connection, scope=scope, error=action.detail or "invalid_grant")
        case Verb.RENEW:
            world.renew(source, connection, scope=scope, lifetime=lifetime)
        case Verb.VANISH:
            world.vanish(source, connection, scope=scope)
        case Verb.RESTORE:
            world.restore(source, connection, scope=scope)
        case Verb.STATE_WORD:
            world.state_word(source, connection, action.detail, scope=scope)
        case Verb.SHORTEN:
            world.change(source, connection, scope=scope, expires_at=world.clock.now() + (lifetime or timedelta(0)))
        case Verb.RENAME:
            name = action.detail or connection
            world.rename(source, connection, scope=scope, username=name, display_name=name)
        case _:
            raise ValueError(f"{action.verb} applies only to a whole source.")


EXPIRING_WITHIN = timedelta(seconds=10)
"""The providers' window of expiring_soon in the demo: seconds instead of days."""
CLIENT = "65f0c0ffee0000000000a11c"
"""The managed user of the agency's workspace key."""


@dataclass(frozen=True, slots=True)
class Role:
    """One account of the cast. `seconds` is the lifetime of its token; None: no expiry date; LONG: two months."""

    source: str
    platform: str
    account: str
    """The id on the platform; for Postbreeze and PostPeer, a slash and the provider's own id follow."""
    username: str
    display_name: str
    seconds: float | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An action at a given second, with the caption that the viewer sees."""

    second: float
    action: Action
    caption: str


LONG = 60 * 86_400.0

SOURCES: tuple[tuple[str, str], ...] = (
    ("agency", "postpost"),
    ("studio", "publora"),
    ("retail", "postbreeze"),
    ("events", "postpeer"),
)

CAST: tuple[Role, ...] = (
    Role("agency", "linkedin", "Nw7Kc2pQeA", "Northwind Coffee Roasters", "Northwind Coffee Roasters", 16),
    Role("agency", "instagram", "17841405822304914", "harborandpine", "Harbor & Pine Hotel", 12),
    Role("agency", "twitter", "1529384756", "@brightsidelegal", "Brightside Legal"),
    Role("agency", "facebook", "104857600123456", "Oakfield Dental", "Oakfield Dental Practice"),
    Role("agency", "telegram", "-1001739265480", "kestrelmarket", "Kestrel Market News"),
    Role("agency", "telegram", "-1001882213907", "tallinn_eats", "Tallinn Eats (personal session)"),
    Role("agency", "mastodon", "109876543210987654", "@fernbooks", "Fern & Fable Books"),
    Role("agency", "pinterest", "849301827364", "casaverdeliving", "Casa Verde Living"),
    Role("agency", "threads", "17841461200987345", "lumenyoga", "Lumen Yoga Studio", 20, CLIENT),
    Role("agency", "youtube", "UCq8Zr3mW1nT5xLkPd0vBe7A", "Lumen Yoga Studio", "Lumen Yoga Studio", None, CLIENT),
    Role("studio", "linkedin", "Rb3VxT9mLs", "Alder Creek Architects", "Alder Creek Architects", LONG),
    Role("studio", "tiktok", "7128849302114598", "pasta.pronto", "Pasta Pronto", LONG),
    Role("studio", "bluesky", "did:plc:k4jw7r2mzq5nuxe3d6hbtyva", "marloweceramics.example", "Marlowe Ceramics"),
    Role("studio", "threads", "17841470033219876", "sundaymarketldn", "Sunday Market London", LONG),
    Role("retail", "instagram", "17841400987651234/soc_01HZSOLSTICE", "@solsticeskincare", "Solstice Skincare", LONG),
    Role("retail", "LINKEDIN_COMPANY", "78112034/soc_01HZMERIDIAN", "meridian-bikes", "Meridian Bikes", LONG),
    Role("retail", "tiktok", "6987412350/soc_01HZGREENGROCER", "@thegreengrocer", "The Green Grocer", LONG),
    Role("retail", "twitter", "2244994945/soc_01HZPAPERLANE", "@paperlaneshop", "Paper Lane Stationery"),
    Role("events", "pinterest", "5501928374/int_vinylfair", "vinylfair", "Brighton Vinyl Fair"),
    Role("events", "googlebusiness", "11872364509/int_quayside", "Quayside Hall", "Quayside Hall"),
    Role("events", "youtube", "UCb2Yt6pQ9sX4wKjLmNoRfGg/int_winterlights", "Winter Lights Festival", "Winter Lights Festival"),
)


def _on(source: str, verb: Verb, connection: str = "", *, detail: str | None = None) -> Action:
    return Action(verb=verb, source=source, connection=connection, detail=detail)


STORY: tuple[Step, ...] = (
    Step(
        2,
        _on("agency", Verb.REVOKE, "twitter-1529384756"),
        "A user at Brightside Legal removes the app from X: only a probe can detect it.",
    ),
    Step(
        3,
        _on("agency", Verb.REFUSE, "telegram--1001739265480"),
        "Kestrel Market News removes the posting rights of the bot on Telegram.",
    ),
    Step(4, _on("agency", Verb.VANISH, "facebook-104857600123456"), "Oakfield Dental's Facebook page is removed at PostPost."),
    Step(5, _on("retail", Verb.REVOKE, "soc_01HZGREENGROCER"), "Postbreeze reports The Green Grocer's TikTok as revoked."),
    Step(
        6,
        _on("retail", Verb.FAIL_REFRESH, "soc_01HZMERIDIAN"),
        "Postbreeze can no longer refresh the LinkedIn token of Meridian Bikes: it must be reconnected before its date.",
    ),
    Step(
        7,
        _on("studio", Verb.BREAK, detail=Trouble.SERVER_ERROR),
        "Publora's API goes down: it returns HTTP 500 for every request.",
    ),
    Step(8, _on("events", Verb.VANISH, "int_vinylfair"), "Brighton Vinyl Fair's Pinterest disappears from PostPeer's list."),
    Step(
        9,
        _on("agency", Verb.RENEW, "instagram-17841405822304914"),
        "Harbor & Pine Hotel reconnects Instagram three seconds before its token expires.",
    ),
    Step(13, _on("agency", Verb.RENEW, "telegram--1001739265480"), "Kestrel Market News makes the bot an administrator again."),
    Step(
        15,
        _on("studio", Verb.RECOVER),
        "Publora's API is available again.",
    ),
    Step(17, _on("studio", Verb.EXPIRE, "tiktok-7128849302114598"), "TikTok ends Pasta Pronto's session long before its date."),
    Step(
        21,
        _on("agency", Verb.RENEW, "linkedin-Nw7Kc2pQeA"),
        "Northwind Coffee Roasters reconnects LinkedIn, five seconds after its token expired.",
    ),
    Step(23, _on("agency", Verb.RESTORE, "facebook-104857600123456"), "Oakfield Dental's Facebook page is connected again."),
    Step(24, _on("agency", Verb.RENEW, "twitter-1529384756"), "Brightside Legal reconnects X."),
)
"""The script. In addition, dates pass: Northwind and Lumen Yoga go from valid over expiring_soon to expired at seconds 16
and 20, and Harbor & Pine is expiring_soon from second 2 on."""


def build_world(*, clock: Clock | None = None) -> World:
    """Return the cast at second 0, under a clock (by default the system clock)."""
    world = World(clock=clock, expiring_within=EXPIRING_WITHIN)
    for name, kind in SOURCES:
        world.add_source(name, kind)
    world.add_user("agency", user=CLIENT, display_name="Lumen Yoga")
    for role in CAST:
        account, _, external_id = role.account.partition("/")
        world.connect(
            role.source,
            role.platform,
            account=account,
            external_id=external_id or None,
            scope=role.scope or (DEFAULT_WORKSPACE if role.source == "retail" else None),
            username=role.username,
            display_name=role.display_name,
            lifetime=None if role.seconds is None else timedelta(seconds=role.seconds),
        )
    world.change("agency", "telegram--1001882213907", mtproto=True)
    return world


def anchor(world: World) -> None:
    """Restart the short lifetimes now: the daemon needed some time to start, and the viewer should not miss the beginning."""
    now = world.clock.now()
    for role in CAST:
        if role.seconds is not None and role.seconds < LONG:
            ends = now + timedelta(seconds=role.seconds)
            world.change(role.source, f"{role.platform}-{role.account}", scope=role.scope, expires_at=ends)


async def play(
    world: World,
    *,
    steps: Sequence[Step] = STORY,
    on_step: Callable[[Step], None] | None = None,
    speed: float = 1.0,
) -> None:
    """Perform each action at its second after the call, on the event loop's clock, and pass each step to `on_step`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for step in steps:
        await asyncio.sleep(max(0.0, began + step.second / speed - loop.time()))
        perform(world, step.action)
        if on_step is not None:
            on_step(step)
