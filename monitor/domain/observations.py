"""The observations of polls and probes, before the rules judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.enums import PollOutcome, ProbeFinding, ReportedStatus
from monitor.domain.records import Record


class Refresh(Record, frozen=True, gc=False, kw_only=True):
    """A provider's report of its own token refreshes (Postbreeze). All instants are aware UTC."""

    connected_at: datetime | None = None
    last_refreshed_at: datetime | None = None
    last_attempt_at: datetime | None = None
    error: str | None = None
    error_status: int | None = None


class LastError(Record, frozen=True, gc=False, kw_only=True):
    """The last posting error that a provider reports. It is no evidence about the token."""

    message: str
    occurred_at: datetime | None = None


class Snapshot(Record, frozen=True, gc=False, kw_only=True):
    """One connection as one poll listed it. Texts are sanitized (no control characters) and at most 256 characters long."""

    external_id: str
    """The provider's id. PostPost and Publora: the whole platformId; the others: id."""
    scope: str | None = None  # managed user or workspace id, None for the key's owner
    platform: str  # common slug, lower case (x becomes twitter, facebook_page becomes facebook)
    reported: ReportedStatus
    raw_status: str | None = None  # the provider's own text of the status, if it has one
    expires_at: datetime | None = None
    """The stated expiry, aware UTC; None if none is stated or it means "does not expire"."""
    detail: str | None = None
    """The provider's explanation of the status, if it gives one."""
    trusted: bool | None = None
    """True if the provider defines that the date alone may expire the connection, False if not; None: its platform decides."""
    labels: Mapping[str, str] | None = None
    """The row's own labels, which those of the source and of rules override; None if it has none."""
    expires_before: datetime | None = None
    """Only a coarse span was stated ("82d 4h"): the expiry lies in the hour before this instant. Then expires_at is None."""
    refresh: Refresh | None = None
    account: str | None = None  # stable id on its platform, to recognise a connection that got a new external_id
    username: str | None = None
    display_name: str | None = None
    profile_url: str | None = None
    scopes: tuple[str, ...] | None = None  # granted OAuth scopes in the provider's order, None if not reported
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None
    flags: frozenset[str] = frozenset()
    """VerdictFlags about the row: naive_date, unparsed_date, far_date, epoch_date, ..."""

    @property
    def label(self) -> str:
        """The name to show: display name, else user name, else id."""
        return self.display_name or self.username or self.external_id


class Unreadable(Record, frozen=True, kw_only=True):
    """A row that could not be read. Only its connection is affected, and keeps its last verdict."""

    external_id: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """The result of one poll for one scope."""

    scope: str | None
    complete: bool  # True only if every row of the scope was certainly listed: then absence is evidence
    snapshots: Sequence[Snapshot] = ()  # one per connection; a long list creates each on access
    unreadable: tuple[Unreadable, ...] = ()
    problem: str | None = None  # why the scope is incomplete or could not be read, as a sentence
    digest: str | None = field(default=None, compare=False)  # equal only for lists with equal content; None: unknown
    whole: bool = field(default=False, compare=False)
    """True if the list was read to its end; it may still be incomplete, because a row states no id."""
    gone: bool = False
    """True if the provider reports that the key has lost this scope (403 "User is not managed by key", 404 workspace)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLink:
    """The page where one managed user reconnects. Its address alone gives access: it is a secret, and never stored."""

    url: str = field(repr=False)
    good_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """The result of one poll of one source, failures included."""

    outcome: PollOutcome
    scopes: tuple[ScopeReport, ...] = ()
    problem: str | None = None
    retry_after: float | None = None  # seconds to wait before the next request, if the provider stated them
    clock_skew: float | None = None  # server Date minus local clock in seconds; None without a Date header
    requests: int = 0
    covers_all: bool = False
    """True if the list spans every scope of the key, so that a scope not named in it is known to be empty."""

    links: Mapping[str, ConnectionLink] | None = field(default=None, repr=False)  # by managed user; None: not read by this poll

    scope_names: Mapping[str, str] | None = None
    """The names of managed users or workspaces by their ids; None: not read by this poll."""

    unmonitored_users: int | None = None
    """The number of managed users whose connections are not read, because `users` is not set; None: not read by this poll."""

    known: int | None = None
    """The number of connections of a source that is not read, because a program pushes its reports; None for the others."""

    @property
    def listed(self) -> int:
        """The number of listed rows, readable or not, or of the connections of a source that is not read."""
        if self.known is not None:
            return self.known
        return sum(len(scope.snapshots) + len(scope.unreadable) for scope in self.scopes)


class ProbeAnswer(Record, frozen=True, gc=False, kw_only=True):
    """The response of a test-connection call."""

    http_status: int
    status: str | None = None  # the status in the body ("ok" or "error")
    message: str | None = None
    token_expires_in: str | None = None
    username: str | None = None
    permissions: tuple[str, ...] | None = None
    finding: ProbeFinding | None = None
    """The finding that the call proves, if the definition of the provider states it; None: the status and message decide."""
