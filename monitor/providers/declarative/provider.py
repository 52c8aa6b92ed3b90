"""The adapter of sources with a definition: lists by scope or by token, tests of one connection."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from monitor import __version__
from monitor.config import SourceConfig
from monitor.config.definition import Template, Test
from monitor.domain import PollReport, ProbeAnswer, ProbeFinding, ScopeReport, Snapshot, Unreadable
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderUnauthorized
from monitor.domain.rules.expressions import Expression
from monitor.domain.rules.platforms import is_usable_id
from monitor.providers import payload
from monitor.providers.api import Api, ApiRequest, ApiResponse, RequestRefused
from monitor.providers.declarative.lazy_rows import LazyRows
from monitor.providers.declarative.pages import DecodedPage, PageFacts, PageWalk
from monitor.providers.declarative.requests import RequestBuilder
from monitor.providers.declarative.rows import Origin, RowMapper
from monitor.providers.scopes import ScopeWalk, failed_scope, listed_report, report_of, without_duplicates

_MOST_SCOPES = 1000


@dataclass(slots=True, kw_only=True)
class _TokenList:
    """One list as read, its rows not yet mapped."""

    origin: Origin
    rows: Callable[[], list[Any]] = list
    """Returns the rows; decodes what was not decoded yet."""
    size: int = 0
    """The bytes that `rows` decodes or the mapping of its rows reads, estimated."""
    problem: str | None = None
    digest: str = ""


class DeclarativeProvider:
    """Adapter for one source with a definition."""

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        assert source.definition is not None  # noqa: S101 - the configuration compiles one for each such source
        self._source, self._api, self._definition = source, api, source.definition
        self._requests = RequestBuilder(source, api)
        self._walk: ScopeWalk[list[_TokenList]] = ScopeWalk()
        self._sizes: dict[str | None, tuple[str, int]] = {}
        """Digest and number of connections of each scope's last list without an unreadable row."""
        self._pages: dict[tuple[str | None, str | None], Sequence[PageFacts]] = {}
        """The pages of each scope's and token's last list."""
        self._raw: dict[tuple[str | None, str], Mapping[str, Any]] = {}
        """The parts of the newest rows that tests need, by scope and id."""
        self._key = _definition_key(source)
        self.observer: Callable[[Any, Snapshot | Unreadable], None] | None = None
        """Called with each row that is mapped, and its snapshot, in a trial of the definition; None otherwise."""

    @property
    def probes(self) -> bool:
        """True if the definition has a test, and the source enables probes."""
        return self._definition.test is not None and self._source.probe

    async def poll(self) -> PollReport:
        """Read every list. A failure is part of the report."""
        before = self._api.list_requests
        try:
            scopes = await self._scopes()
        except ProviderError as exc:
            return report_of(self._api, (), [exc], requests=self._api.list_requests - before)
        named = {key: name for key, name in scopes.items() if key is not None and name is not None}
        report = await self._poll(list(scopes), named, self._walk, before, covers_all=self._definition.each is not None)
        return dataclasses.replace(report, scope_names=named) if named else report

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Read the lists of these scopes only; the whole list if the definition has no scopes."""
        known = list(scopes) if self._definition.each is not None else [None]
        return await self._poll(known, {}, ScopeWalk(), self._api.list_requests, covers_all=False)

    async def _poll(
        self,
        scopes: Sequence[str | None],
        names: Mapping[str, str],
        walk: ScopeWalk[list[_TokenList]],
        before: int,
        *,
        covers_all: bool,
    ) -> PollReport:
        async def read(scope: str | None) -> list[_TokenList]:
            return await self._read(scope, names.get(scope or ""))

        results = await walk.read_all(scopes, read)
        errors = [result for result in results.values() if isinstance(result, ProviderError)]
        reports: list[ScopeReport] = []
        for scope, result in results.items():
            if isinstance(result, ProviderError):
                reports.append(failed_scope(scope, result))
                continue
            reports.append(await self._scope_report(scope, result))
        requests = self._api.list_requests - before
        return report_of(self._api, reports, errors, requests=requests, covers_all=covers_all and not errors)

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Test one connection. A response that no rule describes is transient. Raises ProviderError if there is none."""
        test = self._definition.test
        if test is None:
            raise ProviderPayloadInvalid(f"The definition of {self._source.name} has no test.")
        raw = self._raw.get((scope, external_id), {})
        values = {"id": external_id, "platform": raw.get("_platform"), "raw": raw, "scope": {"id": scope}}
        token = raw.get("_token")
        if isinstance(token, Mapping):
            values["token"] = token
        request = await self._requests.build(test.request, values)
        try:
            reply = await self._api.send_once(request)
        except RequestRefused as exc:
            if (error := self._unauthorized(exc)) is not None:
                raise error from exc
            return ProbeAnswer(http_status=exc.status, message=exc.detail or None, finding=ProbeFinding.TRANSIENT)
        return self._test_answer(test, reply)

    def _test_answer(self, test: Test, reply: ApiResponse) -> ProbeAnswer:
        mapper = RowMapper(self._definition, now=reply.at)
        try:
            body = payload.read_any(reply.body, content_type=reply.content_type)
        except ProviderPayloadInvalid:
            return ProbeAnswer(http_status=reply.status, finding=ProbeFinding.TRANSIENT)
        if payload.contradicts(body):
            return ProbeAnswer(http_status=reply.status, finding=ProbeFinding.TRANSIENT)
        for rule in test.rules:
            if mapper.is_true(rule.when, body):
                message = mapper.explanation(rule.because, body)
                return ProbeAnswer(http_status=reply.status, message=message, finding=rule.finding)
        return ProbeAnswer(http_status=reply.status, finding=ProbeFinding.TRANSIENT)

    # --- lists

    async def _scopes(self) -> dict[str | None, str | None]:
        """Return the scopes to read, with their names. Raises ProviderError if they cannot be listed."""
        each = self._definition.each
        if each is None:
            return {None: None}
        if each.request is None:
            return dict.fromkeys(each.values)
        reply = await self._send(await self._requests.build(each.request, {}))
        body = payload.read_any(reply.body, content_type=reply.content_type)
        mapper = RowMapper(self._definition, now=reply.at)
        if isinstance(body, Mapping):
            payload.refuse_error_object(body)
        rows = body if each.items is None else mapper.value(each.items, body)
        if not isinstance(rows, list) or each.id is None:
            raise ProviderPayloadInvalid("The API's response contains no list of scopes.")
        if len(rows) > _MOST_SCOPES:
            raise ProviderPayloadInvalid(
                f"The API's response contains more than {_MOST_SCOPES:,} scopes: name them in each.values."
            )
        found: dict[str | None, str | None] = {}
        for row in rows:
            key = mapper.value(each.id, row)
            key = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
            if not isinstance(key, str) or not is_usable_id(key):
                raise ProviderPayloadInvalid("A scope in the API's response has no usable id.")
            found[key] = mapper.explanation(each.name, row)
        return found

    async def _read(self, scope: str | None, name: str | None) -> list[_TokenList]:
        """Return the lists of a scope: one, or one for each token; a token whose request fails has only its problem."""
        if not self._definition.checks_tokens:
            return [await self._read_list(scope, name, None)]
        lists: list[_TokenList] = []
        failed: list[ProviderError] = []
        for token in self._source.tokens:
            try:
                lists.append(await self._read_list(scope, name, token.id))
            except ProviderError as exc:
                failed.append(exc)
                origin = Origin(scope=scope, token=token.id, at=datetime.now(UTC))
                lists.append(_TokenList(origin=origin, problem=f"The token {token.id} could not be checked: {exc}"))
        if failed and len(failed) == len(lists):
            raise failed[0]
        return lists

    async def _read_list(self, scope: str | None, name: str | None, token: str | None) -> _TokenList:
        reader = self._definition.list
        if reader.request is None:
            return self._claims(scope, token)
        template = reader.request
        values = {"scope": {"id": scope}, "token": {"id": token}}
        origin = Origin(scope=scope, scope_name=name, token=token, at=datetime.now(UTC))

        def decode(reply: ApiResponse) -> DecodedPage:
            headers = {name: self._api.without_secrets(text) for name, text in reply.headers.items()}
            here = dataclasses.replace(origin, status=reply.status, headers=headers, at=reply.at)
            mapper = RowMapper(self._definition, now=reply.at)
            body = payload.read_any(reply.body, content_type=reply.content_type)
            items = mapper.listed(body)
            return DecodedPage(body=body, items=len(items), rows=mapper.rows(items, here))

        walk = PageWalk(
            reader.paging,
            evaluator=RowMapper(self._definition, now=origin.at).evaluator,
            max_rows=self._api.limits.rows,
            follow=self._requests.follow,
        )
        timeless = not self._definition.depends_on_time_or_headers
        pages = await walk.read(
            build=lambda query: self._requests.build(template, values, query=query),
            send=self._send,
            decode=decode,
            known=self._pages.get((scope, token), ()) if timeless else (),
        )
        self._pages[scope, token] = tuple(pages.facts)
        at = pages.replies[-1][0].at if pages.replies else origin.at
        size = sum(facts.rows for facts in pages.facts) * 512
        return _TokenList(
            origin=dataclasses.replace(origin, at=at), rows=pages.rows, size=size, problem=pages.problem, digest=pages.digest
        )

    def _claims(self, scope: str | None, token: str | None) -> _TokenList:
        """Return a JWT's claims as a row. The signature is not verified: a date needs no trust. RFC 7519."""
        origin = Origin(scope=scope, token=token, at=datetime.now(UTC))
        secret = next(each.secret.reveal() for each in self._source.tokens if each.id == token)
        claims = jwt_claims(secret)
        if claims is None:
            raise ProviderPayloadInvalid(f"The token {token} is not a JWT.")
        mapper = RowMapper(self._definition, now=origin.at)
        rows = mapper.rows(mapper.listed(claims), origin)
        return _TokenList(origin=origin, rows=lambda: rows, digest=blake2b(secret.encode(), digest_size=16).hexdigest())

    async def _send(self, request: ApiRequest) -> ApiResponse:
        try:
            reply = await self._api.send(request)
        except RequestRefused as exc:
            renewed = await self._requests.renewed(request) if exc.status == 401 else None
            if renewed is None:
                raise (self._unauthorized(exc) or exc) from exc
            return await self._send(renewed)
        self._requests.note_accepted()
        return reply

    def _unauthorized(self, error: RequestRefused) -> ProviderUnauthorized | None:
        found = error.unauthorized()
        if found is not None:
            self._requests.forget_access_token()
        return found

    # --- rows

    async def _scope_report(self, scope: str | None, lists: Sequence[_TokenList]) -> ScopeReport:
        """Return the report of a scope. Rows of a list that has not changed are mapped only when they are needed."""
        problem = next((each.problem for each in lists if each.problem is not None), None)
        digest = None
        if problem is None and not self._definition.depends_on_time_or_headers:
            whole = "|".join((self._key, *(each.digest for each in lists)))
            digest = blake2b(whole.encode(), digest_size=16).hexdigest()
        known = self._sizes.get(scope)
        if digest is not None and known is not None and known[0] == digest:
            rows = LazyRows(known[1], lambda: self._mapped(lists)[0])
            return ScopeReport(scope=scope, complete=True, snapshots=rows, digest=digest, whole=True)
        snapshots, unreadable = await payload.off_loop(lambda: self._mapped(lists), size=sum(each.size for each in lists))
        report = listed_report(scope, snapshots, unreadable, problem=problem, digest=digest)
        if report.digest is not None:
            self._sizes[scope] = (report.digest, len(snapshots))
        return report

    def _mapped(self, lists: Sequence[_TokenList]) -> tuple[tuple[Snapshot, ...], list[Unreadable]]:
        snapshots: list[Snapshot] = []
        unreadable: list[Unreadable] = []
        wanted = _raw_paths(self._definition.test)
        for listed in lists:
            mapper = RowMapper(self._definition, now=listed.origin.at)
            for row in listed.rows():
                found = mapper.snapshot(row, listed.origin)
                if self.observer is not None:
                    self.observer(row, found)
                if isinstance(found, Unreadable):
                    unreadable.append(found)
                    continue
                snapshots.append(found)
                if self._definition.test is not None:
                    self._raw[found.scope, found.external_id] = _kept(row, wanted, found, listed.origin)
        return without_duplicates(snapshots, unreadable), unreadable


