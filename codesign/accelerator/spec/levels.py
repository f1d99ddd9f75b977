"""One component of the tree as the engine sees it: sizes in words, bandwidths, metadata, network attributes.

The rules are those of the real program's storage specification (first attribute name that is given wins).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from codesign.accelerator.spec.architecture import Compute, Network, Storage
from codesign.accelerator.spec.attributes import AttributeSet
from codesign.accelerator.spec.expressions import evaluate
from codesign.accelerator.spec.tree import Leaf

__all__ = ["compute_level", "dummy_name", "spatial_dummy", "storage_level"]

_DEFAULT_WORD_BITS = 16
_USER_NETWORKS = ("network_read", "network_fill", "network_update", "network_drain")


def dummy_name(node: str) -> str:
    """Name of the level that carries the spatial loops of a node with a fan-out."""
    return f"inter_{node}_spatial"


def spatial_dummy(leaf: Leaf, attributes: AttributeSet, mesh: tuple[int, int]) -> Storage:
    """The level above a node with a fan-out: it stores nothing and has the mesh before the fan-out."""
    return Storage(
        name=dummy_name(leaf.name),
        component_class="dummy_storage",
        mesh_x=mesh[0],
        mesh_y=mesh[1],
        word_bits=1,
        size_words=1,
        spatial_dummy=True,
        network=_network(attributes),
        attributes=attributes.for_estimator,
    )


def compute_level(leaf: Leaf, attributes: AttributeSet, mesh: tuple[int, int]) -> Compute:
    """The arithmetic level."""
    word_bits = attributes.integer("word_bits", "datawidth")
    return Compute(
        name=leaf.name,
        component_class=leaf.component_class,
        mesh_x=mesh[0],
        mesh_y=mesh[1],
        word_bits=_DEFAULT_WORD_BITS if word_bits is None else word_bits,
        subclass=leaf.subclass,
        attributes=attributes.for_estimator,
        energy_scale=leaf.energy_scale,
        area_scale=leaf.area_scale,
    )


def storage_level(leaf: Leaf, attributes: AttributeSet, mesh: tuple[int, int], gated_at: str | None) -> Storage:
    """A storage level.

    Raises:
        InputError: a needed attribute is missing, or one has no sensible value.
    """
    word_bits, block_size, cluster_size = _row(attributes)
    read, write = _bandwidths(attributes)
    for name in _USER_NETWORKS:
        if attributes.has(name):
            raise attributes.error(name, "user networks between levels are not modelled", fix=f"remove {name}")
    width, depth, metadata_word_bits = _metadata(attributes)
    size = _size(leaf, attributes, word_bits, block_size)
    min_utilization = attributes.number("min_utilization", least=0.0)
    if min_utilization and (min_utilization > 1 or size is None):
        raise attributes.error("min_utilization", "min_utilization must be at most 1 and needs a size")
    return Storage(
        name=leaf.name,
        component_class=leaf.component_class,
        mesh_x=mesh[0],
        mesh_y=mesh[1],
        word_bits=word_bits,
        block_size=block_size,
        cluster_size=cluster_size,
        size_words=size,
        multiple_buffering=attributes.number("multiple_buffering", least=1.0) or 1.0,
        min_utilization=min_utilization or 0.0,
        read_bandwidth=read,
        write_bandwidth=write,
        shared_bandwidth=attributes.number("shared_bandwidth", above=0.0),
        bandwidth_scale=_bandwidth_scale(leaf, attributes),
        allow_overbooking=attributes.flag("allow_overbooking") or False,
        reduction_supported=attributes.flag("reduction_supported") is not False,
        address_generation_energy_pJ=attributes.number("addr_gen_energy", least=0.0),
        power_gated_at=gated_at,
        metadata_width_bits=width,
        metadata_depth=depth,
        metadata_word_bits=metadata_word_bits,
        network=_network(attributes),
        subclass=leaf.subclass,
        attributes=attributes.for_estimator,
        decompression_supported=attributes.flag("decompression_supported") or False,
        compression_supported=attributes.flag("compression_supported") or False,
        vector_access_energy_pJ=attributes.number("vector_access_energy", least=0.0),
        energy_scale=leaf.energy_scale,
        area_scale=leaf.area_scale,
    )


def _is_dram(leaf: Leaf, attributes: AttributeSet) -> bool:
    return "DRAM" in leaf.component_class or attributes.values.get("technology") == "DRAM"


def _row(attributes: AttributeSet) -> tuple[int, int, int]:
    """Bits of a word, words of a block, blocks of a row: width = word_bits * block_size * cluster_size."""
    word_bits = attributes.require("datawidth", attributes.integer("word_bits", "word_width", "datawidth"))
    width = attributes.require("width", attributes.integer("width", "memory_width", "data_storage_width"))
    block = attributes.integer("block_size", "n_words")
    cluster = attributes.integer("cluster_size") or 1
    if width % (word_bits * (block or 1)):
        raise attributes.error(
            "width", f"width must be a multiple of the bits of one block ({word_bits} bits a word, {block or 1} words)"
        )
    if block is None:
        block = width // cluster // word_bits
        if block == 0:
            raise attributes.error("cluster_size", f"cluster_size must leave at least one word a block of {width} bits")
    elif block * word_bits * cluster != width:
        raise attributes.error(
            "block_size", f"block_size * datawidth * cluster_size must be the width ({block} * {word_bits} * {cluster})"
        )
    return word_bits, block, cluster


def _size(leaf: Leaf, attributes: AttributeSet, word_bits: int, block_size: int) -> int | None:
    """Words of one instance; None without a size, which only a DRAM may lack."""
    entries = attributes.integer("entries")
    depth = attributes.integer("depth", "memory_depth", "data_storage_depth")
    kib = attributes.integer("sizeKB")
    given = [name for name, value in (("entries", entries), ("depth", depth), ("sizeKB", kib)) if value is not None]
    if len(given) > 1:
        raise attributes.error(given[1], "a size is given once", fix=f"keep one of {', '.join(given)}")
    if entries is not None:
        return entries
    if depth is not None:
        return depth * block_size
    if kib is not None:
        return kib * 1024 * 8 // word_bits
    if _is_dram(leaf, attributes):
        return None
    return attributes.require("depth", None)


def _bandwidths(attributes: AttributeSet) -> tuple[float | None, float | None]:
    both = attributes.number("bandwidth", above=0.0)
    half = None if both is None else both / 2
    read, write = (attributes.number(f"{kind}_bandwidth", above=0.0) for kind in ("read", "write"))
    return (half if read is None else read), (half if write is None else write)


def _bandwidth_scale(leaf: Leaf, attributes: AttributeSet) -> Mapping[str, float]:
    name = "per_dataspace_bandwidth_consumption_scale"
    if not attributes.has(name):
        return MappingProxyType({})
    table, place = attributes.values[name], leaf.places.get(name)
    if not isinstance(table, Mapping):
        raise attributes.error(name, f"{name} must be a mapping from dataspace to factor")
    found = {}
    for dataspace, factor in table.items():
        if isinstance(factor, str) and place is not None:
            factor = evaluate(place.mapping()[dataspace], leaf.values, f"the factor of {dataspace}")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not factor >= 0:
            raise attributes.error(name, f"the factor of {dataspace} must be a number of at least 0")
        found[str(dataspace)] = float(factor)
    return MappingProxyType(found)


def _metadata(attributes: AttributeSet) -> tuple[int, int, int | None]:
    """Width, depth and word of the metadata storage; a storage of limited size needs width and depth together."""
    width = attributes.integer("metadata_storage_width", "metadata_width", least=0) or 0
    depth = attributes.integer("metadata_storage_depth", "metadata_depth", least=0) or 0
    word = attributes.integer("metadata_datawidth", "metadata_word_bits", least=0)
    block = attributes.integer("metadata_block_size") or 1
    if width and word and width % (word * block):
        raise attributes.error(
            "metadata_storage_width", "metadata_storage_width must be a multiple of metadata_datawidth"
        )
    sized = attributes.has("depth", "memory_depth", "data_storage_depth", "entries", "sizeKB")
    if sized and bool(width) != bool(depth):
        missing = "metadata_storage_depth" if width else "metadata_storage_width"
        given = "metadata_storage_width" if width else "metadata_storage_depth"
        raise attributes.error(given, f"a metadata storage needs its {missing} too")
    return width, depth, word


def _network(attributes: AttributeSet) -> Network:
    """The network below the level; the real program reads its attributes from the level."""
    kind = attributes.text("network_type")
    if kind is not None and kind not in ("1:1", "1:N"):
        raise attributes.error("network_type", "the networks modelled are 1:1 and 1:N (no distributed multicast)")
    return Network(
        word_bits=attributes.integer("network_word_bits", "word_bits", "word_width", "datawidth"),
        energy_per_hop_pJ=attributes.number("energy_per_hop", least=0.0),
        router_energy_pJ=attributes.number("router_energy", least=0.0),
        ingress_energy_pJ=attributes.number("energy-per-ingress", "energy_per_ingress", least=0.0),
        wire_energy_pJ_per_bit_mm=attributes.number("wire_energy", least=0.0),
        tile_width_um=attributes.number("tile_width", least=0.0),
        fill_latency_cycles=attributes.integer("network_fill_latency", least=0) or 0,
        drain_latency_cycles=attributes.integer("network_drain_latency", least=0) or 0,
    )
