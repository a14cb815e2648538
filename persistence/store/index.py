"""The configuration of a search by meaning, checked, and what it means in SQL.

It is upstream's ``PostgresIndexConfig``: ``dims``, ``embed``, ``fields``, ``distance_type`` and
``ann_index_config`` with ``kind``, ``vector_type``, ``m``, ``ef_construction``, ``lists``. Only names of a closed
list and whole numbers reach a statement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, LiteralString, NamedTuple

from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp, ensure_embeddings, get_text_at_path, tokenize_path
from psycopg import sql

from holdfast.errors import ConfigurationError, EmbeddingError
from holdfast.persistence.store import embeddings
from holdfast.persistence.store.namespaces import checked_text, namespace_text
from holdfast.persistence.store.statements import composed, templates

_TYPES: Final[Mapping[str, int]] = {"vector": 2000, "halfvec": 4000}
"""The types of vectors, and how many dimensions an index can hold of each."""
_DISTANCES: Final[Mapping[str, tuple[LiteralString, LiteralString, LiteralString]]] = {
    "cosine": ("<=>", "1 - distance", "cosine_ops"),
    "l2": ("<->", "-distance", "l2_ops"),
    "inner_product": ("<#>", "-distance", "ip_ops"),
}
"""Of each distance: the operator, the score (the greater the nearer), the index's operators."""
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "hnsw": ("m", "ef_construction"),
    "ivfflat": ("lists", "nlist"),
    "flat": ("lists", "nlist"),
}
"""The kinds of index, and the numbers that each takes; a flat one is none."""
_LISTS = 100
"""pgvector's own default of ``lists``."""
_TUNED_SINCE: Final = (0, 8)
"""The version of pgvector whose indexes go on looking until enough rows meet the conditions."""


class Vector(NamedTuple):
    """One text of an item, by its field, to be found by its meaning."""

    prefix: str
    key: str
    field: str
    text: str


