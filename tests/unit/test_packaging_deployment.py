"""Dockerfile, compose file and Procfile: they parse, agree with the code, and run as nobody special."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.runner.site.flower import guarded

ROOT = Path(__file__).resolve().parents[2]
SITE = ("migrate", "web", "worker", "beat", "flower")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_all_parts_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {"postgres", "rabbitmq", "redis", "mongodb", *SITE}
    assert "pgvector" in services["postgres"]["image"]


def test_everything_that_stays_up_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"migrate"}


def test_nothing_starts_before_the_tables_are_there(services: dict[str, dict[str, Any]]) -> None:
    for name in SITE[1:]:
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_redis_comes_only_when_asked_for(services: dict[str, dict[str, Any]]) -> None:
    assert services["redis"]["profiles"] == ["redis"]


def test_ports_are_open_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_secrets_have_no_default(services: dict[str, dict[str, Any]]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "SECRET_KEY", "FLOWER_PASSWORD"):
        assert set(re.findall(rf"\$\{{{name}:(.)", text)) == {"?"}


def test_rabbitmq_does_not_close_the_channel_of_a_long_run(services: dict[str, dict[str, Any]]) -> None:
    assert "consumer_timeout" in services["rabbitmq"]["environment"]["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]


def test_modules_that_are_named_exist(services: dict[str, dict[str, Any]]) -> None:
    text = "".join((ROOT / name).read_text() for name in ("Dockerfile", "docker-compose.yml", "Procfile"))
    named = set(re.findall(r"holdfast(?:\.[a-z_]+)+", text))
    assert {
        "holdfast.runner.site.celery",
        "holdfast.runner.site.asgi",
        "holdfast.runner.site.settings",
    } <= named
    assert all(find_spec(module) is not None for module in named)


def test_the_image_runs_as_an_ordinary_user_on_pinned_dependencies() -> None:
    text = (ROOT / "Dockerfile").read_text()
    final = text.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER holdfast$", final, re.MULTILINE)
    assert "--require-hashes" in text
    assert "uid 10001" in text


def test_the_build_context_holds_what_the_dockerfile_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"holdfast", "runner", "graphs", "persistence", "requirements.txt", "pyproject.toml"} <= allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_procfile_starts_the_same_parts() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert {line.split(":", 1)[0] for line in lines} == {"release", "web", "worker", "beat", "flower"}


def test_a_first_process_that_handles_no_signal_still_stops_at_once(
    services: dict[str, dict[str, Any]],
) -> None:
    assert all(services[name]["init"] is True for name in SITE)


@pytest.mark.parametrize(
    ("argv", "environment", "closed"),
    [
        (["flower", "--port=5555"], {}, False),
        (["flower", "--port=5555"], {"FLOWER_BASIC_AUTH": ""}, False),
        (["flower", "--address=0.0.0.0"], {}, False),
        (["flower", "--basic_auth="], {}, False),
        (["flower", "--port=5555"], {"FLOWER_BASIC_AUTH": "user:password"}, True),
        (["flower", "--basic-auth=user:password"], {}, True),
        (["flower", "--address=127.0.0.1"], {}, True),
    ],
)
def test_flower_is_closed_or_on_loopback(argv: list[str], environment: dict[str, str], closed: bool) -> None:
    assert guarded(argv, environment) is closed


def test_flower_without_a_password_says_how_to_set_one_and_serves_nothing() -> None:
    line = next(line for line in (ROOT / "Procfile").read_text().splitlines() if line.startswith("flower:"))
    command = line.partition(":")[2].replace("python", sys.executable, 1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWER_")}
    done = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "FLOWER_BASIC_AUTH" in done.stderr
