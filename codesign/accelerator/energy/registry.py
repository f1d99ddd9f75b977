"""Which estimator answers for which component class. A user's own come in the same way: by being in the mapping."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from codesign.accelerator.energy import aladdin
from codesign.accelerator.energy.component import Component, ComponentEstimate, Estimator
from codesign.accelerator.energy.dram import dram
from codesign.accelerator.energy.regfile import flipflop_regfile, regfile
from codesign.accelerator.energy.sram import sram
from codesign.accelerator.energy.systolic import systolic_mac
from codesign.accelerator.energy.wire import wire
from codesign.errors import InputError, did_you_mean

__all__ = ["BUILTIN", "ask"]

BUILTIN: Mapping[str, Estimator] = MappingProxyType(
    {
        "DRAM": dram,
        "SRAM": sram,
        "comparator": aladdin.comparator,
        "counter": aladdin.counter,
        "flipflop_regfile": flipflop_regfile,
        "fpadder": aladdin.fp_adder,
        "fpmac": aladdin.fp_mac,
        "fpmultiplier": aladdin.fp_multiplier,
        "intadder": aladdin.int_adder,
        "intmac": aladdin.int_mac,
        "intmultiplier": aladdin.int_multiplier,
        "regfile": regfile,
        "systolic_mac": systolic_mac,
        "wire": wire,
    }
)
"""Class -> estimator, by the names of Accelergy's primitive classes; flipflop_regfile and systolic_mac are our own."""


def ask(component: Component, estimators: Mapping[str, Estimator]) -> ComponentEstimate:
    """What the estimator of the component's class says.

    Raises:
        InputError: no estimator knows the class, or an attribute is missing or bad.
    """
    estimator = estimators.get(component.component_class)
    if estimator is None:
        word = component.component_class
        inside = [known for known in estimators if known.lower() in word.lower()]
        hint = f"did you mean {', '.join(inside)}?" if inside else did_you_mean(word, estimators)
        raise InputError(
            "no energy table knows this component class",
            got=word,
            key=f"{component.name}.class",
            fix=f"{hint} (or give the design an ERT and an ART)",
        )
    return estimator(component)
