"""The read side: what the store knows, with the clock applied, and the one place that knows the JSON shapes.

The command line, the status page and the API all show what these modules give. Nothing here writes.
"""

from __future__ import annotations

from monitor.views.alerts import AlertView, Explanation, Route, alert_views, explain
from monitor.views.channels import ChannelView, channel_views
from monitor.views.connections import ConnectionView
from monitor.views.events import EventView, event_views
from monitor.views.overview import Overview, Standing, overview
from monitor.views.selection import Selection
from monitor.views.shapes import listing
from monitor.views.silences import SilenceView, silence_views
from monitor.views.sources import SourceView, source_views

__all__ = [
    "AlertView",
    "ChannelView",
    "ConnectionView",
    "EventView",
    "Explanation",
    "Overview",
    "Route",
    "Selection",
    "SilenceView",
    "SourceView",
    "Standing",
    "alert_views",
    "channel_views",
    "event_views",
    "explain",
    "listing",
    "overview",
    "silence_views",
    "source_views",
]
