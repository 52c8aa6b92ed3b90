"""The `providers` commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, nearest_known
from monitor.cli.output import StyledStatus, echo, echo_json, echo_rows, show_rows
from monitor.config import SourceConfig
from monitor.config.provider_catalogue import ProviderEntry, catalogue, definition_text, unknown_provider
from monitor.domain import utc_text
from monitor.domain.clock import SystemClock
from monitor.domain.errors import MonitorError
from monitor.domain.text import clean
from monitor.domain.timefmt import Times

if TYPE_CHECKING:
    from monitor.engine.trial import Trial, TrialRow

_LARGEST_SAMPLE = 64 * 1024 * 1024
_MOST_ROWS = 100
_MOST_NAMED = 10


def providers(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List every provider. Shows what it reports, what a source of it needs, and how far it was verified."""
    if ctx.invoked_subcommand is not None:
        return
    entries = catalogue()
    if as_json:
        echo_json({"generated_at": utc_text(session.now()), "providers": [entry.json() for entry in entries]})
        return
    rows = [(entry.name, ", ".join(entry.reports), entry.needs, entry.verified) for entry in entries]
    show_rows(("PROVIDER", "REPORTS", "NEEDS", "VERIFIED"), rows, lambda: (_block(entry) for entry in entries), width=12)


def _block(entry: ProviderEntry) -> tuple[str, list[str]]:
    return entry.name, [f"{entry.label}: {', '.join(entry.reports)}", f"needs {entry.needs}", entry.verified]


def show_definition(name: Annotated[str, typer.Argument(metavar="NAME", help="The provider, as in `providers`.")]) -> None:
    """Show the definition of a provider, to copy and change. One without a definition is shown as the lines that add a source."""
    try:
        echo(definition_text(name).rstrip("\n"))
    except KeyError:
        raise MonitorError(unknown_provider(name)) from None


