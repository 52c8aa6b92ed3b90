"""The end of a message about several alerts: what to do, stated once for each kind, and where to find the details."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from monitor.domain import Status
from monitor.domain.rules.advice import PLACEHOLDER
from monitor.domain.text import is_plain_id
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import Style
from monitor.notify.messages.message import Message

_MOST_KINDS = 3
_MOST_KINDS_BESIDE_PAGE = 2  # the status page shows what to do
_MOST_IDS = 3
_MOST_LINKS = 3
CONNECTION_PAGES = "Anyone who has the link to a connection page can connect accounts: share it only with the responsible person."


def timezone_line(message: Message) -> str:
    """Return the time zone of the times in the lines; empty where they contain none."""
    return f"Times: {message.timezone}" if any(":" in item.brief for item in message.items) else ""


def advice_lines(message: Message) -> list[str]:
    """Return what to do, one line for each platform and kind of problem; none where the page shows it and there are many."""
    kinds = _kinds([item for item in message.items if item.external_id is not None and item.advice and not item.recovered])
    if message.page and len(kinds) > _MOST_KINDS_BESIDE_PAGE:
        return []
    shown = kinds if len(kinds) <= _MOST_KINDS else kinds[: _MOST_KINDS - 1]
    lines = [f"{'What to do' if len(kinds) == 1 else items[0].platform_name}: {_with_ids(text, items)}" for text, items in shown]
    if rest := [item for _, items in kinds[len(shown) :] for item in items]:
        services = " or ".join(sorted({item.service for item in rest}))
        lines.append(f"Other accounts: Reconnect them in {services}.")
    return lines


def links(message: Message) -> list[str]:
    """Return the dashboards of the providers, not the connection pages."""
    found = dict.fromkeys(item.link for item in message.items if item.link and not item.link_until and _needs_link(item))
    return [link for link in found if link][:_MOST_LINKS]


def has_connection_pages(message: Message) -> bool:
    """Return True if the message contains connection pages."""
    return any(item.link and item.link_until for item in message.items)


def acknowledge_command(items: Sequence[Item]) -> str:
    """Return the command that acknowledges the first of these that can be acknowledged; empty if none can."""
    return next((item.ack for item in items if item.ack), "")


def lines(message: Message, items: Sequence[Item], style: Style) -> Iterator[str]:
    """Yield the lines, in the order in which they are shown. `items` are those in this part of the message."""
    yield from (style.escape(text) for text in advice_lines(message))
    yield from (f"Link: {style.link(link)}" for link in links(message))
    if has_connection_pages(message):
        yield style.escape(CONNECTION_PAGES)
    if message.page:
        yield page_line(message, style)
    elif command := acknowledge_command(items):
        yield f"Acknowledge one: {style.code(command)}"
    if zone := timezone_line(message):
        yield style.escape(zone)


def page_line(message: Message, style: Style) -> str:
    """Return the link to the page that shows everything."""
    return f"{page_label(message)}: {style.link(message.page)}"


def page_label(message: Message) -> str:
    """Return the text before the link to the page."""
    return "Details" if all(item.recovered for item in message.items) else "Details and what to do"


def _needs_link(item: Item) -> bool:
    return item.external_id is not None and not item.recovered


def _kinds(items: Sequence[Item]) -> list[tuple[str, list[Item]]]:
    """Return the different advice with its items. Where others of a platform no longer work, their advice is enough."""
    broken = {(item.platform, item.service) for item in items if item.status != Status.EXPIRING_SOON}
    found: dict[tuple[str | None, str], list[Item]] = {}
    for item in items:
        if item.status != Status.EXPIRING_SOON or (item.platform, item.service) not in broken:
            found.setdefault((item.platform, _without_id(item)), []).append(item)
    return [(text, group) for (_, text), group in found.items()]


def _without_id(item: Item) -> str:
    command = f"forget {shlex.quote(item.public_id)}"
    return item.advice.replace(command, f"forget {PLACEHOLDER}")


def _with_ids(text: str, items: Sequence[Item]) -> str:
    ids = [shlex.quote(item.public_id) for item in items if is_plain_id(item.public_id)]
    return text.replace(PLACEHOLDER, " ".join(ids[:_MOST_IDS])) if ids else text
