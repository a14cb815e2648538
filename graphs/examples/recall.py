"""Answers a chat turn with what was said earlier in the same conversation, and nothing else.

``What's my name?`` after ``I'm Alice`` is answered by that sentence. It looks for the words that
question and statement share, and knows the few questions whose answers share none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.graphs.examples import extract, plaintext

_NAME = re.compile(
    r"\b(?i:i\s*['\u2019]m|i am|my name\s*(?:is|['\u2019]s)|call me|this is)\s+"
    r"(?!(?:A|An|The|Not|In|From|At|So|Very)\b)"
    r"([A-ZÀ-Þ][\w'\u2019\-]*(?:\s+[A-ZÀ-Þ][\w'\u2019\-]*)?)"
)
_ASKS_NAME = re.compile(r"\b(?:my name|who am i|what am i called)\b", re.I)
_ASKS = re.compile(
    r"^(?:what|who|whom|whose|where|when|why|which|how|do|does|did|is|are|am|was|were|can|could|will|would|have|has"
    r"|tell me|remind me)\b",
    re.I,
)
_KINDS = {
    "where": {"live", "from", "work", "born", "stay", "mov", "in", "at"},
    "old": {"year", "old", "ag", "born"},
    "age": {"year", "old", "ag", "born"},
    "do": {"work", "job", "am", "profession"},
}
_GREETING = re.compile(r"(?:hi|hello|hey|good (?:morning|evening|day|afternoon))\W*\Z", re.I)
_FIRST_MEETING = "Hello. I remember what you tell me in this thread, and give it back when you ask."


def reply(said: Sequence[str]) -> str:
    """The answer to the last of the person's messages, from those before it and from itself."""
    if not said:
        return _FIRST_MEETING
    earlier = [s for text in said[:-1] for s in plaintext.split(text) if not is_question(s)]
    now = plaintext.split(said[-1])
    questions = [sentence for sentence in now if is_question(sentence)]
    told = [sentence for sentence in now if not is_question(sentence)]
    if not questions:
        return _noted(told, first=len(said) == 1)
    return " ".join(_found(question, earlier + told) for question in questions)


def is_question(sentence: str) -> bool:
    """Whether it asks."""
    return sentence.rstrip().endswith("?") or bool(_ASKS.match(sentence.strip()))


def _noted(told: Sequence[str], first: bool) -> str:
    if not any(extract.stems(sentence) for sentence in told) or _GREETING.match(" ".join(told)):
        return _FIRST_MEETING
    name = _NAME.search(" ".join(told))
    greeting = f"Hello, {name.group(1)}. " if name and first else ""
    return f"{greeting}Noted: “{told[-1]}”"


def _found(question: str, facts: Sequence[str]) -> str:
    if _ASKS_NAME.search(question):
        for fact in reversed(facts):
            if name := _NAME.search(fact):
                return f"Your name is {name.group(1)}: you said “{fact}”"
    asked = set(extract.stems(question))
    kind = set().union(
        *(words for word, words in _KINDS.items() if re.search(rf"\b{word}\b", question, re.I))
    )
    best, score = None, 0.0
    for fact in facts:  # of equals the later one: people correct themselves
        words = set(extract.stems(fact))
        hit = len(asked & words) + 0.5 * bool(
            kind & {extract.stem(w) for w in re.findall(r"\w+", fact.lower())}
        )
        if hit and hit >= score:
            best, score = fact, hit
    if best is None:
        return "Nothing that you have told me in this thread answers that."
    return f"You said: “{best}”"
