"""A record as `codesign evaluate` writes it, with seeded random numbers whose sums hold."""

from __future__ import annotations

from random import Random
from typing import Any

from codesign.evaluation.record import (
    AccuracyRecord,
    ArchitectureRecord,
    HardwareRecord,
    InputKind,
    LayerHardware,
    LayerRecord,
    ModelRecord,
    Record,
    RobustnessRecord,
    Totals,
)

ATTACK = "PGD(norm='linf', eps=0.03137, steps=20, step_size=0.00392, restarts=1, loss='ce')"
TRANSFER = "Transfer(norm='linf', eps=0.03137, source='natural')"
IMAGES = 1000

# name -> (components from DRAM inwards with their share of a layer's energy, does it skip, cycle in ns, area)
ARCHITECTURES: dict[str, tuple[dict[str, float], bool, float, float | None]] = {
    "eyeriss_row_stationary": (
        {"DRAM": 0.40, "shared_glb": 0.16, "ifmap_spad": 0.06, "weights_spad": 0.12, "psum_spad": 0.09, "MAC": 0.17},
        False,
        5.0,
        9.63,
    ),
    "systolic_weight_stationary": (
        {"DRAM": 0.55, "unified_buffer": 0.25, "accumulators": 0.08, "MAC": 0.12},
        False,
        1.43,
        21.4,
    ),
    "vector_pe_edge": ({"DRAM": 0.48, "buffer": 0.30, "registers": 0.07, "MAC": 0.15}, True, 2.0, None),
}
SHAPES = (
    ("stem.conv", 1, 16, 28, 3),
    ("stage1.0.conv1", 16, 16, 28, 3),
    ("stage1.0.conv2", 16, 16, 28, 3),
    ("stage2.0.conv1", 16, 32, 14, 3),
    ("stage2.0.conv2", 32, 32, 14, 3),
    ("stage2.0.shortcut", 16, 32, 14, 1),
    ("stage3.0.conv1", 32, 64, 7, 3),
    ("stage3.0.conv2", 64, 64, 7, 3),
    ("stage3.0.shortcut", 32, 64, 7, 1),
    ("head", 64, 10, 1, 1),
)


def accuracy(name: str, correct: int, total: int = IMAGES) -> AccuracyRecord:
    share = correct / total
    return AccuracyRecord(name, correct, total, max(0.0, share - 0.025), min(1.0, share + 0.025))


def _layer(random: Random, name: str, c: int, m: int, size: int, kernel: int) -> LayerRecord:
    bounds = {"N": 1, "G": 1, "M": m, "C": c, "P": size, "Q": size, "R": kernel, "S": kernel}
    clean = 0.98 if name == "stem.conv" else random.uniform(0.25, 0.7)
    return LayerRecord(
        name=name,
        kind="linear" if size == 1 else "conv",
        bounds=bounds,
        macs=m * c * size * size * kernel * kernel,
        weight_density=random.uniform(0.95, 1.0),
        input_density={"clean": clean, "adversarial": min(1.0, clean * random.uniform(0.97, 1.15))},
        nonzero_input_mac_share={"clean": 0.95 * clean, "adversarial": min(1.0, 0.97 * clean)},
    )


def _layer_hardware(random: Random, layer: LayerRecord, architecture: str, kind: InputKind) -> LayerHardware:
    shares, skips, _cycle, _area = ARCHITECTURES[architecture]
    density = layer.input_density[kind]
    useless = round(layer.macs * (1 - layer.nonzero_input_mac_share[kind]))
    energy = layer.macs * random.uniform(3e-6, 9e-6) * (0.5 + 0.5 * density)
    return LayerHardware(
        layer=layer.name,
        energy_uJ=energy,
        latency_cycles=max(1, round(layer.macs / random.uniform(40, 120) * (density if skips else 1))),
        utilization=random.uniform(0.2, 0.95),
        macs=layer.macs,
        actual_macs=layer.macs - useless,
        gated_macs=0 if skips else useless,
        skipped_macs=useless if skips else 0,
        bound_by=random.choice(["compute", "DRAM bandwidth"]),
        energy_by_component_uJ={name: share * energy for name, share in shares.items()},
        mapping=f"mappings/{architecture}/{layer.name}.yaml",
    )


