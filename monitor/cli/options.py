"""The options that every list command has, and what they select."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated

import typer

from monitor.cli.completing import complete_label, complete_platform, complete_source
from monitor.cli.values import one_of, shown
from monitor.config import Config
from monitor.config.wording import nearest
from monitor.domain import SourceStatus, Status
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import clean
from monitor.views.filters import Selection

_LISTED = 20

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
        parser=one_of("status", Status),
        autocompletion=lambda: list(Status),
    ),
]
SourceStatusFilter = Annotated[
    list[SourceStatus] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help=f"Only this status, may be given several times: {', '.join(SourceStatus)}.",
        parser=one_of("status", SourceStatus),
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
    _require_labels(config, selection.labels)
    return selection


def _require_labels(config: Config, wanted: Mapping[str, str]) -> None:
    """Raises a usage error where no source has all of these labels, with the nearest of those there are."""
    if not wanted or any(wanted.items() <= source.labels.items() for source in config.sources):
        return
    there = sorted({f"{key}={value}" for source in config.sources for key, value in source.labels.items()})
    pairs = [f"{key}={value}" for key, value in wanted.items()]
    for pair in pairs:
        if pair not in there:
            raise typer.BadParameter(f"No source has the label {shown(pair)}; {nearest_known(pair, there)}")
    raise typer.BadParameter(f"No source has all of the labels {shown(', '.join(pairs))}.")


def require_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises a usage error that names the nearest of the known names for one that is none of them."""
    there = sorted(known)
    for name in names:
        if name in there:
            continue
        raise typer.BadParameter(f"There is no {kind} {shown(name)}; {nearest_known(name, there)}")


def nearest_known(typed: str, there: Sequence[str]) -> str:
    """The nearest of what there is, else what there is."""
    near = nearest(typed, there)
    some = f"{', '.join(there[:_LISTED])}{f' and {len(there) - _LISTED:,} more' if len(there) > _LISTED else ''}"
    return f"did you mean {shown(near)}?" if near else f"there are: {clean(some) or 'none'}."


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise typer.BadParameter(f"A label is given as KEY=VALUE, not as {shown(pair)}.")
        if found.get(key, value) != value:
            raise typer.BadParameter(f"The label {shown(key)} is given twice: a source has one value of it, and all must match.")
        found[key] = value
    return found
