"""Delivery: takes what the store holds for each channel, sends it, and writes down how that went."""

from __future__ import annotations

from monitor.notifier.notifier import Drained, Notifier
from monitor.notifier.worker import ChannelHealth, DeliverySettings

__all__ = ["ChannelHealth", "DeliverySettings", "Drained", "Notifier"]
