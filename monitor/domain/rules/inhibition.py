"""When many things happen at once, one thing happened: say that one thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MANY = 5
"""Fewer than this is no crowd."""

AGREEING_POLLS = 3
"""The list that lost most of its connections, and two further complete ones that say the same."""

NETWORK_PATIENCE = timedelta(hours=1)
"""How long a source that cannot be reached waits to learn whether the others can."""


def is_mass(affected: int, of: int) -> bool:
    """More than half, and at least five."""
    return affected >= MANY and affected * 2 > of


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another source, as far as reachability goes."""

    host: str
    unreachable: bool
    """Its last poll could not reach the API."""
    last_poll_at: datetime | None
    last_success_at: datetime | None


class Reach(StrEnum):
    """What a source that cannot be reached should conclude."""

    ITS_OWN = "its_own"
    """Others can be reached, or there is nobody to ask: it is this API."""
    ASK_OTHERS = "ask_others"
    """The others were not asked since the trouble began: ask them first."""
    OUR_NETWORK = "our_network"
    """No source on any host can be reached: it is the monitor's own network."""


def judge_reach(host: str, peers: Iterable[Peer], *, failing_since: datetime, now: datetime) -> Reach:
    """Whose trouble it is that a source cannot be reached."""
    others = list(peers)
    if not any(peer.host != host for peer in others):
        return Reach.ITS_OWN
    if any(peer.last_success_at is not None and peer.last_success_at >= failing_since for peer in others):
        return Reach.ITS_OWN
    asked = [peer for peer in others if peer.last_poll_at is not None and peer.last_poll_at >= failing_since]
    if len(asked) == len(others):
        return Reach.OUR_NETWORK if all(peer.unreachable for peer in asked) else Reach.ITS_OWN
    return Reach.ASK_OTHERS if now - failing_since < NETWORK_PATIENCE else Reach.ITS_OWN
