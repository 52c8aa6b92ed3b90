"""The read side on both databases: what people and programs are shown, and the JSON shapes key by key."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from monitor.config import Config, load
from monitor.domain import (
    AlertEvent,
    LastError,
    ProbeState,
    ProbeStatus,
    Refresh,
    Severity,
    SourceStatus,
    Status,
    TokenState,
    Verdict,
)
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.records import replace as with_fields
from monitor.domain.rules import schedule
from monitor.domain.rules.silences import Silence
from monitor.store import Store, alerts, connection_codec, connection_queries, connections, outbox, probes, silences, sources
from monitor.views.alerts import alert_views, explain
from monitor.views.history import event_views
from monitor.views.json_types import listing
from monitor.views.sources import source_views
from monitor.views.status import Overview, PluginState, overview
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_alert, make_state

CONNECTION = {
    "id", "source", "provider", "scope", "scope_name", "platform", "external_id", "username", "display_name", "profile_url",
    "status", "reason", "message", "since", "expires_at", "seconds_left", "probe", "last_seen_at", "last_successful_post_at",
    "last_error", "scopes", "lost_permissions", "renewal", "labels", "flags", "acked", "silenced_until", "stale",
}  # fmt: skip
SOURCE = {"name", "provider", "status", "reason", "message", "last_poll_at", "last_success_at", "connections"} | {
    "clock_skew_seconds",
    "flags",
}
Look = Callable[..., Overview]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two sources, agency (labelled client=acme) and studio, and two channels."""
    return load(write_config(tmp_path), {}).config


@pytest.fixture
def look(store: Store, config: Config, now: datetime) -> Look:
    """The overview at `now`, or some time later."""

    def at(later: timedelta = timedelta(0), **over: Any) -> Overview:
        with store.begin_read() as conn:
            return overview(conn, config, now=now + later, **over)

    return at


def lone_connection(found: Overview) -> dict[str, Any]:
    [view] = found.connections
    return json.loads(json.dumps(to_builtins(view.json())))  # type: ignore[no-any-return] # what a program reads


def test_a_connection_has_every_key_and_null_for_what_is_absent(store: Store, look: Look, now: datetime) -> None:
    bare = make_state(
        external_id="mastodon-1", platform="mastodon", expires_at=None, username=None, display_name=None, profile_url=None
    )
    add_source(store, "agency", [bare], now=now)
    assert lone_connection(look()) == {
        "id": "agency/mastodon-1",
        "source": "agency",
        "provider": "postpost",
        "scope": None,
        "scope_name": None,
        "platform": "mastodon",
        "external_id": "mastodon-1",
        "username": None,
        "display_name": None,
        "profile_url": None,
        "status": "valid",
        "reason": "stated",
        "message": "Reported by the provider.",
        "since": "2026-03-10T12:00:00Z",
        "expires_at": None,
        "seconds_left": None,
        "probe": {"status": "unprobed", "message": None, "at": None, "last_ok_at": None},
        "last_seen_at": "2026-03-10T12:00:00Z",
        "last_successful_post_at": None,
        "last_error": None,
        "scopes": None,
        "lost_permissions": [],
        "renewal": None,
        "labels": {"client": "acme"},
        "flags": [],
        "acked": False,
        "silenced_until": None,
        "stale": False,
    }


def test_a_connection_view_holds_everything_its_source_reported(store: Store, look: Look, now: datetime) -> None:
    hour = timedelta(hours=1)
    full = make_state(
        scope="user-7",
        status=Status.EXPIRED,
        expires_at=now - hour,
        scopes=("r_basic", "w_posts"),
        last_successful_post_at=now - 3 * hour,
        last_error=LastError(message="Post refused.", occurred_at=now - 2 * hour),
        probe=ProbeState(status=ProbeStatus.FAILING, message="Token expired.", at=now - hour),
        verdict=Verdict(
            status=Status.EXPIRED, reason="date_passed", message="It ran out.", since=now - hour, flags=frozenset({"b", "a"})
        ),
    )
    add_source(store, "agency", [full], now=now)
    found = lone_connection(look())
    assert found.keys() == CONNECTION
    assert found["id"] == "agency/user-7/linkedin-123"
    assert (found["scope"], found["since"], found["expires_at"]) == ("user-7", "2026-03-10T11:00:00Z", "2026-03-10T11:00:00Z")
    assert found["seconds_left"] == -3600
    assert found["probe"] == {
        "status": "failing", "message": "Token expired.", "at": "2026-03-10T11:00:00Z", "last_ok_at": None
    }  # fmt: skip
    assert found["last_error"] == {"message": "Post refused.", "occurred_at": "2026-03-10T10:00:00Z"}
    assert (found["scopes"], found["flags"]) == (["r_basic", "w_posts"], ["a", "b"])
    assert found["last_successful_post_at"] == "2026-03-10T09:00:00Z"


