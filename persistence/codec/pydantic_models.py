"""How pydantic models are stored and built: by their fields as they are.

LangGraph stores a model by its ``model_dump()``, in which the objects inside of it become dicts. Where a field
declares their type they come back; where it says ``Any`` or a base class, a dict or the base class does, and nobody
is told. Here each object inside is stored under its own name. Private attributes are no part of a model's
data, as pydantic has it, and are not stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from langgraph.checkpoint.serde.jsonplus import EXT_PYDANTIC_V2
from pydantic import BaseModel

from holdfast.persistence.codec.form import Form, named
from holdfast.persistence.codec.safe import SAFE


def form(value: Any) -> Form:
    """The model's fields, what else it was given, and which of them were set. Raises TypeError."""
    kind = type(value)
    held = value.__dict__
    try:
        parts = {name: held[name] for name in kind.__pydantic_fields__}
    except KeyError as missing:
        raise TypeError(f"it has no value for its field {missing}") from None
    if not kind.__pydantic_root_model__ and value.__pydantic_extra__:
        parts |= value.__pydantic_extra__
    fields_set = value.__pydantic_fields_set__
    # Of messages nobody asks; of a run's input LangGraph does.
    if len(fields_set) >= len(parts) or (kind.__module__, kind.__name__) in SAFE:
        return named(value, parts, EXT_PYDANTIC_V2, "model_validate_json")
    return named(value, parts, EXT_PYDANTIC_V2, "model_validate_json", sorted(fields_set))


def build(kind: Any, parts: dict[str, Any], fields_set: list[str] | None) -> Any:
    """The model. Its validators are asked, as its rules may have changed since; if they refuse, it is as it was.

    Raises ValueError where a field that must be there is not.
    """
    try:
        made = (
            kind.model_validate(parts, by_alias=False, by_name=True) if _has_aliases(kind) else kind(**parts)
        )
    except Exception:  # noqa: BLE001 - whatever a validator or constructor raises
        made = _as_it_was(kind, parts)
    if fields_set is not None:
        known = kind.__pydantic_fields__.keys() | (made.model_extra or {}).keys()
        object.__setattr__(made, "__pydantic_fields_set__", {*fields_set} & known)
    return made


@lru_cache(maxsize=4096)
def _has_aliases(kind: Any) -> bool:
    """Whether its constructor knows fields by other names than their own; it ignores those that it does not know."""
    return any(field.validation_alias is not None for field in kind.__pydantic_fields__.values())


def _as_it_was(kind: Any, parts: dict[str, Any]) -> BaseModel:
    """Not ``model_construct``, which takes a part whose name is another field's alias for that field."""
    rest = dict(parts)
    values: dict[str, Any] = {}
    for name, field in kind.__pydantic_fields__.items():
        if name in rest:
            values[name] = rest.pop(name)
        elif field.is_required():
            raise ValueError(f"it has no field {name!r}")
        else:
            values[name] = field.get_default(call_default_factory=True, validated_data=values)
    made: BaseModel = kind.__new__(kind)
    object.__setattr__(made, "__dict__", values)
    extra = rest if kind.model_config.get("extra") == "allow" else None
    object.__setattr__(made, "__pydantic_fields_set__", {*values, *(extra or ())})
    if not kind.__pydantic_root_model__:
        object.__setattr__(made, "__pydantic_extra__", extra)
        object.__setattr__(made, "__pydantic_private__", None)
    if kind.__pydantic_post_init__:
        made.model_post_init(None)
    return made
