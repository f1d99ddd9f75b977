"""Every key that the v0.4 readers know: what it means, its unit, its default.

The readers take the keys they accept from here, so that a key cannot be known and unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

__all__ = ["GLOSSARY", "Entry", "explain_key", "keys"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key in one place of the files.

    Args:
        section: where it stands ("node", "attributes", "constraint", ...).
        key: the key itself.
        meaning: what it says.
        unit: unit or kind of value.
        default: what holds where it is not given; "required" where it must be given.
    """

    section: str
    key: str
    meaning: str
    unit: str
    default: str = "none"


def _section(section: str, *rows: tuple[str, str, str, str]) -> tuple[Entry, ...]:
    return tuple(Entry(section, key, meaning, unit, default) for key, unit, default, meaning in rows)


_DATASPACES = "dataspace names; * is all of them"
_FACTORS = 'list of "D=n"'

GLOSSARY: tuple[Entry, ...] = (
    *_section(
        "file",
        ("architecture", "mapping", "required", "The accelerator: a tree of nodes, outermost first."),
        ("components", "mapping", "none", "Compound component classes; any key that contains `components`."),
        ("constraints", "mapping", "none", "Constraints on nodes by name; any key that contains `constraints`."),
        ("mapping", "list", "none", "The mapping: directives per node; any key that contains `mapping`."),
        ("mapper", "mapping", "none", "Settings of the real mapper; read past here (`codesign map` has flags)."),
        ("problem", "mapping", "required", "The layer: shape and instance."),
        ("sparse_optimizations", "mapping", "none", "Gating, skipping and compressed formats of nodes by name."),
        ("variables", "mapping", "none", "Names for use in expressions; inherited by every component."),
        ("mapspace", "mapping", "none", "Choice of the real mapper's search space; read past here."),
        ("globals", "mapping", "none", "Settings of the real front end; custom functions are refused."),
        ("ERT", "mapping", "estimated", "Energy reference table: pJ per action of each component."),
        ("ART", "mapping", "none", "Area reference table: square micrometres per component."),
    ),
    *_section(
        "section",
        ("version", "0.4", "0.4", "Version of the input format."),
        ("targets", "list", "empty", "Entries, each for the node named by its `target`."),
    ),
    *_section(
        "architecture",
        ("version", "0.4", "0.4", "Version of the input format."),
        ("nodes", "list of tagged nodes", "required", "Nodes from the outermost to the compute, each with its tag."),
    ),
    *_section(
        "branch",
        ("nodes", "list of tagged nodes", "empty", "Nodes of a !Hierarchical, !Parallel or !Pipelined branch."),
        ("enabled", "true or false", "true", "false drops the branch."),
    ),
    *_section(
        "node",
        ("name", "text", "required", "Unique name; results and mappings use it."),
        (
            "class",
            "text",
            "required",
            "Says what it is: DRAM, SRAM, regfile, smartbuffer, storage, mac, compute.",
        ),
        ("subclass", "text", "none", "Compound class that describes the component's energy."),
        ("attributes", "mapping", "empty", "Free-form attributes; unquoted text is an expression."),
        ("spatial", "mapping", "1 x 1", "Fan-out: copies of this node under one outer node."),
        ("constraints", "mapping", "none", "What a mapping must respect at this node."),
        ("sparse_optimizations", "mapping", "none", "Gating, skipping and compressed formats at this node."),
        ("required_actions", "list of text", "by kind", "Actions that the energy estimator is asked for."),
        ("area_scale", "number", "1", "Factor on the component's area."),
        ("energy_scale", "number", "1", "Factor on the component's energies."),
        ("enabled", "true or false", "true", "false drops the node."),
        ("networks", "list", "empty", "User networks of a container; only an empty list is supported."),
    ),
    *_section(
        "spatial",
        ("meshX", "positive integer", "1", "Copies along the X axis of the mesh."),
        ("meshY", "positive integer", "1", "Copies along the Y axis of the mesh."),
    ),
    *_section(
        "attributes",
        ("width", "bits", "required for storage", "Bits of one row; a row is one vector access of all clusters."),
        ("memory_width", "bits", "width", "Other name of width."),
        ("data_storage_width", "bits", "width", "Other name of width."),
        ("datawidth", "bits", "required for storage, 16 for compute", "Bits of one word."),
        ("word_bits", "bits", "datawidth", "Other name of datawidth; comes first where both are given."),
        ("word_width", "bits", "datawidth", "Other name of datawidth."),
        ("depth", "rows", "unlimited for DRAM", "Rows of the storage; size in words = depth * block size."),
        ("memory_depth", "rows", "depth", "Other name of depth."),
        ("data_storage_depth", "rows", "depth", "Other name of depth."),
        ("entries", "words", "from depth", "Size in words, instead of depth."),
        ("sizeKB", "KiB", "from depth", "Size in units of 1024 bytes, instead of depth."),
        ("block_size", "words", "width / (datawidth * cluster_size)", "Words of one vector access."),
        ("n_words", "words", "block_size", "Other name of block_size."),
        ("cluster_size", "instances", "1", "Instances that share one row."),
        ("n_banks", "banks", "2", "Banks of the storage; for the energy estimator. Not inherited."),
        ("multiple_buffering", "number >= 1", "1", "2 halves the capacity for a tile. Not inherited."),
        ("min_utilization", "0 to 1", "0", "Share of the capacity that a mapping must use. Not inherited."),
        ("allow_overbooking", "true or false", "false", "A sparse tile may exceed the capacity. Not inherited."),
        ("reduction_supported", "true or false", "true", "The level adds partial sums itself. Not inherited."),
        ("bandwidth", "words per cycle and instance", "unlimited", "Half of it each for reads and writes; old."),
        ("read_bandwidth", "words per cycle and instance", "unlimited", "Reads of one instance in one cycle."),
        ("write_bandwidth", "words per cycle and instance", "unlimited", "Fills and updates in one cycle."),
        ("shared_bandwidth", "words per cycle and instance", "unlimited", "Reads, fills and updates together."),
        ("per_dataspace_bandwidth_consumption_scale", "mapping dataspace: factor", "1", "Bandwidth per word moved."),
        ("network_fill_latency", "cycles", "0", "Added once to the total cycles."),
        ("network_drain_latency", "cycles", "0", "Added once to the total cycles."),
        ("network_word_bits", "bits", "datawidth", "Word of the network below this level."),
        ("network_type", "1:1 or 1:N", "1:N", "Kind of the network below this level; M:N is not modelled."),
        ("router_energy", "pJ", "0", "Per word and router of the network below this level."),
        ("wire_energy", "pJ per bit and mm", "0", "Wires of the network below this level."),
        ("tile_width", "micrometres", "from the areas", "Length of one hop of the network below this level."),
        ("energy_per_hop", "pJ", "from wire_energy", "Per word and hop of the network below this level."),
        ("energy_per_ingress", "pJ", "0", "Per word that enters the network below this level."),
        ("energy-per-ingress", "pJ", "0", "The real program's spelling of energy_per_ingress."),
        ("network_read", "network name", "inferred", "User network for reads; not modelled."),
        ("network_fill", "network name", "inferred", "User network for fills; not modelled."),
        ("network_update", "network name", "inferred", "User network for updates; not modelled."),
        ("network_drain", "network name", "inferred", "User network for drains; not modelled."),
        ("addr_gen_energy", "pJ", "0", "Per generated address."),
        ("vector_access_energy", "pJ", "from the ERT", "Per vector access; overrides the ERT for this level."),
        ("metadata_storage_width", "bits", "0", "Bits of one row of the metadata storage."),
        ("metadata_storage_depth", "rows", "0", "Rows of the metadata storage."),
        ("metadata_datawidth", "bits", "by format", "Bits of one metadata word."),
        ("metadata_width", "bits", "metadata_storage_width", "Other name of metadata_storage_width."),
        ("metadata_depth", "rows", "metadata_storage_depth", "Other name of metadata_storage_depth."),
        ("metadata_word_bits", "bits", "metadata_datawidth", "Other name of metadata_datawidth."),
        ("metadata_block_size", "words", "1", "Metadata words that must fit a row of the metadata storage."),
        ("decompression_supported", "true or false", "false", "Fills from a compressed parent are expanded here."),
        ("compression_supported", "true or false", "false", "Updates to a compressed parent are packed here."),
        ("has_power_gating", "true or false", "false", "What lies below is switched off together. Not inherited."),
        ("power_gated_at", "node name", "the node itself", "Level whose use decides whether this one leaks."),
        ("technology", 'text such as "45nm"', "required by most estimators", "Process node, with its unit."),
        ("global_cycle_seconds", "seconds", "needed for time and leakage", "Duration of a cycle, e.g. 1e-9."),
    ),
    *_section(
        "node constraints",
        ("temporal", "mapping", "free", "Constraint on the loops in time."),
        ("spatial", "mapping", "free", "Constraint on the loops in space; for nodes with a fan-out."),
        ("dataspace", "mapping", "free", "Which dataspaces the node keeps."),
        ("max_overbooked_proportion", "mapping", "none", "Of the real mapper; not supported."),
    ),
    *_section(
        "directive",
        ("target", "node name", "required", "The node that the directive is for."),
        ("type", "temporal, spatial, dataspace or utilization", "required", "What the directive is about."),
    ),
    *_section(
        "iteration",
        ("factors", _FACTORS, "1", "Loop bounds; D=0 is the full bound, D<=n and D>=n are limits, D=n,r imperfect."),
        ("factors_only", _FACTORS, "none", "As factors; every dimension that is not named is 1."),
        ("permutation", "list of dimensions", "dimension order", "Loop order, innermost first."),
        ("no_iteration_over_dataspaces", _DATASPACES, "none", "Every dimension of these dataspaces is 1."),
        ("must_iterate_over_dataspaces", _DATASPACES, "none", "Every dimension that is in none of them is 1."),
        ("maximize_dims", "list of lists of dimensions", "none", "Each list gets the largest factors that fit."),
        ("maximize_dims_capacity", "iterations", "fan-out", "What the factors of maximize_dims may multiply to."),
        ("default_max_factor", "integer", "none", "Upper limit for dimensions that are not named."),
        ("default_min_factor", "integer", "none", "Lower limit for dimensions that are not named."),
        ("no_reuse", _DATASPACES, "none", "temporal: emptied at every visit; spatial: no multicast."),
        ("remainders", "integer", "none", "Of the real mapper's ruby search space; not supported."),
    ),
    *_section(
        "temporal only",
        ("rmw_first_update", _DATASPACES, "none", "The first update also reads, instead of only writing."),
    ),
    *_section(
        "spatial only",
        ("split", "integer", "number of dimensions", "Loops on the X axis: so many of the permutation; the rest on Y."),
        ("no_link_transfer", _DATASPACES, "none", "Neighbours do not pass these dataspaces on."),
    ),
    *_section(
        "dataspace",
        ("keep", _DATASPACES, "kept", "Stored at this node."),
        ("bypass", _DATASPACES, "none", "Not stored at this node."),
        ("keep_only", _DATASPACES, "none", "These are kept, all others bypass."),
        ("bypass_only", _DATASPACES, "none", "These bypass, all others are kept."),
        ("no_coalesce", _DATASPACES, "none", "Accesses pass through one by one."),
    ),
    *_section(
        "utilization",
        ("min", "0 to 1", "0", "Smallest share of the array that a mapping may use; for the mapper."),
    ),
    *_section(
        "problem",
        ("version", "0.4", "0.4", "Version of the input format."),
        ("shape", "mapping", "required", "Dimensions and dataspaces."),
        ("instance", "mapping", "required", "Bounds, coefficients and densities."),
    ),
    *_section(
        "shape",
        ("name", "text", '"problem"', "Name of the shape."),
        ("dimensions", "list of letters", "required", "One letter each; the order is the dimension id."),
        ("coefficients", "list of {name, default}", "empty", "Named integers for projections, e.g. strides."),
        ("data_spaces", "list", "required", "The tensors."),
    ),
    *_section(
        "coefficient",
        ("name", "text", "required", "Name, used in projections and in the instance."),
        ("default", "integer", "required", "Value where the instance gives none."),
    ),
    *_section(
        "data_space",
        ("name", "text", "required", "Name of the tensor."),
        ("projection", "list of ranks", "required", "Each rank is a sum of [dimension] or [dimension, coefficient]."),
        ("read_write", "true or false", "false", "true for the tensor that is updated."),
    ),
    *_section(
        "instance",
        ("densities", "mapping dataspace: density", "1.0", "Share of nonzeros and how they lie."),
        ("commonDensity", "density", "1.0", "One density for all dataspaces."),
    ),
    *_section(
        "density",
        ("density", "0 to 1", "required", "Share of nonzeros."),
        (
            "distribution",
            "fixed_structured, hypergeometric, banded, actual_data, n_m_structured or vector",
            "required",
            "How the nonzeros lie; the last three are not in the real program.",
        ),
        ("band_width", "diagonals", "0", "banded: diagonals on either side of the main one."),
        ("file", "path", "required", "actual_data: a mask folder, .npz or .npy, relative to this file."),
        ("tensor", "text", "the only one", "actual_data: name of the tensor in the file."),
        ("sample_axis", "true or false", "false", "actual_data: the first axis of an array is that of the samples."),
        ("axes", "dimensions", "the order of the ranks", "actual_data: for each axis, a dimension of its rank."),
        ("padding", "mapping dimension: [before, after]", "none", "actual_data: zeros around the mask along a rank."),
        ("n", "integer", "required", "n_m_structured: ones in each group."),
        ("m", "integer", "required", "n_m_structured: words of a group."),
        ("length", "words", "required", "vector: words that are ones or zeros together."),
        ("rank", "dimension", "required", "n_m_structured, vector: the rank that groups lie along."),
        ("workload_tensor_size", "words", "the real size", "Read past, as in the real program."),
    ),
    *_section(
        "sparse",
        ("target", "node name", "the node it stands at", "The node that the entry is for."),
        ("action_optimization", "list", "none", "Storage accesses that are gated or skipped."),
        ("representation_format", "mapping", "none", "Compressed layouts of dataspaces at this level."),
        ("compute_optimization", "list", "none", "Gating or skipping at the compute itself."),
    ),
    *_section(
        "action_optimization",
        ("type", "gating or skipping", "required", "gating saves energy, skipping also time."),
        ("options", "list", "required", "Alternatives; the one that saves most is taken."),
    ),
    *_section(
        "option",
        ("target", "dataspace name", "required", "Whose accesses are saved."),
        ("condition_on", "dataspace names", "required", "They are saved where one of these is all zero."),
    ),
    *_section(
        "representation_format",
        ("data_spaces", "list", "required", "One entry for each dataspace with metadata."),
    ),
    *_section(
        "format",
        ("name", "dataspace name", "required", "The dataspace."),
        ("ranks", "list", "required", "Format of each rank, the top one first."),
        ("rank_application_order", "inner_to_outer or outer_to_inner", "outer_to_inner", "How ranks meet loops."),
    ),
    *_section(
        "rank",
        ("format", "UOP, CP, B, RLE or UB", "required", "Uncompressed offsets, coordinates, bitmask, run lengths."),
        ("metadata_word_bits", "bits", "metadata_datawidth (B: 1)", "Bits of one metadata word."),
        ("payload_word_bits", "bits", "metadata_datawidth", "Bits of one payload (pointer) word."),
        ("flattened_rankIDs", "list of lists of dimensions", "none", "Loops that may share this rank."),
    ),
    *_section(
        "compute_optimization",
        (
            "type",
            "gating or skipping; gate_on_masked_output or skip_on_masked_output",
            "required",
            "What happens to a compute with a zero operand, or of an output that its mask leaves out.",
        ),
    ),
    *_section(
        "components",
        ("version", "0.4", "0.4", "Version of the input format."),
        ("classes", "list", "empty", "Compound classes."),
    ),
    *_section(
        "compound class",
        ("name", "text", "required", "Name that a node's class or subclass refers to."),
        ("attributes", "mapping", "empty", 'Defaults; "must_specify" has to come from the node.'),
        ("subcomponents", "list", "empty", "What it is made of."),
        ("actions", "list", "empty", "What an action does in the subcomponents."),
    ),
    *_section(
        "subcomponent",
        ("name", "text, also x[0..n]", "required", "Name; a range makes several."),
        ("class", "text", "required", "Primitive or compound class."),
        ("attributes", "mapping", "empty", "Expressions over the class's attributes."),
        ("area_scale", "number or expression", "1", "Factor on the area."),
        ("energy_scale", "number or expression", "1", "Factor on the energies."),
    ),
    *_section(
        "compound action",
        ("name", "text", "required", "Name of the action."),
        ("arguments", "mapping", "none", 'Ranges "lo..hi"; one table entry a combination.'),
        ("subcomponents", "list", "empty", "Which subcomponents act."),
    ),
    *_section(
        "compound action part",
        ("name", "text, also x[0..n]", "required", "The subcomponent."),
        ("actions", "list", "empty", "Its actions."),
    ),
    *_section(
        "subcomponent action",
        ("name", "text", "required", "Name of the subcomponent's action."),
        ("arguments", "mapping", "none", "Values of its arguments."),
        ("energy_scale", "number or expression", "1", "Factor on its energy."),
        ("repeat", "number or expression", "1", "Other name of energy_scale."),
    ),
    *_section(
        "table",
        ("version", "0.4", "0.4", "Version of the table format."),
        ("tables", "list", "required", "One entry a component."),
    ),
    *_section(
        "energy of a component",
        ("name", "text", "required", "Dotted name; its last part without [..] is the component."),
        ("actions", "list of {name, arguments, energy}", "required", "pJ per vector access; leak: pJ per cycle."),
    ),
    *_section(
        "action energy",
        ("name", "text", "required", "Name of the action (read, write, update, leak, compute, gated_read, ...)."),
        ("arguments", "mapping", "none", "Of several entries of one action the largest energy counts."),
        ("energy", "pJ", "required", "Energy of one vector access, or of one cycle for leak."),
    ),
    *_section(
        "area of a component",
        ("name", "text", "required", "Dotted name; its last part without [..] is the component."),
        ("area", "square micrometres", "required", "Area of one instance."),
    ),
)
"""All keys, section by section."""


@cache
def keys(*sections: str) -> frozenset[str]:
    """The keys that may stand in any of ``sections``; KeyError for a section without keys."""
    found = frozenset(entry.key for entry in GLOSSARY if entry.section in sections)
    if not found:
        raise KeyError(sections)
    return found


def explain_key(key: str) -> tuple[Entry, ...]:
    """Every entry of that key; empty if no reader knows it."""
    return tuple(entry for entry in GLOSSARY if entry.key == key)
