"""Conversion of PostPost's and Publora's rows to snapshots. Facts: PROVIDERS 1.1, 1.2, 2a, 2b; API documents 000 to 002."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from monitor.domain import LastError, ReportedStatus, Snapshot, Unreadable, VerdictFlag
from monitor.domain.rules import dates
from monitor.domain.rules.platforms import split_platform_id
from monitor.domain.text import sanitize, sanitize_or_none, web_address
from monitor.providers import payload
from monitor.providers.payload import Date
from monitor.providers.status_words import reported_status

GUARDED = ("platformId", "tokenStatus", "accessTokenExpiresAt")
"""Fields that a row must not contain twice (FAILURES N18)."""

_NEVER_EXPIRING = frozenset({"twitter", "facebook", "mastodon", "youtube"})
_DOUBTFUL_DATE = frozenset({VerdictFlag.UNPARSED_DATE, VerdictFlag.ANCIENT_DATE})


class LastErrorRow(msgspec.Struct, rename="camel", gc=False, omit_defaults=True):
    """`lastError` as an object."""

    message: str | None = None
    occurred_at: Date = None


class PostPostRow(payload.Row, rename="camel", gc=False, omit_defaults=True):
    """One connection as listed, in the old form (five fields) or the new one. Only the fields that are used.

    Absent fields are not encoded, so that a digest reads fewer bytes.
    """

    platform_id: str
    username: str | None = None
    display_name: str | None = None
    profile_url: str | None = None
    access_token_expires_at: Date = None
    token_status: str | None = None
    token_expires_in: str | None = None
    last_successful_post: Date = None
    last_error: LastErrorRow | str | None = None


def span_of_seconds(value: object) -> str | None:
    """Return a time left in seconds as the documented text, rounded down to the hour; None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if value <= 0:
        return "expired"
    hours = int(value // 3600)
    return f"{hours // 24}d {hours % 24}h" if hours else "< 1h"


def _odd_last_error(value: object) -> LastErrorRow | None:
    """Return an error of an undocumented form if it has a message: that of an object, or of the first object of a list."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return LastErrorRow(message=value)
    if not isinstance(value, Mapping) or not (message := payload.error_text(value)):
        return None
    occurred_at = value.get("occurredAt")
    is_date = isinstance(occurred_at, (str, int, float)) and not isinstance(occurred_at, bool)
    return LastErrorRow(message=message, occurred_at=occurred_at if is_date else None)


READER = payload.RowReader(
    PostPostRow,
    id_field="platformId",
    guarded=GUARDED,
    lenient={
        "accessTokenExpiresAt": payload.unreadable_date,
        "tokenExpiresIn": span_of_seconds,
        "lastError": _odd_last_error,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Meaning of the status words of one poll, derived from its rows."""

    states_status: bool
    """True if any row has a tokenStatus; otherwise this is the old form."""
    unknown: ReportedStatus
    """Meaning of "unknown": the platform's tokens do not expire, or the service does not know."""


@dataclass(slots=True)
class DialectVotes:
    """Evidence about the dialect from the rows read so far.

    Since 2026-08 X, Facebook, Mastodon and YouTube are `valid` without a date, and `unknown` means that the service does
    not know. Before, those were `unknown`. If no such row is listed, the brand's default applies.
    """

    states_status: bool = False
    undated_valid: bool = False
    undated_unknown: bool = False

    def note(self, row: PostPostRow) -> None:
        """Take one more row into account."""
        if row.token_status is None:
            return
        self.states_status = True
        if row.access_token_expires_at is not None or self.undated_valid:  # which decides, whatever the others state
            return
        status = reported_status(row.token_status)
        if status is ReportedStatus.VALID:
            self.undated_valid = _never_expires(row)
        elif status is ReportedStatus.UNKNOWN and not self.undated_unknown:
            self.undated_unknown = _never_expires(row)

    def note_all(self, rows: Sequence[PostPostRow]) -> None:
        """Take many more rows into account, most of which decide nothing."""
        if self.undated_valid:
            return
        self.states_status = self.states_status or any(row.token_status is not None for row in rows)
        words = {row.token_status for row in rows if row.access_token_expires_at is None}
        open_questions = {ReportedStatus.VALID} if self.undated_unknown else {ReportedStatus.VALID, ReportedStatus.UNKNOWN}
        deciding = {word for word in words if reported_status(word) in open_questions}
        if deciding:
            for row in rows:
                if row.token_status in deciding:
                    self.note(row)

    @classmethod
    def of(cls, parts: Iterable[DialectVotes]) -> DialectVotes:
        """Return the evidence of all parts together."""
        found = cls()
        for part in parts:
            found.add(part)
        return found

    def add(self, other: DialectVotes) -> None:
        """Take the evidence from other rows of the same source into account."""
        self.states_status |= other.states_status
        self.undated_valid |= other.undated_valid
        self.undated_unknown |= other.undated_unknown

    def dialect(self, default: ReportedStatus) -> Dialect:
        """Return the dialect of all these rows."""
        if self.undated_valid:
            return Dialect(states_status=True, unknown=ReportedStatus.UNKNOWN)
        return Dialect(states_status=self.states_status, unknown=ReportedStatus.NON_EXPIRING if self.undated_unknown else default)


def _never_expires(row: PostPostRow) -> bool:
    named = split_platform_id(row.platform_id)
    return named is not None and named[0] in _NEVER_EXPIRING


def to_snapshot(row: PostPostRow, *, scope: str | None, at: datetime, dialect: Dialect) -> Snapshot | Unreadable:
    """Return the row as a snapshot. `at` is the server's time of the response, to which "82d 4h" is relative."""
    named = split_platform_id(row.platform_id)
    if named is None:
        return bad_id(row)
    expires_at, flags = dates.parse_expiry(row.access_token_expires_at, now=at)
    reported = _reported(row, dialect)
    expires_before = None
    if expires_at is None and VerdictFlag.FAR_DATE not in flags:
        expires_before, more, reported = _by_span(row, at=at, reported=reported)
        flags |= more
        if flags & _DOUBTFUL_DATE and reported in (ReportedStatus.NON_EXPIRING, ReportedStatus.UNSTATED):
            reported = ReportedStatus.UNKNOWN  # there is a date, although unreadable: "does not expire" would be a guess
    if reported is ReportedStatus.UNKNOWN and row.token_status is None:
        flags |= {VerdictFlag.STATUS_MISSING}
    if row.field_ignored:
        flags |= {VerdictFlag.FIELD_IGNORED}
    posted_at = dates.parse_instant(row.last_successful_post)[0] if row.last_successful_post is not None else None
    return Snapshot(
        external_id=row.platform_id,
        scope=scope,
        platform=named[0],
        reported=reported,
        raw_status=sanitize_or_none(row.token_status),
        expires_at=expires_at,
        expires_before=expires_before,
        username=sanitize_or_none(row.username),
        display_name=sanitize_or_none(row.display_name),
        profile_url=web_address(row.profile_url),
        last_successful_post_at=posted_at,
        last_error=None if row.last_error is None else last_error(row.last_error),
        flags=flags,
    )


def bad_id(row: PostPostRow) -> Unreadable:
    """Return the record for a row with an unusable id."""
    return Unreadable(external_id=sanitize_or_none(row.platform_id), why="bad_id: the platformId is malformed.")


def last_error(value: LastErrorRow | str) -> LastError | None:
    """Return the last posting error from either documented form; None if it is empty."""
    if isinstance(value, str):
        value = LastErrorRow(message=value)
    message = sanitize(value.message or "")
    occurred_at, _ = dates.parse_instant(value.occurred_at)
    return LastError(message=message, occurred_at=occurred_at) if message or occurred_at else None


def _reported(row: PostPostRow, dialect: Dialect) -> ReportedStatus:
    status = reported_status(row.token_status)
    if status is ReportedStatus.UNSTATED and dialect.states_status:
        return ReportedStatus.UNKNOWN
    return dialect.unknown if status is ReportedStatus.UNKNOWN else status


def _by_span(
    row: PostPostRow, *, at: datetime, reported: ReportedStatus
) -> tuple[datetime | None, frozenset[str], ReportedStatus]:
    """Return the end of the stated time left, the flags, and the status as corrected by it."""
    text = row.token_expires_in
    if not text:
        return None, frozenset(), reported
    span = dates.parse_remaining(text)
    if span is None:
        return None, frozenset({VerdictFlag.UNPARSED_SPAN}), reported
    if span.expired:
        # It gives no date. A status that means "does not expire" would contradict it.
        corrected = ReportedStatus.UNKNOWN if reported in (ReportedStatus.NON_EXPIRING, ReportedStatus.UNSTATED) else reported
        return None, frozenset() if reported is ReportedStatus.EXPIRED else frozenset({VerdictFlag.SPAN_EXPIRED}), corrected
    if span.coarse:
        return None, frozenset({VerdictFlag.COARSE_SPAN}), reported
    try:
        end, flags = dates.parse_expiry((at + span.below).isoformat(), now=at)
    except OverflowError:
        return None, frozenset({VerdictFlag.FAR_DATE}), reported
    return end, flags, reported
