"""Sending through Apprise: one message to one channel, with a definite outcome."""

from __future__ import annotations

from monitor.notify.apprise.channel import Channel, Sent
from monitor.notify.apprise.network import UnusableNetwork
from monitor.notify.apprise.url_check import MisreadUrl

__all__ = ["Channel", "MisreadUrl", "Sent", "UnusableNetwork"]
