"""The analytical model: nest analysis, accesses, sparsity, cycles, energy and area of one mapping.

Dense results are those of Timeloop, sparse ones those of Sparseloop. Where the real program's sparse numbers come from
a mistake, the two semantics differ; ``compat`` repeats the mistake, ``clean`` does this instead:

* a saving that is smaller than the one further out is taken as zero, with a warning (counters wrap around);
* a hypergeometric tile that cannot be empty has its true smallest occupancy (an unsigned difference wraps around, for
  some tile sizes no occupancy is left at all);
* a banded tensor's tiles are all looked at (rows at both edges are counted twice even where they are the same rows);
* metadata of inner levels vanishes with the data that a saving further out keeps away, whatever the number of ranks,
  and counts of metadata reads are not replaced by those of updates;
* a layout that keeps its zeros takes the whole tile of its storage (any layout with metadata takes the nonzeros only);
* an expected density is at most 1 (rounding can make one access more than there are);
* computes whose operand a storage level gates take their cycle (it vanishes);
* compressed tensors may have any block size (the real program stops unless it is 1, 2, 4, 8, 16 or 32).

Beyond the real program, and only in clean semantics: densities that are a tensor's own mask (docs/actual_data.md), and
savings that wait for a mask over the tensor that is being written (docs/output_masks.md).

Not modelled, and an InputError: overbooking, metadata of banded tensors, sparse runs of more than two operands, and
some masks in nests with imperfect loops (``ragged``).
"""

from __future__ import annotations

from codesign.accelerator.model.evaluation import Semantics, evaluate, evaluate_samples
from codesign.accelerator.model.traffic import StrideRule

__all__ = ["Semantics", "StrideRule", "evaluate", "evaluate_samples"]
