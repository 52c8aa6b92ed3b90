"""Generator of those parts of the documentation that repeat the code. Run it with: python -m docs.generate

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. tests/test_docs.py compares what is written there
with the present code.
"""
# ruff: noqa: INP001 - a folder of documents is no package

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from typer.main import get_command

from monitor.cli.commands import command_line as build_command_line
from monitor.config import KeyDoc, definition_schema, provider_catalogue, reference
from monitor.config.fields import DefaultText, kind_in
from monitor.domain import (
    Alert,
    AlertEvent,
    IncidentReason,
    Policy,
    ReportedStatus,
    Severity,
    Snapshot,
    Status,
    VerdictFlag,
    VerdictReason,
    connection_id,
    provider_info,
)
from monitor.domain.rules import lifecycle, token, verdict
from monitor.domain.rules.advice import PLATFORM_NAMES, advice
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.expressions import function_docs
from monitor.domain.rules.probe_answers import PROBE_RULES
from monitor.notify.messages import Dispatch, compose, render
from monitor.notify.messages.templates import MEANINGS
from tests.failures import catalogue

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """Every document that people read, the README first."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def regenerated(text: str) -> str:
    """Return the document with every generated part updated. Raises KeyError for an unknown part."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{PARTS[block[2]]()}\n\n{block[3]}", text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


# --- the configuration


def configuration() -> str:
    """Every key, one table of Markdown for each table of the file, in the order of the file."""
    return "\n\n".join(_section(name, list(keys)) for name, keys in groupby(reference(), key=lambda key: _split(key.path)[0]))


def _split(path: str) -> tuple[str, str]:
    """`sources[].policy.stages` is the key `stages` in the table `sources[].policy`."""
    above, _, key = path.rpartition(".")
    return above, key


def heading(above: str) -> str:
    """Return the heading of a table, as it is written in the file: `[[sources]]`, `[sources.policy]`, or "At the top"."""
    if not above:
        return "At the top of the file"
    plain = above.replace("[]", "").replace("<platform>", "PLATFORM")
    return f"`[[{plain}]]`" if above.endswith("[]") else f"`[{plain}]`"


def _section(above: str, keys: list[KeyDoc]) -> str:
    rows = [(f"`{_split(key.path)[1]}`", _code(key.type), _default(key.default), key.meaning) for key in keys]
    return f"### {heading(above)}\n\n{table(('key', 'type', 'default', 'meaning'), rows)}"


def _code(kind: str) -> str:
    """Return the type of a key: secret references shortened, others unchanged."""
    return "text or a reference to a secret" if "{ env" in kind else kind


def _default(text: str) -> str:
    return f"`{text}`" if (text[0] in '"[' and "as in" not in text) or text.isdigit() else text


# --- definitions and providers

DEFINITION_TABLES = (
    ("`[[sources]]`", definition_schema.DefinitionTable),
    ("`[sources.auth]`", definition_schema.AuthTable),
    ("`[sources.list]`", definition_schema.ListTable),
    ("`[sources.list.paging]`", definition_schema.PagingTable),
    ("`[sources.each]`", definition_schema.EachTable),
    ("`[sources.row]`", definition_schema.RowTable),
    ("`[sources.row.expires]`", definition_schema.ExpiresTable),
    ("`[[sources.status]]`", definition_schema.StatusRuleTable),
    ("`[sources.test]`", definition_schema.TestTable),
    ("`[[sources.test.status]]`", definition_schema.TestRuleTable),
    ("`[sources.hook]`", definition_schema.HookTable),
    ("`[sources.hook.signature]`", definition_schema.SignatureTable),
    ("`[[sources.hook.on]]`", definition_schema.HookOnTable),
    ("`[[sources.tokens]]`", definition_schema.TokenTable),
    ("`[[sources.dates]]`", definition_schema.DateTable),
)
PROVIDER_GROUPS = {
    "posting": (
        "zernio",
        "relayapi",
        "postforme",
        "outstand",
        "postiz",
        "ayrshare",
        "buffer",
        "bundle",
        "publer",
        "uploadpost",
        "nango",
        "composio",
        "pipedream",
        "unified",
    ),
    "tokens": ("meta", "linkedin", "github", "slack", "cloudflare", "vault", "introspect", "jwt"),
    "secrets": ("entra", "gitlab"),
}
"""The shipped definitions by the page that describes them."""


