"""The schema: the same if it is created and if it is migrated, equal to the tables of the code, whole or not at all."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.schema import CreateIndex

from monitor.domain import ProbeFinding
from monitor.domain.errors import SchemaOutOfDate
from monitor.store import Store, connection_codec, migrate, open_store, revisions, sqlite_file
from monitor.store.schema import metadata, polls

WITHOUT_TABLES: set[str] = set()
BY_EXPRESSION = {"ix_connections_by_expiry", "ix_connections_by_name"}
"""Indexes that SQLAlchemy cannot read from SQLite, so that they are compared apart."""
pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index"),
]


def tables(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return set(inspect(conn).get_table_names())


def differences(conn: Connection) -> list[Any]:
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_object": lambda _object, name, kind, *_: kind != "index" or name not in BY_EXPRESSION,
    }
    return list(compare_metadata(MigrationContext.configure(conn, opts=options), metadata))


@pytest.mark.parametrize("first", [None, "0001"], ids=["created", "migrated"])
def test_schema_is_that_of_the_code(first: str | None, empty_database: str) -> None:
    with prepared(empty_database, first=first) as store, store.begin_write() as conn:
        assert differences(conn) == []


def prepared(url: str, *, first: str | None) -> Store:
    """A store of this version that was created, or that was migrated from its first revision."""
    store = Store(url)
    if first is not None:
        prepared_at(store, first)
    store.upgrade(copy_first=False)
    return store


def prepared_at(store: Store, revision: str) -> None:
    """Create the schema of a revision by the migrations."""
    if isinstance(store.target, Path):
        sqlite_file.create(store.target)
    migrate.upgrade(store.target, to=revision)


def test_a_schema_is_the_same_if_it_is_created_and_if_it_is_migrated(empty_database: str) -> None:
    """Apart from the order of columns and constraints, which a migration adds at the end."""
    with prepared(empty_database, first=None) as store:
        created = statements(store)
        migrate.downgrade(store.target, to="base")
        migrate.upgrade(store.target, to="0001")
        assert store.current() == "0001"
        store.upgrade(copy_first=False)
        migrated = statements(store)
    assert len(created) > 50
    assert created == migrated


def statements(store: Store) -> set[tuple[str, ...]]:
    """The definitions of all tables and indexes: their columns with types and defaults, their constraints and conditions."""
    with store.begin_read() as conn:
        if store.path is not None:
            rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            return {(name, *sorted(_clauses(sql))) for name, sql in rows}
        found: set[tuple[str, ...]] = set()
        for query in POSTGRES_DEFINITIONS:
            found |= {tuple(map(str, row)) for row in conn.execute(text(query))}
        return found


POSTGRES_DEFINITIONS = (
    """SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, character_maximum_length
       FROM information_schema.columns WHERE table_schema = current_schema()""",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    """SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
       WHERE connamespace = current_schema()::regnamespace""",
    "SELECT relname, reloptions FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND reloptions IS NOT NULL",
)


def _clauses(sql: str) -> list[str]:
    """The parts of a statement, without the spaces in which the two differ."""
    head, _, body = sql.partition("(")
    parts = re.split(r",(?![^(]*\))", body.rstrip().removesuffix(")"))
    return ["".join(part.split()) for part in (head, *parts)]


def test_partial_indexes_are_the_same_in_the_database_and_in_the_code(empty_database: str) -> None:
    """Alembic's comparison does not look at an index's condition, which our uniqueness rests on."""
    with open_store(empty_database) as store, store.begin_read() as conn:
        found = {}
        for table in metadata.tables:
            for index in inspect(conn).get_indexes(table):
                condition = str(index.get("dialect_options", {}).get(f"{conn.dialect.name}_where", ""))
                found[index["name"]] = (bool(index["unique"]), _plain(condition), index["column_names"])
    expected = {
        index.name: (bool(index.unique), _plain(str(index.dialect_options["sqlite"]["where"])), [c.name for c in index.columns])
        for table in metadata.tables.values()
        for index in table.indexes
    }
    others = {"uq_deliveries_alert_id_channel", "uq_label_sets_labels_named_by_service", *BY_EXPRESSION}
    assert {name: value for name, value in found.items() if name not in others} == {
        name: value for name, value in expected.items() if name not in BY_EXPRESSION
    }


def test_indexes_of_expressions_are_the_same_in_the_database_and_in_the_code(empty_database: str) -> None:
    with open_store(empty_database) as store, store.begin_write() as conn:
        for index in metadata.tables["connections"].indexes:
            if index.name in BY_EXPRESSION:
                again = f"{index.name}_again"
                conn.exec_driver_sql(str(CreateIndex(index).compile(dialect=conn.dialect)).replace(index.name, again))
                assert _definition(conn, index.name) == _definition(conn, again)


def _definition(conn: Connection, name: str) -> str:
    query = "SELECT sql FROM sqlite_master WHERE name = :name"
    if conn.dialect.name != "sqlite":
        query = "SELECT indexdef FROM pg_indexes WHERE indexname = :name"
    return _columns(conn.execute(text(query), {"name": name}).scalar_one())


def _columns(definition: str) -> str:
    return re.split(" INCLUDE | WHERE ", definition.partition("(")[2])[0]


def _plain(condition: str) -> str:
    return "" if condition == "None" else condition.replace("(", "").replace(")", "").lower()


def test_known_revisions_are_those_of_the_scripts() -> None:
    """The constants let a store that is current open without loading Alembic."""
    directory = ScriptDirectory.from_config(migrate.configuration())
    assert tuple(script.revision for script in reversed(list(directory.walk_revisions()))) == revisions.KNOWN
    assert directory.get_current_head() == revisions.HEAD


def test_upgrade_is_done_once_and_current_returns_the_revision(empty_database: str) -> None:
    with Store(empty_database) as store:
        assert store.current() is None
        assert store.upgrade() is True
        assert store.upgrade() is False
        assert store.current() == revisions.HEAD
        store.require_current()


def test_store_that_is_current_opens_without_alembic(database_url: str) -> None:
    """Loading Alembic costs a command line a tenth of a second."""
    code = f"""
        import sys
        from monitor.store import open_store
        open_store({database_url!r}).close()
        assert not any(name.split(".")[0] == "alembic" for name in sys.modules), "alembic was loaded"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=Path(__file__).parents[2])


