"""Operands split by sample and put into canonical form, on random shapes and notations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codesign.models._batch import BatchAxis, SampleShape, UnsupportedError, View, reshaped, whole
from codesign.models._contraction import Labelled, contract, einsum_labels, matmul_labels

SAMPLES = 3


@st.composite
def merged(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    """Sizes, the batch's axis among them, and a range of axes around it that is folded into one."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(sizes) - 1))
    first, last = draw(st.integers(0, axis)), draw(st.integers(axis, len(sizes) - 1))
    sizes[axis] = SAMPLES
    return sizes, axis, first, last


@given(merged())
def test_a_sample_is_found_in_an_axis_that_it_shares(case: tuple[list[int], int, int, int]) -> None:
    sizes, axis, first, last = case
    tensor = torch.arange(torch.Size(sizes).numel()).reshape(sizes)
    per_sample = [*sizes[:axis], 1, *sizes[axis + 1 :]]
    shared = torch.Size(per_sample[first : last + 1]).numel()
    after = SampleShape((*per_sample[:first], shared, *per_sample[last + 1 :]), BatchAxis(first, None))
    found = reshaped(SampleShape(tuple(per_sample), BatchAxis(axis)), after)
    ours = whole(found).apply(tensor.flatten(first, last), SAMPLES)
    theirs = tensor.movedim(axis, 0).reshape(SAMPLES, *found.operand)
    assert torch.equal(ours, theirs)


def test_a_reshape_that_tears_samples_apart() -> None:
    """(4, B) flattened and read as (B, 4): a sample's part would hold values of others."""
    before = SampleShape((4, 1), BatchAxis(1))
    with pytest.raises(UnsupportedError, match="mixes the samples"):
        reshaped(before, SampleShape((1, 4), BatchAxis(0)))


def test_an_unknown_layout_is_no_operand() -> None:
    with pytest.raises(UnsupportedError, match="not known"):
        View(SampleShape((6, 2), BatchAxis(0, None)), (0, 1), (6, 2))


@st.composite
def products(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """An einsum over groups g h, rows n o, columns m, summed indices c d, and the batch b, axes in any order."""
    sizes = {label: draw(st.integers(1, 3)) for label in "ghnomcd"} | {"b": SAMPLES}
    groups, rows, columns, summed = (draw(st.sets(st.sampled_from(names))) for names in ("gh", "no", "m", "cd"))
    left = draw(st.permutations(sorted({"b"} | groups | rows | summed)))
    right = draw(st.permutations(sorted({"b"} | groups | summed | columns)))
    output = draw(st.permutations(sorted({"b"} | groups | rows | columns)))
    return f"{''.join(left)},{''.join(right)}->{''.join(output)}", sizes


@given(products())
def test_any_einsum_is_one_batched_product(case: tuple[str, dict[str, int]]) -> None:
    equation, sizes = case
    terms, result = equation.split("->")
    tensors = [torch.randn([sizes[label] for label in term], dtype=torch.float64) for term in terms.split(",")]
    labels, output = einsum_labels(equation, [tensor.ndim for tensor in tensors])
    operands = [
        Labelled(
            SampleShape(tuple(1 if label == "b" else sizes[label] for label in term), BatchAxis(term.index("b"))), names
        )
        for term, names in zip(terms.split(","), labels, strict=True)
    ]
    found = contract(operands[0], operands[1], output)
    left, right = found.left.apply(tensors[0], SAMPLES), found.right.apply(tensors[1], SAMPLES)
    assert left.shape == (SAMPLES, found.groups, found.rows, found.summed)
    assert right.shape == (SAMPLES, found.groups, found.summed, found.columns)
    parts = [label for part in ("gh", "no", "m") for label in result if label in part]
    theirs = torch.einsum(f"{terms}->b{''.join(parts)}", *tensors)
    ours = (left @ right).reshape(theirs.shape)
    torch.testing.assert_close(ours, theirs)
    assert (
        found.groups * found.rows * found.columns * found.summed * SAMPLES
        == torch.Size([sizes[label] for label in set(terms) - {","}]).numel()
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((3,), (3, 4)), ((2, 3), (3,))],
)
def test_matmul_labels_broadcast_like_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """With the batch in front of the left operand, against torch's own matmul."""
    first, second = torch.randn(SAMPLES, *left), torch.randn(right)
    if len(left) < 2:
        first = first.unsqueeze(1)
    shape = SampleShape((1, *first.shape[1:]), BatchAxis(0))
    found = contract(*matmul_labels(shape, SampleShape(right)))
    product = found.left.apply(first, SAMPLES) @ found.right.apply(second, SAMPLES)
    expected = first @ second
    assert product.numel() == expected.numel()
    torch.testing.assert_close(product.sum(), expected.sum(), rtol=1e-4, atol=1e-4)
    assert found.groups * found.rows * found.columns == expected[0].numel()
