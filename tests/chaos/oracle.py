"""Invariants after any number of kills: every transition in the database was notified, and nothing repeated needlessly."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import text

from monitor.demo.receivers import Post
from monitor.store import Store

CHANNEL = 'group_wait = "0s"\ntemplate = { body = "{{ body }}" }'
"""Settings of the channel: with a template, each alert of a group has its whole text, with the id by which it is recognised."""

BAD = frozenset({"expiring_soon", "expired", "revoked", "disconnected", "failing"})

LOST = frozenset({"expired", "revoked"})


@dataclass(kw_only=True)
class Findings:
    """What was counted, and every violation as a sentence."""

    transitions: int = 0
    alerts: int = 0
    posts: int = 0
    repeats: int = 0
    violations: list[str] = field(default_factory=list)


def settled(store: Store, expected: Mapping[str, str] | None = None) -> bool:
    """Return True if each connection has the expected status and no delivery waits or is in flight."""
    # The statuses first: deliveries are stored with them.
    if expected is not None and wrong_states(store, expected):
        return False
    with store.begin_read() as conn:
        return not conn.execute(text("SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending')")).scalar_one()


def wrong_states(store: Store, expected: Mapping[str, str]) -> list[str]:
    """The connections whose status is not (or not yet) that of the world."""
    with store.begin_read() as conn:
        stored = {row.external_id: row.status for row in conn.execute(text("SELECT external_id, status FROM connections"))}
    wrong = []
    for name, state in expected.items():
        # The list calls a revoked token expired; which of the two statuses is stored depends on whether a probe came between.
        if stored.get(name) not in (LOST if state in LOST else {state}):
            wrong.append(f"{name} is {stored.get(name)} in the store and {state} in the world")
    return wrong


def judge(store: Store, posts: Iterable[Post], expected: Mapping[str, str], *, kills: int, channel: str = "hook") -> Findings:
    """Compare the database with what arrived on a channel. The daemon must have settled: nothing due, nothing in flight."""
    found = Findings()
    with store.begin_read() as conn:
        if conn.dialect.name == "sqlite":
            answer = conn.execute(text("PRAGMA integrity_check")).scalar_one()
            found.violations += [] if answer == "ok" else [f"the database is damaged: {answer}"]
        events = conn.execute(
            text("SELECT connection_id, at, kind, new FROM events WHERE kind IN ('appeared', 'status_changed') ORDER BY id")
        ).all()
        alerts = conn.execute(text("SELECT id, connection_id, at, event FROM alerts ORDER BY at, id")).all()
        query = text("SELECT alert_id, state, attempts FROM deliveries WHERE channel = :channel")
        deliveries = conn.execute(query, {"channel": channel}).all()
        counts = conn.execute(
            text("SELECT connection_id, count(*) AS n FROM incidents WHERE closed_at IS NULL GROUP BY connection_id")
        ).all()
    found.violations += wrong_states(store, expected)
    _compare_transitions(events, alerts, found)
    _compare_deliveries(alerts, deliveries, list(posts), kills, found)
    for row in counts:
        if row.n > 1:
            found.violations.append(f"connection {row.connection_id} has {row.n} open incidents")
    return found


def _compare_transitions(events: Iterable[object], alerts: Iterable[object], found: Findings) -> None:
    """Each change into trouble, and each out of it, is an alert of the same instant, in the same order."""
    changes: dict[int, list[str]] = defaultdict(list)
    notified: dict[int, list[str]] = defaultdict(list)
    for event in events:
        if event.kind == "appeared" and event.new not in BAD:  # type: ignore[attr-defined]
            continue  # first sight of a healthy connection is silent
        word = event.new if event.new in BAD else "recovered"  # type: ignore[attr-defined]
        changes[event.connection_id].append(f"{event.at} {word}")  # type: ignore[attr-defined]
    for alert in alerts:
        if alert.connection_id is not None:  # type: ignore[attr-defined]
            notified[alert.connection_id].append(f"{alert.at} {alert.event}")  # type: ignore[attr-defined]
    found.transitions = sum(len(each) for each in changes.values())
    for connection in changes.keys() | notified.keys():
        if _expected_alerts(changes[connection], notified[connection]) != notified[connection]:
            found.violations.append(f"connection {connection} changed {changes[connection]} but notified {notified[connection]}")


def _expected_alerts(changes: list[str], notified: list[str]) -> list[str]:
    """Return the changes without those that are deliberately not notified.

    A revoked token that the platform accepts again is `expired` until the next list.
    That lasts from a probe to the next poll and ends as recovered (`monitor/domain/rules/alerting.py`, `_list_lags_behind`).
    """
    words = [each.rpartition(" ")[2] for each in changes]
    kept = []
    for at, each in enumerate(changes):
        lags = words[at - 1 : at + 2] == ["revoked", "expired", "recovered"] and at > 0
        if each in notified or not lags:
            kept.append(each)
    return kept


def _compare_deliveries(
    alerts: Iterable[object], deliveries: Iterable[object], posts: list[Post], kills: int, found: Findings
) -> None:
    """Each alert has a delivery that was sent, and arrived: once, and again only where a kill left it in doubt."""
    attempts = {row.alert_id: row.attempts for row in deliveries}  # type: ignore[attr-defined]
    unsent = [f"{row.alert_id} is {row.state}" for row in deliveries if row.state != "sent"]  # type: ignore[attr-defined]
    found.violations += [f"not delivered: {each}" for each in unsent]
    events = {row.id: row.event for row in alerts}  # type: ignore[attr-defined]
    ids = list(events)
    arrived: Counter[str] = Counter()
    plain: Counter[str] = Counter()
    for post in posts:
        document = json.dumps(post.document)
        named = {each for each in ids if each in document}
        arrived.update(named)
        if "may be a repeat" not in document:
            plain.update(named)
    found.alerts, found.posts = len(ids), len(posts)
    found.repeats = sum(count - 1 for count in arrived.values())
    for each in ids:
        if arrived[each] == 0:
            found.violations.append(f"alert {each} ({events[each]}) never arrived in {attempts.get(each, 0)} attempts")
        if plain[each] > 1:
            found.violations.append(f"alert {each} was repeated {plain[each] - 1} times without a note that it may be a repeat")
        if arrived[each] > attempts.get(each, 0):
            found.violations.append(f"alert {each} arrived {arrived[each]} times in {attempts.get(each, 0)} attempts")
    if found.repeats > kills * 2:
        found.violations.append(f"{found.repeats} repeats after {kills} kills")
