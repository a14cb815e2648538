"""A chat model that needs no network, no key and no weights: what it says stands in what it was given.

It is no language model. It summarises by extraction, finds in a conversation what was said before,
and knows a few jokes into which a topic fits. The same messages always get the same answer. It
follows the convention of the examples: the instruction is the system message, the matter is the
human message; so the same nodes work with a real model.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from holdfast.graphs.examples import extract, plaintext, recall

MODEL_NAME = "offline-extractive"
PACE = "HOLDFAST_OFFLINE_SECONDS"
"""Environment variable: seconds that each answer takes, so that people can watch a run; 0 if not set."""

_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_COUNT = re.compile(rf"\b(\d+|{'|'.join(_NUMBERS)}) sentences?\b", re.I)
_WRITTEN_IN = re.compile(r"\((\.\w+)\)")

JOKES = (
    (
        "I asked an expert on {topic} how it all ends. He said: no idea, I only ever resume from the middle.",
        "One expects an expert on {topic} to know the whole of it. Like a job that lives on checkpoints, "
        "this one has never seen a beginning or an end, and is proud of it.",
    ),
    (
        "How many people does it take to explain {topic}? Two: one to explain, and one to remember where "
        "the first was interrupted.",
        "It begins as a light-bulb joke, which counts hands. The second person about {topic} does no work "
        "at all; he is the saved state of the first.",
    ),
    (
        "My talk about {topic} was so good that the audience asked me to stop halfway, to have something "
        "left to look forward to.",
        "The speaker takes for praise what was a request to end the talk about {topic}. "
        "We laugh because everybody in the room knows it but him.",
    ),
    (
        "They told me that {topic} would be simple. It is: only everything around it is hard.",
        'The word "simple" is kept and emptied in one breath: {topic} stays simple because all that is '
        "difficult has been moved next door.",
    ),
    (
        "I wrote a book about {topic}. The critics loved the first chapter, and so did I, all nine times "
        "I had to start again.",
        "Praise for a first chapter sounds like success, until one hears that the book about {topic} "
        "never got past it: its writer keeps no checkpoints.",
    ),
)


class OfflineExtractiveModel(BaseChatModel):
    """The stand-in that the examples use while no model is set."""

    model_name: str = MODEL_NAME

    @property
    def _llm_type(self) -> str:
        return MODEL_NAME

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        time.sleep(float(os.environ.get(PACE, "0")))  # as a model takes its time
        message = AIMessage(answer(messages), response_metadata={"model_name": self.model_name})
        return ChatResult(generations=[ChatGeneration(message=message)])


def answer(messages: Sequence[BaseMessage]) -> str:
    """The reply to a conversation. The instruction decides what is done with the last message."""
    instruction = " ".join(str(m.text) for m in messages if m.type == "system")
    said = [str(m.text) for m in messages if m.type == "human"]
    matter = said[-1] if said else ""
    wanted = instruction.lower()
    if "explain" in wanted and "joke" in wanted:
        return explain(matter)
    if "joke" in wanted:
        return joke(matter)
    if "summar" in wanted or "overview" in wanted:
        return summarise(matter, instruction)
    return recall.reply(said)


def summarise(text: str, instruction: str) -> str:
    """The text in the number of sentences that the instruction names, three if it names none."""
    found = _COUNT.search(instruction)
    number = found.group(1).lower() if found else "3"
    written = _WRITTEN_IN.search(instruction)
    paragraphs = plaintext.paragraphs(text, written.group(1) if written else ".md")
    summary = extract.summarise(paragraphs, _NUMBERS.get(number) or max(1, int(number)))
    return summary or "It has no sentences to summarise."


def joke(topic: str) -> str:
    """The joke that the topic is given, always the same one."""
    topic = topic.strip().rstrip(".!?") or "nothing"
    return JOKES[hashlib.sha256(topic.lower().encode()).digest()[0] % len(JOKES)][0].format(topic=topic)


def explain(text: str) -> str:
    """Why a joke of ours is one; of any other joke, what can be said from its text alone."""
    for told, meant in JOKES:
        pattern = re.escape(told).replace(re.escape("{topic}"), "(.+?)")
        if found := re.search(pattern, text, re.S):
            return meant.format(topic=found.group(1))
    sentences = plaintext.split(plaintext.inline(text))
    if len(sentences) < 2:
        return "It is short: the surprise has to come from the words themselves."
    return f"It sets out with “{sentences[0]}” and then turns where one did not look: “{sentences[-1]}”"
