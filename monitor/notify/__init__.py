"""Delivery: takes what the store holds for each channel, sends it, and writes down how that went."""

from __future__ import annotations

from monitor.notify.channel_health import ChannelHealth
from monitor.notify.notifier import Drained, Notifier
from monitor.notify.worker import DeliverySettings

__all__ = ["ChannelHealth", "DeliverySettings", "Drained", "Notifier"]
