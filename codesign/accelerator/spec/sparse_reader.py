"""Reads sparse optimisations, at the nodes and under the top-level ``sparse_optimizations: {targets: [...]}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, get_args

from codesign.accelerator.spec.architecture import Architecture, Storage
from codesign.accelerator.spec.document import check_version
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sites import Site, Sites
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    Format,
    LevelSparsity,
    Option,
    Rank,
    SparseOptimizations,
    TensorFormat,
)
from codesign.errors import InputError, did_you_mean

__all__ = ["check_sparse", "read_sparse"]

_KINDS: Mapping[str, Literal["gating", "skipping"]] = {"gating": "gating", "skipping": "skipping"}
_COMPUTE_KINDS: Mapping[str, Literal["gating", "skipping"]] = {
    **_KINDS,
    "gate_on_zero_operand": "gating",
    "skip_on_not_aligned_operands": "skipping",
}
_OUTPUT_KINDS: Mapping[str, Literal["gating", "skipping"]] = {
    "gate_on_masked_output": "gating",
    "skip_on_masked_output": "skipping",
}
_UNCOMPRESSED = ("UOP", "UB")


def read_sparse(sections: Sequence[Node], sites: Sites, architecture: Architecture) -> SparseOptimizations:
    """All sparse optimisations, levels from the innermost outwards. Names of dataspaces are checked later.

    Raises:
        InputError: a key, type, format or target is not valid, or a rank's words do not fit the metadata storage.
    """
    levels: dict[str, LevelSparsity] = {}
    compute: list[ComputeOptimization] = []
    for site, node in _entries(sections, sites):
        entries = node.only(keys("sparse"), "sparse_optimizations")
        compute += _compute(site, entries.get("compute_optimization"))
        level = LevelSparsity(site.name, *_storage_parts(site, entries, architecture))
        if level.actions or level.formats:
            levels[site.name] = _joined(levels.get(site.name), level, node)
    ordered = [levels[storage.name] for storage in architecture.storage if storage.name in levels]
    return SparseOptimizations(tuple(ordered), tuple(dict.fromkeys(compute)))


def check_sparse(sparse: SparseOptimizations, problem: Problem) -> None:
    """Every dataspace and dimension that an optimisation names must be one of the problem.

    Raises:
        InputError: it is not.
    """
    known = [dataspace.name for dataspace in problem.dataspaces]
    for level in sparse.levels:
        named = [name for action in level.actions for o in action.options for name in (o.target, *o.condition_on)]
        named += [layout.dataspace for layout in level.formats]
        read_only = {dataspace.name for dataspace in problem.dataspaces if not dataspace.read_write}
        for option in (option for action in level.actions for option in action.options):
            if option.target in read_only and option.target in option.condition_on:
                raise InputError(
                    "condition_on must name another dataspace (only a written one may wait for its own mask)",
                    got=", ".join(option.condition_on),
                    key=f"{level.level}.action_optimization",
                )
        rule = "must be a dataspace of the problem"
        _check_names(named, known, f"{level.level}.sparse_optimizations", rule)
        flattened = [
            name for layout in level.formats for rank in layout.ranks for ids in rank.flattened_rank_ids for name in ids
        ]
        rule = "must be a dimension of the problem"
        _check_names(flattened, problem.dimensions, f"{level.level}.sparse_optimizations.flattened_rankIDs", rule)


def _check_names(names: Sequence[str], known: Sequence[str], key: str, rule: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(
                f"what a sparse optimisation names {rule}", got=name, key=key, fix=did_you_mean(name, known)
            )


def _entries(sections: Sequence[Node], sites: Sites) -> Iterator[tuple[Site, Node]]:
    for site in sites.sites:
        if site.leaf is not None and site.leaf.enabled and site.leaf.sparse is not None:
            yield site, site.leaf.sparse
    for section in sections:
        section.only(keys("section"), section.key)
        check_version(section)
        targets = section.mapping().get("targets")
        for node in () if targets is None else targets.items("targets"):
            site = sites.find(node.required("target", "an entry of sparse_optimizations"))
            if site.leaf is None or site.leaf.enabled:
                yield site, node


def _joined(first: LevelSparsity | None, second: LevelSparsity, node: Node) -> LevelSparsity:
    if first is None:
        return second
    both = {layout.dataspace for layout in first.formats} & {layout.dataspace for layout in second.formats}
    if both:
        raise node.error(
            "a dataspace has one format at a level", got=f"{', '.join(sorted(both))} twice at {second.level}"
        )
    return LevelSparsity(second.level, first.actions + second.actions, first.formats + second.formats)


def _storage_parts(
    site: Site, entries: Mapping[str, Node], architecture: Architecture
) -> tuple[tuple[ActionOptimization, ...], tuple[TensorFormat, ...]]:
    actions, layouts = entries.get("action_optimization"), entries.get("representation_format")
    for node in (actions, layouts):
        if node is not None and node.value and site.level is None:
            raise node.error("only a storage has accesses to save and formats", got=f"{site.name}, a {site.kind}")
    if site.level is None:
        return (), ()
    found = () if actions is None else tuple(_action(node) for node in actions.items("action_optimization"))
    storage = architecture.storage[site.level]
    formats = () if layouts is None else _formats(layouts, storage)
    return found, formats


def _action(node: Node) -> ActionOptimization:
    node.only(keys("action_optimization"), "an action optimisation")
    place = node.required("type", "an action optimisation")
    name = place.text("the type")
    if name in ("spatial_skipping", "skipping_spatial"):
        raise place.error("spatial skipping cannot be reached in v0.4: the real program rejects it too", got=name)
    if name not in _KINDS:
        raise place.error("the type must be gating or skipping", got=name, fix=did_you_mean(name, _KINDS))
    options = node.required("options", "an action optimisation").items("options")
    if not options:
        raise node.error("an action optimisation needs at least one option")
    return ActionOptimization(_KINDS[name], tuple(_option(option) for option in options))


def _option(node: Node) -> Option:
    node.only(keys("option"), "an option")
    conditions = node.required("condition_on", "an option").texts("condition_on")
    target = node.required("target", "an option").text("target")
    if not conditions:
        raise node.error("condition_on must name at least one dataspace", got="none")
    return Option(target, conditions)


def _formats(node: Node, storage: Storage) -> tuple[TensorFormat, ...]:
    node.only(keys("representation_format"), "representation_format")
    found: dict[str, TensorFormat] = {}
    spaces = node.mapping().get("data_spaces")
    for entry in () if spaces is None else spaces.items("data_spaces"):
        layout = _format(entry, storage)
        if layout.dataspace in found:
            raise entry.error("a dataspace has one format at a level", got=layout.dataspace)
        found[layout.dataspace] = layout
    return tuple(found.values())


def _format(node: Node, storage: Storage) -> TensorFormat:
    entries = node.only(keys("format"), "a format")
    name = node.required("name", "a format").text("the dataspace of a format")
    ranks = tuple(_rank(rank, storage) for rank in node.required("ranks", f"the format of {name}").items("ranks"))
    if not ranks:
        raise node.error(f"the format of {name} needs at least one rank")
    compressed = [rank.format not in _UNCOMPRESSED for rank in ranks]
    if any(upper and not lower for upper, lower in pairwise(compressed)):
        formats = ", ".join(rank.format for rank in ranks)
        raise node.error("a compressed rank may not stand above an uncompressed one", got=f"{formats} (top rank first)")
    order = "outer_to_inner"
    if "rank_application_order" in entries:
        place = entries["rank_application_order"]
        order = place.text("rank_application_order")
        if order not in ("inner_to_outer", "outer_to_inner"):
            raise place.error("rank_application_order must be inner_to_outer or outer_to_inner", got=order)
    return TensorFormat(name, ranks, outer_to_inner=order == "outer_to_inner")


def _rank(node: Node, storage: Storage) -> Rank:
    entries = node.only(keys("rank"), "a rank")
    place = node.required("format", "a rank")
    name = place.text("the format of a rank")
    known: tuple[Format, ...] = get_args(Format)
    found = next((format_ for format_ in known if format_ == name), None)
    if found is None:
        raise place.error("the format of a rank must be known", got=name, fix=did_you_mean(name, known))
    flattened = entries.get("flattened_rankIDs")
    return Rank(
        format=found,
        metadata_word_bits=_word_bits(entries.get("metadata_word_bits"), storage),
        payload_word_bits=_word_bits(entries.get("payload_word_bits"), storage),
        flattened_rank_ids=()
        if flattened is None
        else tuple(ids.texts("a list of dimensions") for ids in flattened.items("flattened_rankIDs")),
    )


def _word_bits(node: Node | None, storage: Storage) -> int | None:
    """Bits of a word as written; they must fit a row once they are rounded up to a divisor of its width."""
    if node is None or node.value is None:
        return None
    bits, width = node.integer("bits of a word"), storage.metadata_width_bits
    if bits < 0:
        raise node.error("bits of a word must not be negative", got=bits)
    fitting = next((b for b in range(bits, 2 * bits) if b and width % b == 0), 2 * bits) if bits else 0
    if fitting > width:
        raise node.error(f"a word must fit metadata_storage_width ({width} bits at {storage.name})", got=f"{bits} bits")
    return bits


def _compute(site: Site, node: Node | None) -> list[ComputeOptimization]:
    if node is None or not node.value:
        return []
    if site.kind != "compute":
        raise node.error("compute_optimization belongs to the compute", got=f"{site.name}, a {site.kind}")
    found = []
    for entry in node.items("compute_optimization"):
        entry.only(keys("compute_optimization"), "a compute optimisation")
        place = entry.required("type", "a compute optimisation")
        for name in place.texts("the type"):
            if name in _OUTPUT_KINDS:
                found.append(ComputeOptimization(site.name, _OUTPUT_KINDS[name], on="outputs"))
            elif name in _COMPUTE_KINDS:
                found.append(ComputeOptimization(site.name, _COMPUTE_KINDS[name]))
            else:
                known = (*_COMPUTE_KINDS, *_OUTPUT_KINDS)
                raise place.error("the type must be gating or skipping", got=name, fix=did_you_mean(name, known))
    return found
