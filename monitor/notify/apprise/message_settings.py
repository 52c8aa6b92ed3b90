"""Settings of services that follow each message: priority, tags, and the address that a click opens.

Apprise reads them from the URL, for all messages alike. Settings in the URL take precedence; the others are set on the service
for each message. The names of attributes and the values are those of the plugins of Apprise 2.2, which a test compares with the
plugins.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from monitor.notify.messages import Part, Tone

_LONGEST_ADDRESS = 500
"""Characters; Pushover takes 512."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSetting:
    """One setting of a service."""

    attribute: str
    """The attribute of Apprise's plugin."""
    parameters: tuple[str, ...]
    """The parameters of the URL that set it."""
    value: Callable[[Part], Any]
    """Returns the value for a message; None leaves the plugin's default."""


def _by_tone(failure: Any, warning: Any, info: Any, success: Any) -> Callable[[Part], Any]:
    """Return a function from a part to the value for its tone: critical, warning, everything else, recovered."""
    values = {Tone.FAILURE: failure, Tone.WARNING: warning, Tone.INFO: info, Tone.SUCCESS: success}
    return lambda part: values[part.tone]


def _priority(failure: Any, warning: Any, info: Any, success: Any) -> MessageSetting:
    return MessageSetting(attribute="priority", parameters=("priority",), value=_by_tone(failure, warning, info, success))


def _urgency() -> MessageSetting:
    return MessageSetting(attribute="urgency", parameters=("urgency", "priority"), value=_by_tone(2, 1, 1, 0))


def _page(part: Part) -> str | None:
    return part.page if 0 < len(part.page) <= _LONGEST_ADDRESS else None


def _click(attribute: str = "click", parameter: str = "click") -> MessageSetting:
    return MessageSetting(attribute=attribute, parameters=(parameter,), value=_page)


def _tags(attribute: str) -> MessageSetting:
    return MessageSetting(attribute=attribute, parameters=("tags",), value=lambda part: list(part.tags) or None)


# --- ntfy

_NTFY_UNQUOTED = ":/?@&=#"
_NTFY_EMOJI = {Tone.FAILURE: "rotating_light", Tone.WARNING: "warning", Tone.SUCCESS: "white_check_mark"}


def _ntfy_click(part: Part) -> str | None:
    """Return the address that is right after the plugin has quoted it; None where no such address exists."""
    address = _page(part) or ""
    unquoted = unquote(address)
    return unquoted if address and quote(unquoted, safe=_NTFY_UNQUOTED) == address else None


def _ntfy_tags(part: Part) -> list[str] | None:
    """Return an emoji for the tone, which ntfy shows before the title, and the tags."""
    emoji = _NTFY_EMOJI.get(part.tone)
    return [*([emoji] if emoji else []), *part.tags] or None


def _ntfy_actions(part: Part) -> str | None:
    return f"view, Acknowledge, {part.acknowledge}" if part.acknowledge else None


_PUSH_PRIORITY = _priority(1, 0, 0, -1)
_OPSGENIE_PRIORITY = _priority(1, 3, 5, 5)  # P1 to P5, of which P1 is critical; Apprise's words for them are the other way round

MESSAGE_SETTINGS: dict[str, tuple[MessageSetting, ...]] = {
    "bark": (
        MessageSetting(attribute="level", parameters=("level",), value=_by_tone("timeSensitive", "active", "active", "passive")),
        _click(),
    ),
    "dbus": (_urgency(),),
    "firehydrant": (_priority("high", "medium", "low", "low"), _click(), _tags("event_tags")),
    "glib": (_urgency(),),
    "gnome": (_urgency(),),
    "gotify": (_priority(8, 5, 5, 0),),
    "growl": (_PUSH_PRIORITY,),
    "ilert": (_priority("high", "low", "low", "low"), _click()),
    "incidentio": (_click(),),
    "jira": (_OPSGENIE_PRIORITY, _tags("_NotifyJira__tags")),
    "join": (_PUSH_PRIORITY,),
    "lauther": (_PUSH_PRIORITY, _click()),
    "macosx": (_click(),),
    "ntfy": (
        _priority("high", "default", "default", "low"),
        MessageSetting(attribute="_NotifyNtfy__tags", parameters=("xtags", "tags"), value=_ntfy_tags),
        MessageSetting(attribute="click", parameters=("click",), value=_ntfy_click),
        MessageSetting(attribute="_NotifyNtfy__actions", parameters=("actions",), value=_ntfy_actions),
    ),
    "opsgenie": (_OPSGENIE_PRIORITY, _tags("_NotifyOpsgenie__tags")),
    "pagerduty": (
        _click(),
        MessageSetting(attribute="class_id", parameters=("class",), value=lambda part: part.tags[0] if part.tags else None),
    ),
    "prowl": (_PUSH_PRIORITY,),
    "pushover": (_PUSH_PRIORITY, _click("supplemental_url", "url")),
    "pushsafer": (_PUSH_PRIORITY,),
    "simplepush": (
        _priority(4, 3, 3, 2),
        MessageSetting(attribute="links", parameters=("links",), value=lambda part: [page] if (page := _page(part)) else None),
    ),
    "squadcast": (_priority("P1", "P3", "P5", "P5"),),
    "trigv": (
        MessageSetting(
            attribute="urgency",
            parameters=("urgency", "priority"),
            value=_by_tone("time_sensitive", "standard", "standard", "standard"),
        ),
        _click("supplemental_url", "url"),
    ),
    "youlmk": (_click("link", "url"),),
}
"""The settings by Apprise's plugin. PagerDuty's severity and the levels of YouLMK and PushWard follow Apprise's message type."""


class MessageSettings:
    """Sets up one service for each message."""

    def __init__(self, service: Any, kind: str, *, given: AbstractSet[str]) -> None:
        """`given` are the names of the parameters in the URL, which stay as they are."""
        self._service = service
        free = (each for each in MESSAGE_SETTINGS.get(kind, ()) if given.isdisjoint(each.parameters))
        self._settings = [each for each in free if hasattr(service, each.attribute)]
        self._defaults = {each.attribute: getattr(service, each.attribute) for each in self._settings}

    def apply(self, part: Part) -> None:
        """Set the service up for this part."""
        for each in self._settings:
            value = each.value(part)
            setattr(self._service, each.attribute, self._defaults[each.attribute] if value is None else value)
