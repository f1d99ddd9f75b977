"""What leaves an instance of a level towards the next inner one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Delivery", "StrideRule", "Traffic"]

StrideRule = Literal["current", "pre_a12fff5"]


@dataclass(slots=True)
class Delivery:
    """Words that leave one instance in groups of ``multicast`` receivers, ``scatter`` such groups a step."""

    multicast: int
    scatter: int
    accesses: float
    hops: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Deliveries of one dataspace from one instance of a level to the next inner level, and transfers by neighbours."""

    deliveries: tuple[Delivery, ...]
    link_transfers: int = 0
