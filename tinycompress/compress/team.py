"""The processes that train one network together: each its share of every batch, with averaged gradients.

torchrun starts them and tells each its number. The first one leads: it runs the command, decides, writes and prints;
the others follow what it tells them. A process alone is a team of one, for which everything here does nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tinycompress.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the first one may plan for minutes while they have nothing to do, and
torchrun ends them all when one fails."""


def launched() -> tuple[int, int]:
    """(number of this process, number of processes) as torchrun set them; (0, 1) without it."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if any(name not in os.environ for name in names):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@dataclass(frozen=True)
class Team:
    """This process's place in its team. All members call `average` and `tell`/`hear` in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch along its first axis; the parts differ by one sample at most.

        ConfigError TC-C316 when there is not a sample for everyone.
        """
        if self.size == 1:
            return batch
        if len(batch) < self.size:
            raise ConfigError(
                "TC-C316",
                f"a batch of {len(batch)} cannot be shared by {self.size} processes",
                fix="raise train.batch and qat.batch, or start fewer processes",
            )
        return batch.tensor_split(self.size)[self.rank]

    def average(self, tensors: Sequence[Tensor], weight: float) -> None:
        """Replaces float tensors, on every process, by their mean weighted with each one's `weight` (sum 1)."""
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        with torch.no_grad(), _together():
            flat = torch.cat([t.detach().flatten().float() for t in tensors]) * weight
            distributed.all_reduce(flat)
            for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def tell(self, message: Any) -> None:
        """The first process gives the others an object that pickle can carry; in those it does nothing."""
        if self.size > 1 and self.leads:
            self._broadcast(message)

    def hear(self) -> Any:
        """What the first process tells; waits for it."""
        return self._broadcast(None)

    def _broadcast(self, message: Any) -> Any:
        from torch import distributed

        box = [message]
        with _together():
            distributed.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Team()


@functools.cache
def join() -> Team:
    """The team of this process; the first call joins it. A process group that the caller opened is used as it is."""
    _, size = launched()
    if size == 1:
        return ALONE
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _together():
            distributed.init_process_group(backend, timeout=PATIENCE)
        atexit.register(_leave)
    return Team(distributed.get_rank(), distributed.get_world_size())


def local_device() -> int:
    """The number of this process's own GPU; ConfigError TC-C317 when the machine has fewer GPUs than processes."""
    import torch

    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise ConfigError(
            "TC-C317",
            f"process {number} of this machine has no GPU of its own, there are {torch.cuda.device_count()}",
            fix="start as many processes as there are GPUs (--nproc-per-node)",
        )
    return number


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Around what needs all processes: says that another one is gone, instead of what the network library says."""
    try:
        yield
    except RuntimeError as error:
        raise ConfigError(
            "TC-C318",
            f"the training processes lost each other: {str(error).splitlines()[0]}",
            fix="look for the message of the process that ended first",
        ) from error
