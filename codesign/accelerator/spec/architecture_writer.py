"""Writes an architecture and its sparse optimisations as Timeloop v0.4 text in which nothing is left to work out.

What is written is the linear hierarchy as the readers understood it: no expressions, no variables, no branches, no
inherited attributes, and no constraints, since a mapping says all of them again and the real front end takes nothing
said twice. It reads back to an equal architecture (but for attributes that only the estimator looks at).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from codesign.accelerator.spec.architecture import Architecture, Compute, Network, Storage
from codesign.accelerator.spec.sparse import LevelSparsity, Rank, SparseOptimizations, TensorFormat
from codesign.accelerator.spec.yaml_text import name_text, quoted

__all__ = ["UNLIMITED_ROWS", "architecture_to_yaml"]

UNLIMITED_ROWS = 2**30
"""Rows written for a storage without a size, where a size is demanded (the real program reads 32-bit integers)."""

_NETWORK_KEYS: Mapping[str, str] = {
    "word_bits": "network_word_bits",
    "energy_per_hop_pJ": "energy_per_hop",
    "router_energy_pJ": "router_energy",
    "ingress_energy_pJ": "energy_per_ingress",
    "wire_energy_pJ_per_bit_mm": "wire_energy",
    "tile_width_um": "tile_width",
    "fill_latency_cycles": "network_fill_latency",
    "drain_latency_cycles": "network_drain_latency",
}
_ESTIMATOR_KEYS = (
    "technology",
    "global_cycle_seconds",
    "type",
    "voltage",
    "n_banks",
    "n_rw_ports",
    "adder_width",
    "exponent",
    "mantissa",
)
"""Attributes that say nothing to the engine and are passed on where they are plain values."""

_COMPUTE_TYPES = {
    ("operands", "gating"): "gating",
    ("operands", "skipping"): "skipping",
    ("outputs", "gating"): "gate_on_masked_output",
    ("outputs", "skipping"): "skip_on_masked_output",
}


def architecture_to_yaml(
    architecture: Architecture, sparse: SparseOptimizations | None = None, *, limit_unlimited: bool = False
) -> str:
    """The ``architecture`` and ``sparse_optimizations`` sections.

    Args:
        architecture: the linear hierarchy.
        sparse: its sparse optimisations.
        limit_unlimited: give a storage without a size ``UNLIMITED_ROWS`` rows, because timeloopfe of 2025 demands
            a depth of every storage.
    """
    lines = ["architecture:", "  version: 0.4", "  nodes:"]
    outermost = architecture.storage[-1]
    named = _fan_out_name(outermost) if outermost.spatial_dummy else ""
    if architecture.name not in ("top", named):
        lines += ["  - !Container", f"    name: {name_text(architecture.name)}"]
    compressed = {level.level for level in (sparse.levels if sparse else ()) if level.formats}
    pending: tuple[int, int] | None = None
    for index in reversed(range(len(architecture.storage))):
        storage = architecture.storage[index]
        if storage.spatial_dummy:
            inner = architecture.storage[index - 1].name if index else architecture.compute.name
            pending = architecture.fanout(index)
            carried = _network(storage.network)
            if carried.get("network_word_bits") == storage.word_bits:
                del carried["network_word_bits"]
            if inner != _fan_out_name(storage):
                lines += _node("Container", _fan_out_name(storage), carried, pending)
                pending = None
            elif carried:
                lines += _node("Container", f"attributes of {inner}", carried, None)
            continue
        attributes = _storage_attributes(storage, limit_unlimited, storage.name in compressed)
        lines += _component(storage, attributes, pending)
        pending = None
    lines += _component(architecture.compute, _compute_attributes(architecture.compute), pending)
    if sparse:
        lines += _sparse(sparse)
    return "\n".join(lines) + "\n"


def _fan_out_name(dummy: Storage) -> str:
    return dummy.name.removeprefix("inter_").removesuffix("_spatial")


def _node(tag: str, name: str, attributes: Mapping[str, object], mesh: tuple[int, int] | None) -> list[str]:
    lines = [f"  - !{tag}", f"    name: {name_text(name)}"]
    if attributes:
        listed = ", ".join(f"{key}: {_value(value)}" for key, value in attributes.items())
        lines.append(f"    attributes: {{{listed}}}")
    if mesh is not None:
        lines.append(f"    spatial: {{meshX: {mesh[0]}, meshY: {mesh[1]}}}")
    return lines


def _component(part: Storage | Compute, attributes: Mapping[str, object], mesh: tuple[int, int] | None) -> list[str]:
    head, name, *rest = _node("Component", part.name, attributes, mesh)
    kind = [f"    class: {name_text(part.component_class)}"]
    if part.subclass is not None:
        kind.append(f"    subclass: {name_text(part.subclass)}")
    for key in ("energy_scale", "area_scale"):
        if getattr(part, key) != 1:
            kind.append(f"    {key}: {getattr(part, key)!r}")
    return [head, name, *kind, *rest]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name_text(str(key))}: {_value(item)}" for key, item in value.items()) + "}"
    return quoted(value) if isinstance(value, str) else repr(value)


def _storage_attributes(storage: Storage, limit_unlimited: bool, compressed: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "width": storage.word_bits * storage.block_size * storage.cluster_size,
        "datawidth": storage.word_bits,
        "block_size": storage.block_size,
        "cluster_size": storage.cluster_size,
    }
    limited = limit_unlimited and storage.size_words is None and (storage.metadata_width_bits > 0 or not compressed)
    found |= _size(storage, limited) | _metadata(storage, limited)
    optional: dict[str, tuple[object, object]] = {
        "multiple_buffering": (storage.multiple_buffering, 1),
        "min_utilization": (storage.min_utilization, 0),
        "read_bandwidth": (storage.read_bandwidth, None),
        "write_bandwidth": (storage.write_bandwidth, None),
        "shared_bandwidth": (storage.shared_bandwidth, None),
        "per_dataspace_bandwidth_consumption_scale": (dict(storage.bandwidth_scale), {}),
        "allow_overbooking": (storage.allow_overbooking, False),
        "reduction_supported": (storage.reduction_supported, True),
        "addr_gen_energy": (storage.address_generation_energy_pJ, None),
        "power_gated_at": (storage.power_gated_at, None),
        "decompression_supported": (storage.decompression_supported, False),
        "compression_supported": (storage.compression_supported, False),
        "vector_access_energy": (storage.vector_access_energy_pJ, None),
    }
    found |= {key: value for key, (value, default) in optional.items() if value != default}
    return found | _network(storage.network) | _for_estimator(storage.attributes)


def _size(storage: Storage, limited: bool) -> dict[str, object]:
    if limited:
        return {"depth": UNLIMITED_ROWS}
    if storage.size_words is None:
        return {}
    if storage.size_words % storage.block_size:
        return {"entries": storage.size_words}
    return {"depth": storage.size_words // storage.block_size}


def _metadata(storage: Storage, limited: bool) -> dict[str, object]:
    if not storage.metadata_width_bits:
        return {}
    found: dict[str, object] = {"metadata_storage_width": storage.metadata_width_bits}
    # The real program multiplies width and depth as 32-bit integers.
    depth = (2**32 - 1) // storage.metadata_width_bits if limited else storage.metadata_depth
    if depth:
        found["metadata_storage_depth"] = depth
    if storage.metadata_word_bits is not None:
        found["metadata_datawidth"] = storage.metadata_word_bits
    return found


def _network(network: Network) -> dict[str, object]:
    values = ((field, getattr(network, field.name)) for field in fields(network))
    return {
        _NETWORK_KEYS[field.name]: value
        for field, value in values
        if value is not None and not (value == 0 and field.default == 0)
    }


def _for_estimator(attributes: Mapping[str, object]) -> dict[str, object]:
    return {key: attributes[key] for key in _ESTIMATOR_KEYS if isinstance(attributes.get(key), str | int | float)}


def _compute_attributes(compute: Compute) -> dict[str, object]:
    found: dict[str, object] = {"datawidth": compute.word_bits}
    if isinstance(compute.attributes.get("width"), int | float):
        found["width"] = compute.attributes["width"]
    return found | _for_estimator(compute.attributes)


def _sparse(sparse: SparseOptimizations) -> Iterator[str]:
    yield from ("sparse_optimizations:", "  version: 0.4", "  targets:")
    for level in sparse.levels:
        yield f"  - target: {name_text(level.level)}"
        yield from _actions(level)
        if level.formats:
            yield from ("    representation_format:", "      data_spaces:")
        for layout in level.formats:
            yield from _layout(layout)
    kinds: dict[str, list[str]] = {}
    for entry in sparse.compute:
        kinds.setdefault(entry.level, []).append(_COMPUTE_TYPES[entry.on, entry.kind])
    for name, saved in kinds.items():
        yield f"  - target: {name_text(name)}"
        yield f"    compute_optimization: [{', '.join(f'{{type: {kind}}}' for kind in saved)}]"


def _actions(level: LevelSparsity) -> Iterator[str]:
    if level.actions:
        yield "    action_optimization:"
    for action in level.actions:
        yield f"    - type: {action.kind}"
        yield "      options:"
        for option in action.options:
            yield f"      - {{target: {name_text(option.target)}, condition_on: {_names(option.condition_on)}}}"


def _layout(layout: TensorFormat) -> Iterator[str]:
    yield f"      - name: {name_text(layout.dataspace)}"
    if not layout.outer_to_inner:
        yield "        rank_application_order: inner_to_outer"
    yield f"        ranks: [{', '.join(_rank(rank) for rank in layout.ranks)}]"


def _rank(rank: Rank) -> str:
    parts = [f"format: {rank.format}"]
    for key in ("metadata_word_bits", "payload_word_bits"):
        if getattr(rank, key) is not None:
            parts.append(f"{key}: {getattr(rank, key)}")
    if rank.flattened_rank_ids:
        parts.append(f"flattened_rankIDs: [{', '.join(_names(ids) for ids in rank.flattened_rank_ids)}]")
    return "{" + ", ".join(parts) + "}"


def _names(names: Sequence[str]) -> str:
    return f"[{', '.join(name_text(name) for name in names)}]"
