"""Delivery: takes what the store holds for each channel, sends it, and writes down how that went."""

from __future__ import annotations

from monitor.notifier.notifier import Drained, Notifier
from monitor.notifier.settings import DeliverySettings
from monitor.notifier.standing import ChannelHealth

__all__ = ["ChannelHealth", "DeliverySettings", "Drained", "Notifier"]
