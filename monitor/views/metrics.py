"""Metrics computed from the store at each scrape, so that they survive a restart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from monitor import __version__
from monitor.config import Config
from monitor.domain import DeliveryState, PollOutcome, SourceStatus, Status
from monitor.domain.rules.labels import CLIENT
from monitor.store import Connection, cluster_tables, connection_pages, connection_queries, label_sets, outbox
from monitor.telemetry.metrics import Family, Metrics
from monitor.views import cluster
from monitor.views.sources import ChannelView, SourceView, channel_views, source_views

AUTO_UP_TO = 1000
"""The most live connections for which `connection_metrics = "auto"` exports one series each."""
MOST_CONNECTIONS = 100_000
"""The most connections with individual series, even if `connection_metrics` is on."""
ZEROS_UP_TO = 1000
"""The most series of one family for which zeros are exported, so that a rate has a starting point."""

Samples = list[tuple[tuple[str, ...], float]]


def families(conn: Connection | None, config: Config, metrics: Metrics, *, now: datetime, stuck: bool) -> list[Family]:
    """Return every family except the histograms. Without a connection (unreadable store), only those of the process."""
    found = [*_process(store_up=conn is not None, stuck=stuck, current=metrics.config_is_current), *_counters(config, metrics)]
    if conn is not None:
        found += [*_connections(conn), *_sources(conn, config, now), *_channels(conn, config), *_outbox(conn)]
        if config.cluster.workers:
            found += _cluster(conn, now)
        if _each(conn, config):
            found += _each_connection(conn)
    return found


def _process(*, store_up: bool, stuck: bool, current: bool) -> Iterator[Family]:
    yield Family(
        name="build_info", help="Always 1; the label is the running version.", labels=("version",), samples=[((__version__,), 1)]
    )
    yield Family(name="store_up", help="1 if the database could be read for this scrape, otherwise 0.", samples=[((), store_up)])
    yield Family(name="progress_up", help="1 while the daemon makes progress, 0 if it is stalled.", samples=[((), not stuck)])
    yield Family(
        name="config_last_reload_successful",
        help="1 if the last reload succeeded, 0 if it was refused and the previous configuration is still in force.",
        samples=[((), current)],
    )


def _counters(config: Config, metrics: Metrics) -> Iterator[Family]:
    sources = [source.name for source in config.sources]
    probed = [source.name for source in config.sources if source.probe]
    hooked = [source.name for source in config.sources if source.hook is not None]
    channels = [channel.name for channel in config.channels]
    yield Family(
        name="polls_total",
        help="Finished polls by source and outcome.",
        kind="counter",
        labels=("source", "outcome"),
        samples=_counted(metrics.polls(), sources, PollOutcome),
    )
    yield Family(
        name="probes_total",
        help="Finished probes by source and outcome; unanswered: the API gave no answer.",
        kind="counter",
        labels=("source", "outcome"),
        samples=_counted(metrics.probes(), probed, ("ok", "expired", "revoked", "failing", "unanswered")),
    )
    yield Family(
        name="hooks_total",
        help="Deliveries of services by source and outcome; refused: unknown source or wrong signature.",
        kind="counter",
        labels=("source", "outcome"),
        samples=_counted(metrics.hooks(), hooked, ("accepted", "ignored", "refused")),
    )
    yield Family(
        name="deliveries_total",
        help="Delivery attempts by channel and outcome: sent, failed (will be retried) or dead (given up).",
        kind="counter",
        labels=("channel", "outcome"),
        samples=_counted(metrics.deliveries(), channels, ("sent", "failed", "dead")),
    )


def _counted(counts: dict[tuple[str, str], int], names: Iterable[str], outcomes: Iterable[str]) -> Samples:
    """Return the counts as samples, with zeros for all possible labels unless there are too many."""
    possible = [(name, str(outcome)) for name in names for outcome in outcomes]
    if len(possible) <= ZEROS_UP_TO:
        counts = dict.fromkeys(possible, 0) | counts
    return [(key, counts[key]) for key in sorted(counts)]


def _connections(conn: Connection) -> Iterator[Family]:
    counts = {(each.source, each.platform, each.status): each.number for each in connection_queries.count_groups(conn)}
    places = {(source, platform) for source, platform, _ in counts}
    if len(places) * len(Status) <= ZEROS_UP_TO:
        counts = {(*place, status): 0 for place in places for status in Status} | counts
    yield Family(
        name="connections",
        help="Connections by source, platform and status.",
        labels=("source", "platform", "status"),
        samples=[
            ((source, platform, str(status)), counts[source, platform, status]) for source, platform, status in sorted(counts)
        ],
    )


def _sources(conn: Connection, config: Config, now: datetime) -> Iterator[Family]:
    views = source_views(conn, config, now=now)
    yield Family(
        name="source_last_success_timestamp_seconds",
        help="Unix time at which the source was last read, at least in part; absent if it never was.",
        labels=("source",),
        samples=[((view.name,), view.last_success_at.timestamp()) for view in views if view.last_success_at],
    )
    yield Family(
        name="source_last_poll_timestamp_seconds",
        help="Unix time at which a poll of the source last finished, successful or not; absent before the first.",
        labels=("source",),
        samples=[((view.name,), view.last_poll_at.timestamp()) for view in views if view.last_poll_at],
    )
    yield Family(
        name="source_poll_interval_seconds",
        help="Configured poll interval of the source.",
        labels=("source",),
        samples=[((view.name,), view.poll_every.total_seconds()) for view in views],
    )
    yield Family(
        name="source_status",
        help="1 for the source's current status: pending, ok, failing or unauthorized.",
        labels=("source", "status"),
        samples=list(_source_statuses(views)),
    )


def _source_statuses(views: list[SourceView]) -> Iterator[tuple[tuple[str, ...], float]]:
    zeros = len(views) * len(SourceStatus) <= ZEROS_UP_TO
    for view in views:
        for status in SourceStatus:
            if zeros or view.status is status:
                yield (view.name, str(status)), view.status is status


def _channels(conn: Connection, config: Config) -> Iterator[Family]:
    views = channel_views(conn, config)

    def of(name: str, about: str, number: dict[str, float]) -> Family:
        samples = [((view.name,), number[view.name]) for view in views if view.name in number]
        return Family(name=name, help=about, labels=("channel",), samples=samples)

    yield of("channel_failing", "1 if the channel's last delivery failed, otherwise 0.", _each_is(views, "problem"))
    yield of(
        "channel_broken",
        "1 if the channel permanently refuses messages and needs an operator, otherwise 0.",
        _each_is(views, "broken"),
    )
    yield of(
        "channel_last_success_timestamp_seconds",
        "Unix time at which the channel last accepted a message; absent if it never did.",
        {view.name: view.last_success_at.timestamp() for view in views if view.last_success_at},
    )


def _each_is(views: list[ChannelView], name: str) -> dict[str, float]:
    return {view.name: bool(getattr(view, name)) for view in views}


def _outbox(conn: Connection) -> Iterator[Family]:
    waiting = outbox.pending_counts(conn)
    oldest = outbox.oldest_pending(conn)
    dead = sum(number for (_, state), number in outbox.state_counts(conn).items() if state is DeliveryState.DEAD)
    yield Family(name="outbox_pending", help="Deliveries that are pending or being sent.", samples=[((), sum(waiting.values()))])
    yield Family(
        name="outbox_oldest_timestamp_seconds",
        help="Unix time at which the oldest pending delivery was queued; absent if none is pending.",
        samples=[((), oldest.timestamp())] if oldest else [],
    )
    yield Family(name="outbox_dead", help="Dead deliveries that have not been deleted yet.", samples=[((), dead)])


def _cluster(conn: Connection, now: datetime) -> Iterable[Family]:
    state = cluster_tables.read_state(conn)
    return () if state is None else cluster.families(cluster.ClusterView.of(state, now=now))


def _each(conn: Connection, config: Config) -> bool:
    """Return True if every connection gets individual series."""
    wanted = config.web.connection_metrics
    if wanted == "auto":
        return sum(connection_queries.count_by_status(conn).values()) <= AUTO_UP_TO
    return wanted == "on"


def _each_connection(conn: Connection) -> Iterator[Family]:
    rows = connection_pages.expiries(conn, limit=MOST_CONNECTIONS)
    labels = ("source", "scope", "platform", "external_id")
    keys = [(row.source, row.scope, row.platform, row.external_id) for row in rows]
    yield Family(
        name="connection_status",
        help="1 for the connection's current status.",
        labels=(*labels, "status"),
        samples=[((*key, row.status), 1) for key, row in zip(keys, rows, strict=True)],
    )
    yield Family(
        name="connection_expiry_timestamp_seconds",
        help="Unix time at which the connection's token expires; absent if no date is known.",
        labels=labels,
        samples=[(key, row.expires_at.timestamp()) for key, row in zip(keys, rows, strict=True) if row.expires_at],
    )
    named = ((row.display_name or row.username or "", label_sets.decode(row.labels or "{}").get(CLIENT, "")) for row in rows)
    yield Family(
        name="connection_info",
        help="Always 1; the labels are names of the connection: join it with the other series.",
        labels=(*labels, "name", "client"),
        samples=[((*key, *names), 1) for key, names in zip(keys, named, strict=True)],
    )
