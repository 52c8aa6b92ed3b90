"""The `label_sets` table: the different sets of labels that connections have, one row each."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from sqlalchemy import Connection, delete, func, select, union_all

from monitor.domain.filters import StoredLabels
from monitor.domain.rules.labels import ConnectionLabels, has_labels
from monitor.store.schema import connections, label_sets
from monitor.store.sql import upsert

_c = label_sets.c

Key = tuple[str, bool]


def key_of(labels: ConnectionLabels) -> Key:
    """Return the stored form of a set of labels; equal sets have the same."""
    return _encode(labels.values), labels.named_by_service


def ids_of(conn: Connection, wanted: Iterable[Key]) -> dict[Key, int]:
    """Return the row ids of sets of labels; sets that are not stored yet are inserted."""
    keys = set(wanted)
    found = _stored(conn, keys)
    missing = [{"labels": text, "named_by_service": named} for text, named in sorted(keys - set(found))]
    if missing:
        conn.execute(upsert(conn, label_sets, ["labels", "named_by_service"]), missing)
        found |= _stored(conn, keys - set(found))
    return found


def _stored(conn: Connection, keys: set[Key]) -> dict[Key, int]:
    if not keys:
        return {}
    query = select(_c.id, _c.labels, _c.named_by_service)
    if len(keys) == 1:
        query = query.where(_c.labels == next(iter(keys))[0])
    return {key: row.id for row in conn.execute(query) if (key := (row.labels, bool(row.named_by_service))) in keys}


def all_sets(conn: Connection) -> dict[int, ConnectionLabels]:
    """Return every stored set of labels by row id."""
    return {row.id: ConnectionLabels(decode(row.labels), bool(row.named_by_service)) for row in conn.execute(select(label_sets))}


def in_use(conn: Connection) -> list[ConnectionLabels]:
    """Return the different sets of labels of live connections."""
    used = select(connections.c.label_set).where(connections.c.retired_at.is_(None))
    rows = conn.execute(select(_c.labels, _c.named_by_service).where(_c.id.in_(used)))
    return [ConnectionLabels(decode(row.labels), bool(row.named_by_service)) for row in rows]


def matching(conn: Connection, wanted: Mapping[str, str | Sequence[str]]) -> frozenset[int]:
    """Return the row ids of the sets that have all of these labels; a wanted value is a pattern, or several."""
    return frozenset(key for key, labels in all_sets(conn).items() if has_labels(labels.values, wanted))


def resolve(
    conn: Connection, wanted: Mapping[str, str | Sequence[str]], own_labels: Mapping[str, Mapping[str, str]]
) -> StoredLabels:
    """Return a condition on labels as label sets and sources. `own_labels` are those of the configured sources, by name."""
    sets = matching(conn, wanted)
    own = frozenset(name for name, labels in own_labels.items() if has_labels(labels, wanted))
    return StoredLabels(sets=sets, own=own, sources=own | sources_with(conn, sets))


def bound_to(conn: Connection, labels: Mapping[str, str]) -> frozenset[int]:
    """Return the row ids of the sets that have exactly these labels, as the configuration sets them.

    A `client` that is only the name of a scope at the service does not count: a service's name may change.
    """
    return frozenset(key for key, found in all_sets(conn).items() if found.grants(labels))


def sources_with(conn: Connection, ids: Iterable[int]) -> set[str]:
    """Return the sources that have a live connection with one of these sets."""
    query = select(connections.c.source).where(connections.c.retired_at.is_(None), connections.c.label_set.in_(list(ids)))
    return set(conn.scalars(query.distinct()))


def count_by_set(
    conn: Connection, source: str, *, scopes: Collection[str | None] | None = None, platform: str | None = None
) -> list[tuple[dict[str, str], int]]:
    """Return the labels of a source's live connections with the number of connections that have them.

    With scopes or a platform, of their connections only; None among the scopes is the key's owner.
    """
    c = connections.c
    query = (
        select(_c.labels, func.count()).join(label_sets, _c.id == c.label_set).where(c.source == source, c.retired_at.is_(None))
    )
    if scopes is not None:
        query = query.where(c.scope.in_([scope or "" for scope in scopes]))
    if platform is not None:
        query = query.where(c.platform == platform)
    return [(dict(decode(text)), number) for text, number in conn.execute(query.group_by(_c.labels).order_by(_c.labels))]


def prune(conn: Connection) -> int:
    """Delete the sets that no connection has, and return their number."""
    retired, of_each = connections.c.retired_at, select(connections.c.label_set).where(connections.c.label_set.is_not(None))
    # In two parts, since there is an index of live connections and one of retired ones.
    used = union_all(of_each.where(retired.is_(None)), of_each.where(retired.is_not(None)))
    return conn.execute(delete(label_sets).where(_c.id.not_in(used))).rowcount


def decode(text: str) -> Mapping[str, str]:
    """Return the labels of a stored text. Connections with the same labels share the result."""
    return _decoded(text)


@lru_cache(maxsize=8192)
def _decoded(text: str) -> Mapping[str, str]:
    return MappingProxyType({str(key): str(value) for key, value in json.loads(text).items()})


def _encode(values: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(values.items())), ensure_ascii=False, separators=(",", ":"))
