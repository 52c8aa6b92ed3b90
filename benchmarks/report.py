"""Results as Markdown: the targets beside their figures, then every figure. And their place in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, Measurement, Results
from benchmarks.targets import TargetResult, judge, longest

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
KINDS = {"sqlite": "SQLite", "postgres": "PostgreSQL"}

_TITLES = {
    "bare": "The bare loop, and the simulator's own ceiling",
    "probes-fast": "Probes, as fast as they go",
    "probes-paced": "Probes, once a minute",
    "restart": "Probes after a restart",
    "poll-unchanged": "A poll of an unchanged list",
    "poll-changed": "A poll in which everything changed",
    "custom-list": "A list that is read by a definition",
    "many-sources": "Many sources of ten connections, each polled once a minute",
    "memory": "Memory at rest",
    "start": "Start to first poll",
    "status": "`status` in the terminal",
    "transition-to-webhook": "From a changed answer to the webhook",
    "date-to-webhook": "From a date that passes to the webhook, the API down",
    "pages": "The status page and the API",
    "prometheus": "Instead: Prometheus with blackbox_exporter",
    "cluster-cost": "Daemons that share one database, beside one daemon alone",
    "cluster-speed": "A round of polls of a slow provider",
    "cluster-million": "A million connections of 2,000 sources, shared by two daemons",
    "cluster-upgrade": "`db upgrade` of a database of a million connections",
    "cluster-model": "The model: what a cluster of any size needs, from the costs above",
}


def block(results: Results, *, chart: str | None = None, whole: bool = False) -> str:
    """Return the text between the markers. `whole`: with every target, also of benchmarks without figures."""
    parts = [_origin(results), "", "### Targets", "", *targets_table(judge(results) if whole else _shown(results))]
    for figure, what in (("callback", "callback"), ("blocked", "block")):
        found = longest(results, figure)
        if found is not None:
            named = " ".join(part for part in (found.benchmark, _case(found), KINDS.get(found.database or "", "")) if part)
            parts += ["", f"The longest {what} of the event loop was seen in: {named}."]
    if chart:
        parts += ["", f"![What grows with the number of connections]({chart})"]
    for name, title in _TITLES.items():
        measured = [each for each in results.measurements if each.benchmark == name]
        if measured:
            parts += ["", f"### {title}", "", *figures_table(measured)]
    if results.missing:
        parts += ["", "### Without figures", "", *(f"- `{name}`: {why}" for name, why in results.missing.items())]
    return "\n".join([*parts, ""])


def _origin(results: Results) -> str:
    about = results.machine
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items() if version)
    pinned = "the daemon on one core, everything else on another" if about["pinned"] else "nothing pinned to a core"
    return (
        f"Measured {results.at[:10]} (plan: {results.plan}) on {about['processor']}, {about['cores']} cores, "
        f"{about['memory_gb']} GB, {about['system']}, {about['file_system']}; Python {about['python']}, {libraries}; {pinned}; "
        f"load before the run {about['load_before']:g}."
    )


def _shown(results: Results) -> list[TargetResult]:
    """Without those that this run did not set out to measure."""
    tried = {each.benchmark for each in results.measurements} | set(results.missing)
    asked = [each for each in judge(results) if each.target.benchmark in ("", *tried)]
    return [each for each in asked if each.value is not None or results.plan == "full"]


def targets_table(judged: Sequence[TargetResult]) -> Iterator[str]:
    """One row a target, its databases side by side: a ratio first, then the figure that it is of and the floor."""
    present = [kind for kind in KINDS if any(each.database == kind for each in judged)]
    yield f"| work | bound | {' | '.join(KINDS[kind] for kind in present)} |"
    yield f"| --- | ---: |{' ---: |' * len(present)}"
    for target in dict.fromkeys(each.target for each in judged):
        rows = {each.database: each for each in judged if each.target is target}
        cells = [_judged(rows.get(kind)) for kind in present]
        yield f"| {target.work} | {target.bound} | {' | '.join(cells)} |"


def _judged(found: TargetResult | None) -> str:
    if found is None:
        return ""
    if found.value is None:
        return "not measured"
    return (number(found.value) if found.met else f"**{number(found.value)}** missed") + _origin_of(found)


def _origin_of(found: TargetResult) -> str:
    """Return the case, what a ratio is of, and the floor, in parentheses; empty if the results have none of them."""
    of = "" if found.of is None else f"{number(found.of.median)} {found.of.unit}"
    floor = "" if found.floor is None else f"floor {number(found.floor.median)} {found.floor.unit}"
    text = ", ".join(part for part in (found.case, of, floor) if part)
    return f" ({text})" if text else ""


def figures_table(found: Sequence[Measurement]) -> Iterator[str]:
    """Every figure of one benchmark, ratios first: the median, and the range where there were repeats."""
    names = sorted(dict.fromkeys(name for each in found for name in each.figures), key=lambda name: not name.startswith("times_"))
    units = {name: next(each.figures[name].unit for each in found if name in each.figures) for name in names}
    heads = [f"{name.replace('_', ' ')}{f', {units[name]}' if units[name] else ''}" for name in names]
    yield f"| case | {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * len(names)}"
    for each in found:
        cells = [_cell(each.figures.get(name)) for name in names]
        yield f"| {_named(each)} | {' | '.join(cells)} |"


def _named(measurement: Measurement) -> str:
    return ", ".join(part for part in (KINDS.get(measurement.database or "", ""), _case(measurement)) if part) or "all"


def _case(measurement: Measurement) -> str:
    size = "" if measurement.size is None else f"{measurement.size:,}"
    return ", ".join(part for part in (measurement.case, size) if part)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.repeats == 1 or figure.low == figure.high:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)} to {number(figure.high)})"


def number(value: float) -> str:
    """Three significant digits, thousands apart, nothing in powers of ten."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.5f}".rstrip("0") if "e" in text else text


def placed(document: str, text: str) -> str:
    """Return the document with this text between its markers. Raises ValueError if it has none."""
    before, found, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"The document needs the lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
