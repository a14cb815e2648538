"""The example digest: what it reads, what it keeps, what it asks, what it publishes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.signals import connection_created
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from holdfast.errors import InvalidInputError
from holdfast.graphs import registry
from holdfast.graphs.examples import digest, documents, publishing
from holdfast.graphs.examples.models import Publication

CONFIG: Any = {"configurable": {"thread_id": "t"}}


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.md").write_text("# Tides\n\nThe sea rises and falls twice a day on every coast.\n")
    (folder / "a.txt").write_text("Lighthouses guide ships along dangerous coasts at night.\n")
    (folder / "sub" / "c.py").write_text('"""Counts the waves that reach the shore in an hour."""\n')
    return folder


def names(found: list[documents.Document]) -> list[str]:
    return [Path(document["path"]).name for document in found]


def test_a_folder_is_read_in_the_order_of_names(papers: Path) -> None:
    found, skipped = documents.collect([str(papers)])
    assert names(found) == ["a.txt", "b.md", "c.py"]
    assert [document["title"] for document in found] == ["a.txt", "Tides", "c.py"]
    assert skipped == []
    assert documents.collect([str(papers)]) == (found, skipped)


def test_what_is_no_text_is_skipped_with_its_reason(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 200)
    (papers / "binary.md").write_bytes(b"\x00\x01")
    (papers / "latin.txt").write_bytes("über".encode("latin-1"))
    (papers / "empty.md").write_text(" \n")
    (papers / "huge.md").write_text("word " * 50)
    (papers / "picture.png").write_bytes(b"png")
    (papers / ".hidden.md").write_text("hidden")
    (papers / "node_modules").mkdir()
    (papers / "node_modules" / "readme.md").write_text("not ours")
    (papers / "loop").symlink_to(papers)
    found, skipped = documents.collect([str(papers)])
    assert names(found) == ["a.txt", "b.md", "c.py"]
    assert {Path(each["path"]).name: each["why"] for each in skipped} == {
        "binary.md": "binary",
        "latin.txt": "not UTF-8",
        "empty.md": "empty",
        "huge.md": "250 bytes, more than 200",
    }


def test_a_text_that_is_there_twice_is_read_once(papers: Path) -> None:
    (papers / "z.md").write_bytes((papers / "b.md").read_bytes())
    found, _ = documents.collect([str(papers / "b.md"), str(papers)])
    assert names(found) == ["b.md", "a.txt", "c.py"]


def test_p11_a_path_that_cannot_be_read_is_named(papers: Path, tmp_path: Path) -> None:
    (papers / "binary.md").write_bytes(b"\x00")
    (papers / "picture.png").write_bytes(b"png")
    (tmp_path / "none").mkdir()
    for paths, field, why in (
        ([str(papers), "/no/such/place"], "input.paths.1", "No such file or directory"),
        ([str(papers / "binary.md")], "input.paths.0", "binary"),
        ([str(papers / "picture.png")], "input.paths.0", r"not one of \.md"),
        ([str(tmp_path / "none")], "input.paths", "no documents"),
        ([], "input.paths", "no paths"),
    ):
        with pytest.raises(InvalidInputError, match=why) as caught:
            documents.collect(paths)
        assert caught.value.field == field


def test_p11_too_many_documents_are_refused(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENTS", 2)
    with pytest.raises(InvalidInputError, match="more than 2 documents"):
        documents.collect([str(papers)])


def test_a_document_that_changes_or_goes_meanwhile_is_an_error(papers: Path) -> None:
    (document, *_), _ = documents.collect([str(papers)])
    Path(document["path"]).write_text("Something else entirely.")
    with pytest.raises(InvalidInputError, match="has changed since"):
        documents.read(document)
    os.unlink(document["path"])
    with pytest.raises(InvalidInputError, match="cannot be read now"):
        documents.read(document)


def test_p11_the_input_is_checked() -> None:
    check = registry.get("digest").check_input
    check({"paths": ["docs"], "title": "T", "sentences": 2, "folder": "out"})
    for wrong, field in (
        ({}, "input.paths"),
        ({"paths": "docs"}, "input.paths"),
        ({"paths": [1]}, "input.paths.0"),
        ({"paths": [], "body": "x"}, "input.body"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            check(wrong)
        assert caught.value.field == field


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every instruction that reached the model."""
    seen: list[str] = []
    real = digest.ask

    def ask(instruction: str, matter: str) -> str:
        seen.append(instruction)
        return real(instruction, matter)

    monkeypatch.setattr(digest, "ask", ask)
    return seen


