"""The `share` commands: read-only pages for people outside the team."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson
from monitor.cli.output import echo, echo_json, show_rows
from monitor.config import Config
from monitor.config.users import configured_labels, unconfigured_labels
from monitor.domain.addresses import SHARE
from monitor.domain.errors import ConfigError, MonitorError
from monitor.domain.text import clean
from monitor.domain.timefmt import Times
from monitor.engine import audit
from monitor.store import shares
from monitor.views.json_types import listing
from monitor.views.shares import ShareView

LONGEST_DAYS = 3650

Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="The connections with exactly this label. Repeatable; all must match."),
]


def add(
    ctx: typer.Context,
    *,
    label: Labels = None,
    days: Annotated[int, typer.Option("--days", min=1, max=LONGEST_DAYS, help="Days until the page expires.")] = 90,
) -> None:
    """Share the connections with these labels on a read-only page. Prints its address, which is shown only once."""
    config = session.local(ctx)
    public_url = config.web.public_url
    if public_url is None:
        raise ConfigError([f"{config.path}: web.public_url is not set: set it to the address under which people reach the page."])
    labels = _labels(config, label)
    now, author = session.now(), session.author()
    until = now + timedelta(days=days)
    with session.opened(config) as store, store.begin_write() as conn:
        number, secret = shares.add(conn, labels, until=until, now=now, author=author)
        audit.record("share", author=author, target=number)
    echo(f"{public_url}{SHARE}{secret}")
    echo(f"Share {number} is open until {Times(config.timezone, now).exact(until)}. Everybody who has this address can read it.")


def _labels(config: Config, given: list[str] | None) -> dict[str, str]:
    """Return the labels of the option. Raise a usage error if there are none, or the configuration does not set one of them."""
    if not given:
        raise typer.BadParameter("Give --label, such as --label client=acme.")
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"--label {clean(text)} is not KEY=VALUE.")
        found[key] = value
    problem = unconfigured_labels(found, configured_labels(config.sources, config.label_rules))
    if problem is not None:
        raise typer.BadParameter(f"The share {problem}")
    return found


def list_all(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List all shared pages, including expired and revoked ones."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn:
        views = [ShareView(share=each, now=now) for each in shares.list_shares(conn)]
    if as_json:
        echo_json(listing("shares", views, now=now))
        return
    opened = sum(view.state == "open" for view in views)
    echo(f"{len(views)} share{'' if len(views) == 1 else 's'}, {opened} open." if views else "No shares.")
    if views:
        echo("")
        times = Times(config.timezone, now)
        rows = [_row(view, times) for view in views]
        headings = ("ID", "STATE", "LABELS", "UNTIL", "LAST READ", "BY")
        show_rows(headings, rows, lambda: ((row[0], row[1:]) for row in rows), width=4)


def _row(view: ShareView, times: Times) -> tuple[str, ...]:
    share = view.share
    labels = clean(", ".join(f"{key}={value}" for key, value in share.labels.items()), limit=200)
    read = "never" if share.last_read_at is None else times.exact(share.last_read_at)
    return str(share.id), view.state, labels, times.exact(share.until), read, clean(share.created_by, limit=80)


def revoke(
    ctx: typer.Context,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The share's id from `share list`.")] = None,  # noqa: A002
    *,
    everything: Annotated[bool, typer.Option("--all", help="Revoke every open share.")] = False,
) -> None:
    """End a shared page now: its address no longer works."""
    if (id is None) is not everything:
        raise typer.BadParameter("Give either the id of a share or --all.")
    config = session.local(ctx)
    now, author = session.now(), session.author()
    number = int(id) if id is not None and id.isascii() and id.isdigit() and len(id) < 10 else 0
    with session.opened(config) as store, store.begin_write() as conn:
        ended = shares.revoke(conn, None if everything else number, now=now, author=author)
        for each in ended:
            audit.record("unshare", author=author, target=each)
    if not ended and not everything:
        raise MonitorError(f"There is no open share {clean(id or '')}. `token-monitor share list` lists them.")
    names = ", ".join(map(str, ended))
    echo(f"Revoked: {names}." if ended else "No share was open.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Share read-only pages with people outside the team.", no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("revoke")(revoke)
    app.add_typer(group, name="share")
