"""Templates of messages: texts in the configuration, or files beside it. What is in them is judged where they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.config.error_text import found, kind_of, refuse, suggestion
from monitor.config.resolve import Loc, Resolver
from monitor.config.secrets import UnusableError
from monitor.domain import AlertEvent

EVERY_EVENT = "*"
"""The key of the template that holds for all events without one of their own."""
_PARTS = ("title", "body")
_LARGEST = 65536


@dataclass(frozen=True, slots=True)
class TemplatePair:
    """A title and a body; None leaves that one as it is without a template."""

    title: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """A template's text that stands in a file of its own."""

    path: str


RawTemplate = Mapping[str, str | TemplateFile]


def template(value: Any) -> RawTemplate:
    """A table with title, body or both: texts or { file = "…" }."""
    if not isinstance(value, Mapping):
        refuse(f'is {kind_of(value)}, but a table is needed, such as {{ title = "{{{{ title }}}}" }}.')
    for key in value:
        if key not in _PARTS:
            refuse(f"has the unknown key {found(key)}{suggestion(str(key), _PARTS, otherwise='known are')}")
    if not value:
        refuse("is empty: give it a title, a body or both.")
    return {key: _part(key, item) for key, item in value.items()}


def templates(value: Any) -> Mapping[str, RawTemplate]:
    """Templates by event."""
    words = [event.value for event in AlertEvent]
    if not isinstance(value, Mapping):
        refuse(f"is {kind_of(value)}, but a table by event is needed, such as [channels.templates.expired].")
    for event in value:
        if event not in words:
            refuse(f"holds {found(event)}, which is no event{suggestion(str(event), words, otherwise='use')}")
    return {str(event): template(item) for event, item in value.items()}


def resolve_templates(
    reading: Resolver, loc: Loc, *, every: RawTemplate | None, by_event: Mapping[str, RawTemplate]
) -> dict[str, TemplatePair]:
    """The texts, by event and "*", with files read; what keeps a file from being read is noted."""
    found_pairs = {} if every is None else {EVERY_EVENT: _pair(reading, (*loc, "template"), every)}
    return found_pairs | {event: _pair(reading, (*loc, "templates", event), raw) for event, raw in by_event.items()}


def _part(key: str, item: Any) -> str | TemplateFile:
    if isinstance(item, str):
        return item
    if not isinstance(item, Mapping) or list(item) != ["file"] or not isinstance(item["file"], str):
        refuse(f'has {kind_of(item)} for {key}, but text in quotes or {{ file = "…" }} is needed.')
    return TemplateFile(item["file"])


def _pair(reading: Resolver, loc: Loc, raw: RawTemplate) -> TemplatePair:
    return TemplatePair(**{key: _text(reading, (*loc, key), item) for key, item in raw.items()})


def _text(reading: Resolver, loc: Loc, item: str | TemplateFile) -> str:
    if isinstance(item, str):
        return item
    try:
        with reading.around.path(item.path).open("rb") as stream:
            octets = stream.read(_LARGEST + 1)
        if len(octets) <= _LARGEST:
            return octets.decode("utf-8-sig").replace("\r\n", "\n")
        reading.findings.error(loc, f"names {found(item.path)}, which is larger than 64 KiB and so no template.")
    except UnusableError as exc:
        reading.findings.error(loc, str(exc))
    except OSError as exc:
        reading.findings.error(loc, f"names {found(item.path)}, which cannot be read: {exc.strerror or type(exc).__name__}.")
    except UnicodeDecodeError:
        reading.findings.error(loc, f"names {found(item.path)}, which is not UTF-8 text.")
    return ""