def definition_keys() -> str:
    """Return every key of a definition, one table of Markdown for each table of the file."""
    sections = []
    for name, schema in DEFINITION_TABLES:
        rows = []
        for key, field in schema.model_fields.items():
            kind = kind_in(field)
            default = next((note.text for note in field.metadata if isinstance(note, DefaultText)), "none")
            if kind is not None:
                rows.append((f"`{field.alias or key}`", _code(kind.name), default, field.description or ""))
        sections.append(f"### {name}\n\n{table(('key', 'type', 'default', 'meaning'), rows)}")
    return "\n\n".join(sections)


def expression_functions() -> str:
    """Return the functions of expressions."""
    rows = ((f"`{name}({', '.join(taken)})`", meaning) for name, (taken, meaning) in function_docs().items())
    return table(("function", "meaning"), rows)


def _providers_of(group: str) -> Callable[[], str]:
    """Return a part that lists the providers of a group."""

    def listed() -> str:
        entries = {entry.name: entry for entry in provider_catalogue.catalogue()}
        chosen = (entries[name] for name in PROVIDER_GROUPS[group])
        rows = ((f"`{each.name}`", each.label, ", ".join(each.reports), each.needs, each.verified) for each in chosen)
        return table(("provider", "service", "reports", "needs", "verified"), rows)

    return listed


# --- how a status is decided


def rule_rows(module: ModuleType, name: str) -> Iterator[tuple[str, str, str]]:
    """Of a tuple of rules, in order: the rule's name, the first line of its docstring, and its effect from its comment."""
    comments = dict(re.findall(r"^    (\w+),  # (.+)$", inspect.getsource(module), flags=re.MULTILINE))
    for rule in getattr(module, name):
        yield rule.__name__, first_line(rule), comments[rule.__name__].replace("->", "→")


def first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(documented) or "").splitlines()[0]


def _rules(module: ModuleType, name: str) -> str:
    rows = ((str(number), f"`{rule}`", what, says) for number, (rule, says, what) in enumerate(rule_rows(module, name), start=1))
    return table(("", "rule", "condition and result", "reason"), rows)


def token_rules() -> str:
    """Return the table of token rules."""
    return _rules(token, "TOKEN_RULES")


def probe_rules() -> str:
    """Return the table of probe rules."""
    rows = ((str(number), row.meaning, f"`{row.finding}`") for number, row in enumerate(PROBE_RULES, start=1))
    return table(("", "answer", "finding"), rows)


def verdict_rules() -> str:
    """Return the rules that merge the axes; the last row leaves the decision to the token axis."""
    left = ("", f"`{verdict.as_listed.__name__}`", "anything else → the token's status", first_line(verdict.as_listed))
    return f"{_rules(verdict, 'VERDICT_RULES')}\n| {' | '.join(left)} |"


def member_sentences(enumeration: type[StrEnum]) -> dict[str, str]:
    """Return the sentence below each member of an enumeration, by the member's value."""
    body = ast.parse(inspect.getsource(enumeration)).body[0].body  # type: ignore[attr-defined]  # a class
    sentences = {}
    for assignment, sentence in pairwise(body):
        if isinstance(assignment, ast.Assign) and isinstance(sentence, ast.Expr):
            sentences[ast.literal_eval(assignment.value)] = ast.literal_eval(sentence.value)
    return sentences


