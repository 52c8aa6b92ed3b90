"""Passing a part to an Apprise service: body format, files, incident and mail thread.

Apprise passes on a title, a text and a type. Some services support more, which their plugins read from settings in the URL;
those settings are set here for each message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from html import escape
from typing import Any

from monitor.notify.apprise.message_settings import MessageSettings
from monitor.notify.apprise.services import INCIDENT_SETTINGS, RESOLVES_FROM_MEMORY, kind_of, profile_of
from monitor.notify.messages import Attachment, ChannelProfile, Markup, Part, Tone

_BODY_FORMATS = {
    Markup.TEXT: "text",
    Markup.CHAT: "text",  # so that Apprise does not change it
    Markup.MARKDOWN: "markdown",
    Markup.SLACK: "markdown",
    Markup.HTML: "html",
    Markup.MAIL: "html",
}


class ServiceAdapter:
    """Sets up one built service for each message, using more than Apprise's title, text and type."""

    def __init__(self, service: Any, url: str) -> None:
        self._service, self._kind = service, kind_of(service)
        self._setting = _incident_setting(service, self._kind)
        self._settings = MessageSettings(service, self._kind, given=_url_settings(url))
        self._headers = dict(getattr(service, "headers", None) or {})
        self.profile: ChannelProfile = profile_of(service, manages_incidents=self._setting is not None)
        """The capabilities of the service."""
        if self._setting is not None and "action" not in _url_settings(url):
            service.action = "map"  # open on a problem, resolve on its recovery
        if self._kind in RESOLVES_FROM_MEMORY:
            _open_info_incidents(service)
        if self.profile.markup is Markup.MAIL:
            service.body_maxlen = self.profile.limits.body
        if self.profile.markup is Markup.SLACK:
            # The text is Slack's markup already; Apprise would convert it again.
            service.dialect_convert = _escape_plain_text

    def body_format(self, part: Part) -> str:
        """Return the format to pass to Apprise, so that it does not convert the text."""
        requested = self._service._format_override  # noqa: SLF001 - Apprise has no public access to it
        if part.markup is Markup.CHAT and requested is not None:
            return str(requested.value)
        return _BODY_FORMATS[part.markup]

    def prepare(self, part: Part) -> None:
        """Set up the service for this part: its priority, tags and address, the incident's id, and the thread of a mail."""
        self._settings.apply(part)
        if self._setting is not None and part.incident:
            setattr(self._service, self._setting, part.incident)
            if self._kind in RESOLVES_FROM_MEMORY and self._service.action in ("map", "new"):
                # An incident that it can no longer resolve gets the recovery as a new alert.
                lost = part.resolves and not self._service.store.get(_memory_key(part.incident))
                self._service.action = "new" if lost else "map"
        if self._kind == "email":
            given = {name.lower() for name in self._headers}
            self._service.headers = {**_without(part.headers, given), **self._headers}


def _without(headers: Mapping[str, str], given: AbstractSet[str]) -> dict[str, str]:
    """Return the headers that the URL does not set."""
    return {name: value for name, value in headers.items() if name.lower() not in given}


def notify_type(part: Part) -> str:
    """Return Apprise's type of a part. Where the service manages incidents, only a recovery may have the type that resolves."""
    if part.incident and part.resolves:
        return Tone.SUCCESS.value
    return Tone.INFO.value if part.incident and part.tone is Tone.SUCCESS else part.tone.value


def attachments(files: Sequence[Attachment]) -> list[Any] | None:
    """Return files as Apprise expects them."""
    if not files:
        return None
    from apprise.attachment.memory import AttachMemory

    make: Any = AttachMemory
    return [make(content=file.content, name=file.name, mimetype=file.mimetype) for file in files]


def _incident_setting(service: Any, kind: str) -> str | None:
    """Return the setting for the incident's id; None where there is none, or where the URL sets it."""
    setting = INCIDENT_SETTINGS.get(kind)
    if setting is None:
        return None
    given = getattr(service, setting)
    by_default = f"{service.app_id}/{service.routing_key}" if kind == "splunk" else None
    return None if given and given != by_default else setting


def _url_settings(url: str) -> set[str]:
    return {name.partition("=")[0].casefold() for name in url.partition("?")[2].split("&")}


def _open_info_incidents(service: Any) -> None:
    """Make informational alerts open an incident: without one, their note would be lost and still reported as sent."""
    from apprise import NotifyType

    if service.mapping.get(NotifyType.INFO) == "note":
        service.mapping[NotifyType.INFO] = "new"
    _ = service.store  # created now, so that copies of the service share it


def _escape_plain_text(body: str, body_format: Any = None, *_args: Any, **_kwargs: Any) -> str:
    return escape(body, quote=False) if body_format == "text" else body


def _memory_key(incident: str) -> str:
    """Return the key under which these plugins remember what they opened."""
    return hashlib.sha1(incident.encode(), usedforsecurity=False).hexdigest()[:10]  # as in Apprise
