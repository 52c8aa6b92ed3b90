"""A long JSON array in pieces of whole rows, so that one step of decoding is short and little is held at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import attrgetter
from types import GenericAlias
from typing import Any, Generic, TypeVar

import msgspec

from monitor.domain import Unreadable
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.providers import payload

T = TypeVar("T", bound=msgspec.Struct)

PIECE = 128 * 1024
"""Bytes of one piece: about a millisecond of decoding."""

_BETWEEN = re.compile(rb'\}[ \t\r\n]*,[ \t\r\n]*\{[ \t\r\n]*"')
"""Where one row ends and the next begins; or inside a text or a row, which shows in the pieces: they are no JSON then."""


_OPENING, _CLOSING = b"{]"


class NotChunkable(Exception):
    """The array cannot be read piece by piece."""


class ChunkReader(Generic[T]):
    """Reads an array of rows piece by piece."""

    def __init__(self, row_type: type[T], rows: payload.RowReader[T], *, guarded: tuple[str, ...]) -> None:
        self._rows = rows
        self._guarded = guarded
        attributes = {field.encode_name: field.name for field in msgspec.structs.fields(row_type)}
        self._counted = tuple(
            (written, attrgetter(attributes[key])) for key, written in zip(guarded, payload.as_written(guarded), strict=True)
        )
        rows_type: Any = GenericAlias(list, (row_type,))
        self._decoder: msgspec.json.Decoder[list[T]] = msgspec.json.Decoder(rows_type)

    def read(self, array: memoryview) -> Iterator[list[T] | list[T | Unreadable]]:
        """The rows of each piece. Raises Uneven, also in the middle, where the array must be read as a whole."""
        for piece in _cut(array):
            try:
                rows = self._decoder.decode(piece)
            except (msgspec.DecodeError, ValueError, RecursionError):
                yield self._one_by_one(piece)
                continue
            if self._restates(piece, rows) or payload.escapes_a_key(piece):
                yield self._one_by_one(piece)
            else:
                yield rows

    def _restates(self, piece: bytes, rows: list[T]) -> bool:
        """Whether the piece may state a guarded field more often than its rows have it: twice in one. null states nothing."""
        for written, value_of in self._counted:
            found = piece.count(written)
            stated = len(rows) - list(map(value_of, rows)).count(None)
            if found > stated and found - piece.count(written + b":null") - piece.count(written + b": null") > stated:
                return True
        return False

    def _one_by_one(self, piece: bytes) -> list[T | Unreadable]:
        try:
            rows = payload.rows_of(piece, self._guarded)
        except ProviderPayloadInvalid:
            raise NotChunkable from None
        return [self._rows.read(row) for row in rows]


def _cut(array: memoryview) -> Iterator[bytes]:
    """The array as smaller arrays."""
    start, end = 1, len(array) - 1
    if end < start or array[end] != _CLOSING:
        raise NotChunkable
    while start < end:
        found = _BETWEEN.search(array, start + PIECE) if end - start > PIECE else None
        stop = end if found is None else found.start() + 1
        yield b"".join((b"[", array[start:stop], b"]"))
        if found is None:
            return
        start = _opening(array, stop)


def _opening(array: memoryview, after: int) -> int:
    at = after
    while array[at] != _OPENING:
        at += 1
    return at
