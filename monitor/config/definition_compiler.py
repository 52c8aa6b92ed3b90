"""Compilation of a definition's tables: every expression, template and rule is checked, and each mistake gets one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.config import urls
from monitor.config.definition import (
    Auth,
    Definition,
    Expires,
    Hook,
    ListMap,
    Paging,
    RequestTemplate,
    RowMap,
    ScopeMap,
    StatusRule,
    Template,
    Test,
    TestRule,
    parse_template,
)
from monitor.config.error_text import describe, nearest
from monitor.config.resolve import Loc
from monitor.config.secrets import UnusableError
from monitor.domain import ProbeFinding, ReportedStatus
from monitor.domain.records import Record
from monitor.domain.rules.expressions import Expression, InvalidExpression, compile_expression, function_names

Raw = Mapping[str, Any]

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FORBIDDEN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "cookie"})
_SIGNATURE_HEADERS = {"standard-webhooks": "webhook-signature"}
_NEAR_PLACEHOLDER = re.compile(r"\{(scopes?|tokens?|secrets?|raw)\.?[A-Za-z0-9_.-]*\}")
_BRACES = re.compile(r"\{[^{}]*\}?")
"""Braces in a path, where they have no other meaning than that of a placeholder."""
_ROW_FIELDS = (
    "platform",
    "username",
    "name",
    "account",
    "scopes",
    "issued",
    "refreshed_at",
    "refresh_failed_at",
    "refresh_error",
    "refresh_status",
    "last_post",
    "last_error",
    "last_error_at",
)


def compile_definition(
    raw: Raw, *, secret_names: Sequence[str], token_ids: Sequence[str], report: Callable[[Loc, str], None]
) -> Definition | None:
    """Return the compiled definition; None after a mistake, which `report` receives with its place and a sentence's end.

    `raw` is the merged content of the shipped definition and the source's own keys, validated by their schema.
    """
    compiler = _Compiler(raw, tuple(secret_names), tuple(token_ids), report)
    return compiler.definition()


def compile_hook(raw: Raw, *, report: Callable[[Loc, str], None]) -> Hook | None:
    """Return the compiled `[sources.hook]` table of a service that is read by code; mistakes as for compile_definition()."""
    return _Compiler({}, (), (), report).hook(raw)


class _Compiler(Record):
    """One compilation."""

    raw: Raw
    secret_names: tuple[str, ...]
    token_ids: tuple[str, ...]
    report: Callable[[Loc, str], None]
    failed: bool = False

    def definition(self) -> Definition | None:
        """Return the definition; None after a mistake."""
        raw = self.raw
        checks_tokens = bool(self.token_ids)
        reader, row = self._list(raw.get("list") or {}), self._row(raw.get("row") or {})
        auth, rules = self._auth(raw.get("auth") or {}), self._rules(raw.get("status") or ())
        each = self._each(raw["each"]) if raw.get("each") else None
        test = self._test(raw["test"]) if raw.get("test") else None
        hook = self.hook(raw["hook"]) if raw.get("hook") else None
        if reader is not None and reader.request is None and not checks_tokens:
            self._fail(("list", "kind"), 'is "jwt", which needs [[sources.tokens]]: add the tokens whose claims are read.')
        self._reject_unknown_secrets()
        if self.failed or reader is None or row is None:
            return None
        return Definition(
            auth=auth,
            list=reader,
            row=row,
            rules=rules,
            each=each,
            test=test,
            hook=hook,
            platform=raw.get("platform"),
            platforms=raw.get("platforms") or {},
            checks_tokens=checks_tokens,
        )

    def _fail(self, loc: Loc, sentence: str) -> None:
        self.failed = True
        self.report(loc, sentence)

    def _expression(self, loc: Loc, text: str | None) -> Expression | None:
        if text is None:
            return None
        try:
            return compile_expression(text)
        except InvalidExpression as exc:
            near = nearest(exc.function, function_names()) if exc.function else None
            self._fail(loc, f"is {describe(text)}, which {exc}{_hint(near)}")
            return None

    def _required(self, loc: Loc, text: str | None, hint: str) -> Expression | None:
        if text is None:
            self._fail(loc, f"is missing: {hint}")
        return self._expression(loc, text)

    # --- requests

    def _template(self, loc: Loc, text: str, *, roots: Mapping[str, int], braces: re.Pattern[str] | None = None) -> Template:
        """Return the template. What `braces` matches, by default what resembles a placeholder, must be one."""
        template = parse_template(text, roots=roots)
        used = {".".join(path) for path in template.placeholders}
        for match in (braces or _NEAR_PLACEHOLDER).finditer(text):
            if match[0][1:-1] not in used:
                self._fail(loc, f"contains {describe(match[0])}, but the placeholders here are {_shown(roots)}.")
        return template

    def _request(self, loc: Loc, raw: Raw, *, roots: Mapping[str, int]) -> RequestTemplate | None:
        get, post = raw.get("get"), raw.get("post")
        key, text = ("get", get) if post is None else ("post", post)
        if text is None or (get is not None and post is not None):
            self._fail(loc, "needs either get or post, with the path below base_url.")
            return None
        if not text.startswith("/") or "?" in text or "#" in text:
            self._fail((*loc, key), f"is {describe(text)}, but must be a path that begins with /; write parameters as query.")
        without_secrets = {root: takes for root, takes in roots.items() if root != "secret"}
        path = self._template((*loc, key), text, roots=without_secrets, braces=_BRACES)
        query_roots = roots if self.raw.get("secret_in_query") else without_secrets
        query = self._templates((*loc, "query"), raw.get("query") or {}, roots=query_roots)
        form, body = raw.get("form"), raw.get("json")
        if get is not None and (form is not None or body is not None):
            self._fail((*loc, "form" if form is not None else "json"), "cannot be sent with GET: use post.")
        if form is not None and body is not None:
            self._fail((*loc, "json"), "cannot be sent together with form: keep one of them.")
        answers = raw.get("answers")
        return RequestTemplate(
            method="GET" if post is None else "POST",
            path=path,
            headers=self._headers((*loc, "headers"), raw.get("headers") or {}, roots=roots),
            query=query,
            form=None if form is None else self._templates((*loc, "form"), form, roots=roots),
            json=None if body is None else self._json((*loc, "json"), body, roots=roots),
            answers=frozenset({200, 201}) if answers is None else frozenset(answers),
        )

    def _templates(self, loc: Loc, raw: Mapping[str, str], *, roots: Mapping[str, int]) -> dict[str, Template]:
        return {key: self._template((*loc, key), text, roots=roots) for key, text in raw.items()}

    def _headers(self, loc: Loc, raw: Mapping[str, str], *, roots: Mapping[str, int]) -> dict[str, Template]:
        for name in raw:
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _FORBIDDEN_HEADERS:
                self._fail((*loc, name), "is not a header that can be set.")
        return self._templates(loc, raw, roots=roots)

    def _json(self, loc: Loc, value: Any, *, roots: Mapping[str, int]) -> Any:
        if isinstance(value, str):
            return self._template(loc, value, roots=roots)
        if isinstance(value, Mapping):
            return {key: self._json((*loc, key), item, roots=roots) for key, item in value.items()}
        if isinstance(value, list):
            return [self._json((*loc, number), item, roots=roots) for number, item in enumerate(value)]
        return value

    @property
    def _roots(self) -> dict[str, int]:
        roots = {"secret": 1}
        if self.raw.get("each"):
            roots["scope"] = 1
        if self.token_ids:
            roots["token"] = 1
        return roots

    def _reject_unknown_secrets(self) -> None:
        """Report secrets that requests insert and that are not defined."""
        known = {*self.secret_names, *(("token",) if self.token_ids else ())}
        for loc, text in _texts(self.raw, ()):
            for match in re.finditer(r"\{secret\.([A-Za-z0-9_-]+)\}", text):
                if match[1] not in known:
                    names = ", ".join(sorted(known)) or "none"
                    self._fail(loc, f"inserts the unknown secret {match[1]}; the secrets of this source are: {names}.")
                elif loc[0] in ("list", "each", "test") and "query" in loc and not self.raw.get("secret_in_query"):
                    self._fail(
                        loc,
                        "inserts a secret into an address, which proxies and servers log: secret_in_query = true allows it.",
                    )
                elif loc[-1] in ("get", "post"):
                    self._fail(loc, "inserts a secret into a path: use a header, the form or JSON.")

    # --- parts

    def _auth(self, raw: Raw) -> Auth:
        kind: Any = raw.get("kind") or "header"
        header = raw.get("header") or "Authorization"
        prefix = raw.get("prefix")
        if not _HEADER_NAME.fullmatch(header) or header.lower() in _FORBIDDEN_HEADERS:
            self._fail(("auth", "header"), f"is {describe(header)}, which is not a header that can be set.")
        needs = {"basic": ("user",), "oauth": ("token_url", "client_id", "client_secret")}.get(kind, ())
        for key in needs:
            if not raw.get(key):
                self._fail(("auth", key), f"is missing: {kind} needs it.")
        token_url = raw.get("token_url") or ""
        if token_url:
            try:
                token_url = urls.base_url(token_url, list_path="")
            except UnusableError as exc:
                self._fail(("auth", "token_url"), str(exc))
        default = "Bearer " if header == "Authorization" else ""
        return Auth(
            kind=kind,
            header=header,
            prefix=default if prefix is None else prefix,
            user=raw.get("user") or "",
            token_url=token_url,
            client_id=raw.get("client_id") or "",
            scope=raw.get("scope") or "",
            audience=raw.get("audience") or "",
        )

    def _list(self, raw: Raw) -> ListMap | None:
        if raw.get("kind") == "jwt":
            request = None
        else:
            request = self._request(("list",), raw, roots=self._roots)
            if request is None:
                return None
        return ListMap(
            request=request,
            ok=self._expression(("list", "ok"), raw.get("ok")),
            items=self._expression(("list", "items"), raw.get("items")),
            keyed=raw.get("keyed"),
            expand=self._expression(("list", "expand"), raw.get("expand")),
            where=self._expression(("list", "where"), raw.get("where")),
            paging=self._paging(raw.get("paging") or {}),
        )

    def _paging(self, raw: Raw) -> Paging:
        loc: Loc = ("list", "paging")
        kind: Any = raw.get("kind") or "none"
        if kind in ("offset", "page", "cursor") and not raw.get("param"):
            self._fail((*loc, "param"), f"is missing: {kind} needs the name of the query parameter.")
        if kind == "cursor" and not raw.get("next"):
            self._fail((*loc, "next"), "is missing: cursor needs the expression of the next cursor.")
        if (raw.get("size") is None) != (raw.get("size_param") is None):
            self._fail((*loc, "size"), "and size_param must be set together.")
        return Paging(
            kind=kind,
            param=raw.get("param") or "",
            first=1 if raw.get("first") is None else raw["first"],
            size_param=raw.get("size_param") or "",
            size=raw.get("size"),
            total=self._expression((*loc, "total"), raw.get("total")),
            more=self._expression((*loc, "more"), raw.get("more")),
            next=self._expression((*loc, "next"), raw.get("next")),
        )

    def _each(self, raw: Raw) -> ScopeMap:
        request = None
        if raw.get("get") is not None:
            request = self._request(("each",), {"get": raw["get"]}, roots={})
        elif not raw.get("values"):
            self._fail(("each",), "needs values, a list of ids, or get, the path that lists them.")
        return ScopeMap(
            values=tuple(raw.get("values") or ()),
            request=request,
            items=self._expression(("each", "items"), raw.get("items")),
            id=self._expression(("each", "id"), raw.get("id") or "id"),
            name=self._expression(("each", "name"), raw.get("name") or "name"),
        )

    def _row(self, raw: Raw) -> RowMap | None:
        key = self._required(("row", "id"), raw.get("id"), "name the field that identifies a row.")
        fields = {name: self._expression(("row", name), raw.get(name)) for name in _ROW_FIELDS}
        labels = {name: self._expression(("row", "labels", name), text) for name, text in (raw.get("labels") or {}).items()}
        expires = self._expires(raw["expires"]) if raw.get("expires") else None
        link = None if raw.get("link") is None else parse_template(raw["link"], roots={"": -1})
        if raw.get("link") is not None and not re.match(r"https?://[^{]", raw["link"]):
            self._fail(("row", "link"), f"is {describe(raw['link'])}, but must be an https:// address.")
        if key is None:
            return None
        return RowMap(
            id=key,
            fields={name: each for name, each in fields.items() if each is not None},
            link=link,
            labels={name: each for name, each in labels.items() if each is not None},
            expires=expires,
        )

    def _expires(self, raw: Raw) -> Expires | None:
        loc: Loc = ("row", "expires")
        at = self._required((*loc, "at"), raw.get("at"), "name the field of the date.")
        form = raw.get("as") or "auto"
        if form not in ("auto", "date", "seconds_left", "days_left") and not _reads_dates(form):
            self._fail(
                (*loc, "as"),
                f"is {describe(form)}, but must be auto, date, seconds_left, days_left or a format of Python's strptime with a "
                "year, such as %d.%m.%Y.",
            )
        trusted = raw.get("trusted")
        if isinstance(trusted, str):
            trusted = self._expression((*loc, "trusted"), trusted)
        elif isinstance(trusted, tuple):
            trusted = frozenset(trusted)
        elif trusted is None and self.token_ids:
            trusted = True
        return None if at is None else Expires(at=at, form=form, trusted=trusted, never=tuple(raw.get("never") or ()))

    def _rules(self, raw: Sequence[Raw]) -> tuple[StatusRule, ...]:
        rules = []
        for number, each in enumerate(raw):
            loc: Loc = ("status", number)
            if each.get("is") is None:
                self._fail((*loc, "is"), "is missing: state the status that the rule gives.")
                continue
            if number and raw[number - 1].get("when") is None:
                self._fail(loc, "can never apply, because the rule before it has no `when`: change their order.")
            rules.append(
                StatusRule(
                    when=self._expression((*loc, "when"), each.get("when")),
                    reported=ReportedStatus(each["is"]),
                    because=self._expression((*loc, "because"), each.get("because")),
                )
            )
        return tuple(rules)

    def _test(self, raw: Raw) -> Test | None:
        roots = {**self._roots, "id": 0, "platform": 0, "raw": -1}
        request = self._request(("test",), raw, roots=roots)
        rules = []
        for number, each in enumerate(raw.get("status") or ()):
            loc: Loc = ("test", "status", number)
            if each.get("is") is None:
                self._fail((*loc, "is"), "is missing: state what the response proves.")
                continue
            rules.append(
                TestRule(
                    when=self._expression((*loc, "when"), each.get("when")),
                    finding=ProbeFinding(each["is"]),
                    because=self._expression((*loc, "because"), each.get("because")),
                )
            )
        if not rules:
            self._fail(("test", "status"), "is missing: add rules that state what a response proves.")
        return None if request is None else Test(request=request, rules=tuple(rules))

    def hook(self, raw: Raw) -> Hook | None:
        """Return how deliveries are verified; None after a mistake."""
        signature = raw.get("signature") or {}
        scheme = signature.get("scheme")
        if scheme is None:
            self._fail(("hook", "signature", "scheme"), "is missing: a delivery without a signature is never accepted.")
            return None
        header = signature.get("header") or _SIGNATURE_HEADERS.get(scheme)
        if not header:
            self._fail(("hook", "signature", "header"), f"is missing: {scheme} needs the name of the header.")
            return None
        on = [
            self._expression(("hook", "on", number, "when"), each.get("when")) for number, each in enumerate(raw.get("on") or ())
        ]
        return Hook(
            scheme=scheme,
            header=header,
            prefix=signature.get("prefix") or "",
            timestamp=signature.get("timestamp") or "",
            on=() if None in on else tuple(each for each in on if each is not None),
        )


def _reads_dates(form: str) -> bool:
    """Return True if strptime can read dates with this format, including their year."""
    written = datetime(2027, 1, 1, tzinfo=UTC)
    try:
        return datetime.strptime(written.strftime(form), form).date() == written.date()  # noqa: DTZ007 - only the date counts
    except ValueError:
        return False


def _texts(value: Any, loc: Loc) -> list[tuple[Loc, str]]:
    if isinstance(value, str):
        return [(loc, value)]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _texts(item, (*loc, key))]
    if isinstance(value, list | tuple):
        return [found for number, item in enumerate(value) for found in _texts(item, (*loc, number))]
    return []


def _shown(roots: Mapping[str, int]) -> str:
    forms = {"scope": "{scope.id}", "token": "{token.id}", "secret": "{secret.NAME}", "id": "{id}", "platform": "{platform}"}
    return ", ".join(forms.get(root, "{raw.FIELD}") for root in roots) or "none"


def _hint(near: str | None) -> str:
    return f" Did you mean {near}()?" if near else ""
