"""Writes that share a transaction: each of them still stands alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from monitor.domain.errors import StoreError
from monitor.store import Store, meta
from monitor.store.batch_writer import MOST, BatchWriter


def note(key: str) -> Callable[[Connection], str]:
    """A write of one fact, which says in which transaction it was made."""

    def write(conn: Connection) -> str:
        meta.set(conn, key, "there")
        return str(id(conn.get_transaction()))

    return write


def stored(store: Store, *keys: str) -> list[bool]:
    with store.begin_read() as conn:
        return [meta.get(conn, key) is not None for key in keys]


async def test_what_comes_while_another_is_under_way_is_committed_together(store: Store) -> None:
    together = BatchWriter(store)
    keys = [f"k{number}" for number in range(MOST + 10)]
    transactions = await asyncio.gather(*(together.write(note(key)) for key in keys))
    assert all(stored(store, *keys))
    assert len(set(transactions[:MOST])) == 1
    assert await together.write(note("later"))
    assert stored(store, "later") == [True]


async def test_one_that_fails_takes_none_of_the_others_with_it(store: Store) -> None:
    together = BatchWriter(store)

    def fail(conn: Connection) -> None:
        meta.set(conn, "half", "done")
        raise LookupError("a defect")

    results = await asyncio.gather(
        together.write(note("a")), together.write(fail), together.write(note("b")), return_exceptions=True
    )
    assert isinstance(results[1], LookupError)
    assert stored(store, "a", "half", "b") == [True, False, True]


async def test_only_the_caller_whose_statement_is_refused_gets_the_error(store: Store) -> None:
    together = BatchWriter(store)

    def refused(conn: Connection) -> None:
        conn.exec_driver_sql("INSERT INTO sources (name) VALUES (NULL)")

    results = await asyncio.gather(
        together.write(note("a")), together.write(refused), together.write(note("b")), return_exceptions=True
    )
    assert isinstance(results[1], StoreError)
    assert [isinstance(each, str) for each in results] == [True, False, True]
    assert stored(store, "a", "b") == [True, True]


async def test_a_caller_that_gave_up_stops_no_other_caller(store: Store) -> None:
    together = BatchWriter(store)
    first, second = (asyncio.create_task(together.write(note(key))) for key in ("a", "b"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert stored(store, "b") == [True]
