"""What a database URL means: one SQLite file, or the parameters of libpq, and never another database than it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import load
from monitor.config.database_urls import holds_password, parse, shown_database
from monitor.config.secrets import UnusableError
from monitor.domain.errors import ConfigError

NETWORK = {"host": "h", "user": "u", "dbname": "d"}


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://u@h/d", NETWORK),
        ("postgresql+psycopg://u@h/d", NETWORK),
        ("PostgreSQL://u@h/d", NETWORK),
        ("postgresql://u:a%20b@h:5432/d", {**NETWORK, "port": "5432", "password": "a b"}),
        ("postgresql://u:p%40%2F%3F%23%25%3A@h/d", {**NETWORK, "password": "p@/?#%:"}),
        ("postgresql://u:p@ss#1:2+3%@h/d", {**NETWORK, "password": "p@ss#1:2+3%"}),
        ("postgresql://h1:5432,h2:5433/d", {"host": "h1,h2", "port": "5432,5433", "dbname": "d"}),
        ("postgresql://h1,h2:5433/d", {"host": "h1,h2", "port": ",5433", "dbname": "d"}),
        ("postgresql:///d?host=h1:5432&host=h2:5433", {"host": "h1,h2", "port": "5432,5433", "dbname": "d"}),
        ("postgresql:///d?host=h1,h2&port=5432,5433", {"host": "h1,h2", "port": "5432,5433", "dbname": "d"}),
        ("postgresql:///d?host=h1,h2:5433", {"host": "h1,h2", "port": ",5433", "dbname": "d"}),
        ("postgresql://other:1/d?host=h", {"host": "h", "dbname": "d"}),
        ("postgresql://[::1]:5432,[::2]/d", {"host": "::1,::2", "port": "5432,", "dbname": "d"}),
        ("postgresql:///d?host=::1", {"host": "::1", "dbname": "d"}),
        ("postgresql://@/d?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "d"}),
        ("postgresql://@:5433/d?host=/run/postgresql", {"host": "/run/postgresql", "port": "5433", "dbname": "d"}),
        ("postgresql://u@%2Frun%2Fpostgresql/d", {**NETWORK, "host": "/run/postgresql"}),
        ("postgresql://u@%2Frun%2Fpostgresql:5433/d", {**NETWORK, "host": "/run/postgresql", "port": "5433"}),
        ("postgresql://u@h/d?user=v%40w&dbname=e", {"host": "h", "user": "v@w", "dbname": "e"}),
        ("postgresql://h/d?user=v@w", {"host": "h", "user": "v@w", "dbname": "d"}),
        ("postgresql://u@h/d?ssl=true", {**NETWORK, "sslmode": "require"}),
        (
            "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/a+b.pem",
            {**NETWORK, "sslmode": "verify-full", "sslrootcert": "/a+b.pem"},
        ),
        ("postgresql://u@h/d?options=-c+a%3D1&options=-c%20b%3D2", {**NETWORK, "options": "-c a=1 -c b=2"}),
        ("postgresql:///?service=tm&passfile=/etc/pass", {"service": "tm", "passfile": "/etc/pass"}),
        (
            "postgresql://u@h1,h2/d?target_session_attrs=read-write",
            {**NETWORK, "host": "h1,h2", "target_session_attrs": "read-write"},
        ),
        ("postgresql://u@h/d%20%2F%C3%A4", {**NETWORK, "dbname": "d /ä"}),
        ("postgresql://u@h/d?sslmode=require&", {**NETWORK, "sslmode": "require"}),
        ("postgresql://u@h/d?&sslmode=require&&", {**NETWORK, "sslmode": "require"}),
        ("postgresql://", {}),
    ],
)
def test_P38_a_url_becomes_the_parameters_of_libpq(url: str, parameters: dict[str, str]) -> None:
    assert parse(url) == parameters


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://u@h/d?schema=public", "has the option schema, .*ALTER ROLE … SET search_path"),
        ("postgresql://u@h/d?pgbouncer=true", "has the option pgbouncer, .*remove it"),
        ("postgresql://u@h/d?connection_limit=1", "has the option connection_limit, "),
        ("postgresql://u@h/d?sslMode=require", "has the option sslMode, .*sslmode is similar"),
        ("postgresql://u@h/d?sslmode=a&sslmode=b", "the option sslmode more than once"),
        ("postgresql://u@h/d?replication=true", "has the option replication, "),
        ("postgresql://u@h/d?sslmode", "an option without a value"),
        ("postgresql://u:hunter2/x@h/d", "contains @ or / after the host: write %40 for @, %2F for /"),
        ("postgresql://u:12/hunter2@h/d", "contains @ or / after the host: write %40 for @, %2F for /"),
        ("postgresql://u:hunter2?x@h/d", r"has a host or port that is unusable: .*%3F for \?"),
        ("postgresql://u:12?hunter2=x@h/d", r"contains @ after its options: .*%3F for \?"),
        ("postgresql://u@h/d?hunter2=x", "has an option that PostgreSQL's driver does not know"),
        ("postgresql://u@h:hunter2/d", "has a host or port that is unusable"),
        ("postgresql://u@h:0/d", "has a host or port that is unusable"),
        ("postgresql://u@h:65536/d", "has a host or port that is unusable"),
        ("postgresql://u:%ffhunter2@h/d", "is not UTF-8 text: write %25 for %"),
        ("postgresql://u:%00hunter2@h/d", "is not UTF-8 text"),
        ("postgresql://u:hunter2 @h/d", "is not a usable postgresql:// URL"),
        ("postgres://u:hunter2@h/d", "must start with postgresql://"),
        ("postgresql+asyncpg://u:hunter2@h/d", "must start with sqlite:/// or postgresql://"),
    ],
)
def test_P38_a_url_with_another_meaning_or_none_is_refused_with_its_correction(url: str, problem: str) -> None:
    with pytest.raises(UnusableError, match=problem) as raised:
        parse(url)
    assert "hunter2" not in str(raised.value)
    assert shown_database(url) == "<secret>"


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    st.text(st.characters(codec="ascii", min_codepoint=33)),
)
def test_P38_an_escaped_password_is_kept_and_an_unescaped_one_is_complete_or_refused(quoted: str, raw: str) -> None:
    from urllib.parse import quote

    assert parse(f"postgresql://u:{quote(quoted, safe='')}@h:1/d") == {**NETWORK, "port": "1", "password": quoted}
    assert quoted not in shown_database(f"postgresql://u:{quote(quoted, safe='')}@h:1/d") or len(quoted) < 14
    if "%" in raw or not raw:
        return
    try:
        found = parse(f"postgresql://u:{raw}@h/d")
    except UnusableError:
        return
    assert found == {**NETWORK, "password": raw}


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////x/a.db", "/x/a.db"),
        ("sqlite:///a%3Fb.db", "a?b.db"),
        ("sqlite:///a%3fb.db", "a?b.db"),
        ("sqlite:///a#b.db", "a#b.db"),
        ("sqlite:///a%20b%.db", "a b%.db"),
        ("sqlite:///a%2541.db", "a%41.db"),
        ("sqlite:///a%FF.db", None),
        ("sqlite:///a b;c&d@e:f.db", "a b;c&d@e:f.db"),
        ("sqlite:///file:x", "file:x"),
        ("sqlite:///a?b.db", None),
        ("sqlite:///a.db?timeout=30&check_same_thread=false", "a.db"),
        ("sqlite:///a.db?timeout=30&x", None),
        ("sqlite:///a.db?b=timeout", None),
        ("sqlite:///a.db?", None),
        ("sqlite:///?a.db", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///:memory:?cache=shared", None),
        ("sqlite:///file:x?mode=memory", None),
        ("sqlite://", None),
        ("sqlite://a.db", None),
    ],
)
def test_P41_a_sqlite_url_names_one_file_or_is_refused(url: str, file: str | None, tmp_path: Path) -> None:
    if file is None:
        with pytest.raises(UnusableError):
            parse(url)
        with pytest.raises(ConfigError, match=r"database\.url"):
            configured(tmp_path, url)
        return
    assert parse(url) == Path(file)
    assert parse(configured(tmp_path, url)) == tmp_path / file


def configured(folder: Path, url: str | None, **env: str) -> str:
    """Return the database URL of a configuration file in a folder."""
    channel = '[[channels]]\nname = "c"\nurl = "json://localhost/hook"\n'
    source = '[[sources]]\nname = "a"\nprovider = "postpost"\napi_key = "sk_one"\n'
    path = folder / "config.toml"
    database = f"[database]\nurl = '{url}'\n" if url is not None else ""
    path.write_text(database + source + channel, encoding="utf-8")
    path.chmod(0o600)
    return load(path, env).config.database.url.reveal()


@pytest.mark.parametrize("name", ["what?", "100%41", "%3F", "a#b", "a b"])
def test_P41_the_names_of_folders_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    """The folder of the configuration, and that of the state, which is the default."""
    folder = tmp_path / name
    folder.mkdir()
    assert parse(configured(folder, "sqlite:///m.db")) == folder / "m.db"
    assert parse(configured(folder, None, STATE_DIRECTORY=str(folder))) == folder / "monitor.db"


def test_unknown_options_are_refused_with_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"database\.url has the option schema"):
        configured(tmp_path, "postgresql://u@h/d?schema=x")


def test_the_parameters_are_those_of_the_installed_driver() -> None:
    psycopg: Any = pytest.importorskip("psycopg")
    from monitor.config import database_urls

    known = {each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults()}
    assert known - {"replication"} == database_urls._OPTIONS


@pytest.mark.parametrize(
    ("url", "shown", "hidden"),
    [
        ("postgresql://u:p@h:1/d?password=q", "postgresql://u@h:1/d", True),
        ("postgresql://u@h1:1,h2/d?sslpassword=q", "postgresql://u@h1:1,h2/d", True),
        ("postgresql://u@%2Frun%2Fpg/d", "postgresql://u@%2Frun%2Fpg/d", False),
        ("postgresql:///d?host=/run/pg", "postgresql://%2Frun%2Fpg/d", False),
        ("postgresql://u:1#x@h/d", "postgresql://u@h/d", True),
        ("sqlite:///a%3Fb.db", "sqlite:///a%3Fb.db", False),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str, hidden: bool) -> None:
    assert shown_database(url) == shown
    assert holds_password(url) is hidden
