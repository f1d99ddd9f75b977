"""Writes a result in the form of the real program's two files, from the definitions of their fields.

What this makes is *recorded-style*: the numbers are an engine's (or those of recorded answers), the form is written
after the labels and the archive's fields of Timeloop 4cf6d4c. It is no output of the real program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from codesign.accelerator.result import Result
from codesign.accelerator.spec.case import Case

KINDS = ("reads", "fills", "updates")


def render_text(case: Case, result: Mapping[str, Any] | Result, utilized: Mapping[tuple[str, str], float]) -> str:
    """``stats.txt`` of a result; ``utilized`` gives instances by (level, dataspace)."""
    answer = result.to_json() if isinstance(result, Result) else result
    lines = ["Buffer and Arithmetic Levels", "----------------------------", "Level 0", "-------"]
    lines += _compute(case, answer)
    for index, storage in enumerate(case.architecture.storage, start=1):
        lines += [f"Level {index}", "-------", f"=== {storage.name} ===", "", "    SPECS", "    -----"]
        level = answer["levels"].get(storage.name)
        leak = 0.0 if level is None else level["leakage_pJ"]
        cycles = answer["cycles"] if level is None else level["cycles"]
        lines += [
            "        Technology                      : SRAM",
            "        Size                            : -",
            f"        Instances                       : {storage.instances} ({storage.mesh_x}*{storage.mesh_y})",
            f"        Leakage energy (total)          : {leak:.2f} pJ",
            "        Area                            : 0.00 um^2",
            "",
            "    STATS",
            "    -----",
            f"    Cycles               : {cycles:.0f}",
            f"    Bandwidth throttling : {1 if level is None else level.get('bandwidth_slowdown', 1.0):.2f}",
        ]
        for dataspace in case.problem.dataspaces:
            if level is not None and dataspace.name in level["dataspaces"]:
                instances = utilized[storage.name, dataspace.name]
                lines.append(f"    {dataspace.name}:")
                lines += _dataspace(level["dataspaces"][dataspace.name], instances, sparse=bool(case.sparse))
        lines.append("")
    lines += ["Networks", "--------", *_networks(case, answer), ""]
    lines += ["Operational Intensity Stats", "---------------------------", ""]
    lines += [f"=== {storage.name} ===" for storage in case.architecture.storage]
    lines += ["", "", "Summary Stats", "-------------", "GFLOPs (@1GHz): 1.00"]
    lines += [f"Utilization: {100 * answer['utilization']:.2f}%", f"Cycles: {answer['cycles']:.0f}"]
    lines += [f"Energy: {answer['energy_pJ'] / 1e6:.2f} uJ", "EDP(J*cycle): 1.00e-03", "Area: 0.00 mm^2", ""]
    return "\n".join(lines) + "\n"


def _compute(case: Case, answer: Mapping[str, Any]) -> Iterator[str]:
    compute, counts = case.architecture.compute, answer["computes"]
    yield from (f"=== {compute.name} ===", "", "    SPECS", "    -----", f"    Word bits : {compute.word_bits}")
    yield f"    Instances             : {compute.instances} ({compute.mesh_x}*{compute.mesh_y})"
    yield from ("    Compute energy        : 1.00 pJ", "", "    STATS", "    -----")
    cycles = answer.get("compute_cycles", answer["cycles"])
    if case.sparse:
        yield f"    Cycles                       : {cycles:.0f}"
        for fate in ("algorithmic", "actual", "gated", "skipped"):
            yield f"    {f'{fate.capitalize()} Computes (total)':<28} : {counts[fate]:.0f}"
    else:
        yield f"    Computes (total)        : {counts['actual']:.0f}"
        yield f"    Cycles                  : {cycles:.0f}"
    yield f"    Energy (total)          : {counts['energy_pJ']:.2f} pJ"
    yield from ("    Area (total)            : 0.00 um^2", "", "")


def _dataspace(stats: Mapping[str, Any], instances: float, *, sparse: bool) -> Iterator[str]:
    def line(label: str, value: str) -> str:
        return f"        {label:<60}: {value}"

    yield line("Partition size", "0")
    yield line(
        "Max utilized data storage capacity" if sparse else "Utilized capacity", f"{stats['utilized_capacity']:.0f}"
    )
    if sparse:
        yield line("Representation format", "none")
        yield line("Max utilized Repr format storage capacity", "0")
        yield line("Utilized instances (average)", f"{instances:.2f}")
    else:
        yield line("Utilized instances (max)", f"{int(instances)}")
    for kind in KINDS:
        if sparse:
            for fate in ("Algorithmic", "Actual", "Gated", "Skipped"):
                yield line(f"{fate} scalar {kind} (per-instance)", str(int(stats[f"{fate.lower()}_{kind}"])))
        else:
            yield line(f"Scalar {kind} (per-instance)", f"{stats[f'actual_{kind}']:.0f}")
    yield line("Temporal reductions (per-instance)", f"{stats['temporal_reductions']:.0f}")
    yield line("Address generations (per-cluster)", "0")
    yield line("Energy (per-scalar-access)", "-nan pJ")
    yield line("Energy (per-instance)", f"{stats['energy_pJ'] / instances if instances else 0:.2f} pJ")
    yield line("Energy (total)", f"{stats['energy_pJ']:.2f} pJ")
    for what in ("Temporal Reduction", "Address Generation"):
        yield line(f"{what} Energy (per-{'instance' if what[0] == 'T' else 'cluster'})", "0.00 pJ")
        yield line(f"{what} Energy (total)", "0.00 pJ")


def _networks(case: Case, answer: Mapping[str, Any]) -> Iterator[str]:
    names = [case.architecture.compute.name, *(storage.name for storage in case.architecture.storage)]
    for index, (inner, outer) in enumerate(pairwise(names)):
        energy = answer["levels"].get(outer, {}).get("network_pJ", 0.0)
        yield from (f"Network {index}", "---------", f"{outer} <==> {inner}", "", "    SPECS", "    -----")
        yield from ("        Type            : Legacy", "", "    STATS", "    -----")
        for position, dataspace in enumerate(case.problem.dataspaces):
            yield f"    {dataspace.name}:"
            yield "        Fanout                                  : 1"
            yield f"        Energy (total)                          : {energy if position == 0 else 0:.2f} pJ"
            yield "        Link transfer energy (total)            : 0.00 pJ"
            yield "        Spatial Reduction Energy (total)        : 0.00 pJ"
        yield ""


def render_xml(case: Case, result: Mapping[str, Any] | Result, utilized: Mapping[tuple[str, str], float]) -> str:
    """``map+stats.xml`` of a result."""
    answer = result.to_json() if isinstance(result, Result) else result
    lines = ['<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>', "<!DOCTYPE boost_serialization>"]
    lines += ['<boost_serialization signature="serialization::archive" version="19">', '<engine class_id="0">']
    lines += [
        '<topology_ class_id="1">',
        '<levels_ class_id="2">',
        f"<count>{len(case.architecture.storage) + 1}</count>",
    ]
    lines += ['<item><px class_id="3" class_name="model::ArithmeticUnits" object_id="_0">', "<specs_><LevelSpecs>"]
    lines += [f"<level_name>{case.architecture.compute.name}</level_name></LevelSpecs></specs_>"]
    lines += [f"<energy_>{answer['computes']['energy_pJ']:.17g}</energy_></px></item>"]
    for index, storage in enumerate(case.architecture.storage):
        level = answer["levels"].get(storage.name)
        kind = 'class_id="4" class_name="model::BufferLevel"' if index == 0 else 'class_id_reference="4"'
        lines += [f'<item><px {kind} object_id="_{index + 1}"><specs_><LevelSpecs>']
        lines += [f"<level_name>{storage.name}</level_name></LevelSpecs><name><t_>{storage.name}</t_></name></specs_>"]
        rows = [(level or {"dataspaces": {}})["dataspaces"].get(ds.name) for ds in case.problem.dataspaces]
        instances = [utilized.get((storage.name, ds.name), 0.0) for ds in case.problem.dataspaces]
        energies = [
            row["energy_pJ"] / n if row is not None and n else 0.0 for row, n in zip(rows, instances, strict=True)
        ]
        columns: dict[str, list[Any]] = {
            "keep": [int(row is not None) for row in rows],
            "utilized_instances": [f"{n:.17g}" for n in instances],
            "utilized_clusters": [round(n) for n in instances],
            **{kind: [0 if row is None else int(row[f"algorithmic_{kind}"]) for row in rows] for kind in KINDS},
            "energy_per_access": ["-nan"] * len(rows),
            "energy": [f"{energy:.17g}" for energy in energies],
            "temporal_reduction_energy": [0] * len(rows),
            "addr_gen_energy": [0] * len(rows),
        }
        lines.append("<stats_>")
        for name, values in columns.items():
            items = "".join(f"<item>{value}</item>" for value in values)
            lines.append(f"<{name}><PerDataSpace>{items}</PerDataSpace></{name}>")
        cycles = answer["cycles"] if level is None else level["cycles"]
        slowdown = 1.0 if level is None else level.get("bandwidth_slowdown", 1.0)
        lines += [f"<cycles>{cycles:.0f}</cycles><slowdown>{slowdown:.17g}</slowdown></stats_></px></item>"]
    lines += [
        "</levels_>",
        "<networks_><count>0</count></networks_>",
        "</topology_>",
        "</engine>",
        "</boost_serialization>",
    ]
    return "\n".join(lines) + "\n"
