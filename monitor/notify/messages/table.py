"""Everything that a message is about as a file, for what is too much to be read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from monitor.domain import utc_text
from monitor.domain.text import clean
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import File

_COLUMNS = (
    "status",
    "name",
    "connection",
    "external_id",
    "platform",
    "source",
    "provider",
    "scope",
    "expires_at",
    "message",
    "what_to_do",
    "link",
    "alert",
)
_LONGEST = 256


def csv_of(items: Sequence[Item]) -> File:
    """One row for each item, in order. Cells that a spreadsheet would run as a formula are made text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for item in items:
        writer.writerow([_cell(text) for text in _row(item)])
    # The mark at the beginning lets spreadsheets read names in all scripts.
    return File(name="connections.csv", mimetype="text/csv", content=b"\xef\xbb\xbf" + out.getvalue().encode("utf-8"))


def _row(item: Item) -> tuple[str, ...]:
    alert = item.alert
    return (
        item.word,
        clean(alert.label, otherwise=item.subject) if item.external_id is not None else item.subject,
        clean(alert.connection, limit=_LONGEST),
        clean(alert.external_id, limit=_LONGEST),
        item.platform or "",
        item.source,
        item.service,
        clean(alert.scope, limit=_LONGEST),
        utc_text(alert.expires_at) or "",
        clean(alert.message, limit=_LONGEST),
        item.advice,
        item.link or "",
        ", ".join(item.alert_ids),
    )


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
