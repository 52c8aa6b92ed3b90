"""The limits of delivery, and the pause of a channel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from monitor.config import Config
from monitor.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """The limits of delivery."""

    timezone: str = "UTC"
    """The time zone of the times in messages."""
    send_timeout: timedelta = timedelta(seconds=60)
    """The longest wait for one message; after it the outcome is unknown and the message is sent again."""
    lease: timedelta = timedelta(minutes=10)
    """Duration of a claim: longer than any batch takes, so that no other process sends it meanwhile."""
    poll_every: timedelta = timedelta(seconds=5)
    """Interval at which the store is checked for deliveries that other processes queued."""
    batch: int = 5000
    """The most deliveries claimed in one go."""
    public_url: str | None = None
    """The address of the status page for links in messages; None: messages have none."""
    config_file: str = "config.toml"
    """The name of the configuration file, for the footer of mails."""

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the limits with what the configuration sets."""
        return cls(timezone=config.timezone, public_url=config.web.public_url, config_file=config.path.name)

    retry_batch: int = 20
    """The most deliveries claimed in one go while the channel is down: enough to detect that it works again."""


class Hold(Record, frozen=True, kw_only=True):
    """The pause of a channel after a failure."""

    until: datetime | None = None
    """None: there is no pause."""
    down: bool = False
    """True if the last message failed for a reason that concerns every message."""
