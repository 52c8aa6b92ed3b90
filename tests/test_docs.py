"""The documents say what the code says: tables, examples, commands, keys and links."""

from __future__ import annotations

import ast
import configparser
import inspect
import re
import shlex
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import to_builtins
from typer.main import get_command

from docs import generate
from monitor.cli.commands import command_line
from monitor.cli.startup import with_options_first
from monitor.config import Config, load, reference
from monitor.config.fields import kind_in
from monitor.config.shipped_definitions import shipped_names
from monitor.demo.scenario import CAST
from monitor.domain import (
    AlertEvent,
    ConnectionState,
    DeliveryState,
    Event,
    EventKind,
    LastError,
    Severity,
    SourceStatus,
    Status,
    VerdictFlag,
    VerdictReason,
)
from monitor.domain.providers import coded_names, coded_providers
from monitor.domain.rules import dates, lifecycle, token, token_rules, verdict
from monitor.domain.rules.forecast import Need, ReconnectBatch
from monitor.domain.rules.silences import Silence
from monitor.providers import postbreeze, scopes
from monitor.providers.postpost import rows as postpost_rows
from monitor.store.cluster_tables import ClusterState, DaemonRow
from monitor.store.connection_queries import ConnectionRow
from monitor.store.deliveries import AttemptRow, DeliveryRow
from monitor.views import connections as connection_views
from monitor.views.alerts import AlertView, Explanation, Route
from monitor.views.cluster import ClusterView
from monitor.views.connections import ConnectionView
from monitor.views.forecast import ReconnectBatchView
from monitor.views.history import EventView
from monitor.views.renewals import RenewalView
from monitor.views.silences import SilenceView
from monitor.views.sources import ChannelView, SourceView
from tests.support.factories import NOW, make_alert, make_state

ROOT = Path(__file__).parent.parent
DOCUMENTS = generate.documents()
UNIT = ROOT / "systemd" / "token-monitor.service"
COMMAND = get_command(command_line())

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_IN_CONTAINER = r"docker compose (?:exec \S+|run --rm) |kubectl exec \S+ -- "
_THROUGH = rf"runuser -u \S+ -- |(?:[*/\d]+ ){{5}}|sudo -u \S+ sudo -n |{_IN_CONTAINER}"
OURS = re.compile(rf"(?:{_THROUGH})?(?:\S*/)?token-monitor ((?![|>#]).+)")
"""A line that runs the program: bare, by its path, as another user, in a container, or from cron."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(language: str) -> list[Any]:
    """Every fenced block of a language, named after its document and line."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for match in FENCE.finditer(text):
            if match[2] == language:
                place = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
                found.append(pytest.param(inspect.cleandoc(match[3]), id=place))
    return found


