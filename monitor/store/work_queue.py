"""The queue of a cluster's units of work: procrastinate, in a PostgreSQL schema of its own.

The queue decides which daemon runs a unit, and nothing else: what is due is in the store, and who works on what is in the leases.
So a lost unit is queued again because its work is still due, and the queue's tables can be dropped at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import structlog

from monitor.domain.errors import ConfigError, StoreUnavailable
from monitor.store.cluster_tables import QUEUE_SCHEMA, prepare_queue
from monitor.store.postgres import Server

if TYPE_CHECKING:
    import psycopg
    from procrastinate import App
    from procrastinate.worker import Worker

log = structlog.get_logger(__name__)

NO_QUEUE = "cluster.workers needs procrastinate: pip install 'token-expiry-monitor[cluster]', or set cluster.workers to 0."
HEARTBEAT, DEAD_AFTER = timedelta(seconds=4), timedelta(seconds=15)
"""How often a daemon reports to the queue, and after which silence its units are taken for lost."""
_FETCH_EVERY = 2.0
"""Seconds between looks for units that no notification announced."""
_POOL_WAIT = 10.0
_PRIORITIES = {"polls": 1}
"""Polls come before probes: they show what to probe."""

Handler = Callable[[Sequence[str], str], Awaitable[None]]
"""Runs a unit: the names that it concerns, and the revision of the configuration that it was planned with. Raises nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of work."""

    kind: str
    """polls, probes or deliveries: the name of its queue."""
    names: tuple[str, ...]
    """The sources, or the channel, that it concerns."""
    configuration: str
    """Revision of the planner's configuration."""

    @property
    def lock(self) -> str:
        """The text that no two waiting units have in common."""
        return f"{self.kind}:{blake2b(' '.join(sorted(self.names)).encode(), digest_size=12).hexdigest()}"


def require_procrastinate() -> None:
    """Raise ConfigError if the extra that a cluster needs is not installed."""
    try:
        import procrastinate  # noqa: F401 - loaded here, used later
    except ModuleNotFoundError:
        raise ConfigError(NO_QUEUE) from None