def test_a_workspace_is_a_scope_but_no_part_of_the_id(store: Store, look: Look, now: datetime) -> None:
    add_source(store, "studio", [make_state(external_id="65f0", scope="ws_1")], now=now, provider="postbreeze")
    found = lone_connection(look())
    assert (found["id"], found["scope"], found["provider"]) == ("studio/65f0", "ws_1", "postbreeze")


def test_the_whole_answer_has_a_count_for_each_status_and_every_source(store: Store, look: Look, now: datetime) -> None:
    make_world(store, now)
    answer = to_builtins(look().json())
    assert answer.keys() == {"generated_at", "summary", "stale", "sources", "connections"}
    assert answer["stale"] == 0
    assert to_builtins(look(timedelta(hours=2)).json())["stale"] == 5
    assert answer["generated_at"] == "2026-03-10T12:00:00Z"
    assert answer["summary"] == {
        "valid": 2, "unknown": 0, "expiring_soon": 1, "failing": 0, "expired": 1, "revoked": 1, "disconnected": 0,
    }  # fmt: skip
    assert [source.keys() for source in answer["sources"]] == [SOURCE, SOURCE]
    assert all(connection.keys() == CONNECTION for connection in answer["connections"])
    assert [row["status"] for row in answer["connections"]] == ["revoked", "expired", "expiring_soon", "valid", "valid"]


def test_a_limit_keeps_the_worst_and_counts_all(store: Store, look: Look, now: datetime) -> None:
    make_world(store, now)
    found = look(limit=2)
    assert [view.status for view in found.connections] == [Status.REVOKED, Status.EXPIRED]
    assert found.total == 5


def test_a_trusted_date_that_passed_since_the_last_write_is_shown_as_expired_and_not_written(
    store: Store, look: Look, now: datetime
) -> None:
    ends = now + timedelta(minutes=10)
    state = make_state(status=Status.EXPIRING_SOON, expires_at=ends, next_change_at=ends)
    [row] = add_source(store, "agency", [state], now=now)
    assert lone_connection(look(timedelta(minutes=9)))["status"] == "expiring_soon"
    found = lone_connection(look(timedelta(minutes=11)))
    assert (found["status"], found["since"], found["seconds_left"]) == ("expired", "2026-03-10T12:10:00Z", -60)
    assert look(timedelta(minutes=11)).summary[Status.EXPIRED] == 1
    with store.begin_read() as conn:
        assert connection_codec.load(conn, [row]) == {row: state}


def test_the_status_filter_looks_at_what_is_shown_and_not_at_what_is_stored(store: Store, look: Look, now: datetime) -> None:
    ends = now + timedelta(minutes=10)
    add_source(store, "agency", [make_state(status=Status.EXPIRING_SOON, expires_at=ends, next_change_at=ends)], now=now)
    expired = ConnectionFilter(statuses=frozenset({"expired"}))
    assert look(filters=expired).total == 0
    assert look(timedelta(minutes=11), filters=expired).total == 1


@pytest.mark.parametrize(("minutes", "stale"), [(45, False), (46, True)])
def test_data_older_than_three_intervals_is_stale(store: Store, look: Look, now: datetime, minutes: int, stale: bool) -> None:
    add_source(store, "agency", [make_state()], now=now)
    found = look(timedelta(minutes=minutes))
    assert lone_connection(found)["stale"] is stale
    assert found.sources[0].stale is stale


