"""How probable it is that none of several tiles of a tensor is empty, from what is known of its density.

The tiles of a query all hold the word of one operation. Their unions are counted exactly; what is random is which
words are ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import chain, combinations
from math import ceil, comb, gcd, prod

from codesign.accelerator.model.density_models import DensityModel, density_model
from codesign.accelerator.model.events import Digit, Event
from codesign.accelerator.model.hypergeometric import empty_probability
from codesign.accelerator.spec.density import Banded, StructuredNM, Vectors
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError

__all__ = ["probability_of_none"]

_MOST_EVENTS = 4
_Merged = tuple[tuple[int, int], ...]


def probability_of_none(problem: Problem, dataspace_id: int, digits: Sequence[Digit], events: Sequence[Event]) -> float:
    """Probability that every tile of ``events`` (none inside another one, all of one tensor) has a one.

    Raises:
        InputError: more tiles at a time, or of another shape, than is modelled.
    """
    if len(events) > _MOST_EVENTS:
        raise InputError(
            f"not modelled: more than {_MOST_EVENTS} overlapping tiles of {problem.dataspaces[dataspace_id].name}",
            got=len(events),
            fix="give the tensor its actual data, or save its accesses at fewer levels",
        )
    empty = _emptiness(problem, dataspace_id, tuple(digits), [event.merged for event in events])
    signed = (-empty(chosen) if len(chosen) % 2 else empty(chosen) for chosen in _subsets(range(len(events))))
    return max(0.0, sum(signed))


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(items, count) for count in range(len(items) + 1))


def _emptiness(
    problem: Problem, dataspace_id: int, digits: tuple[Digit, ...], tiles: Sequence[_Merged]
) -> Callable[[tuple[int, ...]], float]:
    """Probability that the union of some tiles is empty, as a function of their numbers."""
    dataspace, density = problem.dataspaces[dataspace_id], problem.densities[dataspace_id]
    if isinstance(density, StructuredNM | Vectors):
        channel = _ChannelTiles(problem, dataspace, digits, tiles, density.rank)
        if isinstance(density, StructuredNM):
            return lambda chosen: channel.empty_nm(density, chosen)
        return lambda chosen: channel.empty_vectors(density, chosen)
    model = density_model(problem, dataspace_id, compat=False)

    def empty(chosen: tuple[int, ...]) -> float:
        if not chosen:
            return 1.0
        return model.empty(_union(dataspace, digits, [tiles[i] for i in chosen], model, isinstance(density, Banded)))

    return empty


def _union(
    dataspace: Dataspace, digits: tuple[Digit, ...], tiles: Sequence[_Merged], model: DensityModel, shaped: bool
) -> tuple[int, ...]:
    """Words of a union as tile extents; a single tile has its own, others are one long row."""
    if len(tiles) == 1:
        return tuple(len(_offsets(dataspace, rank, digits, tiles[0])) for rank in range(len(dataspace.ranks)))
    if shaped:
        raise InputError(
            f"not modelled: overlapping tiles of the banded {dataspace.name}",
            got=repr(model),
            fix="give the tensor its actual data",
        )
    words = 0
    for chosen in _subsets(range(len(tiles))):
        if chosen:
            common = _common([tiles[i] for i in chosen])
            size = prod(len(_offsets(dataspace, rank, digits, common)) for rank in range(len(dataspace.ranks)))
            words += (-1) ** (len(chosen) + 1) * size
    return (words,)


def _common(tiles: Sequence[_Merged]) -> _Merged:
    """The intersection of aligned tiles that share a word."""
    return tuple(reduce(_both, (dict(tile) for tile in tiles)).items())


def _both(first: dict[int, int], second: dict[int, int]) -> dict[int, int]:
    return {i: gcd(count, second[i]) for i, count in first.items() if i in second}


def _offsets(dataspace: Dataspace, rank: int, digits: tuple[Digit, ...], tile: _Merged) -> frozenset[int]:
    """Coordinates along a rank that a tile touches, relative to one of them."""
    return _sums(tuple((_step(dataspace, rank, digits[i]), count) for i, count in tile))


def _step(dataspace: Dataspace, rank: int, digit: Digit) -> int:
    return digit.stride * sum(t.coefficient for t in dataspace.ranks[rank] if t.dimension == digit.dimension)


@lru_cache(maxsize=4096)
def _sums(runs: tuple[tuple[int, int], ...]) -> frozenset[int]:
    found = {0}
    for step, count in runs:
        if step:
            found = {value + step * index for value in found for index in range(count)}
    return frozenset(found)


class _ChannelTiles:
    """Tiles of a tensor whose structure lies along one rank: sets of channels at sets of positions."""

    def __init__(
        self, problem: Problem, dataspace: Dataspace, digits: tuple[Digit, ...], tiles: Sequence[_Merged], rank: int
    ) -> None:
        if rank >= len(dataspace.ranks) or len(dataspace.ranks[rank]) != 1 or dataspace.ranks[rank][0].coefficient != 1:
            raise InputError(
                f"the structure of {dataspace.name} must lie along a rank that is one dimension",
                got=f"rank {rank}",
                key=f"problem.instance.densities.{dataspace.name}",
                fix="for Outputs, name the dimension of the output channels",
            )
        own = [(i, d) for i, d in enumerate(digits) if d.dimension == dataspace.ranks[rank][0].dimension]
        self.channels = problem.bounds[dataspace.ranks[rank][0].dimension]
        self.words = problem.tensor_size(dataspace)
        self.digits = tuple((i, d.bound, d.stride) for i, d in own)
        self.tiles = [tuple((i, dict(tile).get(i, 1)) for i, _ in own) for tile in tiles]
        others = [other for other in range(len(dataspace.ranks)) if other != rank]
        self.positions = {
            chosen: prod(
                len(_offsets(dataspace, other, digits, _common([tiles[i] for i in chosen]))) for other in others
            )
            for chosen in _subsets(range(len(tiles)))
            if chosen
        }

    def cover(self, chosen: tuple[int, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(positions, tiles) for every combination of tiles: how many positions lie in exactly these tiles."""
        found = []
        for members in _subsets(chosen):
            if members:
                rest = [i for i in chosen if i not in members]
                exactly = sum(
                    (-1) ** len(more) * self.positions[tuple(sorted((*members, *more)))] for more in _subsets(rest)
                )
                found.append((exactly, members))
        return tuple((positions, members) for positions, members in found if positions)

    def touched(self, members: tuple[int, ...], length: int) -> Mapping[int, tuple[int, ...]]:
        """For every channel: how many channels of each touched group of ``length`` the tiles around it cover."""
        return _touched(self.digits, tuple(self.tiles[i] for i in members), self.channels, length)

    def empty_nm(self, density: StructuredNM, chosen: tuple[int, ...]) -> float:
        if not chosen:
            return 1.0
        _check_groups(self.channels, density.m)
        parts = [(positions, self.touched(members, density.m)) for positions, members in self.cover(chosen)]
        total = comb(density.m, density.n)
        share: dict[tuple[int, ...], float] = {}
        found = 0.0
        for channel in range(self.channels):
            probability = 1.0
            for positions, groups in parts:
                covered = groups[channel]
                if covered not in share:
                    share[covered] = prod(comb(density.m - count, density.n) / total for count in covered)
                probability *= share[covered] ** positions
            found += probability
        return found / self.channels

    def empty_vectors(self, density: Vectors, chosen: tuple[int, ...]) -> float:
        if not chosen:
            return 1.0
        _check_groups(self.channels, density.length)
        groups = self.words // density.length
        ones = ceil(density.density * groups)
        parts = [(positions, self.touched(members, density.length)) for positions, members in self.cover(chosen)]
        found = 0.0
        for channel in range(self.channels):
            found += empty_probability(groups, ones, sum(positions * len(part[channel]) for positions, part in parts))
        return found / self.channels


def _check_groups(channels: int, size: int) -> None:
    if channels % size:
        raise InputError(
            "the groups of a structured density must divide the rank that they lie along",
            got=f"groups of {size} among {channels}",
            key="problem.instance.densities",
        )


@lru_cache(maxsize=256)
def _touched(
    digits: tuple[tuple[int, int, int], ...],
    tiles: tuple[tuple[tuple[int, int], ...], ...],
    channels: int,
    length: int,
) -> dict[int, tuple[int, ...]]:
    bounds = {index: (bound, stride) for index, bound, stride in digits}
    found: dict[int, tuple[int, ...]] = {}
    for channel in range(channels):
        if channel in found:
            continue
        covered: set[int] = set()
        for tile in tiles:
            start = channel
            for index, count in tile:
                bound, stride = bounds[index]
                start -= stride * (channel // stride % bound % count)
            covered |= {start + offset for offset in _sums(tuple((bounds[i][1], count) for i, count in tile))}
        groups: dict[int, int] = {}
        for value in covered:
            groups[value // length] = groups.get(value // length, 0) + 1
        counts = tuple(sorted(groups.values()))
        for member in covered if len(tiles) == 1 else (channel,):
            found[member] = counts
    return found