class WorkQueue:
    """The queue, open from open() to close(). Its coroutines raise StoreUnavailable."""

    def __init__(self, server: Server, *, connections: int) -> None:
        """Connect to nothing yet. Raise ConfigError if procrastinate is not installed.

        `connections` is the maximum number of connections to the database, without the one for notifications.
        """
        require_procrastinate()
        from procrastinate.schema import SchemaManager

        self._server, self._connections = server, connections
        self._definitions = SchemaManager.get_schema()
        self.schema = QUEUE_SCHEMA + blake2b(self._definitions.encode(), digest_size=4).hexdigest()
        self._app: App | None = None
        self._running: list[Worker] = []

    def prepare(self) -> None:
        """Create the queue's tables unless they exist. Raise StoreError."""
        prepare_queue(self._server, self.schema, self._definitions)

    async def open(self, handlers: Mapping[str, Handler]) -> None:
        """Connect. `handlers` run the units by kind."""
        from procrastinate import App, PsycopgConnector

        connector = PsycopgConnector(
            min_size=1,
            max_size=self._connections,
            timeout=_POOL_WAIT,
            kwargs=self._server.arguments("token-monitor queue"),
            configure=self._configure,
        )
        self._app = App(connector=connector)
        for kind, handler in handlers.items():
            self._app.task(name=kind, queue=kind)(_task_of(handler))
        with self._translate_errors():
            await self._app.open_async()

    async def close(self) -> None:
        """Close the connections."""
        app, self._app = self._app, None
        if app is not None:
            with contextlib.suppress(Exception):
                await app.close_async()

    async def defer(self, units: Sequence[Unit]) -> list[int]:
        """Queue units, and return their ids. A unit that waits already is not queued again; then none of these is."""
        from procrastinate.exceptions import AlreadyEnqueued
        from procrastinate.jobs import Job

        jobs = [
            Job(
                queue=unit.kind,
                task_name=unit.kind,
                priority=_PRIORITIES.get(unit.kind, 0),
                lock=unit.lock if unit.kind == "deliveries" else None,
                queueing_lock=unit.lock,
                task_kwargs={"names": list(unit.names), "configuration": unit.configuration},
            )
            for unit in units
        ]
        with self._translate_errors():
            try:
                queued = await self._opened.job_manager.batch_defer_jobs_async(jobs)
            except AlreadyEnqueued:
                return []
        return [job.id or 0 for job in queued]

    async def unfinished(self, ids: Collection[int]) -> set[int]:
        """Return those of these units that wait or run."""
        rows = await self._query(
            "SELECT id FROM procrastinate_jobs WHERE id = ANY(%(ids)s) AND status IN ('todo', 'doing')", ids=list(ids)
        )
        return {row["id"] for row in rows}

    async def drop_waiting(self) -> int:
        """Remove the units that wait, and return their number: a new planner queues what is due."""
        return len(await self._query("DELETE FROM procrastinate_jobs WHERE status = 'todo' RETURNING id"))

    async def drop_lost(self) -> list[str]:
        """Remove the units of daemons that no longer report, and return their kinds."""
        from procrastinate.jobs import Status

        manager, seconds = self._opened.job_manager, DEAD_AFTER.total_seconds()
        with self._translate_errors():
            lost = list(await manager.get_stalled_jobs(seconds_since_heartbeat=seconds))
            for job in lost:
                await manager.finish_job(job, Status.FAILED, delete_job=True)
        return [job.queue for job in lost]

    async def work(self, workers: Mapping[tuple[str, ...], int], *, drain: timedelta) -> None:
        """Run units until stop_work(); running ones get `drain` to end then. Raise StoreUnavailable if the queue is lost.

        `workers` is the number of units at a time for each group of queues.
        """
        self._running = [self._new_worker(queues, units, drain) for queues, units in workers.items()]
        tasks = [asyncio.create_task(self._run(each), name="cluster-worker") for each in self._running]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop_work()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._running = []
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def _run(self, worker: Worker) -> None:
        with self._translate_errors():
            await worker.run()  # type: ignore[no-untyped-call]  # its own annotations are incomplete

    def _new_worker(self, queues: Sequence[str], units: int, drain: timedelta) -> Worker:
        from procrastinate.worker import Worker

        return Worker(
            self._opened,
            queues=list(queues),
            concurrency=units,
            install_signal_handlers=False,
            delete_jobs="always",
            fetch_job_polling_interval=_FETCH_EVERY,
            abort_job_polling_interval=3600.0,  # units are never aborted by others
            shutdown_graceful_timeout=drain.total_seconds(),
            update_heartbeat_interval=HEARTBEAT.total_seconds(),
            stalled_worker_timeout=DEAD_AFTER.total_seconds(),
        )

    def stop_work(self) -> None:
        """Take no more units; work() returns when those that run have ended."""
        for each in self._running:
            each.stop()  # type: ignore[no-untyped-call]  # its own annotations are incomplete

    @property
    def _opened(self) -> App:
        assert self._app is not None  # noqa: S101 - open() was called
        return self._app

    async def _query(self, statement: Any, **values: Any) -> list[dict[str, Any]]:
        with self._translate_errors():
            rows: list[dict[str, Any]] = await self._opened.connector.execute_query_all_async(statement, **values)
        return rows

    async def _configure(self, conn: psycopg.AsyncConnection[Any]) -> None:
        for name, value in self._server.settings(conn.info.server_version):
            await conn.execute(f"SET {name} = '{value}'".encode())
        await conn.execute("SET synchronous_commit = off")  # the queue can be rebuilt
        await conn.execute(f'SET search_path = "{self.schema}"'.encode())
        await conn.commit()

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise the errors of procrastinate and of its pool as StoreUnavailable."""
        import psycopg
        from procrastinate.exceptions import ProcrastinateException
        from psycopg_pool import PoolClosed, PoolTimeout

        try:
            yield
        except (ProcrastinateException, PoolClosed, PoolTimeout, psycopg.Error, OSError) as error:
            cause = error.__cause__ or error
            raise StoreUnavailable(f"The queue in {self._server.name[4:]} is unavailable: {type(cause).__name__}.") from error


def _task_of(handler: Handler) -> Callable[..., Awaitable[None]]:
    async def run(*, names: list[str], configuration: str) -> None:
        await handler(names, configuration)

    return run
