"""Parameter structs: the kernel header says which members there are, the packed kernel says what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tinycompress.emit.arrays import integer
from tinycompress.kernels.catalogue import PackedKernel

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STRUCT = re.compile(r"typedef\s+struct\s*\{([^}]*)\}\s*(\w+)\s*;")
_ALIAS = re.compile(r"typedef\s+(\w+)\s+(\w+)\s*;")


@dataclass(frozen=True)
class Member:
    """One member of a params struct; pointers are filled from packed arrays, or NULL."""

    name: str
    is_pointer: bool


@cache
def _declarations(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """(body of each struct, what each typedef stands for), by name."""
    bare = _COMMENT.sub(" ", text)
    return {name: body for body, name in _STRUCT.findall(bare)}, {alias: name for name, alias in _ALIAS.findall(bare)}


def struct_members(text: str, type_name: str) -> tuple[Member, ...]:
    """Members of `type_name` in the order in which `text`, one header or several, declares them; typedefs are followed.

    Raises KeyError when there is no such struct.
    """
    structs, aliases = _declarations(text)
    while type_name not in structs:
        type_name = aliases[type_name]
    members = []
    for declaration in filter(None, (d.strip() for d in structs[type_name].split(";"))):
        first, *others = declaration.split(",")
        for declarator in (first, *others):
            name = re.sub(r"\[.*", "", declarator).split()[-1]
            members.append(Member(name.lstrip("*"), "*" in declarator))
    return tuple(members)


def struct_initialisers(
    members: tuple[Member, ...], packed: PackedKernel, arrays: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """(value, member) for every member in order; `arrays` maps a packed array's field to its C name.

    Raises ValueError when the packed kernel and the struct disagree: a value without a member or the reverse.
    """
    scalars = dict(packed.scalars)
    values = []
    for member in members:
        if member.is_pointer:
            values.append((arrays.get(member.name, "NULL"), member.name))
        elif member.name in scalars:
            values.append((_value(scalars[member.name]), member.name))
        else:
            raise ValueError(f"{packed.params_type}.{member.name} has no value")
    unknown = {*scalars, *arrays} - {m.name for m in members}
    if unknown:
        raise ValueError(f"{packed.params_type} has no members {sorted(unknown)}")
    return tuple(values)


def _value(value: int | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(integer(int(v)) for v in value) + "}"
    return integer(int(value))
