"""The configuration: one TOML file, the environment, and secrets by reference; validated completely before anything starts."""

from __future__ import annotations

from monitor.config.file import find_config, starter
from monitor.config.formatting import format_duration, parse_duration
from monitor.config.load import Loaded, load, load_channels
from monitor.config.reference import KeyDoc, reference
from monitor.config.secrets import REFERENCE_KINDS, SHORTEST_TOKEN, UNREAD, Secret, SecretKind, suggested_token
from monitor.config.settings import (
    WORK_QUEUES,
    ChannelConfig,
    ClusterConfig,
    Config,
    DatabaseConfig,
    HeartbeatConfig,
    HeartbeatKind,
    LogFormat,
    LoggingConfig,
    RetentionConfig,
    ScheduleConfig,
    SourceConfig,
    WebConfig,
    WebUser,
)
from monitor.config.show import show
from monitor.config.templates import TemplatePair
from monitor.config.time_windows import WeeklyTime
from monitor.domain import QuietHours

__all__ = [
    "REFERENCE_KINDS",
    "SHORTEST_TOKEN",
    "UNREAD",
    "WORK_QUEUES",
    "ChannelConfig",
    "ClusterConfig",
    "Config",
    "DatabaseConfig",
    "HeartbeatConfig",
    "HeartbeatKind",
    "KeyDoc",
    "Loaded",
    "LogFormat",
    "LoggingConfig",
    "QuietHours",
    "RetentionConfig",
    "ScheduleConfig",
    "Secret",
    "SecretKind",
    "SourceConfig",
    "TemplatePair",
    "WebConfig",
    "WebUser",
    "WeeklyTime",
    "find_config",
    "format_duration",
    "load",
    "load_channels",
    "parse_duration",
    "reference",
    "show",
    "starter",
    "suggested_token",
]
