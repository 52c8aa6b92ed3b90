"""Requests of a definition: placeholders are filled in, each value encoded for its place, and authentication is added."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from monitor.config import SourceConfig
from monitor.config.definition import RequestTemplate, Template
from monitor.domain.errors import ProviderPayloadInvalid, ProviderUnauthorized
from monitor.providers import payload
from monitor.providers.api import COMMON_HEADERS, Api, ApiRequest, RequestRefused, is_header_safe, segment

Values = Mapping[str, Any]
"""The values that placeholders insert, by root: scope, token, secret, id, platform, raw."""

_RENEW_AT = 0.8
"""Share of an access token's lifetime after which it is requested again."""
_DEFAULT_LIFETIME = 3600.0


@dataclass(slots=True)
class _AccessToken:
    """An access token of OAuth client credentials, kept in memory only."""

    text: str = field(repr=False)
    renew_at: float
    accepted: bool = False
    """True once the service accepted it, so that a refusal means that it ended early."""


class RequestBuilder:
    """Builds the requests of one source."""

    def __init__(self, source: SourceConfig, api: Api) -> None:
        assert source.definition is not None  # noqa: S101 - built for sources with a definition only
        self._source, self._api = source, api
        self._auth = source.definition.auth
        self._access: _AccessToken | None = None
        if self._auth.kind == "basic":
            api.redact(self._basic_credentials())

    async def build(self, template: RequestTemplate, values: Values, *, query: Mapping[str, str] | None = None) -> ApiRequest:
        """Return the request with these values. Raises ProviderError if a value, or a secret, cannot be sent."""
        token = values.get("token", {}).get("id")
        secrets = {name: secret.reveal() for name, secret in self._source.secrets.items()}
        secret = next((each.secret.reveal() for each in self._source.tokens if each.id == token), None)
        if secret is not None:
            secrets["token"] = secret
        filled = _Filler({**values, "secret": secrets})
        path = filled.path(template.path)
        parameters = {**{key: filled.text(each) for key, each in template.query.items()}, **(query or {})}
        headers, content = {}, None
        if template.form is not None:
            content = urlencode({key: filled.text(each) for key, each in template.form.items()}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif template.json is not None:
            content = json.dumps(filled.value(template.json), ensure_ascii=False).encode("utf-8", "replace")
            headers["Content-Type"] = "application/json"
        headers |= {name: filled.header(each) for name, each in template.headers.items()}
        url = self._source.base_url + path
        return ApiRequest(
            method=template.method,
            url=f"{url}?{urlencode(parameters)}" if parameters else url,
            headers={**COMMON_HEADERS, **await self._credentials(secret), **headers},
            content=content,
            answers=template.answers,
        )

    def follow(self, request: ApiRequest, address: str) -> ApiRequest:
        """Return the request of the next page. Raises ProviderPayloadInvalid unless it is on the host of the source."""
        base = urlsplit(self._source.base_url)
        try:
            target = urlsplit(address)
        except ValueError:
            target = urlsplit("")
        if not target.scheme and address.startswith("/") and not address.startswith("//"):
            address = f"{base.scheme}://{base.netloc}{address}"
        elif (target.scheme, target.netloc.lower()) != (base.scheme, base.netloc.lower()):
            raise ProviderPayloadInvalid("The address of the next page is not on the host of base_url.")
        return ApiRequest(method="GET", url=address, headers=request.headers, answers=request.answers)

    def note_accepted(self) -> None:
        """Record that the service accepted the access token."""
        if self._access is not None:
            self._access.accepted = True

    async def renewed(self, refused: ApiRequest) -> ApiRequest | None:
        """Return a refused request with a new access token; None if the refused one is new, or there is none."""
        if self._access is None or not self._access.accepted:
            return None
        self._access = None
        return replace(refused, headers={**refused.headers, **await self._credentials(None)})

    def forget_access_token(self) -> None:
        """Discard the access token, which the service refused."""
        self._access = None

    async def _credentials(self, token: str | None) -> dict[str, str]:
        auth, key = self._auth, self._source.api_key.reveal()
        match auth.kind:
            case "none":
                return {}
            case "basic":
                return {auth.header: f"Basic {self._basic_credentials()}"}
            case "oauth":
                return {auth.header: auth.prefix + _sendable(await self._access_token())}
            case _:
                return {auth.header: auth.prefix + _sendable(key or token or "")}

    def _basic_credentials(self) -> str:
        return base64.b64encode(f"{self._auth.user}:{self._source.api_key.reveal()}".encode()).decode("ascii")

    async def _access_token(self) -> str:
        now = asyncio.get_running_loop().time()
        if self._access is None or now >= self._access.renew_at:
            self._access = await self._request_access_token(now)
        return self._access.text

    async def _request_access_token(self, now: float) -> _AccessToken:
        """Request an access token with client credentials (RFC 6749, 4.4). Raises ProviderUnauthorized if it is refused."""
        auth, secret = self._auth, self._source.client_secret
        fields = {
            "grant_type": "client_credentials",
            "client_id": auth.client_id,
            "client_secret": secret.reveal() if secret is not None else "",
            "scope": auth.scope,
            "audience": auth.audience,
        }
        request = ApiRequest(
            method="POST",
            url=auth.token_url,
            headers={**COMMON_HEADERS, "Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode({name: text for name, text in fields.items() if text}).encode(),
        )
        try:
            reply = await self._api.send(request)
        except RequestRefused as exc:
            raise ProviderUnauthorized(f"The access token was refused (HTTP {exc.status}): {exc.detail}") from exc
        found = payload.read_object(reply.body, content_type=reply.content_type)
        text, lifetime = found.get("access_token"), found.get("expires_in")
        if not isinstance(text, str) or not text:
            raise ProviderUnauthorized("The response to the token request contains no access_token.")
        seconds = lifetime if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) else _DEFAULT_LIFETIME
        self._api.redact(text)
        return _AccessToken(text, now + max(seconds, 0) * _RENEW_AT)


def _sendable(secret: str) -> str:
    """Return a secret. Raises ProviderUnauthorized if it cannot be sent in a header; no error contains it."""
    if not secret or not is_header_safe(secret):
        raise ProviderUnauthorized("The API key is empty or contains a character that cannot be sent in a header.")
    return secret


class _Filler:
    """Fills placeholders in."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def text(self, template: Template) -> str:
        """Return the text with values inserted. Raises ProviderPayloadInvalid for a value that is missing."""
        return "".join(part if isinstance(part, str) else self._value(part) for part in template.parts)

    def path(self, template: Template) -> str:
        """Return a path in which each value is encoded as one segment (FAILURES S9)."""
        return "".join(part if isinstance(part, str) else segment(self._value(part)) for part in template.parts)

    def header(self, template: Template) -> str:
        """Return a header's value."""
        text = self.text(template)
        if not is_header_safe(text):
            if template.has_secret:
                raise ProviderUnauthorized("A secret contains a character that cannot be sent in a header.")
            raise ProviderPayloadInvalid("A value of the service cannot be sent in a header.")
        return text

    def value(self, template: Any) -> Any:
        """Return a JSON value with values inserted into its texts."""
        if isinstance(template, Template):
            return self.text(template)
        if isinstance(template, Mapping):
            return {key: self.value(item) for key, item in template.items()}
        return [self.value(item) for item in template] if isinstance(template, list) else template

    def _value(self, path: tuple[str, ...]) -> str:
        found: Any = self._values
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            return found
        if isinstance(found, int | float) and not isinstance(found, bool):
            return str(found)
        raise ProviderPayloadInvalid(f"The request needs {'.'.join(path)}, which is not known.")