def test_a_disconnected_one_is_not_stale_while_lists_go_on_lacking_it(store: Store, look: Look, now: datetime) -> None:
    gone = make_state(status=Status.DISCONNECTED, missing=2)
    add_source(store, "agency", [gone], now=now)
    later = timedelta(days=2)
    with store.begin_write() as conn:
        row = sources.find_source(conn, "agency")
        assert row is not None
        sources.save_source(conn, replace(row, last_success_at=now + later))
    assert lone_connection(look(later))["stale"] is False


def test_an_unchanged_probe_shows_the_time_of_its_cohort(store: Store, look: Look, now: datetime) -> None:
    state = make_state(probe=ProbeState(status=ProbeStatus.OK, at=now - timedelta(days=3)))
    add_source(store, "agency", [state], now=now)
    cohort = schedule.cohort_of(None, "linkedin-123")
    with store.begin_write() as conn:
        probes.mark_cohort(conn, "agency", cohort, probed_at=now, next_probe_at=None)
    assert lone_connection(look())["probe"] == {
        "status": "ok", "message": None, "at": "2026-03-10T12:00:00Z", "last_ok_at": "2026-03-10T12:00:00Z"
    }  # fmt: skip


def test_renewals_are_null_until_they_are_learned(store: Store, look: Look, now: datetime) -> None:
    hour = timedelta(hours=1)
    token = TokenState(status=Status.VALID, reason="stated", message="", expires_at=now + 1.5 * hour)
    refresh = Refresh(last_refreshed_at=now - hour / 2)
    once = make_state(external_id="a", refresh=refresh, token=with_fields(token, renewal_gap=hour, renewal_left=hour, renewals=1))
    known = make_state(
        external_id="b", refresh=refresh, token=with_fields(token, renewal_gap=hour, renewal_left=hour, renewals=2)
    )
    lazy = make_state(
        external_id="c", refresh=refresh, token=with_fields(token, renewal_gap=hour, renewal_left=-hour, renewals=2)
    )
    add_source(store, "studio", [once, known, lazy, make_state(external_id="d")], now=now, provider="postbreeze")
    found = {view.snapshot.external_id: to_builtins(view.json())["renewal"] for view in look().connections}
    last_at = "2026-03-10T11:30:00Z"
    assert found == {
        "a": {"every": None, "left": None, "last_at": last_at, "overdue_at": None},
        "b": {"every": 3600, "left": 3600, "last_at": last_at, "overdue_at": "2026-03-10T13:00:00Z"},
        "c": {"every": 3600, "left": -3600, "last_at": last_at, "overdue_at": None},
        "d": None,
    }


def test_a_connection_of_a_service_without_probes_is_unsupported(store: Store, look: Look, now: datetime) -> None:
    add_source(store, "studio", [make_state(external_id="65f0", scope="ws_1")], now=now, provider="postbreeze")
    assert lone_connection(look())["probe"] == {"status": "unsupported", "message": None, "at": None, "last_ok_at": None}


def test_a_success_older_than_three_probe_intervals_proves_nothing(store: Store, look: Look, now: datetime) -> None:
    ok = ProbeState(status=ProbeStatus.OK, ever_ok=True, at=now - timedelta(hours=18))
    add_source(store, "agency", [make_state(probe=ok)], now=now)
    for later, shown in ((timedelta(0), ("ok", [])), (timedelta(seconds=1), ("unprobed", ["probe_stale"]))):
        found = lone_connection(look(later))
        assert (found["probe"]["status"], found["flags"]) == shown
        assert found["probe"]["last_ok_at"] == found["probe"]["at"] == "2026-03-09T18:00:00Z", "the time is still shown"


def test_a_refusal_stays_shown_however_old_it_is(store: Store, look: Look, now: datetime) -> None:
    refused = ProbeState(status=ProbeStatus.FAILING, refusals=2, message="No.", at=now - timedelta(days=9))
    add_source(store, "agency", [make_state(probe=refused)], now=now)
    assert (lone_connection(look())["probe"]["status"], lone_connection(look())["flags"]) == ("failing", [])


def test_silence_after_a_success_ages_it_although_its_cohort_is_probed(store: Store, look: Look, now: datetime) -> None:
    """Probes that give no evidence count as probes of the cohort, and prove nothing about the connection."""
    ok = ProbeState(status=ProbeStatus.OK, ever_ok=True, at=now, ok_at=now - timedelta(days=2), silent_since=now)
    add_source(store, "agency", [make_state(probe=ok)], now=now)
    with store.begin_write() as conn:
        probes.mark_cohort(conn, "agency", schedule.cohort_of(None, "linkedin-123"), probed_at=now, next_probe_at=None)
    found = lone_connection(look())
    assert (found["probe"]["status"], found["probe"]["last_ok_at"]) == ("unprobed", "2026-03-08T12:00:00Z")


