"""Hands a part to an Apprise service in the service's own way: format, files, incident and thread.

Apprise passes on a title, a text and a type. Some services understand more, which their plugins read from settings of
their URL; those settings are set here for each message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

from monitor.notify.apprise.services import INCIDENT_SETTINGS, REMEMBERING, kind_of, profile_of
from monitor.notify.messages import Attachment, ChannelProfile, Markup, Part, Tone

_BODY_FORMATS = {
    Markup.TEXT: "text",
    Markup.CHAT: "text",  # so that Apprise leaves it as it is
    Markup.MARKDOWN: "markdown",
    Markup.SLACK: "markdown",
    Markup.HTML: "html",
    Markup.MAIL: "html",
}


class Speech:
    """What one built service understands beyond a text, and how it is told."""

    def __init__(self, service: Any, url: str) -> None:
        self._service, self._kind = service, kind_of(service)
        self._setting = _incident_setting(service, self._kind)
        self._headers = dict(getattr(service, "headers", None) or {})
        self.profile: ChannelProfile = profile_of(service, keeps_incidents=self._setting is not None)
        """What it can carry."""
        if self._setting is not None and "action" not in _named_in(url):
            service.action = "map"  # raise on a problem, resolve on its recovery
        if self._kind in REMEMBERING:
            _open_information(service)
        if self.profile.markup is Markup.MAIL:
            service.body_maxlen = self.profile.limits.body
        if self.profile.markup is Markup.SLACK:
            # The text is Slack's own already. Apprise's conversion would convert it again.
            service.dialect_convert = _as_slack_reads_it

    def body_format(self, part: Part) -> str:
        """What Apprise is told that a part's text is, so that it converts it no further."""
        asked = self._service._format_override  # noqa: SLF001 - Apprise offers no other view of it
        if part.markup is Markup.CHAT and asked is not None:
            return str(asked.value)
        return _BODY_FORMATS[part.markup]

    def tell(self, part: Part) -> None:
        """Prepares the service for this part: the incident's id and what becomes of it, and the thread of a mail."""
        if self._setting is not None and part.incident:
            setattr(self._service, self._setting, part.incident)
            if self._kind in REMEMBERING and self._service.action in ("map", "new"):
                # What it cannot close any more it is at least told.
                lost = part.resolves and not self._service.store.get(_memory_key(part.incident))
                self._service.action = "new" if lost else "map"
        if self._kind == "email":
            self._service.headers = {**self._headers, **part.headers}


def notify_type(part: Part) -> str:
    """Apprise's word for a part. Where the service keeps incidents, a recovery resolves, and nothing else does."""
    if part.incident and part.resolves:
        return Tone.SUCCESS.value
    return Tone.INFO.value if part.incident and part.tone is Tone.SUCCESS else part.tone.value


def attachments(files: Sequence[Attachment]) -> list[Any] | None:
    """Files as Apprise takes them."""
    if not files:
        return None
    from apprise.attachment.memory import AttachMemory

    make: Any = AttachMemory
    return [make(content=file.content, name=file.name, mimetype=file.mimetype) for file in files]


def _incident_setting(service: Any, kind: str) -> str | None:
    """The setting that takes an incident's id; None where there is none, or where the URL itself sets it."""
    setting = INCIDENT_SETTINGS.get(kind)
    if setting is None:
        return None
    given = getattr(service, setting)
    by_default = f"{service.app_id}/{service.routing_key}" if kind == "splunk" else None
    return None if given and given != by_default else setting


def _named_in(url: str) -> set[str]:
    return {name.partition("=")[0].casefold() for name in url.partition("?")[2].split("&")}


def _open_information(service: Any) -> None:
    """Have what is merely worth knowing opened as well: as a note on nothing it would be lost, and called sent."""
    from apprise import NotifyType

    if service.mapping.get(NotifyType.INFO) == "note":
        service.mapping[NotifyType.INFO] = "new"
    _ = service.store  # made now, so that copies of the service share it


def _as_slack_reads_it(body: str, body_format: Any = None, *_args: Any, **_kwargs: Any) -> str:
    return escape(body, quote=False) if body_format == "text" else body


def _memory_key(incident: str) -> str:
    """The key under which these plugins remember what they opened."""
    return hashlib.sha1(incident.encode(), usedforsecurity=False).hexdigest()[:10]  # Apprise's own choice
