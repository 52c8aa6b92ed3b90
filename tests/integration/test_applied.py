"""The configuration in force: what another one changes, what only has another name, and that no secret is kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from monitor.config import Config, load
from monitor.daemon.work import Work
from monitor.demo.world import World
from monitor.domain import EventKind
from monitor.domain.rules.silences import Silence
from monitor.engine import applied_config, config_sync
from monitor.store import Store, alerts, channel_states, connection_queries, history, incidents, outbox, silences, sources
from monitor.store.schema import deliveries, metadata
from tests.support import canary
from tests.support.command_line import CONFIG, OPS_URL
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import running

DAY = timedelta(days=1)


def read(folder: Path, text: str) -> Config:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(text.format(url="sqlite:///monitor.db"), encoding="utf-8")
    return load(path, {"HOME": str(folder)}).config


def changes(store: Store, folder: Path, now: datetime, new: str) -> list[tuple[str, str, str | None, str | None]]:
    """What the new text would change, once CONFIG is in force."""
    with store.begin_write() as conn:
        applied_config.save_applied(conn, read(folder, CONFIG), now)
    with store.begin_read() as conn:
        before = applied_config.load_applied(conn)
        assert before is not None
        return [
            (each.path, each.kind, each.old, each.new) for each in applied_config.differences(conn, before, read(folder, new))
        ]


OPS = f'name = "ops"\nurl = "{OPS_URL}"'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("[database]", 'timezone = "Europe/Berlin"\n[database]', [("timezone", "changed", '"UTC"', '"Europe/Berlin"')]),
        ('severity = "critical"', 'severity = "warning"', [("channels.night.severity", "changed", '"critical"', '"warning"')]),
        (canary.POSTPOST_KEY, canary.OTHER_KEY, [("sources.agency.api_key", "replaced", None, None)]),
        (canary.CHANNEL_PASSWORD, canary.MAIL_PASSWORD, [("channels.ops.url", "replaced", None, None)]),
        (
            'client = "acme"',
            'client = "acme", team = "x"',
            [("sources.agency.labels", "changed", '{ client = "acme" }', '{ client = "acme", team = "x" }')],
        ),
        ('name = "agency"', 'name = "bureau"', [("sources.bureau", "renamed", "agency", "bureau")]),
        (OPS, OPS.replace('"ops"', '"people"'), [("channels.people", "renamed", "ops", "people")]),
        (
            f'name = "agency"\nprovider = "postpost"\napi_key = "{canary.POSTPOST_KEY}"',
            f'name = "bureau"\nprovider = "postpost"\napi_key = "{canary.OTHER_KEY}"',
            [("sources.agency", "removed", None, None), ("sources.bureau", "added", None, None)],
        ),
        ('[web]\nlisten = "off"', '[web]\nlisten = "127.0.0.1:9"', [("web.listen", "changed", '"off"', '"127.0.0.1:9"')]),
        (
            "[web]",
            f'[heartbeat]\nurl = "https://hc.example/{canary.HEARTBEAT_PATH}"\n[web]',
            [("heartbeat.url", "changed", None, '"https://hc.example/<secret>"'), ("heartbeat.every", "changed", None, '"1m"')],
        ),
    ],
)
def test_the_changes_of_a_reload_are_listed_key_by_key(
    *, store: Store, now: datetime, tmp_path: Path, old: str, new: str, expected: list[tuple[str, str, str | None, str | None]]
) -> None:
    found = changes(store, tmp_path, now, CONFIG.replace(old, new, 1) if old else CONFIG)
    assert found == expected
    canary.assert_absent(str(found), "what a reload would change")


def test_a_policy_of_one_platform_is_named_by_its_path(store: Store, now: datetime, tmp_path: Path) -> None:
    more = CONFIG + '\n[policy.platforms.tiktok]\nremind_every = "2h"\n'
    found = changes(store, tmp_path, now, more)
    assert ("policy.platforms.tiktok.remind_every", "changed", None, '"2h"') in found


def test_a_date_that_was_changed_is_shown_before_and_after(store: Store, now: datetime, tmp_path: Path) -> None:
    dates = '\n[[sources]]\nname = "paper"\nprovider = "dates"\ndates = [{{ id = "apns", expires_at = {day}T00:00:00Z }}]\n'
    assert ("sources.paper", "added", None, None) in changes(store, tmp_path, now, CONFIG + dates.replace("{day}", "2027-03-01"))
    with store.begin_write() as conn:
        applied_config.save_applied(conn, read(tmp_path, CONFIG + dates.replace("{day}", "2027-03-01")), now)
    with store.begin_read() as conn:
        before = applied_config.load_applied(conn)
        assert before is not None
        found = applied_config.differences(conn, before, read(tmp_path, CONFIG + dates.replace("{day}", "2027-04-01")))
    assert [(each.path, each.kind) for each in found] == [("sources.paper.dates", "changed")]
    assert ("2027-03-01T00:00:00Z" in str(found[0].old), "2027-04-01T00:00:00Z" in str(found[0].new)) == (True, True)


def test_S01_no_secret_is_kept(store: Store, now: datetime, tmp_path: Path) -> None:
    changes(store, tmp_path, now, CONFIG)
    with store.begin_read() as conn:
        kept = " ".join(str(row) for table in metadata.sorted_tables for row in conn.execute(select(table)))
    canary.assert_absent(kept, "the database")
    with store.begin_read() as conn:
        before = applied_config.load_applied(conn)
    assert before is not None
    digests = {path: len(digest) for path, digest in before.secrets.items()}
    assert digests["channels.ops.url"] == 4, "two bytes: too few to find a password by trying"


def test_a_digest_differs_from_one_database_to_the_next(tmp_path: Path, now: datetime) -> None:
    kept = []
    for name in ("a", "b"):
        with Store(f"sqlite:///{tmp_path / name}.db") as store:
            store.upgrade()
            with store.begin_write() as conn:
                applied_config.save_applied(conn, read(tmp_path, CONFIG), now)
                kept.append(applied_config.load_applied(conn))
    first, second = kept
    assert first is not None
    assert second is not None
    assert first.text == second.text
    assert first.secrets["sources.agency.api_key"] != second.secrets["sources.agency.api_key"]


def test_how_the_last_reload_went_is_remembered(store: Store, now: datetime) -> None:
    with store.begin_write() as conn:
        assert applied_config.last_reload(conn) is None
        applied_config.save_reload(conn, now, problem="config.toml: sources[0].name is missing.")
        assert applied_config.last_reload(conn) == applied_config.LastReload(
            at=now, problem="config.toml: sources[0].name is missing."
        )
        applied_config.save_reload(conn, now + DAY, problem=None)
        assert applied_config.last_reload(conn) == applied_config.LastReload(at=now + DAY, problem=None)


def agency(clock: ManualClock) -> World:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=50 * DAY)
    world.connect("agency", "threads", account="th", username="L", display_name="L", lifetime=50 * DAY)
    world.expire("agency", "threads-th")
    return world


async def test_a_renamed_source_keeps_its_history_and_repeats_no_alert(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with running(store, clock, agency(clock), tmp_path) as cycle:
        await cycle.poll()
        assert [event for event, _, _ in cycle.notified()] == ["expired"]
        with store.begin_write() as conn:
            silences.add(conn, Silence(starts_at=clock.now() + 30 * DAY, sources=("agency",), comment="moving"), clock.now())
        text = (tmp_path / "config.toml").read_text("utf-8").replace('name = "agency"', 'name = "bureau"')
        clock.advance(DAY)
        config = read(tmp_path, text.replace("{", "{{").replace("}", "}}"))
        with store.begin_write() as conn:
            config_sync.sync(conn, config, clock.now())
        with store.begin_read() as conn:
            assert [row.name for row in sources.all_sources(conn, include_removed=True)] == ["bureau"]
            rows = {row.public_id: row for row in connection_queries.list_connections(conn)}
            assert set(rows) == {"bureau/linkedin-li", "bureau/threads-th"}
            assert history.history_of(conn, rows["bureau/threads-th"].id)
            assert incidents.find_open(conn, [rows["bureau/threads-th"].id])
            assert sources.last_polls(conn, "bureau")
            assert [each.sources for each in silences.list_silences(conn)] == [("bureau",)]
            (entry,) = history.of_source(conn, "bureau", kind=EventKind.RENAMED)
            assert (entry.old, entry.new) == ("agency", "bureau")
            for table in metadata.sorted_tables:
                if "source" in table.c:
                    assert "agency" not in set(conn.scalars(select(table.c.source)))
        cycle.config = config
        cycle.work = {"bureau": Work(source=config.sources[0], provider=cycle.work["agency"].provider)}
        said = len(cycle.alerts)
        await cycle.poll()
        assert cycle.alerts[said:] == [], "all of it is known"
        cycle.world.renew("agency", "threads-th")
        await cycle.poll()
        assert [(alert.event, alert.connection) for alert in cycle.alerts[said:]] == [("recovered", "bureau/threads-th")]


def test_a_channel_with_another_name_keeps_what_waits_for_it(store: Store, now: datetime, tmp_path: Path) -> None:
    with store.begin_write() as conn:
        config_sync.sync(conn, read(tmp_path, CONFIG), now)
        alerts.add_alerts(conn, [(make_alert(), None, None)])
        outbox.add_deliveries(conn, [("alert-1", "ops", now)], now)
        channel_states.record_failure(conn, "ops", now, problem="410 Gone", broken=True)
        config_sync.sync(conn, read(tmp_path, CONFIG.replace('name = "ops"', 'name = "people"')), now)
        assert set(conn.scalars(select(deliveries.c.channel))) == {"people"}
        assert set(channel_states.all_states(conn)) == {"people"}


def test_a_removed_source_leaves_every_list_without_an_alert_and_keeps_its_history(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    with store.begin_write() as conn:
        config_sync.sync(conn, read(tmp_path, CONFIG), clock.now())
        conn.execute(text("UPDATE sources SET status = 'failing' WHERE name = 'agency'"))
        only = CONFIG[: CONFIG.index("[[sources]]")] + CONFIG[CONFIG.index('[[sources]]\nname = "studio"') :]
        config_sync.sync(conn, read(tmp_path, only), clock.now())
        assert [row.name for row in sources.all_sources(conn)] == ["studio"]
        assert [row.name for row in sources.all_sources(conn, include_removed=True)] == ["agency", "studio"]
        assert outbox.pending_counts(conn) == {}


CHECKED = """
[[sources]]
name = "{name}"
provider = "github"
[[sources.tokens]]
id = "bot"
secret = "{secret}"
"""


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (("other", canary.OTHER_KEY), [("sources.agency", "removed"), ("sources.other", "added")]),
        (("other", canary.POSTPOST_KEY), [("sources.other", "renamed")]),
        (("agency", canary.OTHER_KEY), [("sources.agency.tokens.bot", "replaced")]),
    ],
)
def test_a_source_without_an_api_key_is_recognised_by_its_tokens(
    store: Store, now: datetime, tmp_path: Path, new: tuple[str, str], expected: list[tuple[str, str]]
) -> None:
    with store.begin_write() as conn:
        before = read(tmp_path, CHECKED.format(name="agency", secret=canary.POSTPOST_KEY))
        applied_config.save_applied(conn, before, now)
    with store.begin_read() as conn:
        applied = applied_config.load_applied(conn)
        assert applied is not None
        changed = read(tmp_path, CHECKED.format(name=new[0], secret=new[1]))
        assert [(each.path, each.kind) for each in applied_config.differences(conn, applied, changed)] == expected
