"""Writes problems, mappings and energy tables as Timeloop v0.4 text that the readers (and the real program) read.

What is written reads back to equal value objects, except that an energy table's numbers then have the file as their
source: the original sources stand in comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.density import (
    DENSE,
    ActualData,
    Banded,
    Density,
    Hypergeometric,
    StructuredNM,
    Vectors,
)
from codesign.accelerator.spec.energy_table import EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.accelerator.spec.yaml_text import name_text, quoted

__all__ = ["energy_table_to_yaml", "mapping_to_yaml", "problem_to_yaml"]

_WIRE = "wire"


def problem_to_yaml(problem: Problem) -> str:
    """The ``problem`` section of a problem; coefficients get names made of their values.

    Raises:
        ValueError: a dimension's name is not a letter, which the format cannot express.
    """
    wrong = [name for name in problem.dimensions if not (name.isascii() and name.isalpha())]
    if wrong:
        raise ValueError(f"problem_to_yaml: dimensions must be letters (got {wrong!r})")
    terms = [term for dataspace in problem.dataspaces for rank in dataspace.ranks for term in rank]
    values = sorted({term.coefficient for term in terms} - {1})
    lines = ["problem:", "  version: 0.4", "  shape:", f"    name: {quoted(problem.name)}"]
    lines.append(f"    dimensions: [{', '.join(problem.dimensions)}]")
    if values:
        lines.append("    coefficients:")
        lines += [f"    - {{name: {_coefficient(value)}, default: {value}}}" for value in values]
    lines.append("    data_spaces:")
    for dataspace in problem.dataspaces:
        ranks = ", ".join(_rank(rank, problem.dimensions) for rank in dataspace.ranks)
        lines += [f"    - name: {name_text(dataspace.name)}", f"      projection: [{ranks}]"]
        lines += ["      read_write: true"] if dataspace.read_write else []
    lines.append("  instance:")
    lines += [f"    {name}: {bound}" for name, bound in zip(problem.dimensions, problem.bounds, strict=True)]
    lines += _densities(problem)
    return "\n".join(lines) + "\n"


def mapping_to_yaml(mapping: Mapping, architecture: Architecture, problem: Problem) -> str:
    """The ``mapping`` section of a mapping, outermost level first; every loop order and keep is written out.

    Raises:
        ValueError: the mapping does not fit, or says of a level what no directive can (loops in space at a level
            that is no spatial dummy, reuse settings of a dummy's loops in time).
    """
    mapping.check(architecture, problem)
    lines = ["mapping:"]
    for level, storage in zip(reversed(mapping.levels), reversed(architecture.storage), strict=True):
        if storage.spatial_dummy:
            target = storage.name.removeprefix("inter_").removesuffix("_spatial")
            lines += _spatial(level, name_text(target), problem)
        else:
            lines += _temporal(level, name_text(storage.name), problem)
    return "\n".join(lines) + "\n"


def energy_table_to_yaml(table: EnergyTable, architecture: Architecture) -> str:
    """ERT and ART of a table in Accelergy's form: instance counts as suffixes, pJ and square micrometres.

    Raises:
        ValueError: the table holds a component that the architecture lacks.
    """
    instances = {level.name: level.instances for level in reversed(architecture.storage)}
    instances[architecture.compute.name] = architecture.compute.instances
    named = {entry.component for entry in table.energies} | {entry.component for entry in table.areas}
    if _WIRE in named:
        # No component: the real program and the engine take the wires of all networks from it.
        instances.setdefault(_WIRE, 1)
    if not named <= set(instances):
        raise ValueError(f"energy_table_to_yaml: not in the architecture: {sorted(named - set(instances))}")
    order = [name for name in instances if name in named]
    names = {name: quoted(f"{architecture.name}.{name}[1..{instances[name]}]") for name in order}
    lines = ["ERT:", "  version: 0.4", "  tables:"]
    for component in order:
        energies = [entry for entry in table.energies if entry.component == component]
        if not energies:
            continue
        lines += [f"  - name: {names[component]}", "    actions:"]
        for entry in energies:
            energy = f"{{name: {name_text(entry.action)}, arguments: {{}}, energy: {entry.energy_pJ!r}}}"
            lines.append(f"    - {energy}{_source(entry.provenance)}")
    if not table.energies:
        lines[-1] = "  tables: []"
    if table.areas:
        lines += ["ART:", "  version: 0.4", "  tables:"]
        for component in order:
            for area in (entry for entry in table.areas if entry.component == component):
                lines.append(f"  - {{name: {names[component]}, area: {area.area_um2!r}}}{_source(area.provenance)}")
    return "\n".join(lines) + "\n"


def _source(provenance: Provenance) -> str:
    """Where a number comes from, as a comment."""
    scaling = "" if provenance.scaling == "none" else f"; {provenance.scaling}"
    text = " ".join(f"{provenance.source}{scaling} ({provenance.confidence})".split())
    return "  # " + "".join(letter if letter.isprintable() else "?" for letter in text)


def _coefficient(value: int) -> str:
    return f"times_{value}" if value >= 0 else f"minus_{-value}"


def _rank(rank: Sequence[Term], dimensions: Sequence[str]) -> str:
    terms = [
        f"[{dimensions[term.dimension]}]"
        if term.coefficient == 1
        else f"[{dimensions[term.dimension]}, {_coefficient(term.coefficient)}]"
        for term in rank
    ]
    return f"[{', '.join(terms)}]"


def _densities(problem: Problem) -> Iterator[str]:
    pairs = list(zip(problem.dataspaces, problem.densities, strict=True))
    if any(density != DENSE for _, density in pairs):
        yield "    densities:"
    for dataspace, density in pairs:
        if density != DENSE:
            yield f"      {name_text(dataspace.name)}: {_density(density, dataspace, problem.dimensions)}"


def _density(density: Density, dataspace: Dataspace, dimensions: Sequence[str]) -> str:
    if isinstance(density, Banded):
        return f"{{distribution: banded, density: 1.0, band_width: {density.band_width}}}"
    if isinstance(density, ActualData):
        return _actual(density, dataspace, dimensions)
    if isinstance(density, StructuredNM):
        rank = _rank_name(dataspace, density.rank, dimensions)
        return f"{{distribution: n_m_structured, n: {density.n}, m: {density.m}, rank: {rank}}}"
    if isinstance(density, Vectors):
        rank = _rank_name(dataspace, density.rank, dimensions)
        return f"{{distribution: vector, density: {density.density!r}, length: {density.length}, rank: {rank}}}"
    kind = "hypergeometric" if isinstance(density, Hypergeometric) else "fixed_structured"
    return f"{{distribution: {kind}, density: {density.density!r}}}"


def _rank_name(dataspace: Dataspace, rank: int, dimensions: Sequence[str]) -> str:
    return name_text(dimensions[dataspace.ranks[rank][0].dimension])


def _actual(data: ActualData, dataspace: Dataspace, dimensions: Sequence[str]) -> str:
    """A reference to the file that the mask came from."""
    if data.source is None:
        raise ValueError(f"problem_to_yaml: the mask of {dataspace.name} is not from a file (got {data!r})")
    parts = ["distribution: actual_data", f"file: {quoted(str(data.source.path.resolve()))}"]
    parts += [] if data.source.tensor is None else [f"tensor: {quoted(data.source.tensor)}"]
    parts += [] if data.source.path.is_dir() else [f"sample_axis: {str(data.varies).lower()}"]
    parts.append(f"axes: [{', '.join(_rank_name(dataspace, rank, dimensions) for rank in data.ranks)}]")
    sides = [
        f"{_rank_name(dataspace, rank, dimensions)}: [{low}, {high}]"
        for rank, (low, high) in enumerate(data.padding)
        if (low, high) != (0, 0)
    ]
    parts += [f"padding: {{{', '.join(sides)}}}"] if sides else []
    return f"{{{', '.join(parts)}}}"


def _directive(target: str, kind: str, loops: Sequence[Loop], problem: Problem) -> list[str]:
    """Target, type, factors in dimension order, permutation; imperfect factors are quoted and commented."""
    by_dimension = sorted(loops, key=lambda loop: loop.dimension)
    factors = []
    for loop in by_dimension:
        name = problem.dimensions[loop.dimension]
        factors.append(f"{name}={loop.bound}" if loop.perfect else f'"{name}={loop.bound},{loop.residual}"')
    lines = [f"- target: {target}", f"  type: {kind}"]
    if not all(loop.perfect for loop in loops):
        lines.append("  # D=bound,residual is an imperfect factor; the real v0.4 front end has no form for it.")
    order = ", ".join(problem.dimensions[loop.dimension] for loop in loops)
    return [*lines, f"  factors: [{', '.join(factors)}]", f"  permutation: [{order}]"]


def _flags(key: str, ids: Iterable[int], problem: Problem) -> list[str]:
    names = [name_text(problem.dataspaces[index].name) for index in sorted(ids)]
    return [f"  {key}: [{', '.join(names)}]"] if names else []


def _temporal(level: LevelMapping, target: str, problem: Problem) -> list[str]:
    if level.spatial_x or level.spatial_y or level.no_multicast or level.no_link_transfer:
        raise ValueError(f"mapping_to_yaml: only a node with a fan-out has loops in space (got {target})")
    lines = _directive(target, "temporal", level.temporal, problem)
    lines += _flags("no_reuse", level.no_temporal_reuse, problem)
    lines += _flags("rmw_first_update", level.rmw_first_update, problem)
    kept = [index for index, keep in enumerate(level.keep) if keep]
    bypassed = [index for index, keep in enumerate(level.keep) if not keep]
    lines += [f"- target: {target}", "  type: dataspace"]
    lines += _flags("keep", kept, problem) + _flags("bypass", bypassed, problem)
    return lines + _flags("no_coalesce", level.no_coalesce, problem)


def _spatial(level: LevelMapping, target: str, problem: Problem) -> list[str]:
    trivial = all(loop.bound == 1 for loop in level.temporal) and not any(level.keep)
    if not trivial or level.no_temporal_reuse or level.rmw_first_update or level.no_coalesce:
        raise ValueError(f"mapping_to_yaml: the level of a fan-out has loops in space only (got {target})")
    lines = _directive(target, "spatial", level.spatial_x + level.spatial_y, problem)
    lines.append(f"  split: {len(level.spatial_x)}")
    lines += _flags("no_reuse", level.no_multicast, problem)
    return lines + _flags("no_link_transfer", level.no_link_transfer, problem)
