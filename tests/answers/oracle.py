"""An independent reading of answers, by the standard library and a few lines of code that share nothing with the adapters.

It does not state what a verdict must be, but which verdicts an answer can justify.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from monitor.domain import PollOutcome, PollReport, ProbeAnswer, ProbeFinding, Status
from tests.answers.case import POSTBREEZE, POSTPEER, POSTPOST, TWINS
from tests.answers.generator import Payload
from tests.answers.offline import Raw
from tests.support.factories import NOW

_LOST = (Status.EXPIRED, Status.REVOKED, Status.DISCONNECTED, Status.FAILING)
_READ = (PollOutcome.OK, PollOutcome.PARTIAL)
_LOST_TOKEN = re.compile("token|session|expired|revoked|invalid_grant|log ?in|password|authoriz|credential", re.IGNORECASE)
_NEVER_EXPIRE = ("twitter-", "x-", "facebook-", "mastodon-", "youtube-")
_TRUSTED = ("linkedin-", "instagram-", "threads-")
_PLAIN_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z")
_GOOD = frozenset({"valid", "active", "connected", "healthy", "ok"})
_DEAD = {
    Status.EXPIRED: frozenset(
        {"expired", "token_expired", "invalid", "token_invalid", "invalid_token"}
        | {f"needs_{act}" for act in ("reauth", "reconnect", "reauthorization", "reauthentication")}
        | {f"{act}_required" for act in ("reauth", "reconnect", "reauthorization", "reauthentication")}
    ),
    Status.REVOKED: frozenset({"revoked", "token_revoked", "access_revoked", "deauthorized", "deauthorised"}),
    Status.DISCONNECTED: frozenset({"disconnected", "removed"}),
}
"""Words that anyone understands."""
_MOST_UNPACKED = 64 * 1024 * 1024


class Members(list[tuple[str, Any]]):
    """An object as its members, repeated ones too."""


@dataclass(frozen=True)
class Row:
    """One object of a list."""

    members: Members

    def all_of(self, name: str) -> list[Any]:
        """Every value of a key."""
        return [value for key, value in self.members if key == name]

    @property
    def repeats(self) -> bool:
        """True if any key comes twice."""
        names = [key for key, _ in self.members]
        return len(set(names)) != len(names)

    def words(self, name: str) -> set[str]:
        """What it states under a key, as plain words; nothing for null."""
        return {_word(value) if isinstance(value, str) else repr(value) for value in self.all_of(name) if value is not None}


def _word(text: str) -> str:
    parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", text.strip())
    return re.sub(r"[ _-]+", "_", parts).casefold()


@dataclass
class Reading:
    """An answer as the oracle reads it."""

    kind: str
    top: Any = None
    rows: list[Row] = field(default_factory=list)
    untrusted: int = 0
    """Rows that are no objects, or have no text for an id."""

    @property
    def key(self) -> str:
        """The field of a row's id."""
        return "platformId" if self.kind in TWINS else "id"

    @property
    def word(self) -> str:
        """The field of the service's word."""
        return "status" if self.kind == POSTBREEZE else "tokenStatus"

    @property
    def date(self) -> str:
        """The field of the expiry."""
        return "tokenExpiresAt" if self.kind == POSTBREEZE else "accessTokenExpiresAt"

    def of(self, external_id: str) -> list[Row]:
        """The rows that may be a connection's."""
        return [row for row in self.rows if external_id in row.all_of(self.key)]

    def plain(self, external_id: str) -> Row | None:
        """Its row where there is but one, whose id and status leave no doubt: then it must be believed."""
        rows = self.of(external_id)
        if len(rows) != 1 or rows[0].repeats or not _typed(rows[0]):
            return None
        return rows[0]


_DECIDING = frozenset({"platformId", "tokenStatus", "id", "workspaceId", "status"})


def _typed(row: Row) -> bool:
    """Return True if the fields that decide are texts. A name, a link or a list of scopes of another type hides no status."""
    return all(value is None or isinstance(value, str) for name, value in row.members if name in _DECIDING)


