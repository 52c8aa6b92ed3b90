"""PostPost and Publora: one client, two header and base profiles (PROVIDERS 0.1). The list, its scopes, and the probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from monitor.errors import ProviderError, ProviderPayloadInvalid, ProviderScopeRefused
from monitor.model import PollReport, ProbeAnswer, ProviderKind, ScopeReport, Snapshot, Unreadable, Word
from monitor.providers import payload, postpost_rows
from monitor.providers.api import Api, KeyHeader, RequestRefused, header_value, segment
from monitor.providers.postpost_rows import Dialect, Row
from monitor.providers.scopes import ScopeWalk, failed_scope, report_of, scope_report
from monitor.providers.settings import SourceSettings
from monitor.providers.text import clean_or_none
from monitor.rules.platforms import is_usable_id

_ROWS = payload.RowReader(Row, id_field="platformId")
_MOST_PERMISSIONS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What differs between the two brands of the one backend."""

    key_header: KeyHeader
    user_header: str
    unknown: Word
    """What `tokenStatus: "unknown"` means where the rows do not tell."""


PROFILES = {
    ProviderKind.POSTPOST: Profile(
        key_header=KeyHeader(name="x-api-key"), user_header="x-postpost-user-id", unknown=Word.NON_EXPIRING
    ),
    ProviderKind.PUBLORA: Profile(
        key_header=KeyHeader(name="x-publora-key"), user_header="x-publora-user-id", unknown=Word.UNKNOWN
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _ScopeRows:
    """One scope's rows as decoded, before their words are understood."""

    rows: list[Row]
    unreadable: list[Unreadable]
    at: datetime
    problem: str | None


class _UserRow(msgspec.Struct):
    """One managed user in any documented shape. Its links and address stay where they are."""

    id_new: str | None = msgspec.field(default=None, name="_id")
    id_old: str | None = msgspec.field(default=None, name="id")


_USERS = payload.RowReader(_UserRow, id_field="_id")


class PostPost:
    """One source at PostPost or Publora."""

    def __init__(self, source: SourceSettings, *, api: Api) -> None:
        self._kind = source.provider
        self._profile = PROFILES[source.provider]
        self._users = source.users
        self._probes = source.probe
        self._api = api
        self._walk: ScopeWalk[_ScopeRows] = ScopeWalk()

    @property
    def kind(self) -> ProviderKind:
        """PostPost or Publora."""
        return self._kind

    @property
    def probes(self) -> bool:
        """Whether the source wants its connections tested."""
        return self._probes

    async def poll(self) -> PollReport:
        """Read the owner's connections, and those of the managed users. A failure is a report."""
        before = self._api.list_requests
        users: Sequence[str] = ()
        users_error: ProviderError | None = None
        try:
            users = await self._managed_users()
        except ProviderError as exc:
            users_error = exc
        results = await self._walk.read_all((None, *users), self._read_scope)
        errors = [result for result in results.values() if isinstance(result, ProviderError)]
        scopes = await self._understand(results)
        if users_error is not None and not isinstance(results[None], ProviderError):
            # The owner's own rows prove that the key works: what is missing is the users' part.
            users_error = ProviderPayloadInvalid(f"The managed users could not be listed: {users_error}")
        if users_error is not None:
            errors.append(users_error)
        # An empty list of users may be a plan that lapsed: no proof that their connections are gone.
        covers_all = self._users == "all" and users_error is None and bool(users)
        return report_of(self._api, scopes, errors, requests=self._api.list_requests - before, covers_all=covers_all)

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Test one connection with a live call to its platform. An id that cannot be sent is answered with a 400 of our own."""
        if not is_usable_id(external_id):
            return ProbeAnswer(http_status=400, message="The id is malformed and was not sent.")
        try:
            reply = await self._api.post(f"/test-connection/{segment(external_id)}", headers=self._user_header(scope))
        except RequestRefused as exc:
            return self._probe_refusal(exc, scope)
        fields = payload.read_object(reply.body, content_type=reply.content_type)
        if not isinstance(fields.get("status"), str):
            raise ProviderPayloadInvalid("The probe's answer holds no status.")
        return ProbeAnswer(
            http_status=200,
            status=clean_or_none(fields["status"]),
            message=_text(fields.get("message")),
            token_expires_in=_text(fields.get("tokenExpiresIn")),
            username=_text(fields.get("username")),
            permissions=_permissions(fields.get("permissions")),
        )

    def _user_header(self, scope: str | None) -> dict[str, str]:
        """The header that names a managed user; none for the owner. Raises ProviderScopeRefused for an id that cannot be sent."""
        if scope is None:
            return {}
        value = header_value(scope)
        if value is None:
            raise ProviderScopeRefused("The managed user's id cannot be sent in a header.")
        return {self._profile.user_header: value}

    def _probe_refusal(self, refused: RequestRefused, scope: str | None) -> ProbeAnswer:
        """400 and 404 in the API's own words are answers; all else is raised."""
        if refused.status in (400, 404) and refused.spoken_by_api and "user-id" not in refused.said.lower():
            return ProbeAnswer(http_status=refused.status, message=refused.said or None)
        raise _meaning(refused, scope) from refused

    async def _managed_users(self) -> Sequence[str]:
        if self._users == "none":
            return ()
        if self._users != "all":
            return list(self._users)
        try:
            reply = await self._api.get("/workspace/users")
        except RequestRefused as exc:
            raise _meaning(exc, None) from exc
        listing = payload.read_list(
            reply.body, content_type=reply.content_type, key="users", bare=True, guarded=(), most=self._api.limits.rows
        )
        read = [_USERS.read(row) for row in listing.rows]
        ids = [row.id_new or row.id_old for row in read if not isinstance(row, Unreadable)]
        if listing.cut or len(ids) != len(read) or None in ids or "" in ids:
            raise ProviderPayloadInvalid("Some managed users in the list have no readable id.")
        return [name for name in dict.fromkeys(ids) if name]

    async def _read_scope(self, scope: str | None) -> _ScopeRows:
        try:
            reply = await self._api.get("/platform-connections", headers=self._user_header(scope))
        except RequestRefused as exc:
            raise _meaning(exc, scope) from exc

        def decode() -> _ScopeRows:
            most = self._api.limits.rows
            listing = payload.read_list(
                reply.body,
                content_type=reply.content_type,
                key="connections",
                bare=True,
                guarded=postpost_rows.GUARDED,
                most=most,
            )
            rows: list[Row] = []
            unreadable: list[Unreadable] = []
            for raw in listing.rows:
                row = _ROWS.read(raw)
                if isinstance(row, Unreadable):
                    unreadable.append(row)
                else:
                    rows.append(row)
            problem = f"The list has more than {most:,} rows; the rest was left out." if listing.cut else None
            return _ScopeRows(rows=rows, unreadable=unreadable, at=reply.at, problem=problem)

        return await payload.off_loop(decode, size=len(reply.body))

    async def _understand(self, results: dict[str | None, _ScopeRows | ProviderError]) -> list[ScopeReport]:
        """Snapshots of all scopes. Only all rows together tell which dialect the service speaks."""
        count = sum(len(result.rows) for result in results.values() if isinstance(result, _ScopeRows))

        def understand() -> list[ScopeReport]:
            read = [result for result in results.values() if isinstance(result, _ScopeRows)]
            dialect = postpost_rows.dialect_of((row for part in read for row in part.rows), default=self._profile.unknown)
            return self._reports(results, dialect)

        return await payload.off_loop(understand, size=count * 256)

    def _reports(self, results: dict[str | None, _ScopeRows | ProviderError], dialect: Dialect) -> list[ScopeReport]:
        reports: list[ScopeReport] = []
        room = self._api.limits.rows
        for scope, result in results.items():
            if isinstance(result, ProviderError):
                reports.append(failed_scope(scope, result))
                continue
            problem = result.problem
            if len(result.rows) > room:
                problem = f"The source has more than {self._api.limits.rows:,} rows; the rest was left out."
            reports.append(_report(scope, result, dialect, room=room, problem=problem))
            room -= min(room, len(result.rows))
        return reports


def _report(scope: str | None, part: _ScopeRows, dialect: Dialect, *, room: int, problem: str | None) -> ScopeReport:
    snapshots: list[Snapshot] = []
    unreadable = list(part.unreadable)
    for row in part.rows[:room]:
        read = postpost_rows.to_snapshot(row, scope=scope, at=part.at, dialect=dialect)
        if isinstance(read, Unreadable):
            unreadable.append(read)
        else:
            snapshots.append(read)
    return scope_report(scope, snapshots, unreadable, problem=problem)


def _meaning(refused: RequestRefused, scope: str | None) -> ProviderError:
    """What a refusal concerns: the managed user only, the key, or neither (PROVIDERS 1.1, errors)."""
    said = refused.said.lower()
    of_user = refused.status == 403 and "not managed" in said
    bad_user = refused.status == 400 and ("user-id" in said or "objectid" in said)
    if scope is not None and (of_user or bad_user):
        return ProviderScopeRefused(
            f"The managed user {clean_or_none(scope)!r} is not ours (HTTP {refused.status}: {refused.said})."
        )
    return refused.unauthorized() or refused


def _text(value: Any) -> str | None:
    return clean_or_none(value) if isinstance(value, str) else None


def _permissions(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(text for item in value[:_MOST_PERMISSIONS] if isinstance(item, str) and (text := clean_or_none(item)))
