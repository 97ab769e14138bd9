"""Frozen dataclasses to JSON values and back, driven by their type hints. No pickle, no arbitrary types."""

from __future__ import annotations

import enum
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


class CodecError(ValueError):
    """A JSON value does not have the shape its type asks for; the message starts with the path to it."""


def encode(value: Any) -> Any:
    """Dataclasses to dicts (init fields only), enums to their value, tuples to lists; plain JSON values unchanged."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot encode {type(value).__name__}")


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def decode(hint: Any, value: Any, path: str = "$") -> Any:
    """`value` as an instance of the type `hint`; CodecError with the path where it does not fit."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = [a for a in typing.get_args(hint) if a is not type(None)]
        if value is None and len(options) < len(typing.get_args(hint)):
            return None
        return decode(options[0], value, path)
    if origin is tuple:
        return _decode_tuple(typing.get_args(hint), value, path)
    if is_dataclass(hint) and isinstance(hint, type):
        return _decode_dataclass(hint, value, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError as error:
            raise CodecError(f"{path}: {error}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise CodecError(f"{path}: expected {getattr(hint, '__name__', hint)}, got {type(value).__name__}")
    return value


def _decode_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise CodecError(f"{path}: expected a list, got {type(value).__name__}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(decode(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if len(value) != len(args):
        raise CodecError(f"{path}: expected {len(args)} entries, got {len(value)}")
    return tuple(decode(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _decode_dataclass(cls: type[Any], value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise CodecError(f"{path}: expected an object, got {type(value).__name__}")
    known = {f.name: f for f in fields(cls) if f.init}
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise CodecError(f"{path}: unknown field {unknown[0]!r} of {cls.__name__}")
    hints: dict[str, Any] = _hints(cls)  # type: ignore[arg-type]
    decoded = {name: decode(hints[name], item, f"{path}.{name}") for name, item in value.items()}
    try:
        return cls(**decoded)
    except (TypeError, ValueError) as error:
        raise CodecError(f"{path}: {error}") from None