def reasons() -> str:
    """Every reason with the statuses that it can have."""
    split = ((reason, *sentence.split(": ", 1)) for reason, sentence in member_sentences(VerdictReason).items())
    rows = ((f"`{reason}`", re.sub(r"\w+", r"`\g<0>`", statuses), meaning) for reason, statuses, meaning in split)
    return table(("reason", "status", "meaning"), rows)


def flags() -> str:
    """Every flag."""
    return table(("flag", "meaning"), ((f"`{flag}`", meaning) for flag, meaning in member_sentences(VerdictFlag).items()))


# --- alerts


def incident_reasons() -> str:
    """Return every reason of incidents about sources and the monitor, with the events that it can have."""
    split = ((reason, *sentence.split(": ", 1)) for reason, sentence in member_sentences(IncidentReason).items())
    rows = ((f"`{reason}`", re.sub(r"\w+", r"`\g<0>`", events), meaning) for reason, events, meaning in split)
    return table(("reason", "event", "meaning"), rows)


def advised() -> str:
    """Return the advice about an expired connection, by platform."""
    rows = ((name, advice(slug, Status.EXPIRED, "postpost")) for slug, name in PLATFORM_NAMES.items())
    return table(("platform", "what to do"), rows)


def template_variables() -> str:
    """Return the variables of a channel's template."""
    return table(("variable", "value"), ((f"`{name}`", meaning) for name, meaning in MEANINGS.items()))


def failures() -> str:
    """Return the catalogue of failures, with the tests of each row and the result of the last recorded run."""
    results = catalogue.results()
    head = ("row", "failure", "handling", "tests", "result", "date")
    sections = []
    for name, rows in groupby(catalogue.rows(), key=lambda row: row.section):
        lines = [
            (
                row.number,
                row.fault,
                row.expected,
                ", ".join(sorted({f"`{test.partition('::')[0]}`" for test in row.tests})),
                results.get(row.number, {}).get("result", "not run"),
                results.get(row.number, {}).get("date", ""),
            )
            for row in rows
        ]
        sections.append(f"### {name.capitalize()}\n\n{table(head, lines)}")
    return "\n\n".join(sections)


def sample_alert() -> str:
    """Return a message as a channel receives it, judged and composed by the code."""
    part = render(compose([Dispatch(alert=_sample())], timezone="Europe/Berlin", now=_SAMPLE_NOW))
    return f"```text\n{part.title}\n\n{part.body}\n```"


def _sample_file(name: str) -> Callable[[], str]:
    """Return a part that shows a sample message."""

    def shown() -> str:
        from docs import messages

        return f"```text\n{dict(messages.texts())[messages.FOLDER / name]}```"

    return shown


_SAMPLE_NOW = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)


def _sample() -> Alert:
    snapshot = Snapshot(
        external_id="linkedin-Tz9W5i6ZYG",
        platform="linkedin",
        reported=ReportedStatus.EXPIRING_SOON,
        expires_at=_SAMPLE_NOW + timedelta(days=6, hours=23),
        display_name="Northwind Coffee Roasters",
    )
    context = Context(now=_SAMPLE_NOW, provider=provider_info("postpost"), policy=Policy(), polled=True)
    state = lifecycle.observe(None, snapshot, context)
    return Alert(
        id="69afd2801f0c5be2a377",
        incident="sample",
        event=AlertEvent.EXPIRING_SOON,
        reason=AlertReason.FIRST,
        severity=Severity.WARNING,
        at=_SAMPLE_NOW,
        source="agency",
        provider="postpost",
        connection=connection_id("agency", "postpost", None, snapshot.external_id),
        external_id=snapshot.external_id,
        platform=snapshot.platform,
        label=snapshot.label,
        status=state.verdict.status,
        verdict_reason=state.verdict.reason,
        message=state.verdict.message,
        since=state.verdict.since,
        expires_at=state.token.expires_at,
        link="https://app.postpost.dev",
        labels={"client": "northwind"},
    )


