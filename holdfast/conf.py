"""Every setting of the dict ``HOLDFAST`` in Django's settings: its type, unit and default.

Read with ``settings()``; a name that is not listed here is an error, so that a typing mistake
is not a default in disguise. Nothing else in Holdfast reads Django's settings for options.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from holdfast import keys
from holdfast.errors import ConfigurationError

T = TypeVar("T")

Commit = Literal["durable", "relaxed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """What the nightly cleanup keeps. None keeps everything of that sort."""

    max_age: float | None = 30 * 86400.0
    """Seconds after its last run or checkpoint that an ended thread is kept."""
    keep_last: int | None = None
    """Number of newest root checkpoints kept of a thread that stays."""
    run_age: float | None = 90 * 86400.0
    """Seconds that the row of an ended run is kept."""
    orphans: bool = True
    """Whether rows that nothing refers to any more (writes, blobs, effects) are deleted."""
    cache: bool = True
    """Whether expired entries of the node cache are deleted, and unused ones of a ``cache_version`` that is gone."""
    store: bool = True
    """Whether expired items of the store are deleted."""
    batch: int = 500
    """Threads or rows deleted in one transaction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """One immutable reading of ``HOLDFAST``. Times are seconds, sizes are bytes."""

    DATABASE: str = "default"
    """The alias in DATABASES that holds Holdfast's tables."""
    CHECKPOINTER: str = "django"
    """Where the checkpoints of runs are kept, if their graph does not say: ``django`` (the database above),
    ``postgresql://…``, ``sqlite:///file``, ``memory://``, ``redis://…``, ``mongodb://…`` or ``module:factory``."""
    STORE: str = "django"
    """Where the store of runs is kept, in the same forms."""
    CACHE: str = "django"
    """Where the node cache of runs is kept: ``django``, ``sqlite:///file``, ``memory://``, ``redis://…`` or
    ``module:factory``."""
    LEASE: float = 15.0
    """Seconds without a heartbeat after which a run is taken over (R8)."""
    HEARTBEAT: float = 0.5
    """Seconds between two beats of a worker process (R8)."""
    SWEEP: float = 1.0
    """Seconds between two sweeps of a worker process (R10)."""
    SESSION_GONE: float = 1.0
    """Seconds without renewal after which a lease whose session is gone is lost (R9)."""
    GRACE: float = 10.0
    """Seconds an executor may outlive its revoked token before its process exits (R8)."""
    LOCK_TIMEOUT: float = 2.0
    """Seconds that a claim waits for a lock (R11)."""
    IDLE_IN_TRANSACTION: float = 10.0
    """Seconds that a worker's connection may idle inside a transaction (R11); below LEASE."""
    BELL_IDLE: float = 5.0
    """Seconds after which an unanswered bell is rung again while a consumer idles (R16)."""
    BELL_BUSY: float = 60.0
    """The same while all are busy; doubles at each ring (R16)."""
    BELL_MAX: float = 3600.0
    """The longest time between two rings (R16)."""
    RING_TIMEOUT: float = 1.0
    """Seconds that ringing may cost a caller (R17)."""
    MAX_CRASHES: int = 3
    """Deaths without progress after which a run is set aside as failed (P9)."""
    QUEUE: str | None = None
    """Queue of a run that names none; None leaves it to the project's task routes."""
    SERIALIZABLE: tuple[str, ...] = ()
    """Dotted paths of further types that may be stored (P12), e.g. ``"shop.types.Order"``."""
    ENCRYPTION: keys.Encryption = field(default_factory=keys.Encryption)
    """``{"keys": {id: key}, "active": id, "readable_vectors": False}``: what is stored is encrypted under the active
    key (docs/encryption.md). The environment variables HOLDFAST_ENCRYPTION_KEYS and HOLDFAST_ENCRYPTION_ACTIVE add to it."""
    STORE_INDEX: dict[str, Any] | None = None
    """The store's search by meaning, as upstream's PostgresIndexConfig: ``dims``, ``embed``, ``fields``,
    ``distance_type``, ``ann_index_config``. None: no vectors, no extension."""
    STORE_TTL: dict[str, Any] | None = None
    """How long items of the store live, in minutes, as upstream's TTLConfig: ``default_ttl``, ``refresh_on_read``,
    ``omit_expired``."""
    POOL_SIZE: int = 1
    """Connections of one process for saver, store, cache, effects and ledger, beside Django's own and the heartbeat's."""
    COMMIT: Commit = "durable"
    """"relaxed": a run's checkpoints are committed without waiting for the disk. A crash of a worker loses nothing by
    it, a crash of the database the last moments, which are executed again; whatever else is written waits, and takes
    along what came before. ``register(commit=…)`` says so of one graph."""
    MAX_INPUT: int = 16 * 1024 * 1024
    """Largest stored input, in bytes."""
    LARGE_CHANNEL: int = 1024 * 1024
    """Bytes of a channel's value above which a warning names it, and again each time it has doubled."""
    SLOW_QUERY: float = 1.0
    """Seconds of a checkpoint's statement above which a warning names it."""
    RETENTION: Retention = field(default_factory=Retention)
    PRUNE_CRONTAB: str = "0 2 * * *"
    """When the beat entry ``holdfast.prune`` is due, as a crontab line."""
    MODEL: str | None = None
    """Model of the examples, for LangChain's init_chat_model; None is the offline one.
    The environment variable HOLDFAST_MODEL wins."""


