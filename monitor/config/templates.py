"""Message templates: texts in the configuration or in files. Their content is checked by monitor.notify.messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.config.error_text import describe, describe_type, refuse, suggestion
from monitor.config.resolve import Loc, Resolver
from monitor.config.secrets import UnusableError
from monitor.domain import AlertEvent
from monitor.domain.records import Record

EVERY_EVENT = "*"
"""Key of the template for every event without a specific one."""
_PARTS = ("title", "body")
_LARGEST = 65536


class TemplatePair(Record, frozen=True):
    """A title and a body; None keeps the built-in one."""

    title: str | None = None
    body: str | None = None


class TemplateFile(Record, frozen=True):
    """A template whose text is in a file."""

    path: str


RawTemplate = Mapping[str, str | TemplateFile]


def template(value: Any) -> RawTemplate:
    """Return a table with title, body or both, each a text or { file = "…" }."""
    if not isinstance(value, Mapping):
        refuse(f'is {describe_type(value)}, but must be a table, such as {{ title = "{{{{ title }}}}" }}.')
    for key in value:
        if key not in _PARTS:
            refuse(f"has the unknown key {describe(key)}{suggestion(str(key), _PARTS, otherwise='the known keys are')}")
    if not value:
        refuse("is empty: set a title, a body or both.")
    return {key: _part(key, item) for key, item in value.items()}


def templates(value: Any) -> Mapping[str, RawTemplate]:
    """Return the templates by event."""
    words = [event.value for event in AlertEvent]
    if not isinstance(value, Mapping):
        refuse(f"is {describe_type(value)}, but must be a table by event, such as [channels.templates.expired].")
    for event in value:
        if event not in words:
            refuse(f"contains {describe(event)}, which is not an event{suggestion(str(event), words, otherwise='use')}")
    return {str(event): template(item) for event, item in value.items()}


def resolve_templates(
    resolver: Resolver, loc: Loc, *, every: RawTemplate | None, by_event: Mapping[str, RawTemplate]
) -> dict[str, TemplatePair]:
    """Return the texts by event and "*", with files read; record files that cannot be read."""
    found_pairs = {} if every is None else {EVERY_EVENT: _pair(resolver, (*loc, "template"), every)}
    return found_pairs | {event: _pair(resolver, (*loc, "templates", event), raw) for event, raw in by_event.items()}


def _part(key: str, item: Any) -> str | TemplateFile:
    if isinstance(item, str):
        return item
    if not isinstance(item, Mapping) or list(item) != ["file"] or not isinstance(item["file"], str):
        refuse(f'has {describe_type(item)} for {key}, but needs text in quotes or {{ file = "…" }}.')
    return TemplateFile(item["file"])


def _pair(resolver: Resolver, loc: Loc, raw: RawTemplate) -> TemplatePair:
    return TemplatePair(**{key: _text(resolver, (*loc, key), item) for key, item in raw.items()})


def _text(resolver: Resolver, loc: Loc, item: str | TemplateFile) -> str:
    if isinstance(item, str):
        return item
    try:
        with resolver.context.path(item.path).open("rb") as stream:
            octets = stream.read(_LARGEST + 1)
        if len(octets) <= _LARGEST:
            return octets.decode("utf-8-sig").replace("\r\n", "\n")
        resolver.problems.error(loc, f"names {describe(item.path)}, which is larger than 64 KiB, too large for a template.")
    except UnusableError as exc:
        resolver.problems.error(loc, str(exc))
    except OSError as exc:
        resolver.problems.error(loc, f"names {describe(item.path)}, which cannot be read: {exc.strerror or type(exc).__name__}.")
    except UnicodeDecodeError:
        resolver.problems.error(loc, f"names {describe(item.path)}, which is not UTF-8 text.")
    return ""
