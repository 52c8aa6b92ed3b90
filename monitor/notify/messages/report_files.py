"""A report as a page to print or to mail, and as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from zoneinfo import ZoneInfo

from monitor.domain import utc_text
from monitor.domain.rules.forecast import Need, ReconnectBatch
from monitor.domain.text import clean
from monitor.domain.timefmt import moment, relative
from monitor.notify.messages.report import (
    Report,
    ReportLine,
    platform_name,
    recovery_line,
    share_text,
    summary,
    unobserved_text,
    unread_lines,
)

_STYLE = """\
body{margin:0;font:15px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color-scheme:light dark}
main{max-width:860px;margin:0 auto;padding:16px}
h1{font-size:20px;line-height:1.3;margin:0 0 8px}
h2{font-size:16px;margin:24px 0 4px}
table{width:100%;border-collapse:collapse}
th,td{text-align:left;vertical-align:top;padding:6px 12px 6px 0;border-top:1px solid #8a8f9466}
th{font-size:13px}
.num{text-align:right}
.note{opacity:.72;font-size:13px}
@media print{main{max-width:none;padding:0}h2{break-after:avoid}tr{break-inside:avoid}}
"""


def report_html(report: Report, *, zone: ZoneInfo | None) -> str:
    """Return the whole report as a self-contained HTML page."""
    title = summary(report)
    overdue = [batch for batch in report.batches if batch.overdue]
    coming = [batch for batch in report.batches if not batch.overdue]
    blocks = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{escape(moment(report.now, zone))}. Period: the last {report.days} days.</p>',
        *(f"<p><strong>{escape(line)}</strong></p>" for line in unread_lines(report, zone)),
        _needs("Reconnect now", "since", overdue, report, zone),
        _needs(f"Expires within {report.ahead.days} days", "expires", coming, report, zone),
        f"<h2>Recovered</h2><p>{escape(recovery_line(report))}</p>",
        _uptime(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{''.join(blocks)}</main></body></html>\n"
    )


def _needs(title: str, when: str, batches: Sequence[ReconnectBatch], report: Report, zone: ZoneInfo | None) -> str:
    if not batches:
        return f"<h2>{escape(title)}</h2><p>None.</p>"
    heads = ["", "Account", "Platform", "Status", when.capitalize(), "Source"]
    heads[0] = clean(report.group_by).capitalize() if any(batch.group for batch in batches) else ""
    rows = (_need(batch, need, report, zone) for batch in batches for need in batch.needs)
    chosen = [index for index, head in enumerate(heads) if head]
    return f"<h2>{escape(title)}</h2>" + _table([heads[i] for i in chosen], ([row[i] for i in chosen] for row in rows))


def _need(batch: ReconnectBatch, need: Need, report: Report, zone: ZoneInfo | None) -> list[str]:
    return [
        clean(batch.group),
        clean(need.label, otherwise=need.connection),
        platform_name(batch),
        need.status.value,
        f"{moment(need.by, zone)}, {relative(need.by, report.now)}",
        clean(need.source),
    ]


def _uptime(report: Report) -> str:
    heads = [clean(report.group_by).capitalize(), "Connections", "Uptime", "Period before", "Not observed"]
    rows = [
        [
            clean(group.name, otherwise="(none)"),
            f"{group.connections:,}",
            share_text(group.hours.uptime),
            share_text(group.before.uptime),
            share_text(group.hours.unobserved),
        ]
        for group in report.groups
    ]
    whole = f"{share_text(report.hours.uptime)} ({share_text(report.before.uptime)} in the period before)."
    note = (
        "Uptime is the share of the observed hours in which connections were not failing, expired, revoked or disconnected."
        + unobserved_text(report.hours)
    )
    return f'<h2>Uptime</h2><p>{escape(whole)}</p>{_table(heads, rows)}<p class="note">{escape(note)}</p>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_COLUMNS = (
    "group",
    "connection",
    "name",
    "platform",
    "source",
    "status",
    "since",
    "expires_at",
    "hours_working",
    "hours_in_trouble",
    "hours_not_observed",
    "uptime_percent",
    "labels",
)


def report_csv(report: Report) -> str:
    """Return one row for each connection. Cells that a spreadsheet would run as a formula become text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for line in report.lines:
        writer.writerow([_cell(text) for text in _row(line)])
    return out.getvalue()


def _row(line: ReportLine) -> Iterator[str]:
    yield clean(line.group)
    yield clean(line.connection, limit=400)
    yield clean(line.name)
    yield clean(line.platform)
    yield line.source
    yield line.status.value
    yield utc_text(line.since)
    yield utc_text(line.expires_at) or ""
    for length in (line.hours.working, line.hours.trouble, line.hours.unknown):
        yield f"{length.total_seconds() / 3600:.2f}"
    yield "" if line.hours.uptime is None else f"{line.hours.uptime * 100:.3f}"
    yield "; ".join(f"{clean(key)}={clean(value)}" for key, value in sorted(line.labels.items()))


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