def read(payload: Payload) -> Reading:
    """The answer's list."""
    reading = Reading(payload.kind)
    reading.top = _json(payload.raw)
    name = "integrations" if payload.kind == POSTPEER else "connections"
    lists: list[Any] = []
    if isinstance(reading.top, Members):
        lists = [value for key, value in reading.top if key == name]
    elif isinstance(reading.top, list):
        lists = [reading.top]
    for each in lists:
        for item in each if isinstance(each, list) and not isinstance(each, Members) else ():
            if isinstance(item, Members):
                reading.rows.append(Row(item))
            else:
                reading.untrusted += 1
    return reading


def _json(raw: Raw) -> Any:
    body = _unpacked(raw)
    try:
        return json.loads(
            body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"),
            strict=False,
            object_pairs_hook=Members,
            parse_int=lambda text: int(text) if len(text) < 4000 else text,
        )
    except (ValueError, RecursionError):
        return None


def _unpacked(raw: Raw) -> bytes:
    coding = dict(raw.headers).get(b"content-encoding")
    try:
        if coding == b"gzip":
            return gzip.decompress(raw.body)[:_MOST_UNPACKED]
        return zlib.decompress(raw.body) if coding == b"deflate" else raw.body
    except (OSError, EOFError, zlib.error):
        return raw.body


