"""The options that every list command has, and what they select."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

import typer

from monitor.config import Config
from monitor.model import SourceStatus, Status
from monitor.rules.platforms import canonical
from monitor.views.selection import Selection

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
SourceFilter = Annotated[
    list[str] | None, typer.Option("--source", metavar="NAME", help="Only this source; may be given several times.")
]
PlatformFilter = Annotated[
    list[str] | None, typer.Option("--platform", metavar="NAME", help="Only this platform; may be given several times.")
]
StatusFilter = Annotated[
    list[Status] | None,
    typer.Option("--status", metavar="STATUS", help=f"Only this status, may be given several times: {', '.join(Status)}."),
]
SourceStatusFilter = Annotated[
    list[SourceStatus] | None,
    typer.Option("--status", metavar="STATUS", help=f"Only this status, may be given several times: {', '.join(SourceStatus)}."),
]
LabelFilter = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only sources with this label; several must all match.")
]


def select(
    config: Config,
    *,
    known: Collection[str],
    sources: Sequence[str] | None,
    platforms: Sequence[str] | None = None,
    statuses: Sequence[Status] | Sequence[SourceStatus] | None = None,
    labels: Sequence[str] | None = None,
) -> Selection:
    """The filters of one call. `known` are the names of stored sources.

    A source or label that does not exist is a usage error: a slip of the pen must not look like "all is well".
    """
    names = sorted({source.name for source in config.sources} | set(known))
    for name in sources or ():
        if name not in names:
            raise typer.BadParameter(f"There is no source {_shown(name)}; there are: {', '.join(names) or 'none'}.")
    selection = Selection(
        sources=frozenset(sources) if sources else None,
        platforms=frozenset(canonical(name.strip().lower()) for name in platforms) if platforms else None,
        statuses=frozenset(str(status) for status in statuses) if statuses else None,
        labels=_labels(labels or ()),
    )
    if selection.labels and not any(selection.labels.items() <= source.labels.items() for source in config.sources):
        wanted = ", ".join(f"{key}={value}" for key, value in selection.labels.items())
        raise typer.BadParameter(f"No source has the label {_shown(wanted)}.")
    return selection


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise typer.BadParameter(f"A label is given as KEY=VALUE, not as {_shown(pair)}.")
        found[key] = value
    return found


def _shown(text: str) -> str:
    return text if text.isprintable() and len(text) <= 80 else "that"
