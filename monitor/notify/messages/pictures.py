"""The home of resvg: drawings become pictures that a channel can carry. Without the extra `charts` there are none."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from monitor.domain import Alert
from monitor.notify.messages import File, Part

log = structlog.get_logger(__name__)

_ZOOM = 2.0  # for screens with small pixels


def png(svg: str) -> bytes | None:
    """The drawing as PNG, None where resvg is not installed or does not take it: the words stand for themselves."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError:
        return None
    try:
        return bytes(resvg.svg_to_bytes(svg_string=svg, zoom=_ZOOM, skip_system_fonts=True))
    except ValueError as error:
        log.warning("picture.not_drawn", problem=str(error)[:200])
        return None


def attach(parts: Sequence[Part], alerts: Iterable[Alert]) -> tuple[Part, ...]:
    """The same messages, each with the pictures of the alerts that it says."""
    drawn = {alert.id: picture for alert in alerts if alert.chart and (picture := png(alert.chart)) is not None}
    return tuple(_with_pictures(part, drawn) for part in parts)


def _with_pictures(part: Part, drawn: Mapping[str, bytes]) -> Part:
    mine = [drawn[alert_id] for alert_id in part.alert_ids if alert_id in drawn]
    names = ["report.png", *(f"report-{number}.png" for number in range(2, len(mine) + 1))]
    files = [File(name=name, mimetype="image/png", content=content) for name, content in zip(names, mine, strict=False)]
    return replace(part, files=(*part.files, *files)) if files else part
