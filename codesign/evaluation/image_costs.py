"""What every single image costs, on a dual-module or an ordinary accelerator: a distribution, not only a mean.

The masks of one image are its actual data: which neurons are essential for it, and which of its inputs are zero. So the
costs of adversarial images can stand beside those of clean ones, image by image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model import evaluate_samples
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.mapping import Mapping as LoopMapping
from codesign.accelerator.spec.problem import Problem
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.dual_module import DualLayer, DualModule
from codesign.evaluation.hardware import InfeasibleLayerError
from codesign.masks.format import InputKind
from codesign.masks.reading import MaskSet
from codesign.models.layers import Layer
from codesign.workloads.dual_module import DualWorkload, Selection, dual_workload, recorded_inputs, recorded_outputs

__all__ = ["ImageCosts", "Spread", "array_image_costs", "image_costs", "masked_workload", "total_costs"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, 5th and 95th percentile over images (linear interpolation between the nearest two)."""

    mean: float
    p5: float
    p95: float

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Spread:
        """Of one value an image; at least one."""
        found = np.asarray(values, np.float64)
        if found.size == 0:
            raise ValueError("Spread: at least one value is needed")
        low, high = np.percentile(found, [5, 95])
        return cls(float(found.mean()), float(low), float(high))


@dataclass(frozen=True, eq=False)
class ImageCosts:
    """Costs of a layer, or of a network, for each of N images; arrays of shape (N,).

    Args:
        name: of the layer or network.
        energy_pJ: of all parts.
        energy_by_part_pJ: part -> array; the parts of ``DualLayer``.
        latency_cycles: of the layer; of a network's layers one after the other.
        exact_macs: dense multiply-accumulates of one image.
        executed_macs: that the executor did.
        essential_share: of the neurons.
        bound_by: what bounds the latency -> number of images (of a network: images times layers).
    """

    name: str
    energy_pJ: npt.NDArray[np.float64]
    energy_by_part_pJ: Mapping[str, npt.NDArray[np.float64]]
    latency_cycles: npt.NDArray[np.int64]
    exact_macs: int
    executed_macs: npt.NDArray[np.int64]
    essential_share: npt.NDArray[np.float64]
    bound_by: Mapping[str, int]

    @property
    def images(self) -> int:
        """N."""
        return len(self.energy_pJ)


def masked_workload(
    layer: Layer,
    masks: MaskSet,
    *,
    dimension: int,
    bits: int,
    selection: Selection,
    input_kind: InputKind,
    samples: int | None = None,
) -> DualWorkload:
    """A defended layer with its recorded essential neurons and, where they are recorded, its recorded zero inputs.

    Args:
        layer: as it was traced when the masks were recorded.
        masks: with operand ``outputs`` of the layer; operand ``inputs`` too for an executor that skips zero inputs.
        dimension, bits, selection: of the approximation, see ``dual_workload``.
        input_kind: clean or adversarial.
        samples: use the first so many; all if None.

    Raises:
        InputError: a mask is missing, damaged or of another shape.
    """
    outputs = masks.tensor(layer.name, "outputs", input_kind).read(0, samples)
    inputs = None
    if masks.has(layer.name, "inputs", input_kind):
        inputs = recorded_inputs(layer, masks.tensor(layer.name, "inputs", input_kind).read(0, samples))
    return dual_workload(
        layer,
        dimension=dimension,
        bits=bits,
        selection=selection,
        outputs=recorded_outputs(layer, outputs),
        input_density=inputs,
    )


def image_costs(design: DualModule, workload: DualWorkload) -> ImageCosts:
    """Exact costs of a defended layer for every image of its recorded masks.

    Raises:
        InfeasibleLayerError: a part has no legal mapping.
        InputError: inputs and outputs are recorded of different numbers of images, or something is not modelled.
    """
    return _gathered(workload.layer.name, list(design.simulate_images(workload)))


def _gathered(name: str, found: Sequence[DualLayer]) -> ImageCosts:
    parts = {part: np.array([image.energy_pJ[part] for image in found]) for part in found[0].energy_pJ}
    return ImageCosts(
        name=name,
        energy_pJ=np.array([image.total_energy_pJ for image in found]),
        energy_by_part_pJ=parts,
        latency_cycles=np.array([image.latency_cycles for image in found], np.int64),
        exact_macs=found[0].exact_macs,
        executed_macs=np.array([image.executed_macs for image in found], np.int64),
        essential_share=np.array([image.share for image in found]),
        bound_by=dict(Counter(image.bound_by for image in found)),
    )


def array_image_costs(accelerator: Accelerator, workload: Problem, mapping: LoopMapping) -> ImageCosts:
    """Exact costs of a layer on an ordinary accelerator for every image of its recorded masks.

    Args:
        workload: with recorded inputs (``recorded_inputs``) as density where zero inputs are to count.
        mapping: without imperfect loops, see ``map_layers``.

    Raises:
        InfeasibleLayerError: the mapping does not fit (for an image, where tensors are stored compressed).
        InputError: something is not modelled.
    """
    design = accelerator.design
    found: list[Result] = []
    for answer in evaluate_samples(design.architecture, workload, mapping, accelerator.energy, design.sparse):
        if isinstance(answer, Infeasible):
            raise InfeasibleLayerError(workload.name, accelerator.name, answer)
        found.append(answer)
    energy_pJ = np.array([image.energy_pJ for image in found])
    return ImageCosts(
        name=workload.name,
        energy_pJ=energy_pJ,
        energy_by_part_pJ={"executor": energy_pJ},
        latency_cycles=np.array([image.cycles for image in found], np.int64),
        exact_macs=found[0].computes.algorithmic,
        executed_macs=np.array([image.computes.actual for image in found], np.int64),
        essential_share=np.ones(len(found)),
        bound_by=dict(Counter(_bound_of(image) for image in found)),
    )


def _bound_of(result: Result) -> str:
    slowest = max(result.levels, key=lambda name: result.levels[name].cycles)
    return "compute" if result.cycles <= result.compute_cycles else f"{slowest} bandwidth"


def total_costs(name: str, layers: Sequence[ImageCosts]) -> ImageCosts:
    """Sums over layers, image by image; layers run one after the other.

    ``essential_share`` becomes the share of all multiply-accumulates that belong to essential neurons.

    Raises:
        ValueError: no layers, or layers with different numbers of images.
    """
    if len({layer.images for layer in layers}) != 1:
        raise ValueError(f"total_costs: layers of equally many images are needed (got {[x.images for x in layers]})")
    macs = sum(layer.exact_macs for layer in layers)
    bounds: Counter[str] = Counter()
    for layer in layers:
        bounds.update(layer.bound_by)
    return ImageCosts(
        name=name,
        energy_pJ=_summed([layer.energy_pJ for layer in layers]),
        energy_by_part_pJ={
            part: _summed([layer.energy_by_part_pJ[part] for layer in layers]) for part in layers[0].energy_by_part_pJ
        },
        latency_cycles=np.sum([layer.latency_cycles for layer in layers], axis=0),
        exact_macs=macs,
        executed_macs=np.sum([layer.executed_macs for layer in layers], axis=0),
        essential_share=_summed([layer.essential_share * layer.exact_macs for layer in layers]) / macs,
        bound_by=dict(bounds),
    )


def _summed(rows: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sum(rows, axis=0), np.float64)
