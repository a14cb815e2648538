"""The command as a test's own shell has it: in this process or in one of its own, with what it said and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import typer.rich_utils  # noqa: F401 - it reads FORCE_COLOR once, which a test may set later
from django.db import connection

from holdfast.runner.management.command import main


class Shell:
    """Runs the command in this process and keeps what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = self._capsys.readouterr()
        self.stderr = said.err
        assert end.value.code == code, said.out + said.err
        return said.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def refused(self, *arguments: str) -> str:
        """The one line of a typed error."""
        assert self(*arguments, code=1) == ""
        lines = self.stderr.strip().splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("holdfast: ")
        return lines[0]


def site(**changes: str) -> dict[str, str]:
    """The environment of the reference site on the test's own database."""
    where = connection.settings_dict
    return {
        "DJANGO_SETTINGS_MODULE": "holdfast.runner.site.settings",
        "SECRET_KEY": "only-for-tests",
        "DATABASE_URL": f"postgresql://{where['USER']}:{where['PASSWORD']}@/{where['NAME']}"
        f"?host={where['HOST']}&port={where['PORT'] or 5432}",
        **changes,
    }


def outside(*arguments: str, drop: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, under the reference site."""
    kept = {key: value for key, value in {**os.environ, **site(**env)}.items() if key not in drop}
    command = [sys.executable, "-m", "holdfast.runner.management.command", *arguments]
    return subprocess.run(command, env=kept, capture_output=True, text=True, check=False, timeout=60)
