"""Several processes that share the batches of an evaluation, as ``torchrun`` starts them: one for each GPU.

Every rank computes some of the batches, all ranks get all of them, and the result is the same on each, and the same as
that of one process. Only rank 0 writes to disk and reports progress.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from codesign.errors import InputError

__all__ = ["Ranks", "environment_rank", "joined"]

T = TypeVar("T")

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that work together, and which of them this is.

    Args:
        rank: of this process, 0 .. count - 1.
        count: of processes.
        local: number of this process on its machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    def device(self, name: str | torch.device) -> torch.device | str:
        """The device of this process: a bare "cuda" is the GPU with the process's number on its machine."""
        if self.count > 1 and str(name) == "cuda":
            return torch.device("cuda", self.local)
        return name

    def gather(self, mine: T) -> list[T]:
        """What each rank has, in order of rank, on every rank; all must call this alike."""
        if self.count == 1:
            return [mine]
        found: list[T | None] = [None] * self.count
        distributed.all_gather_object(found, mine)
        return found  # type: ignore[return-value]


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that ``torchrun`` started, joined over gloo; this one alone if there are no others.

    A process group that the caller has made is used, and left as it is. Raises InputError if the environment names
    several processes and not how to find them.
    """
    if distributed.is_available() and distributed.is_initialized():
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), _number("LOCAL_RANK", 0))
        return
    if _number("WORLD_SIZE", 1) == 1:
        yield Ranks()
        return
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise InputError(
            "several processes must be started by torchrun",
            got=f"WORLD_SIZE={os.environ['WORLD_SIZE']} without {', '.join(missing)}",
            key="WORLD_SIZE",
            fix="torchrun --nproc-per-node GPUS script.py, or unset WORLD_SIZE",
        )
    _join()
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), _number("LOCAL_RANK", 0))
    finally:
        distributed.destroy_process_group()


def _join() -> None:
    """A process group whose keys in the shared store are its own.

    A second group of the same processes would else find the addresses of the first there, and wait for them for ever.
    Every rank counts the groups that it joins, and none joins the next before all have joined this one.
    """
    store, rank, count = next(iter(rendezvous("env://")))
    turn = (store.add("codesign/joined", 1) - 1) // count
    own = PrefixStore(f"codesign/{turn}", store)
    distributed.init_process_group("gloo", store=own, rank=rank, world_size=count)


def environment_rank() -> int:
    """The number that ``torchrun`` gave this process; 0 without it."""
    return _number("RANK", 0) if _number("WORLD_SIZE", 1) > 1 else 0


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise InputError(f"{name} must be a whole number", got=text, key=name, fix=f"unset {name}")
    return int(text)
