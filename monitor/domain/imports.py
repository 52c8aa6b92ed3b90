"""Imports without what libraries load although nothing here uses it: installed packages, plugins and certificates."""

from __future__ import annotations

import os
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


@contextmanager
def without_plugins() -> Iterator[None]:
    """Make libraries that are imported inside the block find no plugins of other distributions.

    APScheduler searches every installed distribution three times, which takes 9 ms, for classes that are passed to it here.
    """
    from importlib import metadata

    before = metadata.entry_points
    metadata.entry_points = lambda **_: metadata.EntryPoints()  # type: ignore[assignment]
    try:
        yield
    finally:
        metadata.entry_points = before


_TRUST_STORE = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def without_certificates() -> Iterator[None]:
    """Make TLS contexts that are created inside the block trust no certificate. Call before threads start.

    aiohttp creates two contexts when it is imported, which takes 30 ms and 2 MB. Neither is used: each session has its own.
    """
    before = {name: os.environ.get(name) for name in _TRUST_STORE}
    os.environ.update(dict.fromkeys(_TRUST_STORE, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