_ABOVE_ZERO: Final = {
    "LEASE", "HEARTBEAT", "LOCK_TIMEOUT", "IDLE_IN_TRANSACTION", "POOL_SIZE", "MAX_CRASHES", "batch",
}  # fmt: skip
"""Of these 0 would mean something else, such as no limit at all to PostgreSQL."""

_ENVIRONMENT: Final = ("HOLDFAST_MODEL", keys.KEYS_VARIABLE, keys.ACTIVE_VARIABLE)


class _Reading(NamedTuple):
    """What was found, and where it was read from. Keys may stand in places that are not seen here."""

    given: dict[str, Any]
    environment: tuple[str | None, ...]
    settings: Settings


_built: dict[tuple[tuple[str, str], ...], Settings] = {}
_last: _Reading | None = None


def settings() -> Settings:
    """The settings in force. Raises ConfigurationError; cheap enough to call anywhere, some microseconds."""
    from django.conf import settings as django_settings

    global _last
    given = getattr(django_settings, "HOLDFAST", {})
    environment = tuple(map(os.environ.get, _ENVIRONMENT))
    last = _last  # another thread may put another one there
    if last is not None and last.given == given and last.environment == environment:
        return last.settings
    raw = _raw(given)
    reading = tuple(sorted((name, repr(value)) for name, value in raw.items()))
    found = _built.get(reading)
    if found is None:
        found = _built[reading] = _build(raw)
    _last = None if "ENCRYPTION" in given else _Reading(_copy(given), environment, found)
    return found


def _copy(value: Any) -> Any:
    """With the dicts and lists inside, so that one that is changed in place is seen to differ."""
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value


def _raw(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError("HOLDFAST is a dict whose keys are names of settings.", setting="HOLDFAST")
    raw = dict(given)
    if model := os.environ.get("HOLDFAST_MODEL"):
        raw["MODEL"] = model
    # At once, so that no error, log or repr of the settings shows a key.
    raw["ENCRYPTION"] = keys.read(raw.get("ENCRYPTION"))
    return raw


def _build(raw: dict[str, Any]) -> Settings:
    values = dict(raw)
    if isinstance(values.get("RETENTION"), dict):
        values["RETENTION"] = _checked(Retention, values["RETENTION"], "HOLDFAST['RETENTION']")
    if isinstance(values.get("SERIALIZABLE"), list):
        values["SERIALIZABLE"] = tuple(values["SERIALIZABLE"])
    built = _checked(Settings, values, "HOLDFAST")
    if built.IDLE_IN_TRANSACTION >= built.LEASE:
        raise ConfigurationError(
            "HOLDFAST['IDLE_IN_TRANSACTION'] must be below HOLDFAST['LEASE'] (rule R11).",
            setting="IDLE_IN_TRANSACTION",
        )
    if built.HEARTBEAT * 4 > built.LEASE:
        raise ConfigurationError("HOLDFAST['LEASE'] must be at least four heartbeats.", setting="LEASE")
    return built


def _checked(kind: type[T], given: dict[str, Any], name: str) -> T:
    """The dataclass, if every entry is one of its fields and has the field's type. Raises ConfigurationError."""
    hints = get_type_hints(kind)
    for key, value in given.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            meant = f"did you mean {near[0]!r}? It" if near else "it"
            raise ConfigurationError(
                f"{name} has no entry {key!r}; {meant} knows {', '.join(sorted(hints))}.", setting=key
            )
        wanted = get_args(hints[key]) if isinstance(hints[key], UnionType) else (hints[key],)
        if get_origin(hints[key]) is Literal:
            if value not in (choices := get_args(hints[key])):
                raise ConfigurationError(
                    f"{name}[{key!r}] is {value!r}; it must be {' or '.join(map(repr, choices))}.",
                    setting=key,
                )
        elif not any(_fits(value, one) for one in wanted):
            forms = " or ".join("None" if one is NoneType else one.__name__.lower() for one in wanted)
            forms += ", finite and not below 0" if {int, float} & {*wanted} else ""
            raise ConfigurationError(f"{name}[{key!r}] is {value!r}; it must be {forms}.", setting=key)
        elif key in _ABOVE_ZERO and value == 0:
            raise ConfigurationError(f"{name}[{key!r}] is {value!r}; it must be above 0.", setting=key)
    return kind(**given)


def _fits(value: Any, wanted: Any) -> bool:
    if wanted in (int, float):  # True is an int too; NaN is below nothing, and infinity no length of time
        number = isinstance(value, int if wanted is int else int | float) and not isinstance(value, bool)
        return number and 0 <= value < float("inf")
    return isinstance(value, get_origin(wanted) or wanted)
