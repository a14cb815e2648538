"""How named statements are read from .sql files."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from holdfast.sql import named_statements


def test_a_folder_gives_the_statements_of_all_its_files_without_their_remarks(tmp_path: Path) -> None:
    (tmp_path / "b.sql").write_text("-- About b.\n\n-- name: last\n-- Says %(what)s.\nSELECT 3;\n")
    (tmp_path / "a.sql").write_text(
        "-- name: first\nSELECT 1,\n  -- within\n  2;\n\n-- name: second\nSELECT 2;\n"
    )
    (tmp_path / "notes.txt").write_text("-- name: no\nSELECT")
    assert named_statements(tmp_path) == {
        "first": "SELECT 1,\n  -- within\n  2;",
        "second": "SELECT 2;",
        "last": "SELECT 3;",
    }
    assert set(named_statements(tmp_path / "b.sql")) == {"last"}


def test_a_name_that_stands_in_two_files_is_an_error(tmp_path: Path) -> None:
    for file in ("a.sql", "b.sql"):
        (tmp_path / file).write_text("-- name: twin\nSELECT 1;\n")
    with pytest.raises(ValueError, match=r"b\.sql: the name 'twin' stands twice"):
        named_statements(tmp_path)


def test_a_heading_that_names_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: two words\nSELECT 1;\n")
    with pytest.raises(ValueError, match="two words"):
        named_statements(tmp_path)


@pytest.mark.parametrize(
    "file",
    sorted(
        [
            *files("holdfast.persistence").joinpath("queries").iterdir(),
            *(
                each
                for each in files("holdfast.persistence").joinpath("store").iterdir()
                if each.name.endswith(".sql")
            ),
        ],
        key=str,
    ),
)
def test_each_family_says_what_it_is_and_each_statement_what_it_does(file: Path) -> None:
    head, *parts = file.read_text().split("-- name: ")
    assert head.startswith("-- ")
    assert [part.splitlines()[0] for part in parts if not part.splitlines()[1].startswith("-- ")] == []