def test_a_source_that_was_never_polled_is_listed_as_pending(store: Store, look: Look, now: datetime) -> None:
    add_source(store, "agency", now=now)
    found = to_builtins(look().json())["sources"]
    assert [(source["name"], source["status"]) for source in found] == [("agency", "ok"), ("studio", "pending")]
    assert found[1] == {
        "name": "studio",
        "provider": "postpeer",
        "status": "pending",
        "reason": "not_polled_yet",
        "message": "This source has not been polled yet.",
        "last_poll_at": None,
        "last_success_at": None,
        "connections": 0,
        "clock_skew_seconds": None,
        "flags": [],
    }


@pytest.mark.parametrize(
    ("filters", "ids", "names"),
    [
        (ConnectionFilter(sources=frozenset({"studio"})), ["studio/65f0"], ["studio"]),
        (ConnectionFilter(platforms=frozenset({"youtube"})), ["studio/65f0"], ["studio"]),
        (ConnectionFilter(statuses=frozenset({"expired"})), ["agency/linkedin-expired"], ["agency", "studio"]),
        (ConnectionFilter(labels={"client": "globex"}), ["studio/65f0"], ["studio"]),
        (ConnectionFilter(labels={"client": "acme"}, sources=frozenset({"studio"})), [], []),
        (ConnectionFilter(platforms=frozenset({"tiktok"})), [], []),
    ],
)  # fmt: skip
def test_filters_leave_what_they_name(
    *, store: Store, look: Look, now: datetime, filters: ConnectionFilter, ids: list[str], names: list[str]
) -> None:
    make_world(store, now)
    found = look(filters=filters)
    assert [view.id for view in found.connections] == ids
    assert [source.name for source in found.sources] == names
    assert found.total == len(ids)


STANDINGS = [
    # statuses, the source's status, minutes since the poll, sources that just failed, the answer
    ([Status.VALID, Status.UNKNOWN], SourceStatus.OK, 0, (), PluginState.OK),
    ([], SourceStatus.OK, 0, (), PluginState.OK),
    ([Status.EXPIRING_SOON, Status.VALID], SourceStatus.OK, 0, (), PluginState.WARNING),
    ([Status.FAILING], SourceStatus.OK, 0, (), PluginState.CRITICAL),
    ([Status.EXPIRED], SourceStatus.OK, 0, (), PluginState.CRITICAL),
    ([Status.REVOKED], SourceStatus.OK, 0, (), PluginState.CRITICAL),
    ([Status.DISCONNECTED], SourceStatus.OK, 0, (), PluginState.CRITICAL),
    ([Status.EXPIRING_SOON], SourceStatus.FAILING, 0, (), PluginState.UNKNOWN),  # unknown outweighs warning
    ([Status.VALID], SourceStatus.UNAUTHORIZED, 0, (), PluginState.UNKNOWN),
    ([Status.VALID], SourceStatus.PENDING, 0, (), PluginState.UNKNOWN),
    ([Status.VALID], SourceStatus.OK, 46, (), PluginState.UNKNOWN),  # old data
    ([Status.VALID], SourceStatus.OK, 0, ("agency",), PluginState.UNKNOWN),  # `check` failed once, not yet confirmed
    ([Status.EXPIRED], SourceStatus.FAILING, 46, ("agency",), PluginState.CRITICAL),  # critical outweighs all
]


@pytest.mark.parametrize(("statuses", "source", "minutes", "unread", "answer"), STANDINGS)
def test_the_standing_follows_the_monitoring_plugin_convention(
    *,
    store: Store,
    look: Look,
    now: datetime,
    statuses: list[Status],
    source: SourceStatus,
    minutes: int,
    unread: tuple[str, ...],
    answer: PluginState,
) -> None:
    states = [make_state(status=status, external_id=f"linkedin-{status}") for status in statuses]
    add_source(store, "agency", states, now=now, status=source)
    found = look(timedelta(minutes=minutes), filters=ConnectionFilter(sources=frozenset({"agency"})))
    assert found.plugin_state(unread=unread) is answer


