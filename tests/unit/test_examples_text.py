"""The offline model: what it reads, what it picks, what it remembers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from holdfast.conf import settings as holdfast_settings
from holdfast.errors import ConfigurationError
from holdfast.graphs.examples import extract, model, offline, plaintext, recall

ROOT = Path(__file__).parents[2]

MARKDOWN = """---
author: nobody
---
# Tides

The sea **rises** and falls twice a day; see [the tables](https://example.org/tides). It is `regular`.

```python
print("not a sentence about tides.")
```

| harbour | height |
|---|---|
| Brest | The tide at Brest is among the highest that Europe has seen. |

- The moon draws the water,
  e.g. towards itself.
- [ ] A second item

Heights
-------

Mr. Smith measured 3.5 m. "Is that much?" he asked.
<!-- hidden sentence. -->
"""


def sentences(text: str, suffix: str = ".md") -> list[str]:
    return [sentence for paragraph in plaintext.paragraphs(text, suffix) for sentence in paragraph.sentences]


def test_markdown_becomes_sentences_without_markup() -> None:
    assert sentences(MARKDOWN) == [
        "The sea rises and falls twice a day; see the tables.",
        "It is regular.",
        "The tide at Brest is among the highest that Europe has seen.",
        "The moon draws the water, e.g. towards itself.",
        "A second item",
        "Mr. Smith measured 3.5 m.",
        '"Is that much?" he asked.',
    ]
    assert plaintext.title(MARKDOWN) == "Tides"
    assert plaintext.paragraphs(MARKDOWN)[-1].headings == ("Heights",)


def test_names_with_underscores_and_stars_stay_whole() -> None:
    assert plaintext.inline("use `a_b_c` and x_y_z, 2 * 3 * 4, **bold** and _soft_") == (
        "use a_b_c and x_y_z, 2 * 3 * 4, bold and soft"
    )


def test_restructured_text_loses_directives_and_roles() -> None:
    text = """
Tides
=====

.. code-block:: python

    print("no")

.. note:: nothing

The sea :ref:`rises <rising>` and ``falls``. See `the tables <https://example.org>`_.
"""
    assert sentences(text, ".rst") == ["The sea rises and falls.", "See the tables."]
    assert plaintext.title(text, ".rst") == "Tides"


def test_of_python_the_docstrings_remain_or_the_comments() -> None:
    assert sentences('"""Says what it is."""\nx = 1\ndef f():\n    """Does it."""\n', ".py") == [
        "Says what it is.",
        "Does it.",
    ]
    assert sentences("#!/bin/x\n# A comment that explains.\nx = 1\n", ".py") == ["A comment that explains."]
    assert sentences("def broken(:\n# Still readable.\n", ".py") == ["Still readable."]


@pytest.mark.parametrize("text", ["", " \n", "# Only a heading\n", "```\ncode\n```", "|a|b|\n"])
def test_a_text_without_sentences_has_an_empty_summary(text: str) -> None:
    assert extract.summarise(plaintext.paragraphs(text), 3) == ""


def test_a_summary_takes_what_the_text_is_about_in_its_order_and_says_nothing_twice() -> None:
    text = (
        "Lighthouses guide ships along dangerous coasts at night. The weather was nice on that day in June. "
        "A lighthouse lamp sends its light far over the coast, so that ships keep away from the rocks. "
        "Somebody had brought sandwiches for everybody in the group. "
        "Lighthouses guide ships along dangerous coasts by night. "
        "Keepers of the lighthouse trimmed the lamp every evening before the ships came near the coast."
    )
    summary = extract.summarise(plaintext.paragraphs(text), 3)
    assert summary.startswith("Lighthouses guide ships along dangerous coasts at night.")
    assert "sandwiches" not in summary
    assert "weather" not in summary
    assert "by night" not in summary
    assert len(plaintext.split(summary)) == 3
    assert summary == extract.summarise(plaintext.paragraphs(text), 3)


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda p: p.name
)
def test_the_projects_own_documents_get_readable_summaries(path: Path) -> None:
    summary = extract.summarise(plaintext.paragraphs(path.read_text(encoding="utf-8")), 3)
    assert 20 <= len(summary) <= 1200
    assert summary[0].isupper() or summary[0] in "\"'`0123456789" or summary.startswith("holdfast")
    assert not re.search(r"\*\*|```|\]\(|^#|\|", summary)


def test_words_of_one_stem_count_as_one() -> None:
    assert len({extract.stem(word) for word in ("run", "runs", "running")}) == 1
    assert len({extract.stem(word) for word in ("summary", "summaries")}) == 1
    assert extract.stem("class") != extract.stem("clash")


def test_the_offline_model_follows_the_instruction() -> None:
    text = "\n\n".join(
        f"Sentence number {n} speaks about the tides of the sea." for n in ("one", "two", "six")
    )
    for count, written in ((1, "one sentence"), (2, "2 sentences")):
        answer = offline.answer([SystemMessage(f"Summarise in {written}."), HumanMessage(text)])
        assert len(plaintext.split(answer)) == count
    assert (
        offline.answer([SystemMessage("Summarise."), HumanMessage("")]) == "It has no sentences to summarise."
    )


def test_the_offline_model_is_a_chat_model_that_names_itself() -> None:
    made = offline.OfflineExtractiveModel()
    message = made.invoke([HumanMessage("Hello")])
    assert isinstance(message, AIMessage)
    assert made.model_name == "offline-extractive"
    assert message.response_metadata["model_name"] == "offline-extractive"


@pytest.mark.parametrize("topic", ["chickens crossing the road", "cats", "Über {braces}", ""])
def test_each_topic_has_its_joke_and_each_joke_its_explanation(topic: str) -> None:
    told = offline.joke(topic)
    assert told == offline.joke(topic)
    assert (topic or "nothing") in told
    assert offline.explain(f"About {topic}: {told}") in [
        meant.format(topic=topic or "nothing") for _, meant in offline.JOKES
    ]


def test_a_strange_joke_is_explained_from_its_text() -> None:
    assert "turns where" in offline.explain("A horse walks into a bar. The barman asks why the long face.")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (["I'm Alice.", "What's my name?"], "Your name is Alice: you said “I'm Alice.”"),
        (["My name is Bo.", "No, call me Mia", "Who am I?"], "Your name is Mia: you said “No, call me Mia”"),
        (["I live in Oslo.", "I have a dog.", "Where do I live?"], "You said: “I live in Oslo.”"),
        (
            ["My colour is green.", "My colour is blue.", "What is my colour?"],
            "You said: “My colour is blue.”",
        ),
        (["I have a dog. Do you?", "What is my shoe size?"], "Nothing that you have told me"),
        (["I'm in Oslo", "What is my name?"], "Nothing that you have told me"),
        (["I'm Alice."], "Hello, Alice. Noted: “I'm Alice.”"),
        (["Hi"], "Hello. I remember"),
        ([], "Hello. I remember"),
    ],
)
def test_a_chat_turn_is_answered_from_what_was_said(said: list[str], answer: str) -> None:
    assert recall.reply(said).startswith(answer)


def test_without_a_setting_the_offline_model_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_MODEL", raising=False)
    assert model.model_name() == "offline-extractive"
    assert isinstance(model.chat_model(), offline.OfflineExtractiveModel)


@pytest.mark.parametrize("name", ["nobody:nothing", "nonsense"])
def test_p11_a_model_that_cannot_be_made_says_what_to_do(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOLDFAST_MODEL", name)
    assert name == holdfast_settings().MODEL
    with pytest.raises(ConfigurationError, match=name) as caught:
        model.chat_model()
    assert caught.value.setting == "MODEL"
