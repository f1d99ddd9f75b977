"""One dataspace at one boundary of a loop nest: what its tile needs anew, summed over all visits.

The real program walks the nest (see ``visits``) and keeps, for every boundary, the tile of the visit before. Here the
same visits are summed without walking them: what a block of inner loops does depends only on the state in which it
is entered, and few states occur, so blocks are memoised. The result is exactly that of the walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from codesign.accelerator.model.differences import full_delta, moved_delta, new_words, translation
from codesign.accelerator.model.encoding import Encoding
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.model.spatial import Group, Shares
from codesign.accelerator.model.traffic import Delivery, StrideRule, Traffic
from codesign.accelerator.model.visits import Surroundings
from codesign.accelerator.spec.mapping import LevelMapping
from codesign.accelerator.spec.problem import Box, Dataspace

__all__ = ["Walk"]

_State = tuple[int, int, int | None, int, int, int]
"""Flags and position of the last tile (-1: none), stored translation, form, corner and flags of the last delta.

Positions are encoded and relative to the current one. Form 0 is the empty delta, -1 stands for none.
"""
_START: _State = (-1, 0, None, 0, 0, 0)

_Variant = tuple[int, int, int]
"""Flags of the group now, flags one step before (-1: no transfers by neighbours), and the shift between the deltas."""

_PLAIN: _Variant = (0, -1, 0)

_Sums = tuple[int, Mapping[_Variant, int]]
"""Words of one element's deltas: those without neighbours in a full group, and those of other variants."""

_NONE: Mapping[_Variant, int] = {}


