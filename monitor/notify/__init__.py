"""Delivery: claims pending deliveries for each channel, composes and sends messages, and records the outcome."""

from __future__ import annotations

from monitor.notify.channel_health import ChannelHealth
from monitor.notify.delivery_settings import DeliverySettings
from monitor.notify.notifier import Drained, Notifier

__all__ = ["ChannelHealth", "DeliverySettings", "Drained", "Notifier"]
