"""How many operations of a block of samples have ones in all tensors: sums of products of packed masks.

A part is a tensor's packed words, one label for each axis, and whether it varies with the sample. An operation is one
position for every label.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.packed_mask import Words, unpacked

__all__ = ["Part", "counts_by", "in_all_samples", "in_each_sample"]

Part = tuple[Words, tuple[int, ...], bool]

_Ints = npt.NDArray[np.int64]
_SAMPLE = -1
_FEW = 4
"""Samples that are unpacked at once where two masks vary with them: bounds the memory."""


def in_all_samples(parts: Sequence[Part], count: int) -> int:
    """Operations with ones everywhere, summed over the ``count`` samples of a block."""
    varying = [part for part in parts if part[2]]
    if len(varying) == 2 and len(parts) == 3:
        return _three(varying[0], varying[1], next(part for part in parts if not part[2]))
    shared = _shared(parts)
    if len(varying) == len(parts) == 2:
        (first, labels), (second, others) = (_planes(words, own, shared) for words, own, _ in parts)
        order = [others.index(label) for label in labels]
        return sum(
            int(np.bitwise_count(ours & theirs.transpose(order)).sum(dtype=np.int64)) << (i + k)
            for i, ours in enumerate(first)
            for k, theirs in enumerate(second)
        )
    if len(varying) > 1:
        return int(in_each_sample(parts, count).sum())
    factors = []
    for words, labels, varies in parts:
        ones = np.bitwise_count(words) if varies else (words != 0).astype(np.uint8)
        factors.append(_summed(ones, labels, shared))
    return int(_product(factors)[()])


def in_each_sample(parts: Sequence[Part], count: int) -> _Ints:
    """The same, one number a sample."""
    shared = _shared(parts)
    constant = [_summed((words != 0).astype(np.uint8), labels, shared) for words, labels, varies in parts if not varies]
    step = count if len(parts) < 3 else _FEW
    found = []
    for start in range(0, count, step):
        factors = list(constant)
        for words, labels, varies in parts:
            if varies:
                planes, own = _planes(words, labels, shared)
                factors.append((_values(planes, start, min(start + step, count), np.float64), (*own, _SAMPLE)))
        found.append(np.rint(_product(factors)).astype(np.int64).reshape(-1))
    return np.concatenate(found)


def counts_by(parts: Sequence[Part], rows: Sequence[int], columns: Sequence[int], count: int) -> npt.NDArray[np.int32]:
    """Operations with ones everywhere: (samples, positions of the labels ``rows``, those of ``columns``)."""
    if not parts:
        return np.ones((count, 1, 1), np.int32)
    keep = (*rows, *columns)
    wanted = {*_shared(parts), *keep}
    sizes = {label: n for words, labels, _ in parts for label, n in zip(labels, words.shape, strict=True)}
    shape = prod(sizes[label] for label in rows), prod(sizes[label] for label in columns)
    constant = [_summed((words != 0).astype(np.uint8), labels, wanted) for words, labels, varies in parts if not varies]
    planes = [_planes(words, labels, wanted) for words, labels, varies in parts if varies]
    if not planes:
        table = np.rint(_product(constant, keep)).astype(np.int32).reshape(1, *shape)
        return np.broadcast_to(table, (count, *shape))
    found = np.empty((count, *shape), np.int32)
    step = count if len(parts) == 1 else _FEW
    for start in range(0, count, step):
        stop = min(start + step, count)
        if len(parts) == 1:
            digits, labels = planes[0]
            values = _values(digits, start, stop, np.int32)
            order = [values.ndim - 1, *(labels.index(label) for label in keep)]
            found[start:stop] = values.transpose(order).reshape(stop - start, *shape)
            continue
        varying = [(_values(digits, start, stop, np.float64), (*labels, _SAMPLE)) for digits, labels in planes]
        total = _product([*constant, *varying], (_SAMPLE, *keep))
        found[start:stop] = np.rint(total).reshape(stop - start, *shape)
    return found


def _values(digits: Sequence[Words], start: int, stop: int, kind: type[Any]) -> npt.NDArray[Any]:
    """Binary digits as numbers, the samples last."""
    total = unpacked(digits[0], start, stop).astype(kind)
    for place, digit in enumerate(digits[1:], 1):
        total += unpacked(digit, start, stop).astype(kind) * 2**place
    return total


def _three(first: Part, second: Part, constant: Part) -> int:
    """Two masks that vary and one that does not: only where that one has ones are the others compared, as words."""
    labels = [frozenset(part[1]) for part in (first, second, constant)]
    everywhere = tuple(sorted(labels[0] & labels[1] & labels[2]))
    along = tuple(sorted(labels[0] & labels[1] - labels[2]))
    left = tuple(sorted(labels[0] - labels[1]))
    right = tuple(sorted(labels[1] - labels[0]))
    sizes = {label: size for words, own, _ in (first, second) for label, size in zip(own, words.shape, strict=True)}

    def arranged(words: npt.NDArray[np.generic], own: tuple[int, ...], groups: Sequence[tuple[int, ...]]) -> Words:
        order = [own.index(label) for group in groups for label in group if label in own]
        shape = [sizes[label] if label in own else 1 for group in groups for label in group]
        full = [sizes[label] for group in groups for label in group]
        spread = np.broadcast_to(words.transpose(order).reshape(shape), full)
        return np.ascontiguousarray(spread.reshape([prod(sizes[label] for label in group) for group in groups]))

    ours = arranged(first[0], first[1], (everywhere, left, along))
    theirs = arranged(second[0], second[1], (everywhere, right, along))
    weights, own = _summed((constant[0] != 0).astype(np.uint8), constant[1], set(labels[0] | labels[1]))
    weight = arranged(weights, own, (everywhere, right, left)).astype(np.int64)
    total = 0
    for place in range(len(ours)):
        for number, row in enumerate(theirs[place]):
            chosen = np.flatnonzero(weight[place, number])
            met = np.bitwise_count(ours[place, chosen] & row).sum(axis=-1, dtype=np.int64)
            total += int(met @ weight[place, number, chosen])
    return total


def _planes(words: Words, labels: tuple[int, ...], keep: set[int]) -> tuple[list[Words], tuple[int, ...]]:
    """Sums over the labels that are not kept, for 64 samples at once: the binary digits of the sums, lowest first."""
    out = [axis for axis, label in enumerate(labels) if label not in keep]
    left = [axis for axis, label in enumerate(labels) if label in keep]
    shape = [words.shape[axis] for axis in left]
    rows = words.transpose(out + left).reshape(-1, *shape)
    digits: list[Words] = []
    pending = {0: [rows]}
    place = 0
    while place in pending:
        column = np.concatenate(pending.pop(place))
        while len(column) > 2:
            # A full adder: three words of one weight are one of this weight and one of twice the weight.
            third = len(column) // 3
            a, b, c = column[:third], column[third : 2 * third], column[2 * third : 3 * third]
            either = a ^ b
            pending.setdefault(place + 1, []).append((a & b) | (either & c))
            column = np.concatenate([either ^ c, column[3 * third :]])
        if len(column) == 2:
            pending.setdefault(place + 1, []).append(column[:1] & column[1:])
            column = column[:1] ^ column[1:]
        digits.append(column[0])
        place += 1
    return digits, tuple(labels[axis] for axis in left)


def _shared(parts: Sequence[Part]) -> set[int]:
    labels = [label for _, own, _ in parts for label in own]
    return {label for label in labels if labels.count(label) > 1}


def _summed(
    values: npt.NDArray[np.uint8], labels: tuple[int, ...], keep: set[int]
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    """Summed over the labels that are not kept."""
    axes = tuple(axis for axis, label in enumerate(labels) if label not in keep)
    total = np.asarray(np.sum(values, axis=axes, dtype=np.int64))
    return total.astype(np.float64), tuple(label for label in labels if label in keep)


def _product(
    factors: Sequence[tuple[npt.NDArray[np.float64], tuple[int, ...]]], keep: Sequence[int] = (_SAMPLE,)
) -> npt.NDArray[np.float64]:
    """Sum of products over all labels that are not kept; exact, since every count is far below 2**53."""
    names = dict(zip(sorted({label for _, labels in factors for label in labels}), ascii_letters, strict=False))
    inputs = ",".join("".join(names[label] for label in labels) for _, labels in factors)
    output = "".join(names[label] for label in keep if label in names)
    total = np.einsum(f"{inputs}->{output}", *(values for values, _ in factors), optimize=len(factors) > 1)
    return np.asarray(total, np.float64)