def test_a_source_view_holds_the_duration_of_a_round_of_probes(store: Store, config: Config, now: datetime) -> None:
    add_source(store, "agency", now=now)
    with store.begin_write() as conn:
        row = sources.find_source(conn, "agency")
        assert row is not None
        sources.save_source(conn, replace(row, connections=600 * 60 * 7))
        agency, studio = source_views(conn, config, now=now)
    assert agency.probe_round == timedelta(hours=7)
    assert list(agency.problems()) == [
        "Probing all its connections takes 7 hours within its request budget, longer than probe_every (6 hours)."
    ]
    assert studio.probe_round is None


def test_a_source_that_is_long_overdue_asks_for_the_daemon(store: Store, config: Config, now: datetime) -> None:
    add_source(store, "agency", now=now)
    with store.begin_read() as conn:
        agency = source_views(conn, config, now=now + timedelta(hours=2))[0]
    assert list(agency.problems()) == ["Its poll is overdue by 1 hour 45 minutes: check that the daemon is running."]


def test_a_history_is_one_array_of_events(store: Store, now: datetime) -> None:
    [row] = add_source(store, "agency", [make_state()], now=now)
    with store.begin_read() as conn:
        found = connection_queries.get_connection(conn, row)
        assert found is not None
        answer = to_builtins(listing("events", event_views(conn, found), now=now))
    assert answer == {
        "generated_at": "2026-03-10T12:00:00Z",
        "events": [
            {
                "connection": "agency/linkedin-123",
                "source": "agency",
                "at": "2026-03-10T12:00:00Z",
                "kind": "appeared",
                "old": None,
                "new": "valid",
                "reason": None,
                "message": "Reported by the provider.",
                "author": None,
            }
        ],
    }


def add_alerts(store: Store, now: datetime) -> None:
    """One expired alert that failed once at ops, and a recovery of a source that no channel took."""
    expired = make_alert(id="aaa1", stage=timedelta(days=1), verdict_reason="date_passed", message="It ran out.", expires_at=now)
    back = make_alert(
        id="bbb2",
        at=now + timedelta(hours=1),
        event=AlertEvent.SOURCE_RECOVERED,
        source="studio",
        connection=None,
        external_id=None,
        platform=None,
        status="ok",
    )
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(expired, None, None), (back, None, "No channel accepts this alert.")])
        outbox.add_deliveries(conn, [("aaa1", "ops", now)], now)
        [claimed] = outbox.claim(conn, channel="ops", owner="me", now=now, lease=timedelta(minutes=1), limit=5)
        outbox.mark_failed(
            conn, [claimed.delivery_id], "me", now, next_attempt_at=now + timedelta(minutes=1), detail="It answered 503."
        )


def test_an_alert_shows_its_deliveries_with_every_attempt(store: Store, config: Config, now: datetime) -> None:
    add_source(store, "agency", now=now)
    add_alerts(store, now)
    with store.begin_read() as conn:
        back, expired = (to_builtins(view.json()) for view in alert_views(conn, config))
    assert (back["id"], back["note"], back["deliveries"]) == ("bbb2", "No channel accepts this alert.", [])
    assert back.keys() == expired.keys()
    assert (expired["event"], expired["rule"], expired["stage_seconds"]) == ("expired", "date_passed", 86400)
    assert expired["deliveries"] == [
        {
            "channel": "ops",
            "state": "pending",
            "created_at": "2026-03-10T12:00:00Z",
            "next_attempt_at": "2026-03-10T12:01:00Z",
            "sent_at": None,
            "last_error": "It answered 503.",
            "may_repeat": False,
            "attempts": [
                {
                    "number": 1,
                    "started_at": "2026-03-10T12:00:00Z",
                    "finished_at": "2026-03-10T12:00:00Z",
                    "outcome": "failed",
                    "detail": "It answered 503.",
                }
            ],
        }
    ]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (ConnectionFilter(), ["bbb2", "aaa1"]),
        (ConnectionFilter(sources=frozenset({"agency"})), ["aaa1"]),
        (ConnectionFilter(labels={"client": "globex"}), ["bbb2"]),
        (ConnectionFilter(platforms=frozenset({"linkedin"})), ["aaa1"]),
        (ConnectionFilter(statuses=frozenset({"expired"})), ["aaa1"]),
        (ConnectionFilter(statuses=frozenset({"revoked"})), []),
    ],
)
def test_alerts_can_be_filtered(store: Store, config: Config, now: datetime, filters: ConnectionFilter, ids: list[str]) -> None:
    add_alerts(store, now)
    with store.begin_read() as conn:
        assert [view.alert.id for view in alert_views(conn, config, filters=filters)] == ids
        assert len(alert_views(conn, config, filters=filters, limit=1)) == min(len(ids), 1)


