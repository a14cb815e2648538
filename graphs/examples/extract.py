"""Extractive summaries: the sentences of a text that say most of what it is about.

A sentence scores by the weight of its words (how often their stems occur in the whole text, damped,
stop words aside), by its place (openings of texts and sections), and by what its headings promise;
it loses by being short, long, dangling ("This means …") or full of symbols. Sentences are taken in
order of score, each time marking down what was said already (maximal marginal relevance: Carbonell
and Goldstein, 1998), and are given in the order of the text. Equal texts give equal summaries.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.graphs.examples.plaintext import CLOSING, Paragraph

_COMMON = """
a about above after again all almost also although always am an and another any are as at away be
because been before being below between both but by can cannot come could did do does doing done down
during each either else enough even ever every few first for from further get gets give given go goes
going good got had has have having he her here hers him his how however i if in into is it its itself
just keep kept last less let like made make makes many may me might mine more most much must my need
neither never new next no none nor not nothing now of off often on once one only or other others our
ours out over own per put rather really run said same say says see seen she should since so some
something still such take taken than that the their theirs them themselves then there therefore these
they thing things this those though three through thus to together too two under until up upon us use
used uses using very via was way we well were what whatever when where whether which while who whoever
whole whom whose why will with within without would yes yet you your yours e.g i.e etc vs
"""
STOP_WORDS = frozenset(_COMMON.split())
_DANGLING = re.compile(
    r"(?:this|that|these|those|it|its|they|their|he|she|but|and|or|so|then|thus|however|otherwise|also|here|there"
    r"|such|instead|therefore|again|else|both|neither|one|because|which|each|the same|the other)\b",
    re.I,
)
_RARE = 0.1
"""Weight of a word that occurs once; log(1 + count) otherwise."""
_LABEL = re.compile(r"\A[A-Z]\w*(?: \w+)?: ([A-Z])")
"""Such as "Purpose: " before a sentence of its own."""
_WORD = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ][A-Za-zÀ-ÖØ-öø-ÿ'\u2019\-]*")
_SUFFIXES = (
    "ations",
    "ation",
    "ingly",
    "ings",
    "ing",
    "edly",
    "ies",
    "ied",
    "ers",
    "er",
    "ed",
    "ly",
    "es",
    "s",
    "e",
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    order: int
    section: tuple[str, ...]
    text: str
    stems: frozenset[str]
    score: float


def stem(word: str) -> str:
    """A word without its commonest endings, so that ``runs`` and ``running`` count as one."""
    word = word.lower().replace("\u2019", "'").removesuffix("'s").removesuffix("n't")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if word[-1:] in ("i", "y") and len(word) > 4 else word


def stems(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order."""
    words = (word.lower().strip("-'\u2019") for word in _WORD.findall(text))
    return [stem(word) for word in words if len(word) > 2 and word not in STOP_WORDS]


def summarise(paragraphs: Sequence[Paragraph], count: int) -> str:
    """At most ``count`` sentences, in the text's order, as one paragraph; "" for an empty text."""
    return " ".join(_finished(each.text) for each in sentences(paragraphs, count))


def sentences(paragraphs: Sequence[Paragraph], count: int) -> list[_Candidate]:
    """The chosen sentences."""
    weights = _weights(paragraphs)
    candidates = _candidates(paragraphs, weights)
    chosen: list[_Candidate] = []
    while candidates and len(chosen) < count:
        best = max(candidates, key=lambda each: (_marginal(each, chosen, weights), -each.order))
        candidates.remove(best)
        chosen.append(best)
    return sorted(chosen, key=lambda each: each.order)


def _weights(paragraphs: Iterable[Paragraph]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    headings: set[str] = set()
    for paragraph in paragraphs:
        for sentence in paragraph.sentences:
            counts.update(stems(sentence))
        headings.update(stems(" ".join(paragraph.headings)))
    return {word: math.log1p(n) * (1.3 if word in headings else 1.0) for word, n in counts.items() if n > 1}


def _candidates(paragraphs: Sequence[Paragraph], weights: dict[str, float]) -> list[_Candidate]:
    found: list[_Candidate] = []
    seen: set[str] = set()
    section: tuple[str, ...] | None = None
    for number, paragraph in enumerate(paragraphs):
        opens_section = paragraph.headings != section
        section = paragraph.headings
        for place, sentence in enumerate(paragraph.sentences):
            if sentence in seen:
                continue
            seen.add(sentence)
            shape = _shape(sentence)
            if not shape:
                continue
            words = frozenset(stems(sentence))
            content = sum(weights.get(word, _RARE) for word in words) / math.sqrt(len(words) + 4)
            position = 1.0 + (0.9 if number == 0 else 0.35 if opens_section else 0.0) * (0.6**place)
            position *= 1.0 + 0.3 * math.exp(-number / 4)
            found.append(_Candidate(len(seen), section, sentence, words, content * position * shape))
    return found


def _shape(sentence: str) -> float:
    """How well a sentence stands alone, 0 (not at all) to 1."""
    words = sentence.split()
    letters = sum(character.isalpha() or character.isspace() for character in sentence)
    if len(words) < 5 or letters < 0.7 * len(sentence) or sentence.endswith(":"):
        return 0.0
    if sentence.count("(") != sentence.count(")"):
        return 0.0
    value = 1.0
    if not sentence.rstrip(CLOSING).endswith((".", "!", "…")):
        value *= 0.4  # a fragment, a heading, a question
    if not sentence[0].isupper():
        value *= 0.5
    if _DANGLING.match(sentence):
        value *= 0.5
    if len(words) < 8:
        value *= 0.7
    elif len(words) > 30:
        value *= max(0.15, 30 / len(words) - 0.15)
    value *= 0.75 ** len(re.findall(r"[;:=→{}\[\]|]", sentence))
    return value * 0.8 ** (sentence.count("(") + len(re.findall(r"\w[_./]\w", sentence)))


def _marginal(candidate: _Candidate, chosen: list[_Candidate], weights: dict[str, float]) -> float:
    if not chosen:
        return candidate.score
    overlap = max(_overlap(candidate.stems, other.stems, weights) for other in chosen)
    elsewhere = all(other.section != candidate.section for other in chosen)
    return candidate.score * (1.0 - overlap**2) * (1.0 if elsewhere else 0.6)


def _overlap(one: frozenset[str], other: frozenset[str], weights: dict[str, float]) -> float:
    def weight(words: frozenset[str]) -> float:
        return sum(weights.get(word, _RARE) for word in words)

    smaller = min(weight(one), weight(other))
    return weight(one & other) / smaller if smaller else 0.0


def _finished(sentence: str) -> str:
    sentence = _LABEL.sub(lambda found: found.group(1), sentence)
    return sentence if sentence.rstrip(CLOSING).endswith((".", "!", "?", "…")) else f"{sentence}."
