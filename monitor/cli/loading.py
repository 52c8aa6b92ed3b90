"""Loading the program's parts quickly and small: every command pays for it, and the daemon keeps it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNWANTED = ("rich", "pygments")
"""What libraries take along where they find it: structlog for coloured tracebacks, which ours are not, and httpx for a
command line of its own. Both do without. Where we draw tables we load it later."""


@contextmanager
def loading() -> Iterator[None]:
    """Within, nothing is looked through for garbage, of which loading makes none, and nothing unwanted is taken along."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it looks through every installed distribution
    hidden = [name for name in UNWANTED if name not in sys.modules]
    gc.disable()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own word for what cannot be imported
    try:
        yield
        gc.freeze()
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.enable()