def test_an_explanation_names_silences_of_connections_only(store: Store, config: Config, now: datetime) -> None:
    """No silence suppresses alerts about a source."""
    add_alerts(store, now)
    with store.begin_write() as conn:
        silences.add(conn, Silence(starts_at=now, sources=("agency", "studio"), comment="moving"), now)
    with store.begin_read() as conn:
        about_connection, about_source = (explain(conn, config, each, now=now) for each in ("aaa1", "bbb2"))
    assert about_connection is not None
    assert about_source is not None
    assert [each.silence.comment for each in about_connection.silences] == ["moving"]
    assert about_source.silences == ()


def test_an_explanation_names_the_filter_that_refuses(store: Store, config: Config, now: datetime) -> None:
    """The second channel takes critical alerts of the source `studio` only."""
    add_alerts(store, now)
    with store.begin_read() as conn:
        found = explain(conn, config, "aa", now=now)
        assert explain(conn, config, "nothing", now=now) is None
    assert found is not None
    assert [(route.channel, route.refused_by) for route in found.routes] == [("ops", None), ("night", "sources")]
    assert to_builtins(found.json())["routes"][1] == {
        "channel": "night", "takes": False, "refused_by": "sources", "group_wait": 0, "after": None, "quiet_until": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "refused_by"),
    [
        ({}, None),
        ({"events": frozenset({AlertEvent.REVOKED})}, "events"),
        ({"severity": Severity.CRITICAL, "events": frozenset({AlertEvent.EXPIRED})}, None),
        ({"platforms": frozenset({"tiktok"})}, "platforms"),
        ({"labels": {"client": "acme"}}, "labels"),
    ],
)
def test_each_filter_of_a_channel_can_be_the_one_that_refuses(
    store: Store, config: Config, now: datetime, change: dict[str, Any], refused_by: str | None
) -> None:
    add_alerts(store, now)
    channels = (replace(config.channels[0], **change),)
    with store.begin_read() as conn:
        found = explain(conn, replace(config, channels=channels), "aaa1", now=now)
    assert found is not None
    assert found.routes[0].refused_by == refused_by


def test_a_retired_connection_and_a_removed_source_are_not_shown(store: Store, look: Look, now: datetime) -> None:
    rows = make_world(store, now)
    with store.begin_write() as conn:
        connections.retire(conn, rows["expired"], now)
        sources.sync_sources(conn, [("agency", "postpost", "127.0.0.1:9")], now)
    assert [view.id for view in look().connections] == [
        "agency/linkedin-revoked",
        "agency/linkedin-expiring_soon",
        "agency/linkedin-valid",
    ]


def test_a_source_that_left_the_file_is_still_shown_until_the_daemon_knows(store: Store, config: Config, now: datetime) -> None:
    make_world(store, now)
    smaller = replace(config, sources=config.sources[:1])
    with store.begin_read() as conn:
        found = overview(conn, smaller, now=now)
    assert found.total == 5
    assert list(found.sources[1].problems()) == ["It is no longer configured."]


def test_the_effective_expiry_of_a_coarse_span_is_the_reported_one(store: Store, look: Look, now: datetime) -> None:
    ends = now + timedelta(days=3)
    token = TokenState(status=Status.EXPIRING_SOON, reason="span", message="Soon.", expires_at=ends)
    state = make_state(status=Status.EXPIRING_SOON, expires_at=None, expires_before=ends, token=token)
    add_source(store, "studio", [state], now=now, provider="postpeer")
    assert lone_connection(look())["seconds_left"] == 3 * 86400
