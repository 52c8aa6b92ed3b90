"""Columns as the tables of `monitor.store.schema` declare them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Integer, text

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
