"""The reference site's environment: what is missing or wrong is said in one line, and safe is the default."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import ConfigurationError
from holdfast.runner.site import environment

URL = "postgresql://app:s%40cret@db.internal:5433/shop?sslmode=require"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "SECRET_KEY", "BROKER_URL", environment.WITHOUT_DATABASE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))


def test_a_missing_database_url_says_how_to_mend_it() -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set.*holdfast up") as caught:
        environment.databases()
    assert caught.value.setting == "DATABASE_URL"
    assert "\n" not in str(caught.value)


def test_a_missing_database_url_points_at_the_server_that_runs_here(tmp_path: Path) -> None:
    (tmp_path / "env").touch()
    with pytest.raises(ConfigurationError, match=str(tmp_path / "env")):
        environment.databases()


def test_what_reads_no_database_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.WITHOUT_DATABASE, "1")
    assert environment.databases() == {}


def test_the_parts_of_a_url_arrive() -> None:
    parsed = environment.database(URL)
    assert (parsed["HOST"], parsed["PORT"], parsed["NAME"]) == ("db.internal", 5433, "shop")
    assert (parsed["USER"], parsed["PASSWORD"]) == ("app", "s@cret")
    assert parsed["OPTIONS"] == {"sslmode": "require"}


def test_a_unix_socket_stands_where_django_looks_for_it() -> None:
    parsed = environment.database("postgresql://postgres@/holdfast?host=/run/pg&port=5433")
    assert (parsed["HOST"], parsed["PORT"], parsed["OPTIONS"]) == ("/run/pg", 5433, {})


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgresql://u:s3cret@h:port/db",
        "mysql://u:s3cret@h/db",
        "sqlite:///db",
        "postgresql://h",
    ],
)
def test_a_wrong_database_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host:5432/name") as caught:
        environment.database(url)
    assert "s3cret" not in str(caught.value)


def test_the_broker_is_the_database_until_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.broker_url() == "holdfast://default"
    monkeypatch.setenv("BROKER_URL", "amqp://broker")
    assert environment.broker_url() == "amqp://broker"


def test_a_missing_secret_key_says_how_to_make_one() -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY is not set"):
        environment.secret_key()


def test_a_kept_secret_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = environment.kept_secret(path)
    assert environment.kept_secret(path) == first
    assert len(first) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_a_switch(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    monkeypatch.setenv("DEBUG", text)
    assert environment.flag("DEBUG") is value


def test_a_switch_that_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "maybe")
    with pytest.raises(ConfigurationError, match="DEBUG is 'maybe'"):
        environment.flag("DEBUG")


def test_the_deployed_site_passes_djangos_own_deployment_check() -> None:
    """Debug off, secure cookies, HTTPS: what `check --deploy` warns of is not there by default."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": environment.SITE_SETTINGS,
        "DATABASE_URL": "postgresql://nobody@localhost/none",
        "SECRET_KEY": "kH3-" * 14 + "zZq9!x",
        "ALLOWED_HOSTS": "holdfast.example",
        "HSTS_SECONDS": "3600",
    }
    command = [sys.executable, "-m", "django", "check", "--deploy", "--fail-level", "WARNING"]
    silent = (
        "security.W005 security.W021"  # HSTS for subdomains and preload: the owner's choice of a lifetime
    )
    code = (
        "import django; from django.conf import settings; "
        f"settings.SILENCED_SYSTEM_CHECKS = {silent.split()}; "
        f"from django.core.management import execute_from_command_line as run; run({command[2:]!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