class Index:
    """One configuration. Immutable, thread-safe; opens nothing, and loads its model at first use."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises ConfigurationError."""
        self.config: Mapping[str, Any] = dict(config)
        ann = dict(config.get("ann_index_config") or {})
        self.kind = _one_of("ann_index_config.kind", ann.get("kind", "hnsw"), _KINDS)
        self.type = _one_of("ann_index_config.vector_type", ann.get("vector_type", "vector"), _TYPES)
        self.distance = _one_of("distance_type", config.get("distance_type", "cosine"), _DISTANCES)
        self._embed = config.get("embed")
        dims = config.get("dims", embeddings.DIMS if self._embed == embeddings.LOCAL else None)
        self.dims = _whole("dims", dims)
        self.options = {
            "lists" if name == "nlist" else name: _whole(f"ann_index_config.{name}", ann[name])
            for name in _KINDS[self.kind]
            if name in ann
        }
        if self.kind != "flat" and self.dims > _TYPES[self.type]:
            raise _wrong(
                f"{self.dims} dimensions are more than an index holds of {self.type} ({_TYPES[self.type]}): "
                'use {"vector_type": "halfvec"}, a model with fewer, or {"kind": "flat"}.'
            )
        fields = config.get("fields") or ["$"]
        self._fields = [_tokenized(path) for path in ([fields] if isinstance(fields, str) else fields)]
        self.most_vectors = sum(1 if path == "$" else len(tokens) for path, tokens in self._fields)
        """How many vectors an item is reckoned to have, as upstream does."""

    @cached_property
    def model(self) -> Embeddings:
        """The embeddings. Raises ConfigurationError where they cannot be had."""
        if self._embed == embeddings.LOCAL:
            return embeddings.MiniLM()
        try:
            return ensure_embeddings(self._embed)
        except (ValueError, ImportError) as error:
            raise _wrong(f"embed: {error}") from error

    def vectors(self, ops: Sequence[PutOp]) -> list[Vector]:
        """The texts of these items that are to be found."""
        found: dict[tuple[str, str, str], Vector] = {}
        for op in ops:
            if op.value is None or op.index is False:
                continue
            prefix = namespace_text(op.namespace)
            paths = self._fields if op.index is None else [_tokenized(path) for path in op.index]
            for path, tokens in paths:
                texts = get_text_at_path(op.value, tokens)
                for place, text in enumerate(texts):
                    field = checked_text(f"{path}.{place}" if len(texts) > 1 else path, "index")
                    found[prefix, op.key, field] = Vector(prefix, op.key, field, text)
        return list(found.values())

    def texts(self, vectors: Sequence[Sequence[float]], wanted: int) -> list[str]:
        """The vectors as arrays in PostgreSQL's text form. Raises EmbeddingError."""
        if len(vectors) != wanted or any(len(each) != self.dims for each in vectors):
            lengths = sorted({len(each) for each in vectors})
            raise EmbeddingError(
                f"The embeddings gave {len(vectors)} vectors of {lengths} dimensions for {wanted} texts; "
                f'"dims" of the index is {self.dims}.',
                dims=self.dims,
            )
        return ["{" + ",".join(repr(float(x)) for x in each) + "}" for each in vectors]

    def put(self) -> bytes:
        """The statement that stores items and vectors."""
        return self._statement("store_put")

    def search(self, *, everywhere: bool, version: str) -> bytes:
        """The statement that finds the nearest, for that version of pgvector."""
        operator, score, _ = _DISTANCES[self.distance]
        scope = templates()["anywhere" if everywhere else "below_a_path"]
        return self._statement(
            "store_search_similar",
            operator=sql.SQL(operator),
            score=sql.SQL(score),
            scope=sql.SQL(scope),
            tuning=self._tuning(version),
        )

    def _tuning(self, version: str) -> sql.SQL | sql.Composed:
        if self.kind == "flat" or _numbers(version) < _TUNED_SINCE:
            return sql.SQL("'none'")
        if self.kind == "hnsw":
            return sql.SQL("set_config('hnsw.iterative_scan', 'strict_order', true)")
        probes = str(math.isqrt(self.options.get("lists", _LISTS)))  # as pgvector's documentation advises
        return sql.SQL(
            "set_config('ivfflat.probes', {}, true) || set_config('ivfflat.iterative_scan', 'relaxed_order', true)"
        ).format(sql.Literal(probes))

    @property
    def operators(self) -> str:
        """The index's class of operators."""
        return f"{self.type}_{_DISTANCES[self.distance][2]}"

    def steps(self, *, concurrently: bool = False) -> dict[int, list[bytes]]:
        """Upstream's migrations of this configuration, by number, as statements."""
        steps = {0: [self._statement("vectors_extension")], 1: [self._statement("vectors_table")]}
        if self.kind != "flat":
            settings = [sql.SQL("{} = {}").format(sql.Identifier(k), v) for k, v in self.options.items()]
            options = sql.SQL("WITH ({})").format(sql.SQL(", ").join(settings)) if settings else sql.SQL("")
            steps[2] = [
                self._statement(
                    "vectors_index",
                    concurrently=sql.SQL("CONCURRENTLY" if concurrently else ""),
                    method=sql.Identifier(self.kind),
                    operators=sql.Identifier(self.operators),
                    options=options,
                )
            ]
        for version, statements in steps.items():
            statements.append(self._statement("vectors_note", version=sql.Literal(version)))
        return steps

    def _statement(self, name: str, **parts: sql.Composable) -> bytes:
        return composed(name, type=sql.Identifier(self.type), dims=sql.Literal(self.dims), **parts)


def lock_and_record() -> list[LiteralString]:
    """What goes before the steps, in one transaction."""
    return [templates()["vectors_lock"], templates()["vectors_record"]]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _tokenized(path: str) -> tuple[str, str | list[str]]:
    return path, path if path == "$" else tokenize_path(path)


def _one_of(name: str, given: object, known: Mapping[str, Any]) -> str:
    if given not in known:
        raise _wrong(f"{name} is {given!r}; it must be one of {', '.join(known)}.")
    return str(given)


def _whole(name: str, given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise _wrong(f"{name} is {given!r}; it must be a whole number of at least 1.")
    return given


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f'HOLDFAST["STORE_INDEX"] (or index=): {what}', setting="STORE_INDEX")