def test_a_database_without_tables_is_refused_with_instructions(empty_database: str) -> None:
    with pytest.raises(SchemaOutOfDate, match=r"has no tables yet: run `token-monitor db upgrade`"):
        open_store(empty_database, upgrade=False)


def test_P29_newer_schema_is_refused_in_words(store: Store) -> None:
    with store.begin_write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    sentence = (
        f"The database is at revision 0999, which this version does not support (its latest is {revisions.HEAD}): "
        "upgrade the program, or restore a backup."
    )
    for refused in (store.upgrade, store.require_current):
        with pytest.raises(SchemaOutOfDate) as caught:
            refused()
        assert str(caught.value) == sentence


def test_P29_newer_schema_is_refused_also_when_it_became_newer_while_we_waited(store: Store) -> None:
    """Two versions start at once: the older one sees the newer revision only after it has the migration's lock."""
    with store.begin_write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(SchemaOutOfDate, match="revision 0999"):
        migrate.upgrade(store.target)


def test_downgrade_leaves_nothing_and_upgrade_brings_it_back(store: Store) -> None:
    migrate.downgrade(store.target, to="base")
    assert tables(store) <= {"alembic_version"}
    assert store.upgrade() is True
    with store.begin_write() as conn:
        assert differences(conn) == []


@pytest.mark.parametrize("first", [None, "0001"], ids=["created", "migrated"])
def test_P28_schema_that_fails_half_way_never_happened(
    first: str | None, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both databases take their DDL back, so the second try starts from where the first one did."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the machine went down")

    with Store(empty_database) as store:
        if first is None:
            event.listen(polls, "after_create", fail)
        else:
            prepared_at(store, first)
            monkeypatch.setattr(op, "drop_index", fail)
        before = tables(store) if first else WITHOUT_TABLES
        try:
            with pytest.raises(RuntimeError, match="went down"):
                store.upgrade()
        finally:
            monkeypatch.undo()
            if first is None:
                event.remove(polls, "after_create", fail)
        assert tables(store) == before
        assert store.current() == first
        assert store.upgrade() is True
        with store.begin_write() as conn:
            assert differences(conn) == []


KILLED = """
    import os, signal
    from sqlalchemy import event
    from monitor.store import Store
    from monitor.store.schema import polls

    event.listen(polls, "before_create", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    Store({url!r}).upgrade()
"""


def test_P28_creation_killed_half_way_runs_again_cleanly(empty_database: str) -> None:
    code = textwrap.dedent(KILLED).format(url=empty_database)
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    with Store(empty_database) as store:
        assert store.current() is None
        assert tables(store) == WITHOUT_TABLES
        assert store.upgrade() is True
        with store.begin_write() as conn:
            assert differences(conn) == []


BEFORE_SIGNAL = """
    INSERT INTO sources (name, provider, host, status, reason, message, since, added_at)
    VALUES ('agency', 'publora', 'api.publora.com', 'ok', 'ok', '', '{at}', '{at}');
    INSERT INTO connections (id, source, external_id, fingerprint, cohort, provider, platform, status, reason, message, since,
        word, token_status, token_reason, token_message, token_expires_at, probe_status, probe_finding, probe_refusals,
        probe_message, probe_at, added_at)
    VALUES (7, 'agency', 'linkedin-1', 'f', 1, 'publora', 'linkedin', 'expired', 'probe_expired', 'Expired.', '{at}', 'valid',
        'valid', 'provider_valid', 'Valid.', '{at}', 'failing', 'expired', 2, 'invalid_grant', '{at}', '{at}'),
        (8, 'agency', 'telegram--1', 'f', 1, 'publora', 'telegram', 'revoked', 'probe_revoked', 'Revoked.', '{at}', 'valid',
        'valid', 'non_expiring', 'Valid.', NULL, 'failing', 'revoked', 2, 'Invalid bot token', '{at}', '{at}')
"""

