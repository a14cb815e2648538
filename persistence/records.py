"""What crosses rooms: frozen readings of rows, which never touch the database themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from holdfast.persistence import codec
from holdfast.persistence.encryption import Binding, bindings
from holdfast.persistence.encryption.inline import open_json
from holdfast.persistence.encryption.salted import opened_config
from holdfast.persistence.ids import RunId, ThreadId, Token
from holdfast.persistence.models.runs import RunStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Typed:
    """A stored value: its codec type and bytes, decoded only when somebody looks."""

    type: str | None
    data: bytes | None = field(repr=False)
    graph: str
    version: str
    """The graph whose own types the value may have."""
    binding: Binding = field(repr=False)
    """The column and row that it was read from."""

    @property
    def value(self) -> Any:
        """The value. Raises TypeNotAllowedError (P12), DecryptionError."""
        allowed = codec.types_of(self.graph, self.version)
        return codec.loads(self.type, self.data, extra=allowed, binding=self.binding)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Something that a run asks and waits for: one interrupt."""

    id: str
    """What to answer it by: the interrupt's id, with ``.n`` behind for the task's later questions."""
    run_id: UUID = field(repr=False)
    """The run that asks."""
    stored: Any = field(repr=False)
    """The value as it stands in the run's row, where it may be encrypted."""
    node: str
    """The node that asks, or the ``@task`` where one asks."""
    namespace: str
    """The checkpoint namespace it was asked in; empty at the root."""
    checkpoint_id: str = field(repr=False)
    """The checkpoint it was asked on (R7)."""
    task_id: str = field(repr=False)
    """The task that asked (R7)."""
    answered: int = field(repr=False)
    """How many answers that task had when it asked: the length of its RESUME list (R7)."""

    @property
    def value(self) -> Any:
        """What the graph passed to ``interrupt()``, as JSON. Raises DecryptionError."""
        return open_json(self.stored, bindings.question(self.run_id, self.id))


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One reading of a run. It does not change; ``holdfast.get(run.id)`` reads anew."""

    id: RunId
    graph: str
    version: str
    thread_id: ThreadId
    status: RunStatus
    queue: str | None
    """The queue it was sent to; None when the project's routes decide."""
    priority: int
    metadata: Mapping[str, Any]
    idempotency_key: str | None
    created_at: datetime
    not_before: datetime
    """When it is due."""
    deadline: datetime | None
    """When it is ended as failed if it has not ended by itself."""
    started_at: datetime | None
    finished_at: datetime | None
    deliveries: int
    """How often it was claimed."""
    crashes: int
    """How often it died without getting further (R12)."""
    owner: str | None
    """The process that executes it."""
    error: Mapping[str, Any] | None
    """Why it failed: ``type``, ``message`` and, of an exception, ``where`` (file and line) and ``traceback``."""
    questions: tuple[Question, ...]
    """What it asks and nobody has answered yet; empty once it has ended."""
    stored_input: Typed = field(repr=False)
    stored_result: Typed | None = field(repr=False)

    @property
    def input(self) -> Any:
        """What it was enqueued with. Raises TypeNotAllowedError (P12), DecryptionError."""
        return self.stored_input.value

    @property
    def result(self) -> Any:
        """The final values of the graph; None until it succeeded. Raises as ``input``."""
        return None if self.stored_result is None else self.stored_result.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """The database session that proves a process alive (R9); without a pid only expiry decides."""

    pid: int | None
    start: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """What ``enqueue`` asks the ledger to insert."""

    id: RunId
    thread_id: ThreadId
    graph: str
    version: str
    input: tuple[str, bytes | None] = field(repr=False)
    context: tuple[str, bytes | None] = field(repr=False)
    config: Any = field(repr=False)
    """As it is stored (``encryption.salted``)."""
    metadata: Mapping[str, Any]
    priority: int
    queue: str | None
    multitask_strategy: str
    idempotency_key: str | None
    request_digest: bytes = field(repr=False)
    """SHA-256 of what makes two requests the same."""
    request_hash: str
    """The same as it is stored, keyed with the run's secret where it has one."""
    delay: float | None
    """Seconds from now until it is due, when it was given so; else ``due_at``."""
    due_at: datetime | None
    deadline_delay: float | None
    """Seconds from now until its deadline, when it was given so; else ``deadline_at``, or none at all."""
    deadline_at: datetime | None
    max_crashes: int
    history: int | None
    """How many of its root checkpoints stay once it has ended; None: all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A run that this process owns until it settles it or loses the lease."""

    run: Run
    token: Token
    entered: bool
    """Whether its input has been applied (R5)."""
    stored_config: Any = field(repr=False)
    context: Typed = field(repr=False)
    asked: tuple[Question, ...] = field(repr=False)
    """All that it asked when it was interrupted, also what has been answered since (R7)."""
    answers: Typed | None = field(repr=False)
    backend: str | None = None
    """Where its thread's checkpoints are, as it may be shown; None: in Django's database, or there are none."""
    era: datetime | None = None
    """The server's incarnation (R9), where somebody has noted it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The config that it was enqueued with. Raises DecryptionError."""
        return opened_config(self.stored_config, self.run.id).config

    @property
    def salt(self) -> str:
        """The run's secret for hashes; empty if it has none. Raises DecryptionError."""
        return opened_config(self.stored_config, self.run.id).salt


@dataclass(frozen=True, kw_only=True, slots=True)
class Bell:
    """A message to be sent: which run, at which delivery, to which queue."""

    run_id: RunId
    thread_id: ThreadId
    graph: str
    delivery: int
    queue: str | None
    priority: int
    recovery: bool
    """Whether it goes to the recovery queue, ahead of the backlog (R15)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """What a renewal of one lease learned."""

    run_id: RunId
    held: bool
    """Whether the lease is still ours (a row that is being settled counts as ours)."""
    cancel: bool
    rollback: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One line of a run's timeline."""

    run_id: UUID
    delivery: int
    step: int
    node: str
    task_id: str
    namespace: str
    owner: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    """``done``, ``failed``, ``interrupted``, ``cached`` or ``running`` (so far, or when its process died)."""
