"""Columns as the tables of `monitor.store.schema` declare them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, ColumnElement, ForeignKey, Integer, Table, func, literal_column, text

from monitor.store.types import CleanText, UtcDateTime


def text_column(name: str, *rest: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    """Return a column of untrusted text."""
    return Column(name, CleanText, *rest, nullable=null, server_default=None if default is None else text(default))


def instant(name: str, *, null: bool = True) -> Column[Any]:
    """Return a column of an instant."""
    return Column(name, UtcDateTime, nullable=null)


def count(name: str) -> Column[Any]:
    """Return a column of a number that begins at 0."""
    return Column(name, Integer, nullable=False, server_default="0")


def flag(name: str) -> Column[Any]:
    """Return a column of true or false that begins as false."""
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def reference(name: str, target: str, kind: Any, *, null: bool) -> Column[Any]:
    """Return a column that refers to a row of another table."""
    return Column(name, kind, ForeignKey(target), nullable=null)


def expiry_key(table: Table) -> ColumnElement[Any]:
    """Return what lists by expiry sort by: the expiry that is shown, or a date after all others without one."""
    dates = table.c.token_expires_at, table.c.expires_at, table.c.expires_before
    return func.coalesce(*dates, literal_column("'9999-01-01T00:00:00.000000Z'"), type_=table.c.token_expires_at.type)


def name_key(table: Table) -> ColumnElement[Any]:
    """Return what lists by name sort by."""
    return func.lower(func.coalesce(table.c.display_name, table.c.username, table.c.external_id))
