"""The graphs of the benchmark, as Holdfast finds them."""

from __future__ import annotations

from langgraph.graph import StateGraph

from bench.project import chains
from holdfast import register


@register("bench_ten")
def ten() -> StateGraph[chains.State]:
    """Ten steps."""
    return chains.chain(10)


@register("bench_one")
def one() -> StateGraph[chains.State]:
    """One step."""
    return chains.chain(1)


@register("bench_walk")
def walk() -> StateGraph[chains.Walk]:
    """Steps to be killed in."""
    return chains.walk()


@register("bench_chat", history="latest")
def chat() -> StateGraph[chains.Chat]:
    """A turn a run, of which only the newest state stays."""
    return chains.chat()
