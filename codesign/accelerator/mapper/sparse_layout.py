"""Where what is in the flat arrays of ``sparse_tables.Sparse``: what ``layout`` is for dense mappings, for zeros.

Sizes: P dimensions of the problem (all, by id), D those that are mapped, L levels, V dataspaces, M most ranks of a
compressed layout, N loops of the complete nest (all dimensions at every place for loops), O options of savings. The
constants are indices into the head of the integer table, which holds numbers and places there.
"""

from __future__ import annotations

# Numbers.
DIMS = 0
LOOPS = 1
MOST_RANKS = 2
OPTIONS = 3
KEY_WORDS = 4
"""Integers of a key of the memo."""
VALUE_WORDS = 5
GATES_COMPUTES = 6
SKIPS_COMPUTES = 7

# Places of integers.
ACTIVE = 8
"""(D,) dimension ids."""
POSITION = 79
"""(P,) their places in ``ACTIVE``, -1 for the others."""
IN = 9
"""(V, P) whether a dimension moves a tensor."""
TERM_START = 10
TERM_DIMENSION = 11
TERM_STEP = 12
"""(R + 1,), (terms,) addends of the ranks, over all dimensions."""
FANNED = 13
"""(L,) whether a level has spatial loops."""
SLOTS = 14
"""(L, 3) slots of X, Y and time; -1 where there is none."""
SPATIAL_INNER = 15
SPATIAL_FREE = 16
SPATIAL_OUTER = 17
TIME_INNER = 18
TIME_IDLE = 19
TIME_OUTER = 20
"""(L, P) dimension ids, innermost first, -1 fills up; idle: neither fixed nor mapped."""
TIME_FIXED = 80
"""(L, P) whether the place of a dimension's loop in time is fixed."""
FORM = 21
"""(L, V) ranks of a tensor's format; 0: uncompressed."""
SQUEEZED = 22
"""(L, V) whether zeros are left out."""
OUTER_FIRST = 23
"""(L, V) whether ranks take their loops from the outermost inwards."""
FORMAT = 24
META_BITS = 25
PAYLOAD_BITS = 26
"""(L, V, M) lowest rank first."""
GROUPED = 27
"""(L, V, M) whether a rank says which dimensions it flattens."""
GROUP = 28
"""(L, V, M, P) bits of the dimensions that are flattened together with this one; 0: the rank is not for it."""
KIND = 29
"""(V,) how the largest occupancy follows from the words: see ``FIXED`` and ``DRAWN``."""
NONZEROS = 30
"""(V,) of the whole tensor."""
SHAPED = 31
"""(V,) whether emptiness depends on the shape of a tile (two ranks), not on its words alone."""
ACTION = 32
SKIPS = 33
OPTION_LEVEL = 34
TARGET = 35
"""(O,) options in the order in which they are looked at: number of their entry, skipping or gating."""
CONDITIONS = 36
"""(O, V) dataspaces, -1 fills up."""
OPERANDS = 37
"""(2,)"""
WORD_BITS = 38
META_WIDTH = 39
"""(L,)"""

# Places of numbers.
DENSITY = 40
"""(V,) of a single word."""
FIXED_DENSITY = 41
"""(V,) of the whole tensor, as given."""
PRICE = 42
META_PRICE = 43
"""(L, 3, 3) pJ of reads, fills and updates that are made, gated, skipped; NaN where the table lacks one."""
UNPACK_PJ = 44
PACK_PJ = 45
WORTH = 46
"""(L,) pJ a word read."""
ROOM = 47
"""(L,) bits of metadata."""
COMPUTE = 48
"""(3,) pJ made, gated, skipped."""

# Places of integers in the working memory.
DIMENSION = 49
BOUND = 50
SPATIAL = 51
"""(N,) complete nest, innermost loop first."""
FIRST = 52
"""(L + 1,)"""
RELEVANT = 53
"""(N,) loops that advance while one access is alive."""
CHILD = 54
PARENT = 55
"""(L, V) nearest inner and outer level that keep a tensor, -1: none."""
FIBER = 56
UPPER = 57
"""(L, V, M) coordinates of a fiber, words of the box that a rank spans."""
BASE = 58
"""(L, V) words of what one lowest coordinate holds."""
TAKEN = 59
"""(M, 2) of the layout at hand: whether a rank has a loop, words of its first loop's box."""
QUEUE_DIMENSION = 60
QUEUE_BOUND = 61
QUEUE_WORDS = 62
"""(N,) loops of the layout at hand, and words of the box inside each of them."""
EXTENT = 63
INSIDE = 64
MOLD = 65
SHARED = 66
"""(P,)"""
KEY = 67

# Places of numbers in the working memory.
DENSE = 68
AVERAGE = 69
RATIO = 70
META_WORDS = 71
META_ROOM = 72
"""(L, V) density, instances in use, vector accesses, metadata words and bits of a tile."""
UNITS = 73
"""(L, V, M, 2)"""
DATA = 74
"""(L, V, 3, 3) reads, fills, updates by fate."""
META = 75
"""(L, V, 3, M, 2, 3)"""
SAVED = 76
"""(L, V) probability, -1: nothing."""
SAVED_SKIPS = 77
LEADER = 78
"""(V,) probability with which computes are kept away, -1: none."""
LEADER_SKIPS = 81
"""(V,) whether they then take no cycle."""

HEADER = 82

FIXED, DRAWN = 0, 1
UOP, UB, CP, B, RLE = range(5)
HEAD = 5
"""Numbers before the units in a value of the memo: density, share, vector ratio, metadata words and bits."""