def rows_under(name: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without the head."""
    section = re.split(rf"^#+ {re.escape(heading)}$", text_of(name), flags=re.MULTILINE)[1]
    table = re.search(r"^\|(?:.*\n\|)*.*$", section, re.MULTILINE)
    assert table is not None, f"{name} has no table under {heading}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def spans(cells: Sequence[str]) -> list[str]:
    return [word for cell in cells for word in SPAN.findall(cell)]


# --- what is generated


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_generated_parts_match_the_code(path: Path) -> None:
    """If this fails: make docs."""
    text = path.read_text("utf-8")
    assert text == generate.regenerated(text)


def test_every_generated_part_is_shown_somewhere() -> None:
    everything = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    assert set(re.findall(r"<!-- generated: ([a-z-]+) -->", everything)) == set(generate.PARTS)


@pytest.mark.parametrize(("module", "name"), [(token, "TOKEN_RULES"), (verdict, "VERDICT_RULES")])
def test_the_decision_tables_name_every_rule_in_order_with_its_docstring(module: ModuleType, name: str) -> None:
    rules = getattr(module, name)
    text = text_of("docs/statuses.md")
    places = [text.index(f"| `{rule.__name__}` |") for rule in rules]
    assert places == sorted(places)
    assert all(generate.first_line(rule) in text for rule in rules)


def test_the_reference_has_a_row_for_every_key_under_its_table() -> None:
    text = text_of("docs/configuration.md")
    for key in reference():
        above, _, name = key.path.rpartition(".")
        section = text.split(f"### {generate.heading(above)}\n")[1].split("\n### ")[0]
        assert f"| `{name}` |" in section, key.path


# --- statuses, reasons, flags, events


def test_the_tables_of_statuses_are_in_rising_severity() -> None:
    expected = [(status.value, status.severity.value) for status in Status]
    for name, heading in (("docs/statuses.md", "Statuses"), ("README.md", "How a status is decided")):
        assert [(row[0].strip("`"), row[1]) for row in rows_under(name, heading)] == expected


def test_every_status_of_a_source_is_documented() -> None:
    assert spans([row[0] for row in rows_under("docs/statuses.md", "Sources")]) == [status.value for status in SourceStatus]


def test_every_reason_is_documented_with_its_statuses() -> None:
    documented = {row[0].strip("`"): set(spans([row[1]])) for row in rows_under("docs/statuses.md", "Reasons")}
    assert documented == reasons_in_the_rules()
    assert set(documented) == set(VerdictReason)


def reasons_in_the_rules() -> dict[str, set[str]]:
    """Every reason that a rule writes out, with the statuses that it writes beside it."""
    found: dict[str, set[str]] = {}
    for module in (token_rules, verdict):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            match node:
                case (
                    ast.Call(func=ast.Name("Finding"), args=[ast.Attribute() as status, ast.Attribute() as reason, *_])
                    | ast.Tuple(elts=[ast.Attribute() as status, ast.Attribute() as reason, *_])
                ) if (ast.unparse(status.value), ast.unparse(reason.value)) == ("Status", "VerdictReason"):
                    found.setdefault(VerdictReason[reason.attr].value, set()).add(Status[status.attr].value)
    return found


def test_every_flag_is_documented_and_set_somewhere() -> None:
    assert set(spans([row[0] for row in rows_under("docs/statuses.md", "Flags")])) == set(VerdictFlag)
    modules = (dates, token_rules, token, verdict, lifecycle, scopes, postbreeze, postpost_rows, connection_views)
    assert flags_named_in(*modules) == set(VerdictFlag)


def flags_named_in(*modules: ModuleType) -> set[str]:
    """The flags that these modules name."""
    return {
        VerdictFlag[node.attr].value
        for module in modules
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "VerdictFlag"
    }


def test_every_alert_event_is_listed_with_its_severity() -> None:
    rows = rows_under("docs/alerts.md", "Alert events")
    assert {event for row in rows for event in spans([row[0]])} == {event.value for event in AlertEvent}
    for row in rows:
        for event in spans([row[0]]):
            if event in set(Status):
                assert row[1] == Status(event).severity


def test_the_providers_table_agrees_with_what_the_program_knows_of_them() -> None:
    rows = {row[0]: row[1:] for row in rows_under("docs/providers.md", "Providers")}
    assert spans(rows["`provider`"]) == list(coded_names())
    assert spans(rows["list"]) == [f"GET {service.list_path}" for service in coded_providers()]
    assert [cell != "none" for cell in rows["probe"]] == [service.has_probes for service in coded_providers()]
    paces = [int(cell.split(",")[0]) for cell in rows["requests a minute, by default"]]
    assert paces == [service.requests_per_minute for service in coded_providers()]


def test_every_shipped_definition_is_on_one_page_and_no_other() -> None:
    grouped = [name for names in generate.PROVIDER_GROUPS.values() for name in names]
    assert sorted(grouped) == list(shipped_names())


def test_every_key_of_a_definition_is_documented_with_its_meaning() -> None:
    text = text_of("docs/definitions.md")
    for name, schema in generate.DEFINITION_TABLES:
        section = text.split(f"### {name}\n")[1].split("\n### ")[0]
        scalars = [field.alias or key for key, field in schema.model_fields.items() if kind_in(field) is not None]
        assert re.findall(r"^\| `(\w+)` \|.*\| .+ \|$", section, re.MULTILINE) == scalars


# --- the command line


def test_every_command_and_option_explains_itself() -> None:
    for name, command in generate.commands().items():
        assert command.help, name
        assert all(each.help for each in command.params), name


def command_lines() -> list[Any]:
    """The arguments of every `token-monitor …` in a shell block or set as code, with where they stand."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        shell = [line for match in FENCE.finditer(text) if match[2] == "sh" for line in match[3].splitlines()]
        for line in [*shell, *SPAN.findall(FENCE.sub("", text))]:
            if (ours := OURS.match(line)) is not None:
                arguments = re.split(r" [|>#]| *&&", ours[1])[0].rstrip()
                if "-completion" in arguments:
                    continue  # these act while the line is parsed, and would change the shell's files of whoever tests
                found.append(pytest.param(arguments, id=f"{path.relative_to(ROOT)}: {arguments}"))
    return found


@pytest.mark.parametrize("arguments", command_lines())
def test_every_command_line_parses(arguments: str) -> None:
    """Options, arguments and their number; placeholders such as CONNECTION stand for themselves."""
    parse(shlex.split(arguments))


def test_every_command_is_shown_at_least_once() -> None:
    shown = [str(each.values[0]) for each in command_lines()]
    assert [name for name in generate.commands() if not any(f"{line} ".startswith(f"{name} ") for line in shown)] == []


def parse(arguments: Sequence[str]) -> None:
    """Raises the usage error that typing this would give. Runs nothing."""
    command: Any = COMMAND
    context = command.make_context("token-monitor", with_options_first(arguments))
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest and command.invoke_without_command:
            return
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("wrong", ["status --jsn", "history", "no-such-command", "db backup", "alerts explain"])
def test_a_wrong_command_line_would_be_noticed(wrong: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(wrong.split())


def test_every_make_target_that_is_mentioned_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        shell = "\n".join(match[3] for match in FENCE.finditer(text) if match[2] == "sh")
        code = "\n".join([shell, *SPAN.findall(FENCE.sub("", text))])
        named = set(re.findall(r"^(?:[A-Z]+=\S+ )*make ([a-z-]+)", code, re.MULTILINE))
        assert named <= targets, path.name


# --- the configuration


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_toml_block_loads(block: str, tmp_path: Path) -> None:
    """With its secrets given, and a source where it shows none."""
    if not re.search(r"^(\[\[sources\]\]|sources *=)", block, re.MULTILINE):
        block += '\n[[sources]]\nname = "any"\nprovider = "postpeer"\napi_key = { env = "ANY_KEY" }\n'
    path = tmp_path / "config.toml"
    path.write_text(block, "utf-8")
    env = {"HOME": str(tmp_path), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    for name in re.findall(r'^ca_file\s*=\s*"(.+?)"', block, re.MULTILINE):
        (tmp_path / name).write_text("-----BEGIN CERTIFICATE-----\n", "ascii")
    for kind, name in references(tomllib.loads(block)):
        secret = "json://localhost/hook" if name.lower().endswith("url") else f"key-of-{name}"
        if kind == "env":
            env[name] = secret
        else:
            (tmp_path / name).write_text(secret, "utf-8")
            (tmp_path / name).chmod(0o600)
    config = load(path, env).config
    assert config.sources


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Every reference to a secret in a TOML document: its kind and its name."""
    if isinstance(value, dict):
        if len(value) == 1 and set(value) <= {"env", "file", "credential"}:
            yield from value.items()
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_environment_that_is_shown_is_understood(tmp_path: Path) -> None:
    block = next(match[3] for match in FENCE.finditer(text_of("docs/configuration.md")) if "TOKEN_MONITOR_SCHEDULE" in match[3])
    shown = dict(word.split("=", 1) for line in block.splitlines() for word in shlex.split(line, comments=True))
    path = tmp_path / "config.toml"
    path.touch()
    env = {**shown, "HOME": str(tmp_path), "DATABASE_URL": "sqlite:///elsewhere.db", "POSTPEER_API_KEY": "a-key"}
    config = load(path, env).config
    assert config.schedule.poll_every == timedelta(minutes=5)
    assert config.policies["tiktok"].expiring_within == timedelta(days=30)
    assert config.policy.stages == (timedelta(days=3), timedelta(days=1))
    assert config.database.url.reveal() == f"sqlite:///{tmp_path / 'elsewhere.db'}"
    assert [source.name for source in config.sources] == ["main"]


# --- JSON


def keys_of(value: object) -> set[str]:
    """The keys as the documents write them: those of an object inside after a dot."""
    found = set()
    for key, item in to_builtins(value).items():
        inner = isinstance(item, dict) and key != "labels"
        found |= {f"{key}.{below}" for below in item} if inner else {key}
    return found


def told_keys(heading: str) -> set[str]:
    return set(spans([row[0] for row in rows_under("docs/commands.md", heading)]))


def view_of(state: ConnectionState) -> ConnectionView:
    row = ConnectionRow(
        id=1,
        source="agency",
        provider="postpost",
        state=state,
        added_at=NOW,
        last_seen_at=NOW,
        probe_at=NOW,
        probe_ok_at=NOW,
        retired_at=None,
        fingerprint="",
    )
    return ConnectionView(row=row, now=NOW, renewal=RenewalView(last_at=NOW))


def test_every_key_of_a_connection_is_documented() -> None:
    assert told_keys("A connection") == keys_of(view_of(make_state(last_error=LastError(message="no"))).json())


def test_every_key_of_a_source_is_documented() -> None:
    view = SourceView(
        name="agency",
        provider="postpost",
        status=SourceStatus.OK,
        reason="ok",
        message=None,
        last_poll_at=NOW,
        last_success_at=NOW,
        next_poll_at=NOW,
        connections=1,
        now=NOW,
        poll_every=timedelta(minutes=15),
        settings=None,
    )
    assert told_keys("A source") == keys_of(view.json())


def test_every_key_and_kind_of_an_event_is_documented() -> None:
    view = EventView(connection=None, source="agency", entry=Event(kind=EventKind.RENEWED, at=NOW))
    assert told_keys("An event") == keys_of(view.json())
    kinds = next(row[1] for row in rows_under("docs/commands.md", "An event") if row[0] == "`kind`")
    assert spans([kinds]) == [kind.value for kind in EventKind]


def test_every_key_of_an_alert_is_documented_down_to_its_attempts() -> None:
    attempt = AttemptRow(number=1, started_at=NOW, finished_at=NOW, outcome="sent", detail=None)
    delivery = DeliveryRow(
        id=1,
        alert_id="alert-1",
        channel="ops",
        state=DeliveryState.SENT,
        created_at=NOW,
        next_attempt_at=None,
        sent_at=NOW,
        last_error=None,
        uncertain=False,
        attempts=(attempt,),
    )
    view = AlertView(alert=make_alert(), note=None, deliveries=(delivery,))
    shape = to_builtins(view.json())
    rows = {row[0]: row[1] for row in rows_under("docs/commands.md", "An alert")}
    assert told_keys("An alert") - {"deliveries[].attempts"} == keys_of(shape)
    words = {state.value for state in DeliveryState}
    assert set(spans([rows["`deliveries`"]])) - words == set(shape["deliveries"][0])
    assert set(spans([rows["`deliveries[].attempts`"]])) == set(shape["deliveries"][0]["attempts"][0])


def test_every_key_of_an_explanation_is_documented_down_to_its_routes() -> None:
    route = Route(channel="ops", group_wait=timedelta(0), refused_by=None)
    view = AlertView(alert=make_alert(), note=None, deliveries=())
    shape = to_builtins(Explanation(view=view, routes=(route,)).json())
    assert told_keys("An explanation") == keys_of(shape) - keys_of(view.json())
    routes = text_of("docs/commands.md").split("| key of a route |")[1].split("\n\n")[0]
    assert set(spans([line.split("|")[1] for line in routes.splitlines()[2:]])) == set(shape["routes"][0])


def test_every_key_of_a_cluster_is_documented() -> None:
    daemon = DaemonRow(
        id="alpha/1/x",
        host="alpha",
        pid=1,
        version="1",
        workers=4,
        configuration="a1",
        plans=True,
        state="working",
        detail=None,
        units=0,
        clock_offset=0.0,
        state_since=NOW,
        started_at=NOW,
        seen_at=NOW,
        present=True,
    )
    shape = to_builtins(ClusterView.of(ClusterState(daemons=(daemon,), queues=(), leases=0), now=NOW).json())
    section = text_of("docs/commands.md").split("### A cluster")[1].split("\n### ")[0]
    assert shape.keys() <= set(spans([section.split("| key of a daemon")[0]]))
    for name, of in (("daemons", "a daemon"), ("queues", "a queue")):
        rows = section.split(f"| key of {of} |")[1].split("\n\n")[0].splitlines()[2:]
        assert set(spans([row.split("|")[1] for row in rows])) == set(shape[name][0])


def test_every_key_of_a_channel_a_silence_and_a_reconnect_batch_is_documented() -> None:
    channel = ChannelView(name="ops", problem=None, failing_since=None, broken=False, last_success_at=None)
    assert told_keys("A channel") == keys_of(channel.json())
    silence = SilenceView(silence=Silence(starts_at=NOW), now=NOW)
    assert told_keys("A silence") == keys_of(silence.json())
    need = Need(connection="c", source="s", platform="p", label="l", status=Status.EXPIRED, by=NOW)
    batch = ReconnectBatchView(
        batch=ReconnectBatch(source="s", platform="p", needs=(need,)),
        provider="p",
        link=None,
        connections=(view_of(make_state()),),
    )
    shape = to_builtins(batch.json())
    assert told_keys("A reconnect batch of the forecast") == set(shape)
    rows = {row[0]: row[1] for row in rows_under("docs/commands.md", "A reconnect batch of the forecast")}
    assert set(spans([rows["`connections`"]])) == set(shape["connections"][0])


# --- links, pictures, the unit, the log


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text("utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        waiting += [
            (path.parent / link.partition("#")[0]).resolve() for link in LINK.findall(path.read_text("utf-8")) if ":" not in link
        ]
    assert {path for path in DOCUMENTS if path not in seen} == set()


def test_the_index_of_tasks_leads_to_every_page() -> None:
    """Decisions are listed in architecture.md."""
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in LINK.findall(text_of("docs/README.md"))}
    pages = [path for path in DOCUMENTS if path.is_relative_to(ROOT / "docs") and path.parent.name != "adr"]
    assert [path for path in pages if path not in linked and path.name != "README.md"] == []


def test_the_picture_needs_nothing_from_elsewhere_and_shows_the_demos_people() -> None:
    text = text_of("docs/demo.svg")
    assert re.findall(r"https?://[^\"' )]+", text) == ["http://www.w3.org/2000/svg"]
    root = ET.fromstring(text)  # noqa: S314 - our own file
    assert not [node.tag for node in root.iter() if node.tag.rpartition("}")[2] in ("script", "image", "foreignObject")]
    said = " ".join("".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")).replace("\xa0", " ")
    shown = [role.display_name for role in CAST if role.display_name in said]
    assert len(shown) >= 5
    assert all(word in said for word in (Status.DISCONNECTED, Status.REVOKED, Status.EXPIRED, Status.EXPIRING_SOON))


def test_the_systemd_unit_starts_the_daemon_that_the_install_puts_there() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their capitals
    unit.read_string(UNIT.read_text("utf-8"))
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    parse(arguments)
    install = text_of("docs/installation.md")
    assert f"python3 -m venv {Path(program).parent.parent}\n" in install
    assert arguments[1] in install
    assert service["Type"] == "notify"
    lines = UNIT.read_text("utf-8").splitlines()
    check, reload = [line.partition("=")[2] for line in lines if line.startswith("ExecReload=")]
    parse(shlex.split(check)[1:])
    assert reload.endswith("-HUP $MAINPID")
    companion = UNIT.with_name("token-monitor-failure@.service").read_text("utf-8")
    command = next(line.partition("=")[2] for line in companion.splitlines() if line.startswith("ExecStart="))
    parse(shlex.split(command)[1:])
    assert [line for line in lines if line.startswith(BOUNDS)] == [
        line for line in companion.splitlines() if line.startswith(BOUNDS)
    ]


BOUNDS = ("Protect", "Private", "Restrict", "SystemCall", "DynamicUser", "User", "StateDirectory", "LoadCredential", "Capability")
"""What service and companion have in common: user, state, secrets and sandbox."""


def test_every_documented_log_event_exists_and_every_error_is_documented() -> None:
    rows = rows_under("docs/operations.md", "Logs")
    told = set(spans([row[0] for row in rows]))
    source = "".join(path.read_text("utf-8") for path in (ROOT / "monitor").rglob("*.py"))
    logged = dict.fromkeys(re.findall(r"(?:log\.\w+\(\s*|\"event\": )\"([a-z_.]+)\"", source))
    assert told <= set(logged)
    assert set(re.findall(r"log\.(?:error|exception)\(\s*\"([a-z_.]+)\"", source)) <= told


@pytest.mark.parametrize("path", [*DOCUMENTS, UNIT], ids=lambda path: path.name)
def test_no_document_names_a_folder_of_somebodys_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"/home/|/root\b|/tmp/", text)
    assert str(ROOT) not in text


def test_the_readme_stays_short_and_the_defaults_it_names_hold(tmp_path: Path) -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) < 200
    block = next(match[3] for match in FENCE.finditer(text) if match[2] == "toml")
    assert len(block.strip().splitlines()) <= 22
    path = tmp_path / "config.toml"
    path.write_text(block, "utf-8")
    (tmp_path / "postbreeze.key").write_text("a-key", "utf-8")
    (tmp_path / "postbreeze.key").chmod(0o600)
    env = {"HOME": str(tmp_path), "POSTPOST_API_KEY": "a", "OPS_APPRISE_URL": "json://localhost/hook"}
    loaded = load(path, env)
    assert loaded.warnings == ()
    config: Config = loaded.config
    assert (config.policy.confirm_failures, config.policy.confirm_missing) == (2, 2)
    assert config.channels[0].severity is Severity.INFO
