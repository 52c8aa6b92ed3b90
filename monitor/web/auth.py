"""Authentication: the token, sessions, CSRF tokens and signed links to feeds.

A browser's cookie holds a random id and nothing else. The store keeps a digest of the id of each session; an id without a session
only ties forms to the browser that they were served to. The key of all signatures is random and kept in the store, so nothing
that is served allows tests of guesses at the token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from monitor.config import Config
from monitor.domain.addresses import ACKNOWLEDGE
from monitor.domain.signatures import sign
from monitor.store.web_sessions import WebSession

if TYPE_CHECKING:
    from starlette.requests import Request

FEEDS = ("/calendar.ics", "/feed.atom", "/badge.svg")
"""Addresses for programs that cannot log in: a signed link opens them."""

HEALTH = ("/healthz", "/readyz")
"""Addresses for health checks, which often send another host name, or none."""

OPEN = (*HEALTH, "/login")
"""Addresses that need no authentication. Unauthenticated requests get no details there."""

SECRET_PATHS = (ACKNOWLEDGE,)
"""The beginnings of addresses that are secrets and need no login: they are never logged, and browsers send them to no site."""

SIGNATURE = "sig"
"""The query parameter with a link's signature."""

STATIC = "/static/"
SESSION_LASTS = timedelta(days=30)
TOKEN_USER = "token"  # noqa: S105 - a name
"""The user of sessions that were opened with `web.token`."""

_VISIT = "monitor.visit"
_VISITOR = re.compile(r"[A-Za-z0-9_-]{43}")
_FORMER_SESSION = re.compile(r"k\.[0-9]+\.[A-Za-z0-9_-]+\.[0-9a-f]{64}")
_FORMER_SIGNATURE = re.compile(r"[0-9a-f]{32}")
_VERSION = "v2."
"""The beginning of a signature, which distinguishes it from those of version 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that the security middleware has let in."""

    authenticated: bool
    """True if the request may see details: no token is set, or it was presented."""
    visitor: str
    """The random id in the browser's cookie."""
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

    def feed(self, path: str, filters: Iterable[tuple[str, str]] = ()) -> str:
        """Return a link to a feed with these filters, which works without a login."""
        pairs = list(filters)
        signed = pairs if self.access.token is None else [*pairs, (SIGNATURE, self.access.sign(path, pairs))]
        return f"{path}?{urlencode(signed)}" if signed else path


def visit_of(request: Request) -> Visit:
    """Return what the security middleware recorded about this request."""
    found = request.scope[_VISIT]
    assert isinstance(found, Visit)  # noqa: S101 - the middleware is in front of every page
    return found


def record_visit(scope: MutableMapping[str, Any], visit: Visit) -> None:
    """Record the visit in the request's scope, where visit_of() finds it."""
    scope[_VISIT] = visit


def is_secret(path: str) -> bool:
    """Return True if the path itself is a secret, which opens a page without a login."""
    return path.startswith(SECRET_PATHS)


def loggable(path: str) -> str:
    """Return the path for the log, without the secret in it."""
    begin = next((each for each in SECRET_PATHS if path.startswith(each)), None)
    return path if begin is None else f"{begin}<secret>"


def new_visitor() -> str:
    """Return a random id for a browser's cookie."""
    return secrets.token_urlsafe(32)


def visitor_in(cookie: str) -> str | None:
    """Return the id in a cookie, None if it holds something else."""
    return cookie if _VISITOR.fullmatch(cookie) else None


def is_former_session(cookie: str) -> bool:
    """Return True if this is the cookie of a session of version 0.1, which cannot be verified any more."""
    return _FORMER_SESSION.fullmatch(cookie) is not None


def is_former_signature(given: str) -> bool:
    """Return True if this is the signature of a link of version 0.1, which cannot be verified any more."""
    return _FORMER_SIGNATURE.fullmatch(given) is not None


def session_id(visitor: str) -> str:
    """Return the id under which the store keeps the session of a cookie: a digest, which opens nothing."""
    return hashlib.sha256(visitor.encode()).hexdigest()


class Access:
    """The token, and what the key signs. The key is random: nothing that it signs depends on the token alone."""

    def __init__(self, token: str | None, key: bytes) -> None:
        self.token, self._key = token, key

    @classmethod
    def of(cls, config: Config, key: bytes) -> Access:
        """Return the access that the current configuration gives."""
        return cls(config.web.token.reveal() if config.web.token else None, key)

    def is_token(self, given: str) -> bool:
        """Return True if this is the token. Takes the same time for every wrong token."""
        if self.token is None:
            return False
        # Digests have one length, so that not even the token's length can be measured.
        expected, digest = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (self.token, given))
        return hmac.compare_digest(expected, digest)

    def new_session(self, visitor: str, now: datetime) -> WebSession:
        """Return a session for a browser that has presented the token."""
        return WebSession(
            id=session_id(visitor), user=TOKEN_USER, credential=self._credential(), created_at=now, until=now + SESSION_LASTS
        )

    def admits(self, session: WebSession) -> bool:
        """Return True if the session was made with the current token."""
        return self.token is not None and hmac.compare_digest(session.credential, self._credential())

    def _credential(self) -> str:
        return self._mac("credential", self.token or "")

    def csrf(self, visitor: str) -> str:
        """Return the CSRF token of a browser."""
        return self._mac("csrf", visitor)

    def is_csrf(self, given: str, visitor: str) -> bool:
        """Return True if this is the CSRF token of the browser."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.csrf(visitor).encode())

    def sign(self, path: str, query: Iterable[tuple[str, str]] = ()) -> str:
        """Return the signature that opens a feed with exactly these parameters.

        Parameters may be sent in another order, but the values of one parameter must keep theirs. A new token ends all links.
        """
        ordered = sorted(query, key=lambda pair: pair[0])
        address = f"{path}?{urlencode(ordered, errors='surrogatepass')}"
        return _VERSION + self._mac("feed", f"{self._credential()}\0{address}")[:32]

    def is_signed(self, given: str, path: str, query: Iterable[tuple[str, str]] = ()) -> bool:
        """Return True if this is the signature of the feed at this path with these parameters."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.sign(path, query).encode())

    def _mac(self, purpose: str, text: str) -> str:
        return sign(self._key, purpose, text)
