"""The database goes away under a running daemon: it stays up, notifies the outage on its channels, and recovers automatically."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from monitor.demo.receivers import WebhookReply
from monitor.store import Store, alerts
from tests.acceptance.daemon import Setting, eventually
from tests.failures.conftest import count_messages
from tests.support import postgres
from tests.support.launcher import Process

pytestmark = pytest.mark.slow

BLIND, SEES = "The database has been unavailable", "The database is available again"


def goes_blind_and_sees_again(made: Setting, process: Process, *, away: Callable[[], None], back: Callable[[], None]) -> None:
    made.await_polls(2)
    away()
    eventually(lambda: count_messages(made, BLIND), within=60)
    asked = made.world.sources["agency"].calls["list"]
    made.world.expire("agency", "linkedin-li")
    time.sleep(0.9)
    assert made.world.sources["agency"].calls["list"] == asked, "nothing is asked that could not be written down"
    assert process.poll() is None
    since = time.monotonic()
    back()
    eventually(lambda: made.find_post("linkedin-li", "expired"), within=30)
    took = time.monotonic() - since
    assert took < 30
    eventually(lambda: count_messages(made, SEES), within=30)
    assert made.stop(process) == 0
    assert (count_messages(made, BLIND), count_messages(made, SEES)) == (1, 1)
    assert len(made.messages()) in (2, 3), "the recovery and the alert may share a message"
    print(f"notified on the channel {took:.1f} s after the database was back")  # noqa: T201 - the figure
    blind = next(message for message in made.messages() if BLIND in message["message"])
    assert "the database is running" in blind["message"]


def test_P18_while_postgresql_is_away_it_notifies_the_outage_and_goes_on_when_it_is_back(
    on_postgres: Setting, server: postgres.PrivateServer
) -> None:
    process = on_postgres.start()
    goes_blind_and_sees_again(on_postgres, process, away=server.stop, back=server.start)
    assert on_postgres.log().count("store.unavailable") == 1
    assert on_postgres.log().count("notifier.store_unavailable") <= 2
    assert "Traceback" not in on_postgres.log()


def test_P11_P13_while_sqlite_cannot_be_written_it_notifies_the_outage_and_goes_on_when_it_can(one: Setting) -> None:
    """The limit of a file's size does to it what a full disk does; the log cannot be written either."""
    process = one.start()

    def limit(size: int) -> None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    goes_blind_and_sees_again(one, process, away=partial(limit, 4096), back=partial(limit, resource.RLIM_INFINITY))
    with Store(f"sqlite:///{one.folder / 'monitor.db'}") as store, store.begin_read() as conn:
        kept = {row.alert.reason: row.note for row in alerts.list_alerts(conn) if row.alert.reason == "blind" and row.note}
    assert kept == {"blind": "Sent without the database, on hook."}


def test_P16_while_the_file_is_elsewhere_it_notifies_the_outage_and_goes_on_when_it_is_back(one: Setting) -> None:
    process = one.start()
    elsewhere = one.folder / "elsewhere"
    elsewhere.mkdir()

    def move(source: Path, target: Path) -> None:
        for file in sorted(source.glob("monitor.db*"), reverse=True):
            file.rename(target / file.name)

    goes_blind_and_sees_again(one, process, away=lambda: move(one.folder, elsewhere), back=lambda: move(elsewhere, one.folder))
    eventually(lambda: "was moved, replaced or deleted while it was in use" in one.log())
    assert not list(elsewhere.iterdir()), "nothing was written to the wrong folder"


def test_P18_a_channel_that_is_down_at_first_is_notified_later(on_postgres: Setting, server: postgres.PrivateServer) -> None:
    """It is tried again every minute; here its end comes sooner, and a channel that was not notified gets no recovery."""
    on_postgres.receiver.reply = WebhookReply(status=503)
    process = on_postgres.start()
    on_postgres.await_polls(1)
    server.stop()
    eventually(lambda: "blindness.not_told" in on_postgres.log(), within=60)
    on_postgres.receiver.reply = WebhookReply()
    server.start()
    eventually(lambda: "daemon.sees_again" in on_postgres.log(), within=30)
    on_postgres.await_polls(2)
    assert on_postgres.stop(process) == 0
    assert count_messages(on_postgres, SEES) == 0
