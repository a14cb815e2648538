"""Reads documents, summarises each, makes one digest of them, asks a person, and publishes it.

collect, then one ``summarise`` a document in parallel (cached: a document is paid for once, however
often and wherever it is read again), then reduce, approve, publish. Killed anywhere, it goes on
from there: no summary is made twice, and the digest is published once.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, RetryPolicy, Send

from holdfast.graphs.examples import documents, publishing
from holdfast.graphs.examples.approval import yes_or_no
from holdfast.graphs.examples.documents import Document, Skipped
from holdfast.graphs.examples.model import ask, model_name
from holdfast.graphs.registry import register

SENTENCES = 3
"""Length of each summary, if the input does not say."""
PREVIEW = 2000
"""Characters of the digest that are shown with the question."""
CACHE_TTL = 30 * 86400
"""Seconds that a summary is kept."""
_PROMPT = "1"
"""Counted up when the instruction below changes, so that no summary of the old one is used."""


class DigestInput(TypedDict, total=False):
    """What to read."""

    paths: Required[list[str]]
    """Files or folders; relative ones start at the worker's folder."""
    title: str
    """Of the digest; by default it names the first path."""
    sentences: int
    """Sentences a document."""
    folder: str
    """Where the file is published; by default ``digests`` in the worker's folder."""


class DigestState(DigestInput, total=False):
    """What is known so far."""

    documents: list[Document]
    skipped: list[Skipped]
    summaries: Annotated[dict[str, str], operator.or_]
    """By the hash of the document, since equal documents have equal summaries."""
    body: str
    approved: bool
    outcome: str
    path: str
    publication: int


class Work(TypedDict):
    """One document for one ``summarise``."""

    document: Document
    sentences: int
    model: str


def collect(state: DigestState) -> dict[str, Any]:
    """Find the documents; their texts stay where they are."""
    found, skipped = documents.collect(state["paths"])
    return {"documents": found, "skipped": skipped, "title": state.get("title") or _title(state["paths"])}


def fan_out(state: DigestState) -> list[Send]:
    """One task a document."""
    sentences, model = max(1, state.get("sentences", SENTENCES)), model_name()
    return [
        Send("summarise", Work(document=document, sentences=sentences, model=model))
        for document in state["documents"]
    ]


def summarise(state: Work) -> dict[str, Any]:
    """One document's summary."""
    document = state["document"]
    text = documents.read(document)
    written = Path(document["path"]).suffix.lower()
    instruction = (
        f"Summarise this document ({written}) in {state['sentences']} sentences for a reader who has not "
        "seen it. Plain sentences, no headings, no list."
    )
    return {"summaries": {document["sha256"]: ask(instruction, text)}}


def cache_key(work: Work) -> str:
    """What a summary depends on: the text, the length, the model and the instruction."""
    return f"{_PROMPT}:{work['model']}:{work['sentences']}:{work['document']['sha256']}"


def reduce(state: DigestState) -> dict[str, Any]:
    """The digest as Markdown: an overview, then each document in order."""
    parts = [
        f"## {document['title']}\n\n{state['summaries'][document['sha256']]}"
        for document in state["documents"]
    ]
    base = _base(document["path"] for document in state["documents"])
    sources = [f"*{os.path.relpath(document['path'], base)}*" for document in state["documents"]]
    body = [f"# {state['title']}"]
    if len(parts) > 1:
        body.append(
            ask("Write an overview of these summaries in three sentences. No headings.", "\n\n".join(parts))
        )
    body += [f"{part}\n\n{source}" for part, source in zip(parts, sources, strict=True)]
    return {"body": "\n\n".join(body) + "\n"}


def approve(state: DigestState) -> dict[str, Any]:
    """Ask before anything leaves the house."""
    count = len(state["documents"])
    question = {
        "question": f"Publish {state['title']!r}, a digest of {count} document{'s' if count > 1 else ''}?",
        "documents": [document["title"] for document in state["documents"]],
        "skipped": state["skipped"],
        "preview": state["body"][:PREVIEW],
    }
    approved, note = yes_or_no(question)
    return {
        "approved": approved,
        "outcome": "" if approved else f"not published{f': {note}' if note else ''}",
    }


def decide(state: DigestState) -> Literal["publish", "__end__"]:
    """Publish or end."""
    return "publish" if state["approved"] else "__end__"


def publish(state: DigestState) -> dict[str, Any]:
    """The effects, one after the other: the row names the file."""
    folder = state.get("folder") or str(Path.cwd() / "digests")
    path = publishing.write_file(folder, state["title"], state["body"]).result()
    row = publishing.add_publication(state["title"], state["body"], path).result()
    return {"path": path, "publication": row, "outcome": f"published as {path}"}


@register("digest")
def digest() -> StateGraph[DigestState, None, DigestInput, DigestState]:
    """The graph."""
    graph = StateGraph(DigestState, input_schema=DigestInput)
    graph.add_node(collect)
    graph.add_node(
        "summarise",
        summarise,
        input_schema=Work,
        cache_policy=CachePolicy(key_func=cache_key, ttl=CACHE_TTL),
        retry_policy=RetryPolicy(max_attempts=3),
    )
    graph.add_node(reduce)
    graph.add_node(approve)
    graph.add_node(publish)
    graph.add_edge(START, "collect")
    graph.add_conditional_edges("collect", fan_out, ["summarise"])
    graph.add_edge("summarise", "reduce")
    graph.add_edge("reduce", "approve")
    graph.add_conditional_edges("approve", decide)
    graph.add_edge("publish", END)
    return graph


def _title(paths: list[str]) -> str:
    names = [Path(path).expanduser().absolute().name or path for path in paths]
    return f"Digest of {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _base(paths: Iterable[str]) -> str:
    return str(os.path.commonpath([os.path.dirname(path) for path in paths]))
