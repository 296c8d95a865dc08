"""docker-compose.yml and deploy/ as texts: valid, minimal privileges, no passwords, all queues."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orderworks.core.routing import Queue
from orderworks_app.embedded.binaries import postgresql_binaries, valkey_binary
from orderworks_app.embedded.home import open_home
from orderworks_app.embedded.own_services import FLOWER, FLOWER_TASKS, own_services
from tests.support.compose_processes import FILE, services
from tests.support.processes import ROOT

TEXT = FILE.read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES = services()
OURS = ["migrate", "worker-updates", "worker-imports", "beat", "flower", "gateway"]
SERVERS = ["postgres", "valkey", "cache"]

every_service = pytest.mark.parametrize("name", SERVICES)


def test_compose_file_is_valid() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, FILE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_flower_keeps_as_few_tasks_in_compose_as_in_the_embedded_stack(tmp_path: Path) -> None:
    embedded = {
        each.name: each for each in own_services(open_home(tmp_path / "home"), {}, {FLOWER: 1})
    }
    assert FLOWER_TASKS in embedded[FLOWER].command
    assert FLOWER_TASKS in SERVICES["flower"]["command"]


def test_no_worker_listens_to_others_in_compose_nor_in_the_embedded_stack(tmp_path: Path) -> None:
    """Celery's listener can fail when the broker goes, and the worker with it."""
    alone = {"--without-gossip", "--without-mingle"}
    embedded = {each.name: each for each in own_services(open_home(tmp_path / "home"), {}, {})}
    for name in ("worker-updates", "worker-imports"):
        assert alone <= {*embedded[name].command}
        assert alone <= {*SERVICES[name]["command"]}


def test_compose_file_has_all_servers_and_services() -> None:
    assert sorted(SERVICES) == sorted(SERVERS + OURS)


@every_service
def test_service_has_minimal_privileges(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])  # noqa: S108 - its own
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & set(service)


@pytest.mark.parametrize("name", OURS)
def test_own_services_run_as_user_10001(name: str) -> None:
    assert SERVICES[name]["user"] == "10001:10001"


@every_service
def test_services_restart_except_the_migration(name: str) -> None:
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")


@every_service
def test_service_waits_for_healthy_dependencies(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
        assert how["condition"] == wanted
        assert other == "migrate" or SERVICES[other]["healthcheck"]["test"][0] == "CMD"


def test_services_wait_for_the_migration() -> None:
    for name in ("worker-updates", "worker-imports", "beat", "gateway"):
        assert "migrate" in SERVICES[name]["depends_on"]


def test_the_workers_consume_every_queue_once() -> None:
    commands = [SERVICES[name]["command"] for name in SERVICES if name.startswith("worker-")]
    consumed = [queue for words in commands for queue in words[words.index("-Q") + 1].split(",")]
    assert sorted(consumed) == sorted(queue.value for queue in Queue)


@pytest.mark.parametrize("name", ["worker-updates", "worker-imports"])
def test_worker_has_time_to_requeue_its_messages(name: str) -> None:
    assert SERVICES[name]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert SERVICES[name]["stop_grace_period"] == "45s"


def test_only_flower_and_gateway_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "flower": ["127.0.0.1:5555:5555"],
        "gateway": ["127.0.0.1:8000:8000"],
    }
    assert "--read_only" in SERVICES["flower"]["command"]


def test_database_and_broker_networks_are_internal() -> None:
    assert all(COMPOSE["networks"][name]["internal"] for name in ("database", "broker"))
    reachable = [name for name in SERVICES if "front" in SERVICES[name]["networks"]]
    assert reachable == ["flower", "gateway"]
    assert "database" not in SERVICES["flower"]["networks"]


def test_compose_file_contains_no_password() -> None:
    assert not re.findall(r"://[^/\s]*:[^/\s]*@", TEXT)
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|AUTH|SECRET|DATABASE_URL|REDIS_URL|BROKER_URL", variable):
                assert variable.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]


@every_service
def test_a_service_gets_the_secrets_that_it_names(name: str) -> None:
    service = SERVICES[name]
    words = [*service["command"], *service.get("environment", {}).values()]
    named = {found for word in words for found in re.findall(r"/run/secrets/(\w+)", word)}
    assert named == set(service.get("secrets", []))


def test_make_secrets_creates_every_secret(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert (tmp_path / name).read_text(encoding="utf-8").strip()


def make_secrets(folder: Path) -> dict[str, str]:
    subprocess.run([ROOT / "deploy/make-secrets", folder], check=True, capture_output=True)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_secrets_are_private_here_and_readable_in_containers(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}


def test_make_secrets_keeps_existing_and_restores_missing_secrets(tmp_path: Path) -> None:
    first = make_secrets(tmp_path)
    (tmp_path / "redis_url").unlink()
    assert make_secrets(tmp_path) == first


def test_two_installations_have_different_passwords(tmp_path: Path) -> None:
    one, other = make_secrets(tmp_path / "one"), make_secrets(tmp_path / "other")
    assert not {name for name in one if one[name] == other[name]}


def test_compose_images_match_the_tested_versions() -> None:
    assert (
        SERVICES["postgres"]["image"]
        == f"postgres:{version(postgresql_binaries(None) / 'postgres')}"
    )
    for name in ("valkey", "cache"):
        assert SERVICES[name]["image"] == f"valkey/valkey:{version(valkey_binary())}"


def version(server: Path) -> str:
    output = subprocess.run(
        [server, "--version"], check=True, capture_output=True, text=True
    ).stdout
    match = re.search(r"(?:\) |v=)([\d.]+)", output)
    assert match, output
    return match[1]
