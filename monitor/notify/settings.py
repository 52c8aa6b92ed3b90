"""The bounds of delivery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """The bounds of delivery."""

    timezone: str = "UTC"
    """For the instants in messages."""
    send_timeout: timedelta = timedelta(seconds=60)
    """The longest wait for one message; past it the outcome is unknown and it is sent again."""
    lease: timedelta = timedelta(minutes=10)
    """How long a claim lasts. Longer than any batch takes, so that nobody else sends it meanwhile."""
    poll_every: timedelta = timedelta(seconds=5)
    """How often the store is asked unprompted, for what other processes put there."""
    batch: int = 5000
    """The most deliveries in one go."""
    knock: int = 20
    """The most in one go while the channel is down: enough to see whether it is back, whatever waits behind."""
