"""Hostile answers: the source that gets one, its bytes, and the required result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from monitor.domain import PollOutcome, ProbeFinding
from monitor.domain.providers import coded_names
from tests.contract.loopback import Request, Response, Writer
from tests.support.factories import NOW

CONNECTIONS = 50
"""Connections that each source has when a case begins."""

POSTPOST, PUBLORA, POSTBREEZE, POSTPEER = "postpost", "publora", "postbreeze", "postpeer"
TWINS = (POSTPOST, PUBLORA)
"""One backend under two names: they share their shapes."""
STATING = (POSTPOST, PUBLORA, POSTBREEZE)
"""Those whose rows report something about the token."""
ALL = coded_names()

PLATFORMS = ("linkedin", "instagram", "threads", "tiktok", "twitter", "facebook", "youtube", "bluesky", "mastodon", "telegram")
UNDATED = frozenset({"twitter", "facebook", "youtube", "mastodon", "telegram"})

LOST = frozenset({PollOutcome.INVALID, PollOutcome.UNREACHABLE})
"""The answer is no evidence, whatever it is called."""
INVALID = frozenset({PollOutcome.INVALID})
UNREACHABLE = frozenset({PollOutcome.UNREACHABLE})
OK = frozenset({PollOutcome.OK})
PARTIAL = frozenset({PollOutcome.PARTIAL})
READ = frozenset({PollOutcome.OK, PollOutcome.PARTIAL})
LIMITED = frozenset({PollOutcome.RATE_LIMITED})
REFUSED = frozenset({PollOutcome.UNAUTHORIZED})
ANY = frozenset(PollOutcome)


def date(days: float) -> str:
    """An instant so many days after the tests' now, as the services write it."""
    return instant(timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def instant(after: timedelta) -> datetime:
    """So long after the tests' now."""
    return NOW + after


@dataclass(frozen=True, kw_only=True)
class SampleSource:
    """A source with fifty connections, all of them valid or all of them expired."""

    kind: str
    well: bool = True

    @property
    def twin(self) -> bool:
        """True for PostPost and Publora."""
        return self.kind in TWINS

    @property
    def key(self) -> str:
        """The field that holds a row's id."""
        return "platformId" if self.twin else "id"

    @property
    def word(self) -> str:
        """The field that holds the service's word."""
        return "status" if self.kind == POSTBREEZE else "tokenStatus"

    @property
    def expiry(self) -> str:
        """The field that holds the expiry date."""
        return "tokenExpiresAt" if self.kind == POSTBREEZE else "accessTokenExpiresAt"

    @property
    def healthy(self) -> str:
        """The service's status of a valid token."""
        return "ACTIVE" if self.kind == POSTBREEZE else "valid"

    @property
    def broken(self) -> str:
        """The service's status of an expired token."""
        return "TOKEN_EXPIRED" if self.kind == POSTBREEZE else "expired"

    @property
    def other(self) -> SampleSource:
        """The same connections in the opposite state."""
        return SampleSource(kind=self.kind, well=not self.well)

    def id_of(self, number: int) -> str:
        """The id of one connection."""
        platform = PLATFORMS[number % len(PLATFORMS)]
        if self.twin:
            return f"{platform}-{number:03}a"
        return f"{'soc' if self.kind == POSTBREEZE else 'int'}_{number:03}a"

    def row(self, number: int) -> dict[str, Any]:
        """One row as the documents describe it."""
        platform = PLATFORMS[number % len(PLATFORMS)]
        if self.kind == POSTPEER:
            return {
                "id": self.id_of(number),
                "platform": platform,
                "platformUserId": str(9000 + number),
                "username": f"user{number}",
                "displayName": f"Account {number}",
                "profileUrl": f"https://{platform}.example/user{number}",
                "createdAt": date(-100),
            }
        if self.kind == POSTBREEZE:
            return {
                "id": self.id_of(number),
                "workspaceId": "ws_1",
                "platform": platform.upper(),
                "externalId": str(9000 + number),
                "handle": f"user{number}",
                "displayName": f"Account {number}",
                "status": "ACTIVE" if self.well else "TOKEN_EXPIRED",
                "scopes": ["read", "publish"],
                "connectedAt": date(-100),
                "lastRefreshedAt": date(-20),
                "tokenExpiresAt": date(40) if self.well else date(-3),
                "lastRefreshAttemptAt": date(-20),
                "lastRefreshError": None,
                "lastRefreshErrorStatus": None,
            }
        dated = platform not in UNDATED
        return {
            "platformId": self.id_of(number),
            "username": f"user{number}",
            "displayName": f"Account {number}",
            "profileImageUrl": None,
            "profileUrl": f"https://{platform}.example/user{number}",
            "accessTokenExpiresAt": (date(40) if self.well else date(-3)) if dated else None,
            "tokenStatus": "valid" if self.well else "expired",
            "tokenExpiresIn": ("40d 0h" if self.well else "expired") if dated else None,
            "lastSuccessfulPost": date(-1),
            "lastError": None,
        }

    def rows(self, count: int = CONNECTIONS) -> list[dict[str, Any]]:
        """All rows, or the first `count`."""
        return [self.row(number) for number in range(count)]

    def envelope(self, rows: Sequence[Any], **more: Any) -> Any:
        """The list that holds these rows."""
        if self.kind == POSTBREEZE:
            return list(rows)
        if self.kind == POSTPEER:
            return {"success": True, "total": len(rows), "integrations": list(rows), **more}
        return {"success": True, "connections": list(rows), **more}

    def text(self, rows: Sequence[Any] | None = None, **more: Any) -> bytes:
        """The list as the service writes it: nothing strange in it but what the rows hold."""
        return json.dumps(self.envelope(self.rows() if rows is None else rows, **more), separators=(",", ":")).encode()

    def opposite(self) -> bytes:
        """A flawless list that reports the opposite of the known status: code that takes it as evidence is detected."""
        return self.text([]) if self.kind == POSTPEER else self.other.text()

    def first(self, /, **over: Any) -> bytes:
        """The list with fields of the first row replaced; ... takes one out."""
        row = {name: value for name, value in {**self.row(0), **over}.items() if value is not ...}
        return self.text([row, *self.rows()[1:]])

    def first_as(self, text: str | bytes) -> bytes:
        """The list with the first row replaced by this text, JSON or not."""
        octets = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return self.text(["@@", *self.rows()[1:]]).replace(b'"@@"', octets, 1)

    def first_with(self, field_name: str, text: str | bytes) -> bytes:
        """The list with one value of the first row replaced by this text, JSON or not."""
        octets = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return self.first(**{field_name: "@@"}).replace(b'"@@"', octets, 1)

    def first_row_text(self, **over: Any) -> str:
        """The first row as text without its closing brace, for something to be added to it."""
        row = {name: value for name, value in {**self.row(0), **over}.items() if value is not ...}
        return json.dumps(row, separators=(",", ":"))[:-1]


Answerer = Callable[[SampleSource, Request], Response]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hostile answer to a poll."""

    name: str
    """Unique, and stable: failures are reported by it."""
    row: str
    """The row of the failure catalogue."""
    part: str
    """What of the answer is hostile: status, headers, framing, body, row, date, pages."""
    answer: Answerer
    kinds: Sequence[str] = ALL
    outcome: frozenset[PollOutcome] = LOST
    """How the poll may end."""
    well: str = ""
    """What the first connection becomes where it was well; empty: what it was. No other may ever change."""
    ill: str = ""
    """Likewise where it was ill."""
    only_well: bool = False
    """True if the answer rightly changes what was ill, and only what was well is of interest."""
    flag: str = ""
    """A flag that the first connection's verdict must carry afterwards."""
    waits: float | Literal["any", "default"] = "any"
    """The pause that is understood; "default": none is."""
    problem: str = ""
    """A text that the report must hold."""
    quick: bool = False
    """True if the answer never ends, so that only the deadline ends the poll: then it is a short one, and the only try."""
    cap: int | None = None
    """A smaller cap for lists, for what would fill the usual one."""
    rows: int | None = None
    """A smaller cap on rows."""


@dataclass(frozen=True, kw_only=True)
class ProbeCase:
    """One hostile answer to a probe, given for each of the fifty connections, three times over."""

    name: str
    row: str
    answer: Answerer
    kinds: Sequence[str] = TWINS
    finding: ProbeFinding | None = None
    """What it means; None: it is no answer."""
    well: str = ""
    """What every connection becomes where it was well; empty: what it was."""
    trusted: str = ""
    """As `well`, of the connections whose platform's dates are trusted; empty: as `well`."""
    ill: str = ""
    quick: bool = False


# --- ways to answer ---


def body(make: Callable[[SampleSource], bytes], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answerer:
    """A well-framed answer with this body."""
    named = {"content-type": "application/json; charset=utf-8", **(headers or {})}

    def answer(sample: SampleSource, _: Request) -> Response:
        return Response(status=status, body=make(sample), headers=named)

    return answer


def octets(make: Callable[[SampleSource], bytes], *, pause: float = 0.0, at_once: int = 1) -> Answerer:
    """An answer of exactly these bytes, head and all, after which the connection is closed."""

    def answer(sample: SampleSource, _: Request) -> Response:
        return Response(raw=_writer(make(sample), pause=pause, at_once=at_once))

    return answer


def _writer(data: bytes, *, pause: float, at_once: int) -> Writer:
    async def write(writer: asyncio.StreamWriter) -> None:
        if not pause:
            writer.write(data)
            await writer.drain()
            return
        for start in range(0, len(data), at_once):
            writer.write(data[start : start + at_once])
            await writer.drain()
            await asyncio.sleep(pause)

    return write


def head(text: str = "HTTP/1.1 200 OK", *lines: str) -> bytes:
    """The head of an answer, its empty line included."""
    return "\r\n".join([text, "content-type: application/json", *lines, "", ""]).encode("latin-1")


def framed(content: bytes, *lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    """An answer with a true content-length and these further header lines."""
    return head(status, *lines, f"content-length: {len(content)}") + content


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked answer of these pieces."""
    return (
        head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces if p) + end
    )


@dataclass
class Book:
    """The cases of one family as they are written down."""

    row: str
    part: str
    kinds: Sequence[str] = ALL
    cases: list[Case] = field(default_factory=list)

    def add(self, name: str, answer: Answerer, **more: Any) -> None:
        """Add a case; what is not given is the family's."""
        known: dict[str, Any] = {"row": self.row, "part": self.part, "kinds": self.kinds}
        self.cases.append(Case(**{**known, "name": f"{self.row}.{name}", "answer": answer, **more}))
