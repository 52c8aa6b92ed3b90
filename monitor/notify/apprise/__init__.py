"""Where alerts go: the home of Apprise. One channel, one message, one honest outcome."""

from __future__ import annotations

from monitor.notify.apprise.channel import Channel, Sent

__all__ = ["Channel", "Sent"]
