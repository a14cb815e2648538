"""``@task`` with a memory: takes the place of ``langgraph.func.task`` and guards what its body does (P4).

A call inside a run is looked up in the ledger first and recorded there (``keyed``, the default), or
committed together with the body's own rows (``transactional``), or announced before the body begins
and never repeated (``at_most_once``). Under a plain ``graph.invoke()`` nothing is recorded: the
decorator acts as LangGraph's own, and ``current_effect().key`` is stable there too. Nothing here
writes a row; ``holdfast.persistence.effects`` does.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeVar, cast, get_args, overload

import langgraph.func
from langgraph.pregel._call import SyncAsyncFuture
from langgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

from holdfast.errors import EffectRefusedError
from holdfast.persistence.effects import Kind
from holdfast.runner.effects.guard import arun, run
from holdfast.runner.effects.identity import CurrentEffect, call_site_of, current_effect, is_async
from holdfast.runner.effects.steps import Guarded

__all__ = ["CurrentEffect", "Reconcile", "current_effect", "task"]

P = ParamSpec("P")
T = TypeVar("T")

Reconcile = Callable[..., Any]
"""``reconcile(effect, *args, **kwargs)`` with the arguments of the call: looks up whether an
at_most_once effect happened. Returns ``{"happened": True, "result": …}``, ``{"happened": False}``,
or None if it cannot know, and then the run asks. May be async where the body is."""


class Task(langgraph.func._TaskFunction[P, T], Generic[P, T]):
    """A guarded task; whatever takes one of LangGraph's takes this."""

    __name__: str
    effect: Kind
    function: str
    reconcile: Reconcile | None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> SyncAsyncFuture[T]:
        """Call the task inside a node, an entrypoint or another task; returns a future.

        The future raises what the body raises, and EffectMismatchError, EffectRefusedError,
        NotSerializableError, DatabaseUnreachableError, IdleInTransactionError, LeaseLostError.
        """
        body = self.func
        guarded = Guarded(
            site=call_site_of(self.function, self.effect, body, args, kwargs),
            args=args,
            kwargs=kwargs,
            reconcile=self.reconcile,
        )
        bound: Callable[..., Any]
        if is_async(body):

            @functools.wraps(body)
            async def bound(*a: Any, **k: Any) -> Any:
                return await arun(guarded, functools.partial(body, *a, **k))

        else:

            @functools.wraps(body)
            def bound(*a: Any, **k: Any) -> Any:
                return run(guarded, functools.partial(body, *a, **k))

        call = langgraph.func._TaskFunction(
            bound,
            retry_policy=self.retry_policy,
            cache_policy=self.cache_policy,
            timeout=self.timeout,
            name=self.__name__,
        )
        return cast("SyncAsyncFuture[T]", call(*args, **kwargs))


@overload
def task(
    func: None = None,
    *,
    effect: Kind = "keyed",
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    reconcile: Reconcile | None = None,
) -> Callable[[Callable[P, Awaitable[T]] | Callable[P, T]], Task[P, T]]: ...


@overload
def task(func: Callable[P, Awaitable[T]]) -> Task[P, T]: ...


@overload
def task(func: Callable[P, T]) -> Task[P, T]: ...


def task(
    func: Callable[..., Any] | None = None,
    *,
    effect: Kind = "keyed",
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    reconcile: Reconcile | None = None,
) -> Any:
    """Make a function a task whose effect is guarded inside a run.

    ``effect``: ``"keyed"``, ``"transactional"`` or ``"at_most_once"``, see docs/effects.md.
    ``name`` also fixes the function's name in the ledger, which is otherwise its module and
    qualified name, so that a function can be moved while runs are under way.
    ``retry_policy``, ``cache_policy``, ``timeout`` (seconds): as in LangGraph.
    ``reconcile``: see Reconcile; for at_most_once only.

    Raises EffectRefusedError where the options contradict each other.
    """

    def decorate(body: Callable[..., Any]) -> Task[Any, Any]:
        shown = name or str(getattr(body, "__qualname__", type(body).__qualname__))
        _check(shown, effect, is_async(body), retry_policy, cache_policy, reconcile)
        stock = langgraph.func.task(retry_policy=retry_policy, cache_policy=cache_policy, timeout=timeout)(
            body
        )
        made: Task[Any, Any] = Task(
            body,
            retry_policy=stock.retry_policy,
            cache_policy=stock.cache_policy,
            timeout=stock.timeout,
        )
        made.__name__ = name or str(getattr(body, "__name__", type(body).__name__))
        made.effect = effect
        made.function = name or f"{getattr(body, '__module__', '')}.{shown}"
        made.reconcile = reconcile
        return made

    return decorate if func is None else decorate(func)


def _check(
    shown: str,
    effect: Kind,
    asynchronous: bool,
    retry_policy: object,
    cache_policy: object,
    reconcile: Reconcile | None,
) -> None:
    def refuse(reason: str) -> EffectRefusedError:
        return EffectRefusedError(f"@task {shown}: {reason}", function=shown)

    if effect not in get_args(Kind):
        raise refuse(f"effect={effect!r} is none of {', '.join(get_args(Kind))}.")
    if effect == "transactional" and asynchronous:
        raise refuse(
            'effect="transactional" is for sync bodies: Django\'s transactions do not span an await. Write the '
            "body with def; an async graph runs it in a thread."
        )
    if effect == "at_most_once" and retry_policy:
        raise refuse("no retry policy applies to an at_most_once effect; whether to repeat it is asked.")
    if effect != "keyed" and cache_policy is not None:
        raise refuse(
            f"a cached {effect} effect would not happen at all; only keyed ones take a cache_policy."
        )
    if reconcile is not None and effect != "at_most_once":
        raise refuse("reconcile= is for at_most_once effects; the outcome of the others is always known.")