# --- the architecture


def _contracts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    return found


def layers() -> str:
    """Return the layers of the package from the top down, with the first line of each package's docstring."""
    rows = []
    for layer in next(each["layers"] for each in _contracts() if each.get("containers") == ["monitor"]):
        names = layer.split(" | ")
        rows.append((", ".join(f"`{name}`" for name in names), " ".join(_purpose(name) for name in names)))
    return table(("layer", "contents"), rows)


def _purpose(name: str) -> str:
    folder = ROOT / "monitor" / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]


def homes() -> str:
    """Every third-party library with the packages that may import it."""
    rows = (
        (
            ", ".join(f"`{each}`" for each in contract["protected_modules"]),
            ", ".join(f"`{_short(each)}`" for each in contract["allowed_importers"]),
        )
        for contract in _contracts()
        if contract["type"] == "protected"
    )
    return table(("library", "imported by"), rows)


def _short(module: str) -> str:
    return module.removeprefix("monitor.").replace(".", "/")


# --- the command line


def commands() -> dict[str, Any]:
    """Every command by its full name ("db backup"), in the order of --help."""
    return dict(_leaves(get_command(build_command_line()), ""))


def _leaves(group: Any, above: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        subcommands = hasattr(command, "commands")
        if not subcommands or command.invoke_without_command:
            yield above + name, command
        if subcommands:
            yield from _leaves(command, f"{above}{name} ")


def command_line() -> str:
    """Every command with its arguments and options."""
    return "\n\n".join(_command(name, command) for name, command in commands().items())


def _command(name: str, command: Any) -> str:
    usage = " ".join(["token-monitor", name, *(_placeholder(each) for each in command.params if _is_argument(each))])
    rows = [(f"`{typed(each)}`", each.help) for each in command.params if each.help]
    parts = [f"### `{usage}`", " ".join(inspect.cleandoc(command.help or "").split())]
    return "\n\n".join([*parts, table(("", "meaning"), rows)] if rows else parts)


def typed(each: Any) -> str:
    """Return an argument or option as typed: `CONNECTION`, `--json`, `--source NAME`."""
    if _is_argument(each):
        return _metavar(each)
    return ", ".join(each.opts) + ("" if each.is_flag else f" {_metavar(each)}")


def _is_argument(each: Any) -> bool:
    return str(each.param_type_name) == "argument"


def _placeholder(each: Any) -> str:
    text = _metavar(each) if each.required else f"[{_metavar(each)}]"
    return text if each.nargs == 1 else f"{text}..."


def _metavar(each: Any) -> str:
    return str(each.metavar or str(each.name).upper().rstrip("_"))


PARTS: dict[str, Callable[[], str]] = {
    "commands": command_line,
    "configuration": configuration,
    "definition-keys": definition_keys,
    "expression-functions": expression_functions,
    "providers-posting": _providers_of("posting"),
    "providers-tokens": _providers_of("tokens"),
    "providers-secrets": _providers_of("secrets"),
    "token-rules": token_rules,
    "reasons": reasons,
    "flags": flags,
    "probe-rules": probe_rules,
    "verdict-rules": verdict_rules,
    "incident-reasons": incident_reasons,
    "advice": advised,
    "sample-alert": sample_alert,
    "sample-group": _sample_file("group-of-17.txt"),
    "sample-reminder": _sample_file("reminder.txt"),
    "sample-recovery": _sample_file("recovery-of-8.txt"),
    "template-variables": template_variables,
    "failures": failures,
    "layers": layers,
    "homes": homes,
}


def main() -> None:
    """Write every document anew whose generated parts changed."""
    for path in documents():
        text = path.read_text("utf-8")
        anew = regenerated(text)
        if anew != text:
            path.write_text(anew, "utf-8")
    from docs import messages, shipped

    for path, text in messages.texts():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    shipped.write()


if __name__ == "__main__":
    main()
