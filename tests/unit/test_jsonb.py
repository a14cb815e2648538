"""What cannot stand in a jsonb column is replaced, and nothing else."""

from __future__ import annotations

import pytest

from holdfast.persistence.jsonb import storable


@pytest.mark.parametrize("text", ["", "plain", "déjà", "🐚", "\n\t\x1f", r"\u0000"])
def test_what_can_be_stored_stays(text: str) -> None:
    assert storable({text: [text, 1, None, True]}) == {text: [text, 1, None, True]}


@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_what_cannot_is_replaced_wherever_it_stands(character: str) -> None:
    assert storable({f"k{character}": [f"a{character}b"]}) == {"k\ufffd": ["a\ufffdb"]}