KILLED_IN_UPGRADE = """
    import os, signal
    from alembic import op
    from monitor.store import Store

    create = op.create_table

    def die(name, *columns, **options):
        if name == {table!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        return create(name, *columns, **options)

    op.create_table = die
    Store({url!r}).upgrade()
"""


def test_P28_upgrade_of_a_used_database_that_is_killed_half_way_loses_nothing(empty_database: str) -> None:
    at = "2026-11-01T10:00:00.000000Z" if empty_database.startswith("sqlite") else "2026-11-01T10:00:00+00:00"
    with Store(empty_database) as store:
        store.upgrade()
        migrate.downgrade(store.target, to="0002")
        with store.begin_write() as conn:
            for statement in BEFORE_SIGNAL.format(at=at).split(";"):
                conn.execute(text(statement))
    code = textwrap.dedent(KILLED_IN_UPGRADE).format(url=empty_database, table="former_ids")
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    with Store(empty_database) as store:
        assert store.current() == "0002"
        assert store.upgrade() is True
        with store.begin_write() as conn:
            assert differences(conn) == []
            state, bot = connection_codec.load(conn, [7, 8]).values()
            recheck, added = conn.execute(text("SELECT recheck_at, added_at FROM connections WHERE id = 7")).one()
        assert state.probe.refusals == 2
        assert (state.probe.refusal, state.probe.refused_since) == ("invalid_grant", state.probe.at)
        assert state.token.dated_since is None
        assert recheck == added, "the next poll judges it again"
        assert bot.probe.finding is ProbeFinding.AMBIGUOUS, "the bot's token was revoked, or replaced by a personal session"


def test_P28_upgrade_to_people_that_is_killed_half_way_notes_the_earlier_sources_once(empty_database: str) -> None:
    at = "2026-11-01T10:00:00.000000Z" if empty_database.startswith("sqlite") else "2026-11-01T10:00:00+00:00"
    with Store(empty_database) as store:
        store.upgrade()
        migrate.downgrade(store.target, to="0006")
        with store.begin_write() as conn:
            conn.execute(text(BEFORE_SIGNAL.format(at=at).partition(";")[0]))
    code = textwrap.dedent(KILLED_IN_UPGRADE).format(url=empty_database, table="shares")
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    with Store(empty_database) as store:
        assert store.current() == "0006"
        assert store.upgrade() is True
        with store.begin_write() as conn:
            assert differences(conn) == []
            assert list(conn.scalars(text("SELECT value FROM meta WHERE key = 'sources:before-0.2'"))) == ['["agency"]']


def test_P30_processes_that_migrate_at_once_wait_for_each_other(empty_database: str) -> None:
    """Exactly one of them does the work, the others find it done; none fails."""
    code = f"import sys; from monitor.store import Store; print(Store({empty_database!r}).upgrade())"
    folder = Path(__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
        for _ in range(3)
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in started]
    assert [(error, code) for _, error, code in ended] == [("", 0)] * 3
    assert sorted(out.strip() for out, _, _ in ended) == ["False", "False", "True"]


def test_upgrade_of_a_current_store_is_quick(store: Store) -> None:
    store.upgrade()
    before = time.process_time()
    store.upgrade()
    assert time.process_time() - before < 0.05


def test_sqlite_migration_that_orphans_rows_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Foreign keys are off while tables are rebuilt, so they are looked at before the commit."""
    from monitor.domain.errors import StoreError

    upgrade = command.upgrade

    def orphan(config: Any, to: str) -> None:
        upgrade(config, to)
        conn = config.attributes["connection"]
        conn.execute(text("INSERT INTO scopes (source, scope) VALUES ('nobody', '')"))

    with Store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        prepared_at(store, "0008")
        monkeypatch.setattr(command, "upgrade", orphan)
        with pytest.raises(StoreError, match="would break references of table scopes"):
            store.upgrade()
        monkeypatch.undo()
        assert store.upgrade() is True


def test_alembic_command_line_reaches_a_database_by_url(tmp_path: Path) -> None:
    """Developers make a new revision with `alembic -x url=... revision --autogenerate`."""
    path = tmp_path / "dev.db"
    path.touch()
    folder = Path(__file__).parents[2]
    program = (
        f"from alembic.config import main; main(['-x', 'url=sqlite:///{path}', '-c', '{tmp_path}/a.ini', 'upgrade', 'head'])"
    )
    (tmp_path / "a.ini").write_text(f"[alembic]\nscript_location = {folder / 'migrations'}\n")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder, env=environment, capture_output=True)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (revisions.HEAD,)
    raw.close()
