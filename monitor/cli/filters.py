"""The options that every list command has, and what they select."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, TypeVar

import typer

from monitor.cli.completing import complete_label, complete_platform, complete_source
from monitor.config import Config
from monitor.config.wording import nearest
from monitor.model import SourceStatus, Status
from monitor.rules.advice import PLATFORM_NAMES
from monitor.rules.platforms import canonical
from monitor.views.selection import Selection

_LISTED = 20
Chosen = TypeVar("Chosen", Status, SourceStatus)

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
SourceFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--source", metavar="NAME", help="Only this source; may be given several times.", autocompletion=complete_source
    ),
]
PlatformFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--platform", metavar="NAME", help="Only this platform; may be given several times.", autocompletion=complete_platform
    ),
]
StatusFilter = Annotated[
    list[Status] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help=f"Only this status, may be given several times: {', '.join(Status)}.",
        parser=lambda word: _one_of(Status, word),
        autocompletion=lambda: list(Status),
    ),
]
SourceStatusFilter = Annotated[
    list[SourceStatus] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help=f"Only this status, may be given several times: {', '.join(SourceStatus)}.",
        parser=lambda word: _one_of(SourceStatus, word),
        autocompletion=lambda: list(SourceStatus),
    ),
]
LabelFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="Only sources with this label; several must all match.",
        autocompletion=complete_label,
    ),
]


def select(
    config: Config,
    *,
    known: Collection[str],
    sources: Sequence[str] | None,
    platforms: Sequence[str] | None = None,
    statuses: Sequence[Status] | Sequence[SourceStatus] | None = None,
    labels: Sequence[str] | None = None,
    listed: Callable[[], Collection[str]] | None = None,
) -> Selection:
    """The filters of one call. `known` are the names of stored sources, `listed` gives the platforms of connections.

    A source, platform or label that does not exist is a usage error: a slip of the pen must not look like "all is well".
    """
    require_known("source", sources or (), {source.name for source in config.sources} | set(known))
    slugs = [canonical(name) for name in platforms or ()]
    if listed is not None and not PLATFORM_NAMES.keys() >= set(slugs):
        require_known("platform", slugs, PLATFORM_NAMES.keys() | set(listed()))
    selection = Selection(
        sources=frozenset(sources) if sources else None,
        platforms=frozenset(slugs) if slugs else None,
        statuses=frozenset(str(status) for status in statuses) if statuses else None,
        labels=_labels(labels or ()),
    )
    if selection.labels and not any(selection.labels.items() <= source.labels.items() for source in config.sources):
        wanted = ", ".join(f"{key}={value}" for key, value in selection.labels.items())
        raise typer.BadParameter(f"No source has the label {_shown(wanted)}.")
    return selection


def _one_of(kind: type[Chosen], word: str) -> Chosen:
    require_known("status", [word], [each.value for each in kind])
    return kind(word)


def require_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises a usage error that names the nearest of the known names for one that is none of them."""
    there = sorted(known)
    for name in names:
        if name in there:
            continue
        near = nearest(name, there)
        some = f"{', '.join(there[:_LISTED])}{f' and {len(there) - _LISTED:,} more' if len(there) > _LISTED else ''}"
        hint = f"did you mean {near}?" if near else f"there are: {some or 'none'}."
        raise typer.BadParameter(f"There is no {kind} {_shown(name)}; {hint}")


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
