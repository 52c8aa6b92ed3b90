"""A running daemon whose database was migrated by a newer version: it shows that it must be upgraded, and does nothing else."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import partial

import structlog

from monitor import __version__
from monitor.config import Config
from monitor.daemon.cluster.member import BEAT_EVERY, MemberState
from monitor.daemon.signals import RELOAD, STOP, SignalQueue
from monitor.domain import threads
from monitor.domain.errors import StoreError
from monitor.domain.process import unique_name
from monitor.store import Store
from monitor.store.leases import DaemonReport, Leases
from monitor.telemetry.systemd import Notify

log = structlog.get_logger(__name__)

WHY = "A newer version has migrated the database: upgrade this daemon and start it again."


async def await_upgrade(config: Config, *, notify: Notify, signals: SignalQueue) -> None:
    """Report the reason to the other daemons and to systemd until a stop signal arrives. Raises StopRequested."""
    log.error("daemon.waiting_for_upgrade", problem=WHY)
    me = unique_name()
    leases = Leases(Store(config.database.url.reveal()).server, me=me)
    report = DaemonReport(
        id=me,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        workers=config.cluster.workers,
        queue="",
        configuration="",
        plans=False,
        state=MemberState.WAITING,
        detail=WHY,
        units=0,
        clock_offset=0.0,
    )
    try:
        while True:
            with suppress(StoreError):
                await signals.unless_stopped(threads.run(partial(leases.beat, report, ()), name="cluster"))
            notify.ready(f"waiting: {WHY}")
            notify.ping_watchdog()
            received = await signals.unless_stopped(signals.next(within=BEAT_EVERY.total_seconds()))
            if received == STOP:
                return
            if received == RELOAD:
                notify.reloading()  # systemd waits for the end of a reload, although nothing is to be reloaded
    finally:
        leases.close()