def _hardware(
    random: Random, layers: tuple[LayerRecord, ...], architecture: str, kind: InputKind, measured: AccuracyRecord
) -> HardwareRecord:
    shares, _skips, cycle_ns, area = ARCHITECTURES[architecture]
    rows = tuple(_layer_hardware(random, layer, architecture, kind) for layer in layers)
    traffic = tuple(
        {"name": name, "kind": "pooling", "words_read": words, "words_written": words // 4, "energy_uJ": words * 1e-4}
        for name, words in (("stage3.0.add", 3136), ("pool", 3136))
    )
    traffic_uJ = sum(words * 1e-4 for words in (3136, 3136))
    cycles = sum(row.latency_cycles for row in rows)
    components = {name: sum(row.energy_by_component_uJ[name] for row in rows) for name in shares}
    return HardwareRecord(
        architecture=architecture,
        input_kind=kind,
        accuracy=measured,
        totals=Totals(
            energy_uJ=sum(row.energy_uJ for row in rows) + traffic_uJ,
            traffic_energy_uJ=traffic_uJ,
            latency_cycles=cycles,
            latency_ms=cycles * cycle_ns * 1e-6,
            area_mm2=area,
            utilization=sum(row.utilization * row.latency_cycles for row in rows) / cycles,
            macs=sum(row.macs for row in rows),
            actual_macs=sum(row.actual_macs for row in rows),
            gated_macs=sum(row.gated_macs for row in rows),
            skipped_macs=sum(row.skipped_macs for row in rows),
        ),
        energy_by_component_uJ=components | {"DRAM: non-MAC operators": traffic_uJ},
        layers=rows,
        traffic=traffic,
        warnings=("stem.conv: 3 of 5 tiles are partial",) if architecture == "vector_pe_edge" else (),
    )


def _model(random: Random, name: str, clean: int, robust: int) -> ModelRecord:
    layers = tuple(_layer(random, *shape) for shape in SHAPES)
    accuracies: dict[InputKind, AccuracyRecord] = {
        "clean": accuracy("clean", clean),
        "adversarial": accuracy(ATTACK, robust + 4),
    }
    return ModelRecord(
        name=name,
        source={
            "model": "resnet8_fmnist",
            "checkpoint": f"{name}.safetensors",
            "normalisation": {"mean": [0.286], "std": [0.353]},
        },
        parameters=77754,
        macs=sum(layer.macs for layer in layers),
        coverage=(
            {"operator": "aten.convolution", "count": 9, "treatment": "modelled", "reason": "loop nest"},
            {"operator": "aten.relu", "count": 7, "treatment": "ignored", "reason": "fused into the layer before it"},
        ),
        robustness=RobustnessRecord(
            clean=accuracies["clean"],
            attacks=(accuracies["adversarial"], accuracy(TRANSFER, robust + 200)),
            robust=accuracy("worst case over 2 attacks", robust),
            flags=(
                {"id": "RANDOMISED", "state": "clear", "detail": "5 runs of the same images agree"},
                {
                    "id": "ZERO_GRAD",
                    "state": "raised" if name == "natural" else "clear",
                    "detail": "the gradient is exactly zero for 12 of 64 images with ce",
                },
                {"id": "BLACKBOX_WINS", "state": "not_checked", "detail": "needs an attack without gradients"},
            ),
            sanity=({"id": "eps_zero", "state": "passed", "detail": "eps = 0 gives the clean accuracy"},),
        ),
        layers=layers,
        hardware=tuple(
            _hardware(random, layers, architecture, kind, measured)
            for architecture in ARCHITECTURES
            for kind, measured in accuracies.items()
        ),
    )


def build_record(seed: int = 7, names: tuple[str, ...] = ("natural", "pgd-adversarial"), **changes: Any) -> Record:
    """Models ``names`` on three architectures with 10 layers each; ``changes`` replace fields of the record."""
    random = Random(seed)
    fields: dict[str, Any] = {
        "config": {"data": "fashion_mnist_1k", "images": None, "eps": 8 / 255, "models": list(names)},
        "seed": 0,
        "versions": {"codesign": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
        "inputs": (
            {"role": "data", "path": "fashion_mnist_1k.npz", "sha256": "ab" * 32},
            {"role": "model natural", "path": "natural.safetensors", "sha256": "cd" * 32},
        ),
        "models": tuple(
            _model(random, name, 912 - 38 * index, min(800, 21 + 436 * index)) for index, name in enumerate(names)
        ),
        "architectures": tuple(_architecture(name) for name in ARCHITECTURES),
        "notes": (
            "One image at a time: energy and latency are per inference at batch 1.",
            "Latency of operators without multiply-accumulates is not modelled.",
        ),
    }
    return Record(**(fields | changes))


def _architecture(name: str) -> ArchitectureRecord:
    shares, skips, cycle_ns, area = ARCHITECTURES[name]
    return ArchitectureRecord(
        name=name,
        title=f"{name.replace('_', ' ')}, 16-bit",
        files=({"path": f"{name}.yaml", "sha256": "ef" * 32},),
        cycle_seconds=cycle_ns * 1e-9,
        area_mm2=area,
        area_by_component_mm2={} if area is None else {component: area * share for component, share in shares.items()},
        energy_table=tuple(
            {
                "component": component,
                "action": action,
                "energy_pJ": 10 * share,
                "source": "Y.-H. Chen et al., JSSC 2017, doi 10.1109/JSSC.2016.2616357, https://eyeriss.mit.edu",
                "scaling": "65 nm -> 45 nm, Stillmaker and Baas 2017",
                "confidence": "scaled",
            }
            for component, share in shares.items()
            for action in (("compute",) if component == "MAC" else ("read", "write"))
        ),
        sparse=("buffer: skipping Weights on zero Inputs",) if skips else (),
    )
