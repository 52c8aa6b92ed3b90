"""PostPost and Publora: one API under two brands, with managed users and their connection pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from monitor.config import SourceConfig
from monitor.domain import ConnectionLink, PollReport, ProbeAnswer, ReportedStatus, ScopeReport, Unreadable, VerdictFlag
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderScopeRefused, ProviderUnauthorized
from monitor.domain.rules import dates
from monitor.domain.rules.platforms import is_usable_id
from monitor.domain.text import sanitize_or_none
from monitor.providers import payload
from monitor.providers.api import Api, RequestRefused, header_value, segment
from monitor.providers.postpost.rows import DialectVotes, span_of_seconds
from monitor.providers.postpost.scopes import IntactLists, ScopeRows, interpret, read_rows
from monitor.providers.scopes import ScopeWalk, report_of

_MAX_LENGTH = 2048


class UserRow(msgspec.Struct):
    """One managed user in any documented form. An unreadable page leaves the user usable."""

    id_new: str | None = msgspec.field(default=None, name="_id")
    id_old: str | None = msgspec.field(default=None, name="id")
    page: Any = msgspec.field(default=None, name="connectionsPageUrl")
    page_until: Any = msgspec.field(default=None, name="connectionsPageTokenExpiresAt")
    display_name: Any = msgspec.field(default=None, name="displayName")
    username: Any = None
    email: Any = None

    @property
    def label(self) -> str | None:
        """The name to show: displayName, else username (an e-mail address), else email; None if the row has none."""
        texts = (each for each in (self.display_name, self.username, self.email) if isinstance(each, str))
        return next(filter(None, map(sanitize_or_none, texts)), None)

    @property
    def user(self) -> str | None:
        """The user's id; None if the row has none."""
        return self.id_new or self.id_old


def links_of(rows: Iterable[UserRow], *, now: datetime) -> dict[str, ConnectionLink]:
    """Return the valid connection pages by user: https addresses with a stated expiry in the future."""
    found = {}
    for row in rows:
        until, flags = dates.parse_instant(row.page_until)
        if row.user and _is_page(row.page) and until is not None and VerdictFlag.NAIVE_DATE not in flags and until > now:
            found[row.user] = ConnectionLink(url=row.page, good_until=until)
    return found


def _is_page(address: object) -> bool:
    if not isinstance(address, str) or len(address) > _MAX_LENGTH:
        return False
    return address.startswith("https://") and address.isascii() and address.isprintable() and " " not in address


