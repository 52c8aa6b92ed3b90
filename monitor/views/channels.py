"""How each configured channel has been doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from monitor.config import Config
from monitor.domain import utc_text
from monitor.store import channel_states
from monitor.store.channel_states import ChannelState


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """A channel at one instant."""

    name: str
    problem: str | None
    """The last failure as a sentence, None while it works."""
    failing_since: datetime | None
    broken: bool
    """The service refused for good: it is tried hourly, and a person must act."""
    last_success_at: datetime | None

    def json(self) -> dict[str, Any]:
        """The shape of a channel."""
        return {
            "name": self.name,
            "problem": self.problem,
            "failing_since": utc_text(self.failing_since),
            "broken": self.broken,
            "last_success_at": utc_text(self.last_success_at),
        }


def channel_views(conn: Connection, config: Config) -> list[ChannelView]:
    """Every configured channel, in the order of the file."""
    states = channel_states.all_states(conn)
    return [_view(states.get(channel.name, ChannelState(name=channel.name))) for channel in config.channels]


def _view(state: ChannelState) -> ChannelView:
    return ChannelView(
        name=state.name,
        problem=state.problem,
        failing_since=state.failing_since,
        broken=state.broken,
        last_success_at=state.last_success_at,
    )
