"""The pages, widths and themes of the browser suite: a new page is added here, and every test of appearance covers it."""

from __future__ import annotations

EXPIRED = "/connections/agency/linkedin-agency000"
REVOKED = "/connections/agency/facebook-agency002"
RENEWING = "/connections/south/instagram-south008"
PAGES = (
    "/",
    "/?status=attention&q=acme&sort=name",
    "/?status=stale&source=north&sort=platform",
    "/?label=client%3Dacme&sort=client",
    "/?source=nobody",
    "/clients",
    "/forecast",
    "/forecast?days=90&label=client%3Dacme",
    "/sources",
    "/alerts",
    "/alerts?state=dead",
    "/alerts/alert-1",
    "/silences",
    "/silences?all=yes",
    EXPIRED,
    REVOKED + "?status=attention&sort=name",
    RENEWING,
    "/connections/agency/tiktok-agency003",
)
MISSING = ("/connections/agency/nobody", "/alerts/nobody", "/nothing")
EMPTY = ("/", "/clients", "/forecast", "/sources", "/alerts", "/silences")
"""Pages that differ on a site without data."""
WIDTHS = (320, 390, 768, 1440, 1920)
THEMES = ("light", "dark")
AXE = {("light", 390), ("dark", 1440)}
"""Themes and widths at which axe-core checks every page: it takes a second for each, and colours do not depend on the width."""
