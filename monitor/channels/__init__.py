"""Where alerts go: the home of Apprise. One channel, one message, one honest outcome."""

from __future__ import annotations

from monitor.channels.channel import Channel, Sent

__all__ = ["Channel", "Sent"]