_MAX_PERMISSIONS = 200
_USERS_ASKED_EVERY = 86400.0
"""Seconds between two requests that only count the managed users of a key."""
_ROW_BYTES = 256
"""Typical size of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """Differences between the two brands of the API."""

    user_header: str
    unknown: ReportedStatus
    """Meaning of `tokenStatus: "unknown"` if the rows do not determine it."""


_BRANDS = {
    "postpost": Brand(user_header="x-postpost-user-id", unknown=ReportedStatus.NON_EXPIRING),
    "publora": Brand(user_header="x-publora-user-id", unknown=ReportedStatus.UNKNOWN),
}


_GUARDED_USER = ("_id", "id")
_GUARDED_ANSWER = ("status", "message", "tokenExpiresIn")
_USERS = payload.RowReader(UserRow, id_field="_id", guarded=_GUARDED_USER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedUsers:
    """The managed users of a key, as listed by the API."""

    ids: tuple[str, ...] = ()
    names: Mapping[str, str] | None = None
    """By id; None if they were not read."""
    links: Mapping[str, ConnectionLink] | None = None
    """The connection pages by id; None if they were not read."""


class PostPost:
    """Adapter for one PostPost or Publora source."""

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        self._brand = _BRANDS[source.provider]
        self._users = source.users
        self._users_unset = source.users_unset
        self._users_asked_until = 0.0
        self._wants_links = source.connection_links and source.users != "none"
        self._probes = source.probe
        self._api = api
        self._walk: ScopeWalk[ScopeRows] = ScopeWalk()
        self._intact = IntactLists()
        self._votes: DialectVotes | None = None
        """The evidence for the dialect in all lists of the last poll; None before the first."""

    @property
    def probes(self) -> bool:
        """True if the source enables probes."""
        return self._probes

    async def poll(self) -> PollReport:
        """Read the connections of the owner and of the managed users. A failure is reported in the result."""
        before = self._api.list_requests
        users = ManagedUsers()
        users_error: ProviderError | None = None
        try:
            users = await self._managed_users()
        except ProviderError as exc:
            users_error = exc
        results = await self._walk.read_all((None, *users.ids), self._read_scope)
        if self._users not in ("all", "none") and not isinstance(results[None], ProviderError):
            with suppress(ProviderError):  # the users are configured by id: only their names and pages are missing then
                users = replace(await self._list_users(), ids=users.ids)
        errors = [result for result in results.values() if isinstance(result, ProviderError)]
        self._votes = DialectVotes.of(result.votes for result in results.values() if isinstance(result, ScopeRows))
        scopes = await self._interpret(results, self._votes)
        if users_error is not None and not isinstance(results[None], ProviderError):
            # The owner's list proves that the key works: only the users' part is missing.
            users_error = ProviderPayloadInvalid(f"The managed users could not be listed: {users_error}")
        if users_error is not None:
            errors.append(users_error)
        # An empty list of users may mean a lapsed plan: it does not prove that their connections are gone.
        covers_all = self._users == "all" and users_error is None and bool(users.ids)
        report = report_of(self._api, scopes, errors, requests=self._api.list_requests - before, covers_all=covers_all)
        unmonitored = None if isinstance(results[None], ProviderError) else await self._count_unmonitored_users()
        return replace(report, links=users.links, scope_names=users.names, unmonitored_users=unmonitored)

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Read the connections of these users only; None is the owner.

        All lists are read if this adapter has not polled yet and a row's meaning follows from all of them together.
        """
        before = self._api.list_requests
        walk: ScopeWalk[ScopeRows] = ScopeWalk()
        results = await walk.read_all(scopes, self._read_scope)
        votes = DialectVotes.of(each.votes for each in results.values() if isinstance(each, ScopeRows))
        if self._votes is not None:
            votes.add(self._votes)
        errors = [result for result in results.values() if isinstance(result, ProviderError)]
        read = await self._interpret(results, votes)
        if self._votes is None and not votes.undated_valid and any(map(_depends_on_dialect, read)):
            whole = await self.poll()
            wanted = tuple(scope for scope in whole.scopes if scope.scope in scopes)
            return replace(whole, scopes=wanted, covers_all=False, requests=self._api.list_requests - before)
        return report_of(self._api, read, errors, requests=self._api.list_requests - before)

    async def _count_unmonitored_users(self) -> int | None:
        """Return how many users the key manages although `users` is not set, once a day; None if it was not read."""
        now = asyncio.get_running_loop().time()
        if not self._users_unset or now < self._users_asked_until:
            return None
        self._users_asked_until = now + _USERS_ASKED_EVERY
        try:
            return len((await self._list_users()).ids)
        except ProviderUnauthorized:
            return 0  # 403: the key has no workspace
        except ProviderError:
            return None

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Test one connection with a live call to its platform. An id that cannot be sent gives a 400 without a request."""
        if not is_usable_id(external_id):
            return ProbeAnswer(http_status=400, message="The id is malformed and was not sent.")
        try:
            reply = await self._api.post(f"/test-connection/{segment(external_id)}", headers=self._user_header(scope))
        except RequestRefused as exc:
            return self._probe_refusal(exc, scope)
        fields = payload.read_object(reply.body, content_type=reply.content_type, guarded=_GUARDED_ANSWER)
        if not isinstance(fields.get("status"), str):
            raise ProviderPayloadInvalid("The probe's response contains no status.")
        message, span = fields.get("message"), fields.get("tokenExpiresIn")
        return ProbeAnswer(
            http_status=200,
            status=sanitize_or_none(_plain_status(fields["status"])),
            message=sanitize_or_none(message if isinstance(message, str) else payload.any_error_text(message)),
            token_expires_in=None if span is None else _text(span if isinstance(span, str) else span_of_seconds(span)),
            username=_text(fields.get("username")),
            permissions=_permissions(fields.get("permissions")),
        )

    def _user_header(self, scope: str | None) -> dict[str, str]:
        """Return the header for a managed user; none for the owner. Raises ProviderScopeRefused for an unsendable id."""
        if scope is None:
            return {}
        value = header_value(scope)
        if value is None:
            raise ProviderScopeRefused("The managed user's id cannot be sent in a header.")
        return {self._brand.user_header: value}

    def _probe_refusal(self, refused: RequestRefused, scope: str | None) -> ProbeAnswer:
        """Return the result for a 400 or 404 from the API itself. Raises the error for any other refusal."""
        if refused.status in (400, 404) and refused.from_api and "user-id" not in refused.detail.lower():
            return ProbeAnswer(http_status=refused.status, message=refused.detail or None)
        raise _error_for_refusal(refused, scope) from refused

    async def _managed_users(self) -> ManagedUsers:
        if self._users == "none":
            return ManagedUsers()
        if self._users != "all":
            return ManagedUsers(ids=tuple(self._users))
        return await self._list_users()

    async def _list_users(self) -> ManagedUsers:
        """Return every managed user with its name, and their connection pages if they are enabled."""
        try:
            reply = await self._api.get("/workspace/users")
        except RequestRefused as exc:
            raise _error_for_refusal(exc, None) from exc
        listing = payload.read_list(
            reply.body,
            content_type=reply.content_type,
            key="users",
            bare=True,
            guarded=_GUARDED_USER,
            max_rows=self._api.limits.rows,
        )
        read = [_USERS.read(row) for row in listing.rows]
        known = [row for row in read if not isinstance(row, Unreadable)]
        ids = [row.user for row in known]
        if listing.cut or len(ids) != len(read) or None in ids or "" in ids:
            raise ProviderPayloadInvalid("Some managed users in the list have no readable id.")
        return ManagedUsers(
            ids=tuple(name for name in dict.fromkeys(ids) if name),
            names={row.user: row.label for row in known if row.user and row.label},
            links=links_of(known, now=reply.at) if self._wants_links else None,
        )

    async def _read_scope(self, scope: str | None) -> ScopeRows:
        try:
            reply = await self._api.get("/platform-connections", headers=self._user_header(scope))
        except RequestRefused as exc:
            raise _error_for_refusal(exc, scope) from exc
        max_rows = self._api.limits.rows
        return await payload.off_loop(lambda: read_rows(reply, max_rows=max_rows), size=len(reply.body))

    async def _interpret(self, results: dict[str | None, ScopeRows | ProviderError], votes: DialectVotes) -> list[ScopeReport]:
        """Return the report of every requested scope. The dialect is derived from `votes`."""
        count = sum(result.count for result in results.values() if isinstance(result, ScopeRows))
        dialect, max_rows = votes.dialect(self._brand.unknown), self._api.limits.rows
        return await payload.off_loop(
            lambda: interpret(results, dialect=dialect, max_rows=max_rows, intact=self._intact), size=count * _ROW_BYTES
        )


_FROM_DIALECT = (ReportedStatus.UNKNOWN, ReportedStatus.NON_EXPIRING, ReportedStatus.UNSTATED)


def _depends_on_dialect(scope: ScopeReport) -> bool:
    """Return True if another dialect would give a row of this list another status."""
    return any(row.reported in _FROM_DIALECT for row in scope.snapshots)


def _error_for_refusal(refused: RequestRefused, scope: str | None) -> ProviderError:
    """Return the error for a refusal of the managed user, of the key, or of the request (PROVIDERS 1.1, errors)."""
    detail = refused.detail.lower()
    of_user = refused.status == 403 and "not managed" in detail
    bad_user = refused.status == 400 and ("user-id" in detail or "objectid" in detail)
    if scope is not None and (of_user or bad_user):
        return ProviderScopeRefused(
            f"The key does not manage the user {sanitize_or_none(scope)!r} (HTTP {refused.status}: {refused.detail})."
        )
    return refused.unauthorized() or refused


def _text(value: Any) -> str | None:
    return sanitize_or_none(value) if isinstance(value, str) else None


_STATUSES = ("ok", "error")


def _plain_status(word: str) -> str:
    """Return the documented spelling of "ok" and "error", in any case; any other word unchanged."""
    if word in _STATUSES:
        return word
    plain = word.strip().casefold()
    return plain if plain in _STATUSES else word


def _permissions(value: Any) -> tuple[str, ...] | None:
    """Return the permissions of a list or a text; None if one of them is no text: in part, they would look like a loss."""
    listed = payload.split_words(value) if isinstance(value, str) else value
    if not isinstance(listed, list):
        return None
    texts = [item for item in listed if isinstance(item, str)]
    if len(texts) < len(listed):
        return None
    return tuple([text for item in texts[:_MAX_PERMISSIONS] if (text := sanitize_or_none(item))])
