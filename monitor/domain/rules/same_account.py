"""Recognition of an account that is listed under a new id, from the evidence that both rows state.

The evidence, strongest first: the account's id on its platform, its profile address, its user name. A weaker kind counts only
where one of the two rows lacks every stronger kind: two accounts that differ in stronger evidence are different accounts.
Other reconnects, under the same id, are recognised in `token_evidence`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from monitor.domain import Snapshot

_PLACEHOLDERS = frozenset({"", "unknown", "none", "null", "undefined", "n/a", "-"})
"""Placeholders, in lower case, that services list instead of an unknown user name."""

_AROUND = re.compile(r"\A[\s@]+|\s+\Z")


class Identity(NamedTuple):
    """The evidence of one row about its account, strongest first; None where it states none."""

    account: tuple[str, str] | None
    profile: tuple[str, str] | None
    name: tuple[str, str] | None


def identity(snapshot: Snapshot) -> Identity:
    """Return the evidence that identifies the account of a row. Each part contains the platform."""
    parts = snapshot.account or None, profile(snapshot.profile_url), handle(snapshot.username)
    return Identity(*(None if part is None else (snapshot.platform, part) for part in parts))


def match(newcomers: Iterable[Snapshot], candidates: Iterable[Snapshot]) -> dict[str, str]:
    """Return the external id of the candidate that is the same account, by the external id of each newcomer.

    Both are rows of one scope. A pair matches only if each is the other's only match; shared evidence is ignored.
    """
    old = {row.external_id: identity(row) for row in candidates}
    known = {part for parts in old.values() for part in parts if part is not None}
    new: dict[str, Identity] = {}
    for row in newcomers:
        parts = identity(row)
        if not known.isdisjoint(parts):
            new[row.external_id] = parts
    found: dict[str, str] = {}
    for level in range(len(Identity._fields)):
        old_ids, new_ids = _by_part(old, level), _by_part(new, level)
        for part in new_ids.keys() & old_ids.keys():
            newcomer, candidate = new_ids[part], old_ids[part]
            if len(newcomer) == len(candidate) == 1 and not _differ(new[newcomer[0]][:level], old[candidate[0]][:level]):
                found[newcomer[0]] = candidate[0]
            for key in newcomer:
                del new[key]
            for key in candidate:
                del old[key]
    return found


def _by_part(rows: dict[str, Identity], level: int) -> dict[tuple[str, str], list[str]]:
    """Return the external ids of the rows by their evidence of this kind."""
    found: dict[tuple[str, str], list[str]] = {}
    for key, parts in rows.items():
        part = parts[level]
        if part is not None:
            found.setdefault(part, []).append(key)
    return found


def _differ(stronger: tuple[tuple[str, str] | None, ...], other: tuple[tuple[str, str] | None, ...]) -> bool:
    """Return True if both state a kind of stronger evidence: it is different, or it had matched."""
    return any(a is not None and b is not None for a, b in zip(stronger, other, strict=True))


def profile(address: str | None) -> str | None:
    """Return a profile address to compare; None for one that names no account, such as a platform's front page.

    Without the scheme, the case of the host, a leading "www.", a trailing slash and the fragment.
    """
    try:
        parts = urlsplit((address or "").strip())
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if not parts.netloc or not (path or parts.query):
        return None
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc.casefold().removeprefix('www.')}{path}{query}"


def handle(name: str | None) -> str | None:
    """Return a user name to compare, without the @ of some responses and in lower case; None for a placeholder."""
    text = _AROUND.sub("", name or "").casefold()
    return None if text in _PLACEHOLDERS else text
