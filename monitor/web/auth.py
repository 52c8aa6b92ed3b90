"""Authentication: the token, session cookies, CSRF tokens and signed links to feeds.

All signatures use one key. With a token it is derived from the token: a restart ends no session, a new token ends every
session. Without a token the key is random and new with each process.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from monitor.config import Config

if TYPE_CHECKING:
    from starlette.requests import Request

FEEDS = ("/calendar.ics", "/feed.atom", "/badge.svg")
"""Addresses for programs that cannot log in: a signed link opens them."""

OPEN = ("/healthz", "/readyz", "/login")
"""Addresses that need no authentication. Unauthenticated requests get no details there."""

STATIC = "/static/"
SESSION_LASTS = timedelta(days=30)
_VISIT = "monitor.visit"


@dataclass(frozen=True, slots=True)
class Session:
    """The content of a session cookie with a valid signature."""

    id: str
    authenticated: bool
    """True if the token was presented at login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that the security middleware has let in."""

    authenticated: bool
    """True if the request may see details: no token is set, or it was presented."""
    csrf: str
    """The CSRF token for the forms of the response."""
    theme: str
    """light, dark or auto."""
    access: Access
    form: Mapping[str, list[str]] = field(default_factory=dict)
    """The fields of a POST."""

    def field(self, name: str) -> str:
        """Return the first value of a form field without surrounding white space, an empty string if it is absent."""
        return next(iter(self.form.get(name, ())), "").strip()

    def feed(self, path: str, **query: str) -> str:
        """Return a link to a feed that works without a login."""
        signed = {**query, "sig": self.access.sign(path)} if self.access.token is not None else query
        return f"{path}?{urlencode(signed)}" if signed else path


def visit_of(request: Request) -> Visit:
    """Return what the security middleware recorded about this request."""
    found = request.scope[_VISIT]
    assert isinstance(found, Visit)  # noqa: S101 - the middleware is in front of every page
    return found


def record_visit(scope: MutableMapping[str, Any], visit: Visit) -> None:
    """Record the visit in the request's scope, where visit_of() finds it."""
    scope[_VISIT] = visit


class Access:
    """The token, and what the key derived from it signs. `random_key` replaces the token if none is set."""

    def __init__(self, token: str | None, random_key: bytes) -> None:
        self.token = token
        seed = random_key if token is None else token.encode("utf-8", "surrogatepass")
        self._key = hashlib.sha256(b"token-monitor web 1\0" + seed).digest()

    @classmethod
    def of(cls, config: Config, random_key: bytes) -> Access:
        """Return the access that the current configuration gives."""
        return cls(config.web.token.reveal() if config.web.token else None, random_key)

    def is_token(self, given: str) -> bool:
        """Return True if this is the token. Takes the same time for every wrong token."""
        if self.token is None:
            return False
        # Digests have one length, so that not even the token's length can be measured.
        expected, digest = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (self.token, given))
        return hmac.compare_digest(expected, digest)

    def new_cookie(self, now: datetime, *, authenticated: bool) -> str:
        """Return the cookie value of a new session."""
        until = int((now + SESSION_LASTS).timestamp())
        text = f"{'k' if authenticated else 'a'}.{until}.{secrets.token_urlsafe(16)}"
        return f"{text}.{self._mac('session', text)}"

    def session(self, cookie: str, now: datetime) -> Session | None:
        """Return the session of a cookie, None if the signature is wrong or the session has expired."""
        text, _, mac = cookie.rpartition(".")
        if not text or not self._is_mac(mac, "session", text):
            return None
        kind, until, _ = text.split(".", 2)
        return Session(id=text, authenticated=kind == "k") if now.timestamp() < int(until) else None

    def csrf(self, session: Session) -> str:
        """Return the CSRF token of a session."""
        return self._mac("csrf", session.id)

    def is_csrf(self, given: str, session: Session) -> bool:
        """Return True if this is the CSRF token of the session."""
        return self._is_mac(given, "csrf", session.id)

    def sign(self, path: str) -> str:
        """Return the signature that opens a feed. It covers the path, not the query."""
        return self._mac("feed", path)[:32]

    def is_signed(self, given: str, path: str) -> bool:
        """Return True if this is the signature of the feed at this path."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.sign(path).encode())

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _is_mac(self, given: str, purpose: str, text: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._mac(purpose, text).encode())
