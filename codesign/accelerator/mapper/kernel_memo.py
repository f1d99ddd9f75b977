"""Compiled: what is known of tiles of sparse tensors, looked up; what is not known yet is noted down.

Occupancies, metadata and the probability that a tile is empty depend on few whole numbers (words of the tile and of
the boxes that its ranks span), and a search meets the same ones again and again. Their values come from the exact
engine's own code (``memo``), so that they are its numbers to the last bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.compiled import compiled, inner
from codesign.accelerator.mapper.nest import FloatArray, IntArray

__all__ = ["EMPTY", "Zeros", "find", "insert", "look_up"]

EMPTY = -1
"""First word of a place without a key."""


class Zeros(NamedTuple):
    """Everything that the sparse model needs beside the dense one; memo and working memory are one thread's own.

    ``integers``, ``numbers``: see ``sparse_layout``. ``keys`` (S, KEY_WORDS) and ``values`` (S, VALUE_WORDS): a hash
    table. ``missing`` (.., KEY_WORDS): keys that were asked for in vain. ``noted`` (2,): of them; of known keys.
    """

    integers: IntArray
    numbers: FloatArray
    keys: IntArray
    values: FloatArray
    missing: IntArray
    noted: IntArray
    work_integers: IntArray
    work_numbers: FloatArray


@inner
def find(keys: IntArray, key: IntArray) -> int:
    """The place of a key, or of the free place where it belongs."""
    mixed = np.uint64(0)
    for word in key:
        mixed = (mixed ^ np.uint64(word)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    size = keys.shape[0]
    place = np.int64(mixed & np.uint64(size - 1))
    while keys[place, 0] != EMPTY:
        same = True
        for index in range(key.shape[0]):
            if keys[place, index] != key[index]:
                same = False
                break
        if same:
            break
        place = (place + 1) & (size - 1)
    return int(place)


@compiled
def insert(keys: IntArray, values: FloatArray, new_keys: IntArray, new_values: FloatArray) -> int:
    """Put entries into a table with room for them; returns how many were new."""
    fresh = 0
    for row in range(new_keys.shape[0]):
        place = find(keys, new_keys[row])
        if keys[place, 0] == EMPTY:
            keys[place] = new_keys[row]
            values[place] = new_values[row]
            fresh += 1
    return fresh


@inner
def look_up(z: Zeros) -> int:
    """The place of the key in ``KEY``; -1 if it is not known: it is then noted down, as long as there is room."""
    s, w = z.integers, z.work_integers
    key = w[s[of.KEY] : s[of.KEY] + s[of.KEY_WORDS]]
    place = find(z.keys, key)
    if z.keys[place, 0] != EMPTY:
        return place
    place = z.noted[0]
    if place < z.missing.shape[0]:
        for index in range(key.shape[0]):
            z.missing[place, index] = key[index]
        z.noted[0] = place + 1
    return -1
