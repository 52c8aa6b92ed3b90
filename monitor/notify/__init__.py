"""Delivery: claims pending deliveries for each channel, composes and sends messages, and records the outcome."""

from __future__ import annotations

from monitor.notify.channel_health import ChannelHealth
from monitor.notify.notifier import Drained, Notifier
from monitor.notify.worker import DeliverySettings

__all__ = ["ChannelHealth", "DeliverySettings", "Drained", "Notifier"]