def test_p5_summaries_are_cached_by_content_length_and_model(
    papers: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry.get("digest").compile().copy({"checkpointer": InMemorySaver(), "cache": InMemoryCache()})

    def summaries(thread: str, **more: Any) -> int:
        asked.clear()
        made.invoke({"paths": [str(papers)], **more}, {"configurable": {"thread_id": thread}})
        return sum(instruction.startswith("Summarise") for instruction in asked)

    assert summaries("first") == 3
    assert summaries("again") == 0
    assert summaries("shorter", sentences=1) == 3
    (papers / "b.md").write_text("# Tides\n\nThe sea rises and falls once a day on this coast.\n")
    assert summaries("one changed") == 1
    (papers / "b.md").rename(papers / "renamed.md")
    assert summaries("one renamed") == 0
    monkeypatch.setattr(digest, "model_name", lambda: "another")
    assert summaries("another model") == 3


def test_the_digest_reads_in_order_and_asks_with_a_preview(papers: Path) -> None:
    made = registry.get("digest").compile().copy({"checkpointer": InMemorySaver()})
    result = made.invoke({"paths": [str(papers)], "title": "The coast"}, CONFIG)
    question = result["__interrupt__"][0].value
    assert question["question"] == "Publish 'The coast', a digest of 3 documents?"
    assert question["documents"] == ["a.txt", "Tides", "c.py"]
    body = result["body"]
    assert body.startswith("# The coast\n\n")
    assert body.index("## a.txt") < body.index("## Tides") < body.index("## c.py")
    assert "*sub/c.py*" in body
    assert question["preview"] == body[: digest.PREVIEW]


@pytest.fixture
def threads_connections(transactional_db: None) -> Iterator[None]:
    """Closes what the nodes' threads open: under a plain invoke() there is no runner to do it."""
    opened = []

    def remember(connection: Any, **_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            opened.append(connection.connection)

    connection_created.connect(remember)
    yield
    connection_created.disconnect(remember)
    for raw in opened:
        raw.close()


@pytest.mark.usefixtures("threads_connections")
def test_what_is_refused_is_not_published(papers: Path, tmp_path: Path) -> None:
    made = registry.get("digest").compile().copy({"checkpointer": InMemorySaver()})
    folder = tmp_path / "out"
    made.invoke({"paths": [str(papers)], "folder": str(folder)}, CONFIG)
    result = made.invoke(Command(resume={"approved": False, "note": "dull"}), CONFIG)
    assert result["outcome"] == "not published: dull"
    assert not folder.exists()
    assert not Publication.objects.exists()


@pytest.mark.usefixtures("threads_connections")
def test_p4_what_is_approved_is_published_as_one_file_and_one_row(papers: Path, tmp_path: Path) -> None:
    made = registry.get("digest").compile().copy({"checkpointer": InMemorySaver()})
    folder = tmp_path / "out"
    made.invoke({"paths": [str(papers)], "title": "The coast's", "folder": str(folder)}, CONFIG)
    result = made.invoke(Command(resume=True), CONFIG)
    (file,) = folder.iterdir()
    assert file.name.startswith("the-coasts-")
    assert result["path"] == str(file)
    assert file.read_text() == result["body"]
    row = Publication.objects.get()
    assert (row.pk, row.title, row.path, row.body) == (
        result["publication"],
        "The coast's",
        str(file),
        result["body"],
    )


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.md"
    publishing.put(target, "old")

    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        publishing.put(target, "new and longer")
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("title", "name"),
    [("A Digest!", "a-digest"), ("../../etc", "etc"), ("—", "digest"), ("x" * 99, "x" * 60)],
)
def test_a_title_becomes_a_harmless_file_name(title: str, name: str) -> None:
    assert publishing.slug(title) == name
