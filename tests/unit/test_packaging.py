"""What leaves the house: sdist and wheel hold real folders, import on their own, and name no machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("runner", "graphs", "persistence")


def built(source: Path, target: Path, *kinds: str) -> Path:
    """Build with the backend that is installed here; nothing is downloaded."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    return built(ROOT, tmp_path_factory.mktemp("dist"))


def tracked(*patterns: str) -> set[str]:
    """Files of the rooms, as the package should hold them."""
    found = {
        path.relative_to(ROOT)
        for room in ROOMS
        for pattern in patterns
        for path in (ROOT / room).rglob(pattern)
        if "__pycache__" not in path.parts
    }
    return {f"holdfast/{path.as_posix()}" for path in found}


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_sql_file_and_template_of_the_rooms(dist: Path) -> None:
    names = in_wheel(next(dist.glob("*.whl")))
    wanted = tracked("*.py", "*.sql", "*.html", "*.txt", "*.css", "*.js")
    assert wanted <= names
    assert {"holdfast/py.typed", "holdfast/__init__.py"} <= names


def test_the_wheel_holds_nothing_but_holdfast(dist: Path) -> None:
    tops = {name.split("/")[0] for name in in_wheel(next(dist.glob("*.whl")))}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"holdfast"}


def test_the_sdist_holds_folders_where_the_repository_has_links(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        members = {member.name.split("/", 1)[1]: member for member in archive if "/" in member.name}
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]
    assert tracked("*.py", "*.sql") <= set(members)


def test_the_wheel_of_a_checkout_equals_that_of_the_sdist(dist: Path, tmp_path: Path) -> None:
    direct = built(ROOT, tmp_path, "--wheel")
    assert in_wheel(next(direct.glob("*.whl"))) == in_wheel(next(dist.glob("*.whl")))


def test_the_installed_wheel_imports_from_anywhere(dist: Path, tmp_path: Path) -> None:
    """An empty environment that sees the dependencies of this one, but not this checkout."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as archive:
        archive.extractall(site)
    # A directory named by a .pth file is searched, but .pth files in it, ours among them, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = (
        "import django, holdfast; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['django.contrib.admin', 'django.contrib.auth',"
        " 'django.contrib.contenttypes', 'holdfast.persistence', 'holdfast.runner',"
        " 'holdfast.graphs.examples']);"
        "django.setup(); import importlib, pkgutil;"
        "[importlib.import_module(found.name) for found in pkgutil.walk_packages(holdfast.__path__, 'holdfast.')"
        " if not found.name.startswith('holdfast.runner.site.') and not found.name.endswith('__main__')];"
        "print(holdfast.__file__)"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DJANGO"))}
    python = home / "bin" / "python"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(site)


@pytest.mark.parametrize(
    ("name", "least"), [("constraints.txt", 50), ("requirements.txt", 50), ("embeddings.txt", 2)]
)
def test_the_pins_name_no_address_and_carry_hashes(name: str, least: int) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)
    pins = re.findall(r"^[a-z0-9][\w.-]*==.*\\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    assert len(pins) >= least


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    extras = project["project"]["optional-dependencies"]
    del extras["embeddings"]  # asks for PyTorch and CUDA without need: docs/store.md
    for extra in extras.values():
        asked += extra
    assert {f"holdfast[{','.join(name for name in extras if name != 'all')}]"} == set(extras["all"])
    names = {re.split(r"[\[<>=~ ]", line, maxsplit=1)[0].lower() for line in asked} - {"holdfast"}
    pinned = set(re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert names <= pinned


def test_the_image_runs_on_the_versions_that_are_tested() -> None:
    pins = [
        set(re.findall(r"^([a-z0-9][\w.-]*==\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "constraints.txt")
    ]
    assert pins[0] < pins[1]
