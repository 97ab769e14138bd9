"""What a handler of an ATen call gets and gives, and how torch's axes and shapes become batch-free ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycompress.errors import ModelError
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.values import Value, refuse

Result = Value | list[Value]


@dataclass(frozen=True)
class Call:
    """One ATen call: `args` by schema name, and the shapes of its results as torch computed them (with batch)."""

    args: Mapping[str, Any]
    result_shapes: tuple[tuple[int, ...], ...]

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def value(self, name: str = "self") -> Value:
        """The activation passed as `name`."""
        found = self.args[name]
        if not isinstance(found, Value):
            raise refuse(f"its argument {name!r} is a constant", "compute it outside the network")
        return found

    def data(self, name: str) -> np.ndarray[Any, Any] | None:
        """The constant passed as `name`, or None."""
        found = self.args[name]
        if isinstance(found, Value):
            raise refuse(f"its argument {name!r} is computed by the network", "use a fixed parameter instead")
        return None if found is None else np.asarray(found, dtype=np.float32)

    def constant(self, name: str) -> np.ndarray[Any, Any]:
        """The constant passed as `name`."""
        found = self.data(name)
        if found is None:
            raise refuse(f"its argument {name!r} is absent", "give it a value")
        return found


Handler = Callable[[ChannelsFirstBuilder, Call], Result]


def batch_free_axis(dim: int, rank: int) -> int:
    """A torch dimension of a batch-free rank-`rank` value; ModelError TC-M102 for the batch dimension."""
    axis = dim + rank + 1 if dim < 0 else dim
    if axis == 0:
        raise ModelError(
            "TC-M102", "it works along the batch axis", fix="keep dimension 0 as the batch of 1, e.g. flatten(1)"
        )
    return axis - 1


def batch_free_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A torch shape without its leading batch of 1; ModelError TC-M102 when it does not lead with 1."""
    if not shape or shape[0] != 1:
        raise ModelError(
            "TC-M102",
            f"its result of shape {list(shape)} has no leading batch axis of 1",
            fix="keep dimension 0 as the batch, e.g. x.flatten(1) or x.view(x.size(0), -1)",
        )
    return tuple(int(s) for s in shape[1:])


def entries(names: str, handler: Handler) -> dict[str, Handler]:
    """`handler` under each of the schema names, given as words."""
    return {f"aten.{name}": handler for name in names.split()}
