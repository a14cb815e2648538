"""The documents tell the truth: their Python runs from top to bottom, their links and commands exist.

A block marked ``python no-run`` is a fragment of somebody's settings; each is listed here, so that the
mark stays rare.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.graphs import registry
from holdfast.persistence.connections import close_pools
from tests import celery_app as _celery_app  # noqa: F401 - a broker that answers

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(?P<mark>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FRAGMENTS = {"README.md": 1, "docs/encryption.md": 1, "docs/existing-project.md": 7}
"""How many blocks of each document do not run."""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a document registers is no graph of the next test's."""
    registry.all()  # discovers, before the table is a copy
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))


@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    """What a document's runs opened must not outlive the test's database."""
    yield
    close_pools()


def blocks(document: Path, mark: str) -> list[tuple[int, str]]:
    """The line and the text of each block with that mark."""
    text = document.read_text("utf-8")
    return [
        (text.count("\n", 0, found.start("code")) + 1, found["code"])
        for found in BLOCK.finditer(text)
        if found["mark"].strip() == mark
    ]


def name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "python")], ids=name)
def test_the_python_of_a_document_runs_from_top_to_bottom(document: Path) -> None:
    namespace: dict[str, object] = {"__name__": f"docs_{document.stem.replace('-', '_')}"}
    for line, code in blocks(document, "python"):
        # As many empty lines as stand above it, so that a traceback names the document's own line.
        exec(compile("\n" * (line - 1) + code, str(document), "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_blocks_that_do_not_run_are_rare_and_known(document: Path) -> None:
    assert len(blocks(document, "python no-run")) == FRAGMENTS.get(name(document), 0)
    assert all(
        found["mark"].strip() in {"python", "python no-run", "sh", "sql", "json", "yaml", "text", ""}
        for found in BLOCK.finditer(document.read_text("utf-8"))
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text("utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_files_that_a_document_names_exist(document: Path) -> None:
    named = re.findall(
        r"`((?:holdfast|graphs|persistence|runner|tests)/[\w./]*)`", document.read_text("utf-8")
    )
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_every_rule_and_promise_that_is_cited_is_written_down() -> None:
    rules = set(re.findall(r"^\*\*(R\d+) ", (ROOT / "docs/rules.md").read_text("utf-8"), re.MULTILINE))
    promises = set(re.findall(r"^\| (P\d+) \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    rooms = [ROOT / name for name in ("holdfast", "graphs", "persistence", "runner", "tests", "docs")]
    files = [file for room in rooms for end in ("py", "sql", "md") for file in room.rglob(f"*.{end}")]
    cited = {found for file in files for found in re.findall(r"\b[RP]\d{1,2}\b", file.read_text("utf-8"))}
    assert {number for number in cited if number[0] == "R"} <= rules
    assert {number for number in cited if number[0] == "P"} <= promises


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_the_commands_that_a_document_names_exist(document: Path) -> None:
    from typer.main import get_command_name

    from holdfast.runner.management.cli import app

    named = set(re.findall(r"(?:^|`)holdfast ([a-z-]+)", document.read_text("utf-8"), re.MULTILINE))
    names = (command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands)
    assert named <= set(map(get_command_name, names))


def test_the_makes_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert (
        set(re.findall(r"\bmake (\w+)\b", "\n".join(code for _, code in blocks(ROOT / "README.md", "sh"))))
        <= targets
    )


def test_the_changelog_says_nothing_twice() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    entries = [line for line in lines if line.startswith("- ")]
    assert [entry for entry, times in Counter(entries).items() if times > 1] == []


def test_extras_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for found in re.findall(r"holdfast\[([\w,]+)\]", text) for extra in found.split(",")}
    assert named <= set(extras)