def try_source(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name in the configuration.")],
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample", metavar="FILE", help="Judge this saved response, such as from `curl -i`, instead of calling the service."
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Read a source once, and show how each row is judged. Stores nothing and sends no alert."""
    from monitor.daemon import app
    from monitor.engine import trial

    config = session.loaded(ctx).config if sample is None else session.local(ctx)
    found = next((each for each in config.sources if each.name == source), None)
    if found is None:
        names = [each.name for each in config.sources]
        raise MonitorError(f"There is no source {clean(source, limit=60)}; {nearest_known(source, names)}")
    if found.provider == "push":
        raise MonitorError(f"{found.name} is a push source: reports are pushed to it, and there is nothing to read.")
    if sample is not None:
        result = trial.read_sample(found, _sample(sample), now=session.now())
    else:
        result = app.run_async(trial.call_once(found, clock=SystemClock()))
    if as_json:
        echo_json({"generated_at": utc_text(session.now()), **_json(found, result)})
    else:
        _echo(found, result, Times(config.timezone, session.now()))
    return 1 if result.problem or result.unreadable else 0


def _sample(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_SAMPLE + 1)
    except OSError as error:
        raise MonitorError(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > _LARGEST_SAMPLE:
        raise MonitorError(f"{file} is larger than 64 MiB.")
    return content


def _echo(source: SourceConfig, trial: Trial, times: Times) -> None:
    counted = f"{len(trial.rows):,} connection{'' if len(trial.rows) == 1 else 's'}"
    echo(f"{source.name} ({source.provider}) lists {counted}. Nothing was stored.")
    if trial.problem:
        echo(f"! {clean(trial.problem, limit=500)}")
    if trial.rows:
        echo("")
        echo_rows(
            ("ID", "PLATFORM", "NAME", "STATUS", "EXPIRES", "REASON"), [_row(each, times) for each in trial.rows[:_MOST_ROWS]]
        )
        if len(trial.rows) > _MOST_ROWS:
            echo(f"… and {len(trial.rows) - _MOST_ROWS:,} more; --json lists all.")
    for line in _findings(trial):
        echo(line)


def _row(row: TrialRow, times: Times) -> tuple[str, ...]:
    snapshot, verdict = row.snapshot, row.verdict
    expires = "" if snapshot.expires_at is None else times.both(snapshot.expires_at)
    trusted = " (not trusted)" if expires and snapshot.trusted is False else ""
    return (
        clean(snapshot.external_id, limit=60),
        clean(snapshot.platform),
        clean(snapshot.label, limit=40),
        StyledStatus.of(verdict.status),
        expires + trusted,
        clean(f"{verdict.reason}: {verdict.message}", limit=200),
    )


def _findings(trial: Trial) -> Iterator[str]:
    """Yield what the definition leaves open, each group after an empty line."""
    if trial.unreadable:
        yield from ("", f"Rows that cannot be read ({len(trial.unreadable):,}):")
        yield from (
            f"  {clean(each.external_id or 'without an id')}: {clean(each.why)}" for each in trial.unreadable[:_MOST_NAMED]
        )
    if trial.tests:
        yield from ("", "Tests of the first connections:")
        yield from (f"  {clean(each.external_id)}: {each.finding}{_after_colon(each.message)}" for each in trial.tests)
    if trial.without_rule:
        named = ", ".join(map(clean, trial.without_rule[:_MOST_NAMED]))
        yield from ("", f"Rows to which no [[sources.status]] rule applies ({len(trial.without_rule):,}): {named}")
        yield from (f"  {clean(field)}: {', '.join(map(clean, words[:_MOST_NAMED]))}" for field, words in trial.words.items())
    if trial.not_dates:
        yield from ("", f"Values at row.expires.at that are not dates ({len(trial.not_dates):,}; 9 is a digit, a is a letter):")
        yield from (f"  {clean(key)}: {shape}" for key, shape in list(trial.not_dates.items())[:_MOST_NAMED])
    if trial.unused_fields:
        yield from ("", f"Fields that the definition does not use: {', '.join(trial.unused_fields)}")
    if trial.first_row is not None:
        yield from ("", "The first row, with its values replaced by their types:")
        yield from _indented(trial.first_row, 1)


def _after_colon(message: str | None) -> str:
    return f": {clean(message, limit=300)}" if message else ""


def _indented(value: Any, level: int) -> Iterator[str]:
    for key, item in value.items() if isinstance(value, dict) else ():
        inner, many = (item[0], "list of ") if isinstance(item, list) and item else (item, "")
        if isinstance(inner, dict):
            yield f"{'  ' * level}{key}: {many}{'objects' if many else 'object'}"
            yield from _indented(inner, level + 1)
        else:
            yield f"{'  ' * level}{key}: {'empty list' if item == [] else f'{many}{inner}'}"


def _json(source: SourceConfig, trial: Trial) -> dict[str, Any]:
    return {
        "source": source.name,
        "provider": source.provider,
        "problem": trial.problem,
        "connections": [_row_json(each) for each in trial.rows],
        "unreadable": [{"external_id": each.external_id, "why": each.why} for each in trial.unreadable],
        "tests": [{"external_id": each.external_id, "finding": each.finding, "message": each.message} for each in trial.tests],
        "without_rule": trial.without_rule,
        "words_without_rule": trial.words,
        "not_dates": trial.not_dates,
        "unused_fields": trial.unused_fields,
        "first_row": trial.first_row,
    }


def _row_json(row: TrialRow) -> dict[str, Any]:
    snapshot, verdict = row.snapshot, row.verdict
    return {
        "external_id": snapshot.external_id,
        "scope": snapshot.scope,
        "platform": snapshot.platform,
        "username": snapshot.username,
        "display_name": snapshot.display_name,
        "status": verdict.status,
        "reason": verdict.reason,
        "message": verdict.message,
        "expires_at": utc_text(snapshot.expires_at),
        "trusted": snapshot.trusted,
        "scopes": snapshot.scopes,
        "flags": sorted(snapshot.flags),
    }


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None, callback=providers)
    group.command("show")(show_definition)
    group.command("try")(try_source)
    app.add_typer(group, name="providers")
