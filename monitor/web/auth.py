"""Authentication: the token, sessions, CSRF tokens and signed links to feeds.

A browser's cookie holds a random id and nothing else. The store keeps a digest of the id of each session; an id without a session
only ties forms to the browser that they were served to. The key of all signatures is random and kept in the store, so nothing
that is served allows tests of guesses at the token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from monitor.config import Config
from monitor.config.settings import Role
from monitor.config.users import TOKEN_USER
from monitor.domain.addresses import ACKNOWLEDGE, SHARE
from monitor.domain.filters import ConnectionFilter
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

SECRET_PATHS = (ACKNOWLEDGE, SHARE)
"""The beginnings of addresses that are secrets and need no login: they are never logged, and browsers send them to no site."""

SIGNATURE = "sig"
"""The query parameter with a link's signature."""

STATIC = "/static/"
USER = "user"
"""The query parameter with the user whose selection a signed link shows; links of the operator with `web.token` have none."""
SESSION_LASTS = timedelta(days=30)

_VISIT = "monitor.visit"
_VISITOR = re.compile(r"[A-Za-z0-9_-]{43}")
_FORMER_SESSION = re.compile(r"k\.[0-9]+\.[A-Za-z0-9_-]+\.[0-9a-f]{64}")
_FORMER_SIGNATURE = re.compile(r"[0-9a-f]{32}")
_VERSION = "v2."
"""The beginning of a signature, which distinguishes it from those of version 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the pages and the API."""

    name: str
    """Empty where no login is required."""
    token: str = field(default="", repr=False)
    role: Role = "operator"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of all connections that the user may see; empty: every connection."""

    @property
    def may_write(self) -> bool:
        """True if the user may acknowledge, silence and check connections."""
        return self.role == "operator"


ANYONE = User(name="")
"""The user of every request where no login is required."""

NOTHING = ConnectionFilter(sources=())
"""The filter that no connection matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that the security middleware has let in."""

    user: User | None
    """The user who logged in or whose signed link this is; None for a request without authentication."""
    visitor: str
    """The random id in the browser's cookie."""
    csrf: str
    """The CSRF token for the forms of the response."""
    theme: str
    """light, dark or auto."""
    access: Access
    by_link: bool = False
    """True if a signed link opened a feed, without a login."""
    form: Mapping[str, list[str]] = field(default_factory=dict)
    """The fields of a POST."""

    @property
    def authenticated(self) -> bool:
        """True if the request may see details: no login is required, or it has one."""
        return self.user is not None and not self.by_link

    @property
    def may_write(self) -> bool:
        """True if the request may change something."""
        return self.authenticated and self.user is not None and self.user.may_write

    @property
    def selection(self) -> ConnectionFilter:
        """The connections that the request may see. Every query of a page, a feed or the API begins with this filter."""
        return NOTHING if self.user is None else ConnectionFilter(bound_to=self.user.labels)

    def author(self, otherwise: str) -> str:
        """Return the author of changes: the user's name, or `otherwise` where no login is required."""
        return (self.user.name if self.user is not None else "") or otherwise

    def field(self, name: str) -> str:
        """Return the first value of a form field without surrounding white space, an empty string if it is absent."""
        return next(iter(self.form.get(name, ())), "").strip()

    def feed(self, path: str, filters: Iterable[tuple[str, str]] = ()) -> str:
        """Return a link to a feed with these filters, which works without a login."""
        pairs, signer = list(filters), self.access.user(self.user.name if self.user is not None else "")
        if signer is None and self.user is not None and not self.user.labels:
            signer = self.access.user(TOKEN_USER)  # for an operator who was authenticated by a proxy
        if signer is not None:
            pairs += [(USER, signer.name)] if signer.name != TOKEN_USER else []
            pairs.append((SIGNATURE, self.access.sign(signer, path, pairs)))
        return f"{path}?{urlencode(pairs)}" if pairs else path


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


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def session_id(visitor: str) -> str:
    """Return the id under which the store keeps the session of a cookie: a digest, which opens nothing."""
    return hashlib.sha256(visitor.encode()).hexdigest()


class Access:
    """The users, and what the key signs. The key is random: nothing that it signs depends on a token alone."""

    def __init__(self, users: Iterable[User], key: bytes) -> None:
        """Create it for these users. Without any, no login is required."""
        self._users = {user.name: user for user in users}
        self._key = key

    @classmethod
    def of(cls, config: Config, key: bytes) -> Access:
        """Return the access that the current configuration gives."""
        operator = [User(name=TOKEN_USER, token=config.web.token.reveal())] if config.web.token else []
        others = (
            User(name=each.name, token=each.token.reveal(), role=each.role, labels=each.labels) for each in config.web.users
        )
        return cls([*operator, *others], key)

    @property
    def is_open(self) -> bool:
        """True if no login is required."""
        return not self._users

    @property
    def has_users(self) -> bool:
        """True if there are users in addition to the operator with `web.token`."""
        return not self._users.keys() <= {TOKEN_USER}

    def user(self, name: str) -> User | None:
        """Return the user with this name, None if there is none."""
        return self._users.get(name)

    def user_with(self, token: str) -> User | None:
        """Return the user with this token, None if there is none. Takes the same time for every token."""
        # Digests have one length, so that not even the length of a token can be measured.
        digest = _digest(token)
        found = [user for user in self._users.values() if hmac.compare_digest(_digest(user.token), digest)]
        return found[0] if found else None

    def new_session(self, user: User, visitor: str, now: datetime) -> WebSession:
        """Return a session for a browser that has presented the user's token."""
        return WebSession(
            id=session_id(visitor),
            user=user.name,
            credential=self._credential(user),
            created_at=now,
            until=now + SESSION_LASTS,
        )

    def user_of(self, session: WebSession) -> User | None:
        """Return the user of a session; None unless it was made with the user's current token, role and labels."""
        user = self._users.get(session.user)
        return user if user is not None and hmac.compare_digest(session.credential, self._credential(user)) else None

    def _credential(self, user: User) -> str:
        # The operator's is the token alone: sessions and links from before there were other users stay valid.
        rights = "" if user.name == TOKEN_USER else f"\0{user.name}\0{user.role}\0{json.dumps(sorted(user.labels.items()))}"
        return self._mac("credential", user.token + rights)

    def csrf(self, visitor: str) -> str:
        """Return the CSRF token of a browser."""
        return self._mac("csrf", visitor)

    def is_csrf(self, given: str, visitor: str) -> bool:
        """Return True if this is the CSRF token of the browser."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.csrf(visitor).encode())

    def sign(self, user: User, path: str, query: Iterable[tuple[str, str]] = ()) -> str:
        """Return the signature with which a user's link opens a feed with exactly these parameters.

        Parameters may be sent in another order, but the values of one parameter must keep theirs. A new token ends all links
        of its user, as other labels do.
        """
        ordered = sorted(query, key=lambda pair: pair[0])
        address = f"{path}?{urlencode(ordered, errors='surrogatepass')}"
        return _VERSION + self._mac("feed", f"{self._credential(user)}\0{address}")[:32]

    def signer(self, given: str, path: str, query: Sequence[tuple[str, str]] = ()) -> User | None:
        """Return the user whose signature of the feed at this path with these parameters this is, None if it is wrong."""
        name = next((value for key, value in query if key == USER), TOKEN_USER)
        user = self._users.get(name)
        if user is None:
            return None
        right = hmac.compare_digest(given.encode("utf-8", "replace"), self.sign(user, path, query).encode())
        return user if right else None

    def _mac(self, purpose: str, text: str) -> str:
        return sign(self._key, purpose, text)
