"""A screen that is drawn anew until Ctrl-C."""

from __future__ import annotations

import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from monitor.cli.output import console
from monitor.domain.errors import StoreError
from monitor.domain.text import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EVERY = 3.0
"""Seconds between two looks."""
SHARE = 10.0
"""A look that takes long comes seldom: watching costs no more than a tenth of a core."""


def keep_showing(look: Callable[[Console], RenderableType], *, every: float = EVERY) -> None:
    """Draw what `look` gives for the screen, again and again, until Ctrl-C. A database that is away is waited for."""
    from rich.live import Live

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    on = console()
    with _until_ctrl_c() as ended, suppress(KeyboardInterrupt), Live(console=on, screen=True, auto_refresh=False) as live:
        pause = 0.0
        while not ended.wait(pause):
            started = time.monotonic()
            live.update(_drawn(look, on), refresh=True)
            pause = max(every, SHARE * (time.monotonic() - started))


@contextmanager
def _until_ctrl_c() -> Iterator[threading.Event]:
    """Set by Ctrl-C, which otherwise may come where Python throws exceptions away, and be lost. A second one interrupts."""
    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        ended.set()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)


def _drawn(look: Callable[[Console], RenderableType], on: Console) -> RenderableType:
    from rich.text import Text

    try:
        return look(on)
    except StoreError as error:
        return Text(clean(str(error), limit=500), style="bold red")
