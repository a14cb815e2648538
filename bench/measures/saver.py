"""What the saver costs beside stock PostgresSaver: a step, many threads, long histories, disk; in turn, in one process."""

from __future__ import annotations

from collections.abc import Sequence

from bench.lanes import HOLDFAST
from bench.order import Order
from bench.report import Line

ROUNDS = 30
SIZES = {0: ("small state", "≤ 0.70"), 100_000: ("100 KB a step", "≤ 0.80")}
THREADS = 8
TITLES = {
    "none": "no saver",
    "stock": "stock PostgresSaver",
    "fenced": "DjangoSaver, as in a run",
    "relaxed": 'the same, commit="relaxed"',
}


def measure(order: Order) -> list[Line]:
    """Times, rates, memory and bytes of both, and the ratios."""
    driver = order.lanes.get(HOLDFAST).driver
    lines: list[Line] = []
    for size, (title, target) in SIZES.items():
        order.tell(f"saver: {ROUNDS} rounds of 10 steps, {title}")
        found = driver.ask("saver_steps", rounds=ROUNDS, size=size)
        part = f"a step of a 10-node chain, durability sync, {title}"
        lines += [
            Line(part=part, what=TITLES[name], unit="ms", values=[v * 1000 for v in values], digits=2)
            for name, values in found.items()
        ]
        lines.append(_ratio(part, "DjangoSaver ÷ stock", found["fenced"], found["stock"], target))
        lines.append(_ratio(part, 'commit="relaxed" ÷ durable', found["relaxed"], found["fenced"], ""))

    order.tell(f"saver: {THREADS} threads on one saver")
    found = driver.ask("saver_parallel", rounds=5, seconds=1.0, threads=THREADS)
    part = f"writes a second, {THREADS} threads on one saver, a pool of {THREADS}"
    lines += [
        Line(part=part, what="stock PostgresSaver", unit="1/s", values=found["stock"], digits=0),
        Line(part=part, what="DjangoSaver", unit="1/s", values=found["ours"], digits=0),
        _ratio(part, "DjangoSaver ÷ stock", found["ours"], found["stock"], "≥ 3"),
    ]

    order.tell("saver: a thread of 10,000 checkpoints")
    found = driver.ask("saver_newest", rounds=200)
    part = "a thread of 10,000 checkpoints"
    lines.append(_ratio(part, "get_tuple ÷ on one of 10", found["long"], found["short"], "≤ 1.3"))
    for limit, title, target in ((50, "list(limit=50)", ""), (None, "list()", "≤ 0.2")):
        grown = [driver.ask("saver_listing", limit=limit) for _ in range(3)]
        lines += [
            Line(part=part, what=f"{title}, {TITLES[name]}", unit="MB", values=[each[key] for each in grown])
            for key, name in (("stock", "stock"), ("ours", "fenced"))
        ]
        ours, theirs = [each["ours"] for each in grown], [each["stock"] for each in grown]
        lines.append(_ratio(part, f"{title}, memory ÷ stock", ours, theirs, target))

    order.tell("saver: what a run asks of its own newest checkpoint")
    lines += _reads(driver.ask("saver_reads", rounds=ROUNDS))

    order.tell("saver: a conversation of 200 turns")
    sizes = driver.ask("saver_disk", turns=200, size=1000)
    part = "stored bytes of 200 turns, a run a turn ÷ of the last state"
    lines += [
        Line(
            part=part, what="stock PostgresSaver", unit="", values=[sizes["stock"] / sizes["state"]], digits=2
        ),
        Line(
            part=part,
            what='DjangoSaver, history="latest"',
            unit="",
            values=[sizes["ours"] / sizes["state"]],
            target="≤ 3",
            digits=2,
        ),
    ]
    return lines


def _reads(found: dict[str, list[dict[str, float]]]) -> list[Line]:
    """What serving a run's own newest checkpoint from memory could save at most."""
    titles = {
        "subgraph": "a call of a subgraph with a memory of its own",
        "state": "a node that looks at its run's state",
    }
    lines = []
    for name, title in titles.items():
        calls, reading = ([took[key] for took in found[name]] for key in ("call", "reading"))
        lines += [
            Line(part=title, what="all of it", unit="ms", values=[v * 1000 for v in calls], digits=2),
            Line(part=title, what="reading", unit="ms", values=[v * 1000 for v in reading], digits=2),
            _ratio(title, "reading ÷ all of it", reading, calls, ""),
        ]
    return lines


def _ratio(part: str, what: str, ours: Sequence[float], theirs: Sequence[float], target: str) -> Line:
    """Of values that stood beside each other."""
    values = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Line(part=part, what=what, unit="", values=values, target=target, digits=2)
