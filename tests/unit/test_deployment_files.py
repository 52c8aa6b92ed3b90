"""The files that users copy from docs/deployment and docs/monitoring: each path, port, key and command of ours in them exists."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.main import get_command

from monitor.cli.commands import command_line
from monitor.cli.startup import with_options_first
from monitor.config import load
from monitor.config.schema import PREFIX
from monitor.domain.errors import ConfigError
from monitor.web.auth import HEALTH

ROOT = Path(__file__).parent.parent.parent
DEPLOYMENT, MONITORING = ROOT / "docs" / "deployment", ROOT / "docs" / "monitoring"
CONTAINERFILE = (ROOT / "Containerfile").read_text("utf-8")
STATE, CONFIG_FOLDER, USER = "/var/lib/token-monitor", "/etc/token-monitor", 62321
PORT = 8321


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOYMENT / name).read_text("utf-8")))


def kubernetes() -> dict[str, dict[str, Any]]:
    """Every object by its kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOYMENT / "kubernetes.yaml").read_text("utf-8"))}


def example_environment() -> dict[str, str]:
    lines = (DEPLOYMENT / "example.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def parse(arguments: list[str]) -> None:
    """Raise the usage error that these arguments of the program would give. Run nothing."""
    command: Any = get_command(command_line())
    context = command.make_context("token-monitor", with_options_first(arguments))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def test_the_image_has_the_user_and_the_paths_that_the_files_name() -> None:
    assert f"USER {USER}:{USER}\n" in CONTAINERFILE
    assert f"STATE_DIRECTORY={STATE} " in CONTAINERFILE
    assert f"TOKEN_MONITOR_CONFIG={CONFIG_FOLDER}/config.toml\n" in CONTAINERFILE
    assert f"127.0.0.1:{PORT}/healthz" in CONTAINERFILE


@pytest.mark.parametrize("database", [True, False], ids=["Compose", "Kubernetes"])
def test_the_configuration_loads_with_the_environment_of_the_examples(tmp_path: Path, database: bool) -> None:
    """Without a warning, although every user may read the file; a variable of ours that does not exist would be an error."""
    path = tmp_path / "config.toml"
    path.write_bytes((DEPLOYMENT / "config.toml").read_bytes())
    path.chmod(0o644)
    given = dict.fromkeys(example_environment(), "a-value-of-22-or-more-characters") | {"STATE_DIRECTORY": STATE}
    given["OPS_APPRISE_URL"] = "jsons://hooks.example.com/token-monitor"
    if database:
        given |= compose()["services"]["token-monitor"]["environment"]
    loaded = load(path, given)
    assert loaded.warnings == ()
    config = loaded.config
    assert config.web.served_at == f"0.0.0.0:{PORT}"
    assert config.web.token is not None
    assert config.database.url.reveal().endswith("//monitor@db:5432/monitor" if database else f"//{STATE}/monitor.db")
    used = set(re.findall(r'env = "(\w+)"', path.read_text("utf-8")))
    assert used | {"PGPASSWORD"} == set(example_environment())


def test_nothing_starts_while_the_example_environment_is_not_filled_in() -> None:
    """No placeholder could remain as a password that everyone knows."""
    assert set(example_environment().values()) == {""}
    with pytest.raises(ConfigError) as raised:
        load(DEPLOYMENT / "config.toml", example_environment() | {"STATE_DIRECTORY": STATE})
    for name in ("POSTPOST_API_KEY", "OPS_APPRISE_URL", "TOKEN_MONITOR_WEB_TOKEN"):
        assert name in str(raised.value)


def test_compose_passes_the_database_that_it_creates() -> None:
    services = compose()["services"]
    monitor, database = services["token-monitor"], services["db"]
    given = database["environment"]
    url = monitor["environment"][f"{PREFIX}DATABASE__URL"]
    assert url == f"postgresql://{given['POSTGRES_USER']}@db:5432/{given['POSTGRES_DB']}"
    assert given["POSTGRES_PASSWORD"].startswith("${PGPASSWORD:?")
    assert monitor["env_file"] == ".env"
    assert monitor["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert f"--username={given['POSTGRES_USER']}" in database["healthcheck"]["test"]
    assert set(compose()["volumes"]) == {volume.partition(":")[0] for volume in database["volumes"]}


def test_compose_restricts_the_container_and_publishes_the_page_on_loopback_only() -> None:
    monitor = compose()["services"]["token-monitor"]
    assert monitor["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert monitor["volumes"] == [f"./config.toml:{CONFIG_FOLDER}/config.toml:ro"]
    assert (monitor["read_only"], monitor["cap_drop"]) == (True, ["ALL"])
    assert int(monitor["stop_grace_period"].removesuffix("s")) > 10, "the daemon stops within 10 seconds"


def test_compose_starts_two_daemons_of_a_cluster_that_differ_in_name_and_port_only(tmp_path: Path) -> None:
    alone, services = compose()["services"]["token-monitor"], compose("compose-cluster.yaml")["services"]
    first, second = services["token-monitor-1"], services["token-monitor-2"]
    shared = {key: value for key, value in first.items() if key not in {"hostname", "ports"}}
    assert shared == {key: value for key, value in second.items() if key not in {"hostname", "ports"}}
    workers = {f"{PREFIX}CLUSTER__WORKERS": "4"}
    assert shared == {
        **{key: value for key, value in alone.items() if key != "ports"},
        "environment": alone["environment"] | workers,
    }
    assert services["db"] == compose()["services"]["db"]
    assert [first["ports"], second["ports"]] == [[f"127.0.0.1:{port}:{PORT}"] for port in (PORT, PORT + 1)]
    path = tmp_path / "config.toml"
    path.write_bytes((DEPLOYMENT / "config.toml").read_bytes())
    path.chmod(0o644)
    given = dict.fromkeys(example_environment(), "a-value-of-22-or-more-characters") | {"STATE_DIRECTORY": STATE}
    given["OPS_APPRISE_URL"] = "jsons://hooks.example.com/token-monitor"
    loaded = load(path, given | first["environment"])
    assert (loaded.warnings, loaded.config.cluster.workers) == ((), 4)


def test_the_pod_of_kubernetes_is_restricted_and_its_probes_exist() -> None:
    pod = kubernetes()["StatefulSet"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) == (USER, USER)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["enableServiceLinks"] is False, f"a Service named token-monitor would set variables that begin with {PREFIX}"
    assert pod["terminationGracePeriodSeconds"] > 10
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {probe["path"] for probe in probes.values()} <= set(HEALTH)
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] == 15 * 60, "as long as a migration may take"


def test_the_objects_of_kubernetes_fit_together() -> None:
    objects = kubernetes()
    stateful, service, policy = objects["StatefulSet"]["spec"], objects["Service"]["spec"], objects["NetworkPolicy"]["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    assert labels == stateful["selector"]["matchLabels"] == service["selector"] == policy["podSelector"]["matchLabels"]
    assert stateful["serviceName"] == objects["Service"]["metadata"]["name"]
    assert (service["ports"][0]["port"], service["ports"][0]["targetPort"]) == (PORT, "http")
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": PORT}]
    pod = stateful["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"config": CONFIG_FOLDER, "state": STATE}
    volumes = {each["name"] for each in pod["volumes"]} | {each["metadata"]["name"] for each in stateful["volumeClaimTemplates"]}
    assert volumes == set(mounts)


def test_the_page_creates_the_objects_that_the_pod_reads() -> None:
    text = (DEPLOYMENT / "kubernetes.md").read_text("utf-8")
    pod = kubernetes()["StatefulSet"]["spec"]["template"]["spec"]
    secret = pod["containers"][0]["envFrom"][0]["secretRef"]["name"]
    assert f"kubectl create secret generic {secret} --from-env-file=.env\n" in text
    config = next(each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each)
    assert f"kubectl create configmap {config} --from-file=config.toml\n" in text


def test_the_commands_of_nagios_parse() -> None:
    """And each service names a command that the file defines."""
    text = (MONITORING / "nagios.cfg").read_text("utf-8")
    defined = dict(re.findall(r"command_name\s+(\S+)\n\s+command_line\s+(.+)", text))
    for line in defined.values():
        sudo, no_prompt, program, *arguments = shlex.split(line.replace("$ARG1$", "acme"))
        assert (sudo, no_prompt, program) == ("/usr/bin/sudo", "-n", "/opt/token-monitor/bin/token-monitor")
        parse(arguments)
    used = re.findall(r"check_command\s+([^\s!]+)", text)
    assert set(used) == set(defined)
    assert text.count("define ") == text.count("\n}") == len(defined) + len(used)


def test_the_command_of_icinga_parses() -> None:
    text = (MONITORING / "icinga2.conf").read_text("utf-8")
    command = json.loads(re.search(r"command = (\[.+?\])\n", text, re.DOTALL)[1])  # type: ignore[index]
    option = re.search(r'arguments = \{\s+"(--\w+)"', text)
    assert option is not None
    assert command[:3] == ["/usr/bin/sudo", "-n", "/opt/token-monitor/bin/token-monitor"]
    parse([*command[3:], option[1], "client=acme"])
    assert text.count("{") == text.count("}")


def test_sudo_allows_exactly_the_command_of_both() -> None:
    text = (MONITORING / "nagios.md").read_text("utf-8")
    allowed = re.search(r"NOPASSWD: (\S+ --config \S+ status) \*\n", text)
    assert allowed is not None
    for name in ("nagios.cfg", "icinga2.conf"):
        plain = re.sub(r'[",\[\]\s]+', " ", (MONITORING / name).read_text("utf-8"))
        assert f"{allowed[1]} --exit-code" in plain, name
