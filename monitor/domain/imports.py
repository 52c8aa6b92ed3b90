"""Imports without packages that libraries load only because they are installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Make imports inside the block work as if these packages were not installed, unless they are loaded already."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # None makes an import fail with ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