# --- What may follow from it ---


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of one connection."""

    external_id: str
    before: Status | None
    after: Status


def complaints(payload: Payload, report: PollReport, judged: list[Judged], absent: list[str]) -> Iterator[str]:
    """Everything that the answer does not justify."""
    reading = read(payload)
    if report.outcome in _READ and payload.raw.status not in (200, 201):
        yield f"HTTP {payload.raw.status} was taken for a list"
    if report.outcome not in _READ and any(scope.snapshots for scope in report.scopes):
        yield f"a poll that ended as {report.outcome} has rows"
    for one in judged:
        yield from _of_one(reading, one)
    for lost in (row for scope in report.scopes for row in scope.unreadable):
        stated = dead_word(reading, lost.external_id or "")
        if stated and _is_known(reading, lost.external_id or ""):
            yield f"HIDDEN: {lost.external_id} is stated as {stated}, and its row was not read: {lost.why}"
    for external_id in absent:
        # Under another workspace it is another connection.
        if any(row.words("workspaceId") <= {"ws_1"} for row in reading.of(external_id)):
            yield f"{external_id} is listed, and was counted as missing"


def _of_one(reading: Reading, one: Judged) -> Iterator[str]:
    key, before, after = one.external_id, one.before, one.after
    rows = reading.of(key)
    if not rows and before is None:
        yield f"{key} is nowhere in the answer"
    if after is Status.VALID and before is not Status.VALID and not may_be_valid(reading, key):
        yield f"FALSE VALID: {key} was {before}"
    if after in _LOST and before is not after and not may_be_lost(reading, key, after):
        yield f"FALSE {after.upper()}: {key} was {before}"
    if after is Status.UNKNOWN and before not in (None, Status.UNKNOWN, Status.DISCONNECTED):
        yield f"{key} was {before}, and is forgotten"
    stated = dead_word(reading, key)
    if stated and after is Status.VALID:
        yield f"MISSED: {key} is stated as {stated}"


def _is_known(reading: Reading, key: str) -> bool:
    """Return True if the id, and at Postbreeze the workspace, is written as that of a known connection."""
    places = {place for row in reading.of(key) for place in row.words("workspaceId")}
    known = re.fullmatch(r"[a-z]+-\d{3}a" if reading.kind in TWINS else r"[a-z]+_\d{3}a", key)
    return known is not None and (reading.kind != POSTBREEZE or places == {"ws_1"})


def dead_word(reading: Reading, key: str) -> str:
    """Return the word by which the service states, without any doubt, that a connection is lost; "" if there is none."""
    plain = reading.plain(key)
    words = plain.words(reading.word) if plain is not None and reading.kind != POSTPEER else set()
    return next((word for word in words if any(word in dead for dead in _DEAD.values())), "")


def may_be_valid(reading: Reading, key: str) -> bool:
    """Return True if some row of it can be understood as valid."""
    if reading.kind == POSTPEER:
        return False
    plain = reading.plain(key)
    if plain is not None and reading.kind in TWINS and key.lower().startswith(_TRUSTED) and _is_past(plain.all_of(reading.date)):
        return False
    return any(_says_valid(reading, row) for row in reading.of(key))


def _says_valid(reading: Reading, row: Row) -> bool:
    words = row.words(reading.word)
    if words and words <= _GOOD:
        return True
    if reading.kind == POSTBREEZE:
        return False
    dated = [value for value in row.all_of(reading.date) if value not in (None, "")]
    if words == {"unknown"}:
        # It may mean: does not expire. Then a date beside it decides.
        may_mean_so = reading.kind == POSTPOST or any(_undated_unknown(reading, each) for each in reading.rows)
        return may_mean_so and not _is_past(dated)
    # No word is as good as valid only where no row has one: such is the old shape.
    stated = [each for each in reading.rows if not each.repeats and _named(reading, each) and each.words(reading.word)]
    return words <= {""} and not stated and not _is_past(dated)


def _named(reading: Reading, row: Row) -> bool:
    """Return True if the row can be read and has its own id."""
    return _typed(row) and any(isinstance(value, str) and "-" in value.strip("-") for value in row.all_of(reading.key))


def _undated_unknown(reading: Reading, row: Row) -> bool:
    ids = [value for value in row.all_of(reading.key) if isinstance(value, str)]
    return "unknown" in row.words(reading.word) and any(each.lower().startswith(_NEVER_EXPIRE) for each in ids)


def may_be_lost(reading: Reading, key: str, status: Status) -> bool:
    """Return True if some row of it can be understood as this."""
    rows = reading.of(key)
    words = {word for row in rows for word in row.words(reading.word)} if reading.kind != POSTPEER else set()
    if words & _DEAD.get(status, frozenset()):
        return True
    if status is Status.FAILING:
        return any(_names_lost_token(value) for row in rows for value in row.all_of("lastError"))
    if status is not Status.EXPIRED:
        return False
    ended = any(_is_ended_span(value) for row in rows for value in row.all_of("tokenExpiresIn"))
    return ended or any(_may_be_past(value) for row in rows for value in row.all_of(reading.date))


def _is_ended_span(value: Any) -> bool:
    """Return True if the time left can be understood as over."""
    text = str(value).strip().casefold()
    return text.startswith(("0", "-")) or "expired" in text


def _names_lost_token(error: Any) -> bool:
    """Return True if the error of a failed post names a token that is lost."""
    return error is not None and _LOST_TOKEN.search(str(error)) is not None


def _is_past(dates: list[Any]) -> bool:
    """Return True if the one date is written as documented and has certainly passed."""
    left = _left(dates[0]) if len(dates) == 1 else None
    return left is not None and timedelta(minutes=-5) > left > timedelta(days=-3000)


def _left(date: Any) -> timedelta | None:
    """The time until a date that is written as documented; None for any other."""
    if not isinstance(date, str) or _PLAIN_DATE.fullmatch(date) is None:
        return None
    try:
        return datetime.fromisoformat(date) - NOW
    except ValueError:
        return None


def _may_be_past(date: Any) -> bool:
    """Return True if a parser could read it as a date that has passed."""
    left = _left(date)
    if left is not None:
        return left <= timedelta(minutes=5)
    if isinstance(date, str):
        years = [int(year) for year in re.findall(r"(?<!\d)(20[12]\d)-", date)]
        return any(year <= NOW.year for year in years) or date.strip().replace(".", "").isdigit()
    return isinstance(date, int | float)


def probe_complaints(payload: Payload, answer: ProbeAnswer | None, finding: ProbeFinding | None) -> Iterator[str]:
    """Everything in a probe's meaning that the answer does not justify."""
    if answer is None or finding is None:
        return
    status = payload.raw.status
    if finding in (ProbeFinding.MISSING, ProbeFinding.BAD_ID):
        if status not in (404, 400):
            yield f"HTTP {status} was taken for {finding}"
        return
    top = _json(payload.raw)
    stated = (
        {value.strip().lower() for key, value in top if key == "status" and isinstance(value, str)}
        if isinstance(top, Members)
        else set()
    )
    if status not in (200, 201):
        yield f"HTTP {status} was taken for an answer"
    if finding is ProbeFinding.OK and stated != {"ok"}:
        yield f"FALSE OK: the answer states {sorted(stated)}"
    if finding.is_refusal and stated != {"error"}:
        yield f"FALSE {finding.upper()}: the answer states {sorted(stated)}"
