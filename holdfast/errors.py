"""Every error that Holdfast raises on purpose: one tree, whose root is HoldfastError.

A message says what happened, where, and how to mend it; the facts stand in attributes, for
programs. Nothing has been written when one of these is raised, unless its docstring says so.
"""

from __future__ import annotations

from typing import Any


class HoldfastError(Exception):
    """The root. Catch it to catch everything that Holdfast raises on purpose."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(name)


class ConfigurationError(HoldfastError):
    """A setting is missing or wrong. Facts: ``setting``."""


class HistoryUnsupportedError(ConfigurationError):
    """A graph's ``history``, or ``keep_last``, cannot be kept by the saver of its backend."""


class VectorsUnavailableError(ConfigurationError):
    """The store's index cannot be had: no extension, no right to make it, or another's table. Facts: ``alias``."""


class NotMigratedError(ConfigurationError):
    """The database lacks Holdfast's tables, or an older version of them. Facts: ``alias``."""


class DatabaseUnreachableError(HoldfastError):
    """The database does not answer. Facts: ``alias``."""


class OutageError(DatabaseUnreachableError):
    """It was asked for LEASE seconds and did not answer. No fault of a run's: another worker goes on with it."""


class UnknownGraphError(HoldfastError):
    """No graph is registered under that name and version. Facts: ``graph``, ``version``, ``known``."""


class GraphDefinitionError(HoldfastError):
    """A registered builder is not usable, e.g. compiled with interrupt_before. Facts: ``graph``."""


class InvalidInputError(HoldfastError):
    """An argument is refused: its schema, type, range or form. Facts: ``field``."""


class NotSerializableError(InvalidInputError):
    """A value cannot be stored. Facts: ``path`` (where in the value), ``type``."""


class InvalidFilterError(InvalidInputError, ValueError):
    """A search of the store has a filter that it does not know; a ValueError, as upstream's. Facts: ``field``."""


class EmbeddingError(HoldfastError):
    """A model gave other vectors than its configuration says. Facts: ``dims``."""


class TypeNotAllowedError(HoldfastError):
    """Stored bytes name a type outside the allow list (P12). Facts: ``type``, ``setting``."""


class DecryptionError(HoldfastError):
    """A stored value cannot be decrypted: its key is missing or another, or it was altered or moved.

    Facts: ``key`` (the id it names), ``setting``.
    """


class IdempotencyConflictError(HoldfastError):
    """The idempotency key was used before with something else. Facts: ``key``, ``run_id``."""


class TransactionError(HoldfastError):
    """Called inside a transaction of another database, which could not be made one with ours. Facts: ``alias``."""


class TransferError(HoldfastError):
    """What was transferred is not what is read back. What was copied before stays. Facts: ``place``, and for a
    checkpoint ``thread_id``, ``checkpoint_id``."""


class RunNotFoundError(HoldfastError):
    """No run has that id. Facts: ``run_id``."""


class RunStateError(HoldfastError):
    """The run's status does not allow that. Facts: ``run_id``, ``status``."""


class RunNotWaitingError(RunStateError):
    """``resume`` of a run that asks nothing at the moment."""


class UnknownQuestionError(RunStateError):
    """``resume`` named a question that the run does not ask. Facts: ``unknown``, ``asked``."""


class RunEndedError(RunStateError):
    """``cancel`` of a run that has ended."""


class RetryRefusedError(RunStateError):
    """``retry`` would run on another run's state, or on none (R5); ``fork`` is the way. Facts: ``reason``."""


class ThreadBusyError(HoldfastError):
    """The thread is held by a run that has not ended. Facts: ``thread_id``, ``run_id``."""


class ThreadNotFoundError(HoldfastError):
    """The thread, or the checkpoint named in it, does not exist. Facts: ``thread_id``, ``checkpoint_id``."""


class WaitTimeoutError(HoldfastError, TimeoutError):
    """``wait`` ran out of time; the run goes on. Facts: ``run_id``, ``status``, ``timeout`` (seconds)."""


class RunFailedError(HoldfastError):
    """Raised from the Celery task once the failed run has been settled. Facts: ``run_id``, ``error``."""


class LeaseLostError(HoldfastError):
    """Another attempt owns the run by now: what this one wanted to write was refused (P2).

    Raised inside an execution that has been taken over; nobody but the executor handles it.
    Facts: ``run_id``.
    """


class EffectError(HoldfastError):
    """The root of what a guarded effect can refuse. Facts: ``function``."""


class EffectMismatchError(EffectError):
    """A recorded effect was reached again with other arguments (R19). Facts: ``recorded``, ``called``."""


class EffectRefusedError(EffectError):
    """This kind of effect cannot be guarded here, e.g. transactional in an async body (R19)."""


class IdleInTransactionError(EffectError):
    """A transactional body, or a receiver of ``run_settled``, idled past the connection's limit (R3, R11).

    Facts: ``setting``.
    """
