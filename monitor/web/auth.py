"""Who may see and do what: the token, the cookie that a login gives, the forms' own tokens, and signed links to feeds.

Everything is derived from one key: from the token where one is set, so that a restart logs nobody out and a new token logs
everybody out; else from chance, anew with each process.
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
"""What programs without a login fetch: open to a link that is signed."""

OPEN = ("/healthz", "/readyz", "/login")
"""What anybody may ask for. Whoever is not known gets no detail."""

STATIC = "/static/"
SESSION_LASTS = timedelta(days=30)
_VISIT = "monitor.visit"


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says, once its signature was found good."""

    id: str
    known: bool
    """Whether its owner has shown the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request, as the gate let it in."""

    known: bool
    """Whether it may see details: no token is set, or it was shown."""
    csrf: str
    """What the forms of the answer must carry."""
    theme: str
    """light, dark or auto."""
    access: Access
    form: Mapping[str, list[str]] = field(default_factory=dict)
    """The fields of a POST."""

    def field(self, name: str) -> str:
        """The first value of a field, without space around it; empty where there is none."""
        return next(iter(self.form.get(name, ())), "").strip()

    def feed(self, path: str, **query: str) -> str:
        """A link to a feed that works without a login."""
        signed = {**query, "sig": self.access.sign(path)} if self.access.token is not None else query
        return f"{path}?{urlencode(signed)}" if signed else path


def visit_of(request: Request) -> Visit:
    """How the gate let this request in."""
    found = request.scope[_VISIT]
    assert isinstance(found, Visit)  # noqa: S101 - the gate stands before every page
    return found


def remember_visit(scope: MutableMapping[str, Any], visit: Visit) -> None:
    """Note for the pages how a request was let in."""
    scope[_VISIT] = visit


class Access:
    """What the key proves. `chance` takes the token's place where none is set."""

    def __init__(self, token: str | None, chance: bytes) -> None:
        self.token = token
        seed = chance if token is None else token.encode("utf-8", "surrogatepass")
        self._key = hashlib.sha256(b"token-monitor web 1\0" + seed).digest()

    @classmethod
    def of(cls, config: Config, chance: bytes) -> Access:
        """As the configuration has it now."""
        return cls(config.web.token.reveal() if config.web.token else None, chance)

    def is_token(self, given: str) -> bool:
        """Whether this is the token; how long the answer takes tells nothing about it."""
        if self.token is None:
            return False
        ours, theirs = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (self.token, given))
        return hmac.compare_digest(ours, theirs)

    def new_cookie(self, now: datetime, *, known: bool) -> str:
        """A session of its own, as a cookie's value."""
        until = int((now + SESSION_LASTS).timestamp())
        text = f"{'k' if known else 'a'}.{until}.{secrets.token_urlsafe(16)}"
        return f"{text}.{self._mac('session', text)}"

    def session(self, cookie: str, now: datetime) -> Session | None:
        """What a cookie says; None where it was not made with this key, or is over."""
        text, _, mac = cookie.rpartition(".")
        if not text or not self._is_mac(mac, "session", text):
            return None
        kind, until, _ = text.split(".", 2)
        return Session(id=text, known=kind == "k") if now.timestamp() < int(until) else None

    def csrf(self, session: Session) -> str:
        """What the forms that this session is given must carry."""
        return self._mac("csrf", session.id)

    def is_csrf(self, given: str, session: Session) -> bool:
        """Whether a form was given to this session."""
        return self._is_mac(given, "csrf", session.id)

    def sign(self, path: str) -> str:
        """The signature that opens a feed: this path, whatever its query."""
        return self._mac("feed", path)[:32]

    def is_signed(self, given: str, path: str) -> bool:
        """Whether a link to a feed carries its signature."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.sign(path).encode())

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _is_mac(self, given: str, purpose: str, text: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._mac(purpose, text).encode())
