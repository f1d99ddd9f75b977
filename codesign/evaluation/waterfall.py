"""The waterfall of a simulated layer as it stands in a record, and the sum over the layers of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from codesign.accelerator.model.imbalance import RealisedLatency
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.mapping import Mapping as LoopMapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.waterfall import Waterfall, waterfall
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.record import WaterfallRecord

__all__ = ["layer_waterfall", "summed", "waterfall_record", "with_predictor"]

_Number = TypeVar("_Number", int, float)


def layer_waterfall(
    accelerator: Accelerator, workload: Problem, mapping: LoopMapping, realised: RealisedLatency | None = None
) -> WaterfallRecord | Infeasible:
    """The waterfall of a layer that the embedded engine simulates.

    Args:
        realised: of this layer, where its masks are real.

    Raises:
        InputError: something is not modelled.
    """
    design = accelerator.design
    found = waterfall(design.architecture, workload, mapping, accelerator.energy, design.sparse, realised=realised)
    return found if isinstance(found, Infeasible) else waterfall_record(found)


def waterfall_record(found: Waterfall) -> WaterfallRecord:
    """The same numbers, energies in microjoule."""
    return WaterfallRecord(
        macs=found.macs,
        removable_macs=found.removable_macs,
        skipped_macs=found.skipped_macs,
        lost_macs=dict(found.lost_macs),
        dense_cycles=found.dense_cycles,
        cycles=found.cycles,
        lost_cycles=dict(found.lost_cycles),
        dense_energy_uJ=found.dense_energy_pJ / 1e6,
        energy_uJ=found.energy_pJ / 1e6,
        lost_energy_uJ={name: energy / 1e6 for name, energy in found.lost_energy_pJ.items()},
        not_modelled=found.not_modelled,
    )


def summed(parts: Sequence[WaterfallRecord]) -> WaterfallRecord:
    """The waterfall of layers that run one after another; what one of them does not model, the sum does not.

    Raises:
        ValueError: there are no layers.
    """
    if not parts:
        raise ValueError("summed: at least one layer is needed")
    return WaterfallRecord(
        macs=sum(part.macs for part in parts),
        removable_macs=sum(part.removable_macs for part in parts),
        skipped_macs=sum(part.skipped_macs for part in parts),
        lost_macs=_by_name(part.lost_macs for part in parts),
        dense_cycles=sum(part.dense_cycles for part in parts),
        cycles=sum(part.cycles for part in parts),
        lost_cycles=_by_name(part.lost_cycles for part in parts),
        dense_energy_uJ=sum(part.dense_energy_uJ for part in parts),
        energy_uJ=sum(part.energy_uJ for part in parts),
        lost_energy_uJ=_by_name(part.lost_energy_uJ for part in parts),
        not_modelled=tuple(dict.fromkeys(name for part in parts for name in part.not_modelled)),
    )


def with_predictor(found: WaterfallRecord, *, energy_uJ: float, cycles: float = 0.0) -> WaterfallRecord:
    """With the cost of what made the output mask, as a loss of its own.

    Args:
        energy_uJ: of the predictor, the mask's storage and traffic included.
        cycles: by which the predictor lengthens the run; 0 where it works beside the executor.
    """
    return replace(
        found,
        cycles=found.cycles + cycles,
        lost_cycles={**found.lost_cycles, "predictor": cycles},
        energy_uJ=found.energy_uJ + energy_uJ,
        lost_energy_uJ={**found.lost_energy_uJ, "predictor": energy_uJ},
        not_modelled=tuple(name for name in found.not_modelled if name != "predictor"),
    )


def _by_name(parts: Iterable[Mapping[str, _Number]]) -> dict[str, _Number]:
    total: dict[str, _Number] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total
