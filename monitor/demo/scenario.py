"""What can be done to the world by name: the words of the story, and of the control path that benchmarks use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from monitor.demo.source import EVERYWHERE, Trouble
from monitor.demo.world import World


class Verb(StrEnum):
    """Everything that may happen to a connection or a source."""

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
class Deed:
    """One thing done to one connection, or to a whole source where `connection` is empty."""

    verb: Verb
    source: str
    connection: str = ""
    scope: str | None = EVERYWHERE
    detail: str | None = None
    seconds: float | None = None


def perform(world: World, deed: Deed) -> None:
    """Do it. Raises KeyError where the source or the connection does not exist, ValueError for an unknown detail."""
    if deed.connection:
        _to_connection(world, deed)
    else:
        _to_source(world, deed)


def _to_source(world: World, deed: Deed) -> None:
    match deed.verb:
        case Verb.BREAK:
            world.break_source(deed.source, Trouble(deed.detail or Trouble.SERVER_ERROR))
        case Verb.SLOW:
            world.slow_source(deed.source, timedelta(seconds=deed.seconds or 0))
        case Verb.RECOVER:
            world.recover_source(deed.source)
        case _:
            raise ValueError(f"{deed.verb} needs a connection.")


def _to_connection(world: World, deed: Deed) -> None:
    source, connection, scope = deed.source, deed.connection, deed.scope
    lifetime = None if deed.seconds is None else timedelta(seconds=deed.seconds)
    match deed.verb:
        case Verb.EXPIRE:
            world.expire(source, connection, scope=scope)
        case Verb.REVOKE:
            world.revoke(source, connection, scope=scope, detail=deed.detail)
        case Verb.REFUSE:
            world.refuse(source, connection, scope=scope, detail=deed.detail)
        case Verb.FAIL_REFRESH:
            world.fail_refresh(source, connection, scope=scope, error=deed.detail or "invalid_grant")
        case Verb.RENEW:
            world.renew(source, connection, scope=scope, lifetime=lifetime)
        case Verb.VANISH:
            world.vanish(source, connection, scope=scope)
        case Verb.RESTORE:
            world.restore(source, connection, scope=scope)
        case Verb.STATE_WORD:
            world.state_word(source, connection, deed.detail, scope=scope)
        case Verb.SHORTEN:
            world.change(source, connection, scope=scope, expires_at=world.clock.now() + (lifetime or timedelta(0)))
        case Verb.RENAME:
            name = deed.detail or connection
            world.rename(source, connection, scope=scope, username=name, display_name=name)
        case _:
            raise ValueError(f"{deed.verb} is for a whole source.")
