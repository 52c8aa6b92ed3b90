"""Reminders by the wall clock, each channel at its own pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

from monitor.domain import Policy


class Paced(Protocol):
    """What reminding needs to know of a channel."""

    @property
    def name(self) -> str:
        """Its unique name."""
        ...

    @property
    def remind_every(self) -> timedelta | Literal["inherit"] | None:
        """Its own pace; "inherit" takes the policy's, None never reminds."""
        ...


def due_channels(
    heard: Mapping[str, datetime], channels: Sequence[Paced], policy: Policy, now: datetime
) -> tuple[frozenset[str], datetime | None]:
    """Which channels are due a reminder now, and when the next one of any channel is.

    `heard` tells when each channel was last given word of the incident. The first value's channels count as told now.
    """
    due: set[str] = set()
    coming: list[datetime] = []
    for channel in channels:
        pace = policy.remind_every if channel.remind_every == "inherit" else channel.remind_every
        last = heard.get(channel.name)
        if pace is None or pace <= timedelta(0) or last is None:
            continue
        if now - last >= pace:
            due.add(channel.name)
            last = now
        coming.append(last + pace)
    return frozenset(due), min(coming, default=None)
