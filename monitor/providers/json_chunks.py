"""Decoding of long JSON arrays in pieces of whole rows, to keep each step short and memory low."""

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

PIECE_BYTES = 128 * 1024
"""Bytes of one piece: about a millisecond of decoding."""

_ROW_BOUNDARY = re.compile(rb'\}[ \t\r\n]*,[ \t\r\n]*\{[ \t\r\n]*"')
"""A boundary between two rows. A match inside a text or a row makes invalid JSON of both pieces, which is detected."""


_OPENING, _CLOSING = b"{]"


class NotChunkable(Exception):
    """The array cannot be decoded in pieces."""


class ChunkReader(Generic[T]):
    """Decodes an array of rows in pieces."""

    def __init__(self, row_type: type[T], rows: payload.RowReader[T], *, guarded: tuple[str, ...]) -> None:
        self._rows = rows
        self._guarded = guarded
        fields = {field.encode_name: field for field in msgspec.structs.fields(row_type)}
        self._counted = tuple(
            (written, None if fields[key].required else attrgetter(fields[key].name))
            for key, written in zip(guarded, payload.as_written(guarded), strict=True)
        )
        """Each guarded key as written, and how to read its value from a row; None for a field that every row states."""
        rows_type: Any = GenericAlias(list, (row_type,))
        self._decoder: msgspec.json.Decoder[list[T]] = msgspec.json.Decoder(rows_type)

    def read(self, array: memoryview) -> Iterator[list[T] | list[T | Unreadable]]:
        """Yield the rows of each piece. Raises NotChunkable, also after some pieces, if the array must be read as a whole."""
        for piece in _pieces(array):
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
        """Return True if a row of the piece may contain a guarded field twice. A null does not count."""
        for written, value_of in self._counted:
            stated = len(rows) if value_of is None else len(rows) - list(map(value_of, rows)).count(None)
            extra = piece.count(written) - stated
            if (
                extra > 0
                and extra > (nulls := piece.count(written + b":null"))
                and extra - nulls > piece.count(written + b": null")
            ):
                return True
        return False

    def _one_by_one(self, piece: bytes) -> list[T | Unreadable]:
        try:
            rows = payload.rows_of(piece, self._guarded)
        except ProviderPayloadInvalid:
            raise NotChunkable from None
        return [self._rows.read(row) for row in rows]


def _pieces(array: memoryview) -> Iterator[bytes]:
    """Yield the array as smaller arrays."""
    start, end = 1, len(array) - 1
    if end < start or array[end] != _CLOSING:
        raise NotChunkable
    while start < end:
        found = _ROW_BOUNDARY.search(array, start + PIECE_BYTES) if end - start > PIECE_BYTES else None
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
