"""Costs of every image on the dual-module design: each as if it were alone, zeros of inputs and outputs together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.dual_module import DualModule, load_dual_module
from codesign.evaluation.hardware import map_layers
from codesign.evaluation.image_costs import (
    ImageCosts,
    Spread,
    array_image_costs,
    image_costs,
    masked_workload,
    total_costs,
)
from codesign.masks.reading import MaskSet
from codesign.masks.writing import MaskWriter
from codesign.models.layers import Layer, Operand
from codesign.workloads.dual_module import Selection, dual_workload, recorded_inputs, recorded_outputs

Bits = npt.NDArray[np.bool_]
IMAGES = 5
TOP = Selection("top_k", 4)


def conv(stride: int = 1) -> Layer:
    bounds = (1, 1, 16, 8, 6, 6, 3, 3)
    return Layer(
        "conv",
        "conv",
        bounds,
        Operand((8, 6 * stride, 6 * stride)),
        Operand((16, 8, 3, 3), "conv.weight"),
        (16, 6, 6),
        stride=(stride, stride),
        padding=((1, 1), (1, 1)),
    )


@pytest.fixture(scope="module")
def design() -> DualModule:
    return load_dual_module()


@pytest.fixture(scope="module")
def bits() -> tuple[Bits, Bits]:
    """Zero inputs and essential outputs; every image has other shares."""
    random = np.random.default_rng(0)
    shares = np.linspace(0.1, 0.9, IMAGES)[:, None, None, None]
    return random.random((IMAGES, 8, 6, 6)) < shares, random.random((IMAGES, 16, 6, 6)) < shares[::-1]


def costs(design: DualModule, inputs: Bits | None, outputs: Bits, layer: Layer | None = None) -> ImageCosts:
    layer = conv() if layer is None else layer
    work = dual_workload(
        layer,
        dimension=16,
        bits=4,
        selection=TOP,
        outputs=recorded_outputs(layer, outputs),
        input_density=None if inputs is None else recorded_inputs(layer, inputs),
    )
    return image_costs(design, work)


def executed(inputs: Bits, outputs: Bits, stride: int = 1) -> list[int]:
    """Products of a nonzero input for an essential output, counted one by one with a loop over positions."""
    found = []
    for image, essential in zip(np.pad(inputs, ((0, 0), (0, 0), (1, 1), (1, 1))), outputs, strict=True):
        total = 0
        for row in range(6):
            for column in range(6):
                window = image[:, row * stride : row * stride + 3, column * stride : column * stride + 3]
                total += int(window.sum()) * int(essential[:, row, column].sum())
        found.append(total)
    return found


@pytest.mark.parametrize("stride", [1, 2])
def test_the_executor_leaves_out_zero_inputs_and_masked_outputs_of_each_image(
    design: DualModule, bits: tuple[Bits, Bits], stride: int
) -> None:
    inputs, outputs = bits
    wide = inputs.repeat(stride, axis=2).repeat(stride, axis=3)
    found = costs(design, wide, outputs, conv(stride))
    assert found.executed_macs.tolist() == executed(wide, outputs, stride)
    assert found.exact_macs == conv(stride).macs
    # Without recorded inputs nothing but the mask is known: every product of an essential output is done.
    masked = costs(design, None, outputs)
    assert masked.executed_macs.tolist() == (outputs.sum(axis=(1, 2, 3)) * 72).tolist()


def test_an_image_costs_what_it_costs_alone(design: DualModule, bits: tuple[Bits, Bits]) -> None:
    inputs, outputs = bits
    together = costs(design, inputs, outputs)
    assert together.images == IMAGES
    for number in range(IMAGES):
        own = slice(number, number + 1)
        alone = costs(design, inputs[own], outputs[own])
        assert alone.energy_pJ.tolist() == [together.energy_pJ[number]]
        assert alone.latency_cycles.tolist() == [together.latency_cycles[number]]
        assert alone.essential_share.tolist() == [outputs[number].mean()]
        layer = conv()
        work = dual_workload(
            layer,
            dimension=16,
            bits=4,
            selection=TOP,
            outputs=recorded_outputs(layer, outputs[own]),
            input_density=recorded_inputs(layer, inputs[own]),
        )
        simulated = design.simulate(work)
        assert simulated.total_energy_pJ == together.energy_pJ[number]
        assert simulated.latency_cycles == together.latency_cycles[number]
    assert len(set(together.energy_pJ.tolist())) == IMAGES
    parts = np.sum(list(together.energy_by_part_pJ.values()), axis=0)
    assert parts == pytest.approx(together.energy_pJ)


def test_the_mean_over_images_is_the_run_of_all(design: DualModule, bits: tuple[Bits, Bits]) -> None:
    layer = conv()
    work = dual_workload(
        layer,
        dimension=16,
        bits=4,
        selection=TOP,
        outputs=recorded_outputs(layer, bits[1]),
        input_density=recorded_inputs(layer, bits[0]),
    )
    assert design.simulate(work).total_energy_pJ == pytest.approx(image_costs(design, work).energy_pJ.mean(), rel=1e-3)


def test_zero_inputs_on_an_ordinary_array(bits: tuple[Bits, Bits]) -> None:
    accelerator, layer = load_accelerator("vector_pe_edge"), conv()
    (mapped,) = map_layers(accelerator, [layer])
    design = accelerator.design

    def recorded(part: slice) -> Problem:
        weights, _, outputs = mapped.dense.densities
        return replace(mapped.dense, densities=(weights, recorded_inputs(layer, bits[0][part]), outputs))

    found = array_image_costs(accelerator, recorded(slice(None)), mapped.mapping)
    assert found.executed_macs.tolist() == executed(bits[0], np.ones_like(bits[1]))
    for number in range(IMAGES):
        alone = recorded(slice(number, number + 1))
        want = evaluate(design.architecture, alone, mapped.mapping, accelerator.energy, design.sparse)
        assert isinstance(want, Result)
        assert (found.energy_pJ[number], found.latency_cycles[number]) == (want.energy_pJ, want.cycles)
    (dense,) = array_image_costs(accelerator, mapped.dense, mapped.mapping).energy_pJ
    assert (found.energy_pJ < dense).all()


def test_masks_from_disk(design: DualModule, bits: tuple[Bits, Bits], tmp_path: Path) -> None:
    layer = conv()
    with MaskWriter(tmp_path / "masks") as writer:
        writer.stream("conv", "inputs", "clean", (8, 6, 6)).append(bits[0])
        writer.stream("conv", "outputs", "clean", (16, 6, 6)).append(bits[1])
        writer.stream("conv", "outputs", "adversarial", (16, 6, 6)).append(bits[1])
    masks = MaskSet(tmp_path / "masks")
    clean = masked_workload(layer, masks, dimension=16, bits=4, selection=TOP, input_kind="clean")
    assert image_costs(design, clean).energy_pJ.tolist() == costs(design, *bits).energy_pJ.tolist()
    adversarial = masked_workload(
        layer, masks, dimension=16, bits=4, selection=TOP, input_kind="adversarial", samples=2
    )
    assert image_costs(design, adversarial).energy_pJ.tolist() == costs(design, None, bits[1][:2]).energy_pJ.tolist()


def test_layers_add_up(design: DualModule, bits: tuple[Bits, Bits]) -> None:
    first, second = costs(design, *bits), costs(design, None, bits[1])
    total = total_costs("network", [first, second])
    assert total.energy_pJ.tolist() == (first.energy_pJ + second.energy_pJ).tolist()
    assert total.latency_cycles.tolist() == (first.latency_cycles + second.latency_cycles).tolist()
    assert total.executed_macs.tolist() == (first.executed_macs + second.executed_macs).tolist()
    assert total.exact_macs == 2 * first.exact_macs
    assert total.essential_share == pytest.approx(bits[1].mean(axis=(1, 2, 3)))
    assert sum(total.bound_by.values()) == 2 * IMAGES
    with pytest.raises(ValueError, match="equally many images"):
        total_costs("network", [first, costs(design, None, bits[1][:2])])


def test_a_spread_over_images() -> None:
    assert Spread.of(np.arange(101)) == Spread(50.0, 5.0, 95.0)
    assert Spread.of([3]) == Spread(3.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="at least one value"):
        Spread.of([])


def test_masks_that_do_not_belong_together(design: DualModule, bits: tuple[Bits, Bits]) -> None:
    with pytest.raises(InputError, match="same samples"):
        costs(design, bits[0][:2], bits[1])
    with pytest.raises(InputError, match="shape"):
        recorded_inputs(conv(), bits[1])