class Walk:
    """One dataspace at one level: what the inner boundary's tile needs anew, visit after visit."""

    def __init__(
        self,
        around: Surroundings,
        nest: Nest,
        dataspace: Dataspace,
        dataspace_id: int,
        level: int,
        mapping: tuple[LevelMapping, ...],
        encoding: Encoding,
        rule: StrideRule,
    ) -> None:
        here = mapping[level]
        self.around = around
        self.rule = rule
        self.encoding = encoding
        self.dataspace = dataspace
        self.inner = nest.levels[level - 1].boundary if level else None
        self.reuse = level > 0 and dataspace_id not in mapping[level - 1].no_temporal_reuse
        self.steps = [encoding.step(outer.loop.dimension, outer.loop.stride) for outer in around.loops]
        # Where nothing moves, no word is new: innermost loops that leave the tile in place are passed once.
        self.pause = 0
        if self.reuse and nest.perfect and rule == "current":
            self.pause = next((index for index, step in enumerate(self.steps) if step), len(self.steps))
        self.simple = nest.perfect and rule == "current" and all(len(rank) == 1 for rank in dataspace.ranks)
        self.offsets = tuple(encoding.step(loop.dimension, loop.stride) for loop in around.group)
        self.multicast = dataspace_id not in here.no_multicast
        # A tile that rests between two moves leaves nothing for the neighbours to pass on.
        self.links = bool(around.group) and dataspace_id not in here.no_link_transfer and self.pause == 0
        part = nest.levels[level]
        logical = [1, 1]
        for axis, loops in enumerate((part.spatial_x, part.spatial_y)):
            for loop in loops:
                logical[axis] *= loop.bound
        self.mesh = max(part.mesh[0], logical[0]), max(part.mesh[1], logical[1])
        self.groups: dict[int, Group] = {}
        self.boxes: dict[int, Box] = {}
        self.forms: dict[object, int] = {(): 0}
        self.full_deltas: dict[int, tuple[int, int, int]] = {}
        self.moves: dict[tuple[int, int, int], tuple[int, tuple[int, int, int]]] = {}
        self.linked: dict[_Variant, Shares | None] = {}
        self.known: dict[tuple[int, int, _State], tuple[_Sums, _State]] = {}

    def box(self, flags: int) -> Box:
        """The tile inside the inner boundary, relative to the current position."""
        if flags not in self.boxes:
            assert self.inner is not None
            extents = self.inner.box(self.around.last(flags))
            self.boxes[flags] = self.dataspace.tile([0] * len(extents), [extent - 1 for extent in extents])
        return self.boxes[flags]

    def full(self, flags: int) -> tuple[int, int, int]:
        """(size, form, encoded corner) of the whole tile; of a single point where no loop lies inside."""
        if flags not in self.full_deltas:
            delta = full_delta(self.box(flags) if self.inner is not None else ((0, 1),))
            form = self.forms.setdefault(delta.form, len(self.forms))
            corner = self.encoding.encode(delta.corner) if self.inner is not None else 0
            self.full_deltas[flags] = delta.size, form, corner
        return self.full_deltas[flags]

    def move(self, flags: int, last_flags: int, last_position: int) -> tuple[int, tuple[int, int, int]]:
        """Encoded translation since the last tile, and the delta if that tile is still there."""
        key = flags, last_flags, last_position
        if key not in self.moves:
            now, last = self.box(flags), self.box(last_flags)
            shift = self.encoding.decode(last_position)
            if flags == last_flags and not self.links:
                self.moves[key] = -last_position, (new_words(now, shift), 0, 0)
            else:
                last = tuple((low + by, high + by) for (low, high), by in zip(last, shift, strict=True))
                delta = moved_delta(now, last)
                form = self.forms.setdefault(delta.form, len(self.forms))
                corner = self.encoding.encode(delta.corner) if form else 0
                self.moves[key] = self.encoding.encode(translation(now, last)), (delta.size, form, corner)
        return self.moves[key]

    def group(self, flags: int) -> Group:
        """The spatial group under those flags."""
        if flags not in self.groups:
            self.groups[flags] = Group(self.around.group_bounds(flags), self.offsets, self.mesh, self.multicast)
        return self.groups[flags]

    def leaf(self, flags: int, state: _State) -> tuple[_Sums, _State]:
        """One visit of the boundary."""
        inner = flags & ~self.around.group_still
        last, position, stored, _, _, _ = state
        if not self.reuse:
            delta = self.full(inner)
        elif last < 0:
            delta, last, position = self.full(inner), inner, 0
        else:
            moved, delta = self.move(inner, last, position)
            if moved == 0 and self.rule == "current":
                pass
            elif stored is None:
                stored = moved
            elif stored != moved:
                delta, stored = self.full(inner), None
            last, position = inner, 0
        size, form, corner = delta
        if not self.links:
            sums = (size, _NONE) if flags == 0 or not self.around.group else (0, {(flags, -1, 0): size})
            return sums, (last, position, stored, 0, 0, 0)
        variant = self.variant(flags, form, corner, state)
        sums = (size, _NONE) if variant == _PLAIN else (0, {variant: size})
        if form == 0:
            return sums, (last, position, stored, 0, 0, 0)
        return sums, (last, position, stored, form, corner, flags)

    def variant(self, flags: int, form: int, corner: int, state: _State) -> _Variant:
        """Which elements may be fed by neighbours: none unless the last delta was a translate of this one."""
        _, _, _, last_form, last_corner, last_flags = state
        if form == 0 or form != last_form:
            return flags, -1, 0
        key = flags, last_flags, corner - last_corner
        if key not in self.linked:
            self.linked[key] = self.group(flags).linked_shares(self.group(last_flags), key[2], hops=False)
        return key if self.linked[key] is not None else (flags, -1, 0)

    def block(self, index: int, flags: int, state: _State) -> tuple[_Sums, _State]:
        """One execution of the loops up to ``index``, entered in ``state``; positions relative to its start."""
        if index < self.pause:
            return self.leaf(flags, state)
        key = index, flags, state
        if key in self.known:
            return self.known[key]
        step, gone = self.steps[index], 0
        own = index == 0 and self.around.own_weights
        total, others = 0, _NONE
        for visit in self.around.visits(index, flags):
            if visit.advance and step:
                state = _advanced(state, step * visit.advance)
                gone += visit.advance
            (size, more), state = self.block(index - 1, visit.flags, state)
            weight = visit.deltas if own else visit.epochs
            total += weight * size
            if more:
                others = _added(others, more, weight)
        if gone:
            state = _advanced(state, -step * gone)
        self.known[key] = (total, others), state
        return self.known[key]

    def closed_form(self) -> int | None:
        """Words of one element's deltas where they follow without a walk; None where they do not.

        Without sliding windows a tile that moves is new as a whole. The walk can only find transfers by neighbours
        then, and only if some step between visits is an offset between neighbours.
        """
        if not self.simple:
            return None
        if self.links:
            shifts, back = set(), 0
            for step in self.steps:
                shifts.add(step - back)
                back += step
            if not shifts.isdisjoint(self.group(0).neighbour_offsets()):
                return None
        return self.full(0)[0] * prod(outer.loop.bound for outer in self.around.loops[self.pause :])

    def traffic(self, hops: bool) -> Traffic:
        """Everything that one instance sends down over the whole nest."""
        closed = self.closed_form()
        total, others = closed or 0, _NONE
        if closed is None:
            (total, others), _ = self.block(len(self.steps) - 1, self.around.start, _START)
        if not self.around.group:
            return Traffic((Delivery(1, 1, float(total)),))
        found: dict[tuple[int, int], Delivery] = {}
        links = 0
        for (flags, last_flags, shift), words in {_PLAIN: total, **others}.items():
            shares: Shares | None = None
            if last_flags >= 0:
                shares = self.group(flags).linked_shares(self.group(last_flags), shift, hops)
            if shares is None:
                shares = self.group(flags).shares(hops)
            links += shares.linked * words
            for multicast, scatter, length in shares.groups:
                entry = found.setdefault((multicast, scatter), Delivery(multicast, scatter, 0.0))
                entry.accesses += scatter * words
                entry.hops += length * words
        return Traffic(tuple(entry for entry in found.values() if entry.accesses), links)


def _advanced(state: _State, by: int) -> _State:
    last, position, stored, form, corner, flags = state
    return last, position - by if last >= 0 else 0, stored, form, corner - by if form else 0, flags


def _added(sums: Mapping[_Variant, int], more: Mapping[_Variant, int], weight: int) -> Mapping[_Variant, int]:
    merged = dict(sums)
    for variant, words in more.items():
        merged[variant] = merged.get(variant, 0) + weight * words
    return merged
