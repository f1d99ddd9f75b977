"""Where what is in the flat arrays of ``tables.Tables`` and in the working memory of the compiled evaluator.

Slots, levels, dataspaces and ranks are numbered as in ``Nest``, ``Architecture`` and ``Problem``; dimensions are
positions in ``Nest.dimensions``. Sizes: S slots, D dimensions, L levels, V dataspaces, R ranks of all dataspaces,
T temporal slots. The constants are indices into the head of the integer table, which holds numbers and places there.
"""

from __future__ import annotations

# Numbers.
SLOTS = 0
DIMENSIONS = 1
LEVELS = 2
SPACES = 3
RANKS = 4
BLOCKS = 5
"""Temporal slots."""
PRIME_COUNT = 6
LATENCY = 7
"""Cycles to fill and drain all networks."""
WORK_INTEGERS = 8
WORK_NUMBERS = 9
"""Sizes of the working memory."""

# Places of integers.
BOUNDS = 10
"""(D,)"""
SLOT_AXIS = 11
"""(S,) 0, 1: mesh X, Y; 2: time."""
SLOT_RANK = 12
"""(S,) number of a temporal slot, -1 for a spatial one."""
START = 13
SPATIAL_END = 14
END = 15
"""(L,) slots of a level: first, end of the spatial ones, end."""
COEFFICIENT = 16
"""(R, D)"""
RANK_START = 17
"""(V + 1,)"""
TERM_START = 18
TERM_DIMENSION = 19
TERM_STEP = 20
"""(R + 1,), (terms,) the addends of a rank: where they start, dimensions, absolute coefficients."""
SLIDES = 21
"""(V,) whether a rank adds several dimensions."""
LIMITED = 22
"""(L,) whether a bandwidth is given."""
CODE = 23
"""(V, D) one step of a dimension as one integer, unique within the tensor (see ``model.encoding``)."""
MOVES = 24
"""(V, D) whether a dimension moves a tensor."""
REGULAR = 25
"""(V,) every dimension occurs in one rank, and a rank adds two dimensions at most."""
PAIR = 26
"""(R, 2) the two dimensions of a rank that adds two, else -1."""
READ_WRITE = 27
"""(V,)"""
NO_REUSE = 28
NO_MULTICAST = 29
NO_LINK = 30
RMW = 31
"""(L, V) flags of the constraints."""
FANOUT = 32
"""(L, 2)"""
LOWER = 33
UPPER = 34
"""(L, 2, D) limits of the factors of a level, spatial and temporal."""
LOOP_PLACE = 35
"""(L, D) place of a spatial loop in a constrained order: 0.. from inside, -2, -3.. the outer part; -1 free."""
LOOP_ORDER = 36
"""(L, D) dimensions of a level's spatial loops, innermost first."""
SPLIT = 37
"""(L, 5) order constrained or not, split (-1: free), loops fixed innermost, free, all; of all dimensions."""
FIXED_INNER = 38
FIXED_OUTER = 39
"""(T, D) dimensions with a fixed innermost or outermost place in a block, from the inside; -1 fills up."""
MAY_KEEP = 40
"""(L, V) 1: keeps, 0: bypasses, -1: free."""
BLOCK = 41
"""(L,) words of an access."""
CLUSTERS = 42
"""(L,) groups of instances that share an access."""
GATE = 43
"""(L,) the level whose instances in use leak."""
DUMMY = 44
"""(L,)"""
PRIMES = 45
"""(PRIME_COUNT, 2) dimension and prime factor of its bound, as often as it divides."""

# Places of numbers.
CAPACITY = 46
LEAST = 47
"""(L,) words"""
READ_PJ = 48
FILL_PJ = 49
UPDATE_PJ = 50
ADDRESS_PJ = 51
LEAK_PJ = 52
GATE_SHARE = 53
"""(L,) how many of a level's instances go with one of its gating level."""
READ_BANDWIDTH = 54
WRITE_BANDWIDTH = 55
SHARED_BANDWIDTH = 56
"""(L,) words per cycle"""
SCALE = 57
"""(L, V)"""
LEAST_INSTANCES = 58
COMPUTE_PJ = 59
"""Of all computes."""

# Places of integers in the working memory.
EXTENT = 60
"""(S + 1, D) iterations inside each slot, and inside the end."""
SIZE = 61
WIDTH = 62
"""(L, V) and (L, R) words and widths of the tiles."""
SPREAD = 63
FAN = 64
INSIDE = 65
"""(L,) copies in use, children in use, temporal loops inside the end of a level."""
LINKS = 66
PARTITION = 67
HELD = 68
"""(L,) of one dataspace at a time, as in ``model.accesses``."""
BOUND = 69
DIMENSION = 70
STRIDE = 71
AFTER = 72
"""Temporal loops, innermost first; AFTER: iterations of a loop and all outside it."""
SHIFT = 73
GONE = 74
"""(R,) how far a tile moves at once, and how far all inner loops have moved it."""
SUMS = 75
"""(3,) words times requests, words times elements, words by neighbours."""
ELEMENT = 76
REST = 77
"""Elements of a spatial group."""

# Places of numbers in the working memory.
CONTENT = 78
RECEIVED = 79
SHARE = 80
"""(L,) of one dataspace at a time, as in ``model.accesses``."""
READS = 81
FILLS = 82
UPDATES = 83
"""(L, V) per instance"""

HEADER = 84
