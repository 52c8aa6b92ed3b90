"""Two teams and three clients on one key, with words that only one of them may read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from monitor.config import Config
from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import AlertEvent, Status
from monitor.domain.rules.silences import Silence
from monitor.engine import acknowledgements, rechecks
from monitor.store import Store, alerts, connection_queries, schema
from monitor.store import rechecks as stored_rechecks
from monitor.store.rechecks import RecheckOutcome, RecheckResult
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import running

DAY = timedelta(days=1)
CASA_VIEWER = "casa-viewer-0123456789-0123456789"
CASA_OPERATOR = "casa-operator-0123456789-0123456789"
RED_VIEWER = "red-viewer-0123456789-0123456789"
EVERY_VIEWER = "every-viewer-0123456789-0123456789"

OWN = ("casacanary", "ca5aca5aca5aca5aca5aca5a")
"""Words of the client Casa: names and ids."""
BRAVA = ("bravacanary", "b4a5b4a5b4a5b4a5b4a5b4a5")
DORADA = ("doradacanary", "d04ad04ad04ad04ad04ad04a")
IMPOSTOR = ("impostorcanary", "1f051f051f051f051f051f05")
"""A managed user whose name at the service is the label of the client Casa."""
OWNER = ("ownercanary",)
ERRORS = ("errorcanary", "channelcanary", "brokencanary")
"""Errors of a source and of a channel, and the name of a source without a connection of Casa."""
COMMENTS = ("commentcanary",)
"""The comment of a silence that covers all clients."""

EXTRA = f"""
[[channels]]
name = "ops"
url = "json://127.0.0.1:9/ops"
[[labels]]
match = {{ scope = "ca5aca5aca5aca5aca5aca5a" }}
set = {{ client = "casa", team = "red" }}
[[labels]]
match = {{ scope = "b4a5b4a5b4a5b4a5b4a5b4a5" }}
set = {{ client = "bravacanary", team = "red" }}
[[labels]]
match = {{ scope = "d04ad04ad04ad04ad04ad04a" }}
set = {{ client = "doradacanary", team = "blue" }}
[[web.users]]
name = "casa-viewer"
token = "{CASA_VIEWER}"
labels = {{ client = "casa" }}
[[web.users]]
name = "casa-operator"
token = "{CASA_OPERATOR}"
role = "operator"
labels = {{ client = "casa" }}
[[web.users]]
name = "red-viewer"
token = "{RED_VIEWER}"
labels = {{ team = "red" }}
[[web.users]]
name = "every-viewer"
token = "{EVERY_VIEWER}"
"""


def _fill(world: World) -> None:
    world.add_source("agency", "postpost")
    world.add_source("brokencanary", "publora")
    people = (("casa", OWN), ("brava", BRAVA), ("dorada", DORADA), ("casa", IMPOSTOR))
    world.connect("agency", "linkedin", account="ownercanary", username="ownercanary", lifetime=2 * DAY)
    world.connect("brokencanary", "linkedin", account="brokencanary1", username="brokencanary", lifetime=2 * DAY)
    for name, (word, scope) in people:
        world.add_user("agency", user=scope, display_name="casa" if scope == "1f051f051f051f051f051f05" else f"{word} {name}")
        for platform, lifetime in (("linkedin", 2 * DAY), ("tiktok", 20 * DAY), ("threads", 50 * DAY)):
            world.connect(
                "agency", platform, account=f"{word}{platform}", scope=scope,
                username=f"{word}-{platform}", display_name=f"{word} on {platform}", lifetime=lifetime,
            )  # fmt: skip


@asynccontextmanager
async def clients_world(store: Store, clock: ManualClock, folder: Path) -> AsyncIterator[Config]:
    """Yield the configuration of a store with three clients, of which each has a history, alerts and silences."""
    world = World(clock=clock)
    _fill(world)
    keys = {"agency": 'users = "all"', "brokencanary": 'users = "all"'}
    async with running(store, clock, world, folder, extra=EXTRA, per_source=keys) as cycle:
        await cycle.poll()
        for word, scope in (OWN, BRAVA, DORADA, IMPOSTOR):
            world.expire("agency", f"tiktok-{word}tiktok", scope=scope)
            world.vanish("agency", f"threads-{word}threads", scope=scope)
        world.break_source("brokencanary", Trouble.SERVER_ERROR)
        for _ in range(3):
            await cycle.poll(after=timedelta(minutes=15))
        _add_changes(store, clock)
        yield cycle.config


def _add_changes(store: Store, clock: ManualClock) -> None:
    """Acknowledge and silence, and let errors with words appear wherever a source or a channel has one."""
    now = clock.now()
    with store.begin_write() as conn:
        rows = list(connection_queries.list_connections(conn))
        for row in rows:
            if row.state.verdict.status is Status.EXPIRED:
                acknowledgements.acknowledge(conn, row, now=now, until=None, comment="called them", author="ann")
        requested = rechecks.request(conn, rows, now=now, author="bob")
        results = [RecheckResult(id=each.id, outcome=RecheckOutcome.UNREAD, message="errorcanary") for each in requested]
        stored_rechecks.finish(conn, results, now)
        silence = Silence(sources=("agency",), comment="commentcanary", starts_at=now, ends_at=now + DAY)
        acknowledgements.add_silence(conn, silence, now=now, author="ann")
        for word, client in (("casacanary", "casa"), ("bravacanary", "bravacanary")):
            own = Silence(labels={"client": client}, comment=f"{word} moves", starts_at=now, ends_at=now + DAY)
            acknowledgements.add_silence(conn, own, now=now, author="ann")
        about_source = make_alert(
            id="source-alert",
            incident="",
            event=AlertEvent.SOURCE_FAILING,
            connection=None,
            external_id=None,
            message="errorcanary",
        )
        alerts.add_alerts(conn, [(about_source, None, None)])
        conn.execute(update(schema.sources).values(message="errorcanary"))
        conn.execute(update(schema.scopes).values(problem="errorcanary"))
        conn.execute(update(schema.deliveries).values(last_error="channelcanary"))
        conn.execute(update(schema.alerts).values(note="channelcanary"))
