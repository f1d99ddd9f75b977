"""Products of two tensors in any notation (matmul, bmm, einsum, attention) as one loop nest: G, N, M, C.

Axes are named by labels, as in einsum. A label of both operands and of the result is a group (G), of both operands
only is summed (C), of the left operand and the result is a row (N), of the right operand and the result a column (M).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from codesign.models._batch import SampleShape, UnsupportedError, View

__all__ = ["Contraction", "Labelled", "contract", "einsum_labels", "matmul_labels"]

Label = str | int


@dataclass(frozen=True, slots=True)
class Labelled:
    """An operand with one label an axis."""

    shape: SampleShape
    labels: tuple[Label, ...]

    @property
    def batch_label(self) -> Label | None:
        """The label of the axis that holds the batch."""
        return None if self.shape.batch is None else self.labels[self.shape.batch.axis]

    def sizes(self) -> dict[Label, int]:
        """Size of each label for one sample, without broadcast axes (size 1)."""
        return {label: size for label, size in zip(self.labels, self.shape.sizes, strict=True) if size > 1}


@dataclass(frozen=True, slots=True)
class Contraction:
    """A batched product (G, N, C) x (G, C, M) -> (G, N, M) and how each operand takes that form."""

    groups: int
    rows: int
    columns: int
    summed: int
    left: View
    right: View


def _view(operand: Labelled, order: Sequence[Sequence[Label]]) -> View:
    sizes = operand.sizes()
    positions = [operand.labels.index(label) for part in order for label in part]
    ones = [axis for axis in range(len(operand.labels)) if axis not in positions]
    shape = tuple(prod(sizes[label] for label in part) for part in order)
    return View(operand.shape, (*ones, *positions), shape)


def contract(left: Labelled, right: Labelled, output: Sequence[Label]) -> Contraction:
    """The loop nest of a product. Raises UnsupportedError where it mixes samples or is no plain product."""
    for operand in (left, right):
        if len(set(operand.labels)) != len(operand.labels):
            raise UnsupportedError("an operand has the same index twice")
    batches = {operand.batch_label for operand in (left, right)} - {None}
    if len(batches) != 1 or not batches <= set(output):
        raise UnsupportedError("it multiplies the samples of a batch with each other, or sums over them")
    (batch,) = batches
    ours, theirs = left.sizes(), right.sizes()
    if batch in ours and batch in theirs and left.shape.batch != right.shape.batch:
        layouts = {operand.shape.batch.inner for operand in (left, right) if operand.shape.batch is not None}
        if len(layouts) > 1:
            raise UnsupportedError("its operands lay the batch out differently")
    for label in ours.keys() ^ theirs.keys():
        if label not in output:
            raise UnsupportedError(f"it sums the index {label!r} of one operand alone")
    group = [label for label in output if label in ours and label in theirs]
    row = [label for label in output if label in ours and label not in theirs]
    column = [label for label in output if label in theirs and label not in ours]
    summed = [label for label in ours if label in theirs and label not in output]
    if any(ours[label] != theirs[label] for label in (*group, *summed)):
        raise UnsupportedError("the sizes of its operands disagree")
    return Contraction(
        groups=prod(ours[label] for label in group),
        rows=prod(ours[label] for label in row),
        columns=prod(theirs[label] for label in column),
        summed=prod(ours[label] for label in summed),
        left=_view(left, (group, row, summed)),
        right=_view(right, (group, summed, column)),
    )


def matmul_labels(left: SampleShape, right: SampleShape) -> tuple[Labelled, Labelled, tuple[Label, ...]]:
    """Labels of ``left @ right`` with numpy's broadcasting; leading axes are numbered from the right."""
    leading = [tuple(range(-(len(shape.sizes) - 2), 0)) for shape in (left, right)]
    rows: tuple[Label, ...] = ("n",) if len(left.sizes) > 1 else ()
    columns: tuple[Label, ...] = ("m",) if len(right.sizes) > 1 else ()
    output = (*max(leading, key=len), *rows, *columns)
    return Labelled(left, (*leading[0], *rows, "c")), Labelled(right, (*leading[1], "c", *columns)), output


def einsum_labels(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[Label, ...]], tuple[Label, ...]]:
    """Labels of each operand and of the result; an ellipsis becomes numbers counted from the right."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    operands: list[tuple[Label, ...]] = []
    widest: tuple[Label, ...] = ()
    for term, rank in zip(terms.split(","), ranks, strict=True):
        before, dots, after = term.partition("...")
        hidden = tuple(range(-(rank - len(before) - len(after)), 0)) if dots else ()
        widest = max(widest, hidden, key=len)
        operands.append((*before, *hidden, *after))
    if not arrow:
        letters = sorted(letter for letter in set(terms) if letter.isalpha() and terms.count(letter) == 1)
        return operands, (*widest, *letters)
    before, dots, after = result.partition("...")
    return operands, (*before, *(widest if dots else ()), *after)
