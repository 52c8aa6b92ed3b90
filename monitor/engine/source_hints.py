"""Questions that the first list of a definition raises: missing dates, dates of access tokens, unknown platforms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain

from monitor.config import SourceConfig
from monitor.config.defined_sources import CUSTOM
from monitor.config.error_text import nearest
from monitor.config.formatting import toml_value
from monitor.domain import PollReport, ReportedStatus, Snapshot, VerdictFlag
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.text import clean

_SOON = timedelta(days=2)
_LEAST_SHORT = 3
_SHORT_SHARE = 0.2
_MOST_PLATFORMS = 10
_NO_PLATFORM = "unknown"  # of rows that state none


def hints(source: SourceConfig, report: PollReport, *, now: datetime) -> list[str]:
    """Return sentences about what a source listed; none for a source without a definition, or an empty list."""
    definition = source.definition
    if definition is None or not report.listed:
        return []
    rows = list(chain.from_iterable(scope.snapshots for scope in report.scopes))
    found = list(_rule_hints(rows)) if definition.rules else []
    if definition.row.expires is not None:
        found += _date_hints(rows, now=now, may_lack_dates=definition.checks_tokens and source.provider != CUSTOM)
    return found if definition.platform is not None else [*found, *_platform_hints(rows)]


def _rule_hints(rows: Sequence[Snapshot]) -> Iterator[str]:
    unmatched = sum(row.reported is ReportedStatus.UNRECOGNISED for row in rows)
    if unmatched:
        yield f"{unmatched} of {len(rows)} rows match no [[sources.status]] rule: `providers try` lists them."


def _date_hints(rows: Sequence[Snapshot], *, now: datetime, may_lack_dates: bool) -> Iterator[str]:
    dated = [row for row in rows if row.expires_at is not None]
    if not dated and not may_lack_dates:
        yield f"0 of {len(rows)} rows have a date: is expires.at right?"
    unread = sum(VerdictFlag.UNPARSED_DATE in row.flags for row in rows)
    if unread:
        yield f"{unread} of {len(rows)} rows have a value at expires.at that is not a date: `providers try` shows its format."
    counted = [row.expires_at for row in dated if row.trusted is not False and row.expires_at is not None]
    soon = sum(timedelta(0) < at - now <= _SOON for at in counted)
    if soon >= _LEAST_SHORT and soon >= _SHORT_SHARE * len(dated):
        yield (
            f"{soon} of {len(dated)} dates end within two days: are these access tokens that the service renews? "
            "Then set trusted = false."
        )


def _platform_hints(rows: Sequence[Snapshot]) -> Iterator[str]:
    unknown = Counter(row.platform for row in rows if row.platform not in PLATFORM_NAMES)
    if without := unknown.pop(_NO_PLATFORM, 0):
        yield f"{without} of {len(rows)} rows have no platform: set row.platform to its field, or platform for all rows."
    if not unknown:
        return
    named = ", ".join(f"{clean(name)} ({count})" for name, count in unknown.most_common(_MOST_PLATFORMS))
    first = unknown.most_common(1)[0][0]
    meant = nearest(first, PLATFORM_NAMES) or "instagram"
    yield (
        f"Platforms that the monitor does not know: {named}. If one is known by another name, map it, such as "
        f"platforms = {toml_value({first: meant})}."
    )