def jwt_claims(token: str) -> dict[str, Any] | None:
    """Return the claims of a JWT (RFC 7519) without verification; None if it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _raw_paths(test: Test | None) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the row's fields that the test's request inserts."""
    if test is None:
        return ()
    request = test.request
    templates = [request.path, *request.headers.values(), *request.query.values(), *(request.form or {}).values()]
    templates += _templates_in(request.json)
    return tuple(path[1:] for each in templates for path in each.placeholders if path[0] == "raw")


def _templates_in(value: Any) -> list[Template]:
    if isinstance(value, Template):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [found for item in items for found in _templates_in(item)]


def _kept(row: Mapping[str, Any], paths: Sequence[tuple[str, ...]], found: Snapshot, origin: Origin) -> Mapping[str, Any]:
    """Return only what the test inserts: rows may hold live tokens."""
    kept: dict[str, Any] = {"_platform": found.platform}
    if origin.token is not None:
        kept["_token"] = {"id": origin.token}
    for path in paths:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str | int | float):
            here = kept
            for name in path[:-1]:
                here = here.setdefault(name, {})
            here[path[-1]] = value
    return kept


def _definition_key(source: SourceConfig) -> str:
    """Return a digest of all that decides how a row is mapped, the same in every process of this version."""
    text = f"{__version__}|{_stable(source.definition)}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _stable(value: Any) -> str:
    if isinstance(value, Expression):
        return f"<{value.text}>"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _stable({each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{key}:{_stable(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_stable, value)) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ",".join(sorted(map(str, value))) + "}"
    return repr(value)
