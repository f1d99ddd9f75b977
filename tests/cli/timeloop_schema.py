"""The keys and kinds of values that the real v0.4 front end declares (timeloopfe of April 2025), as far as we write.

Written from its documentation and declarations, not run: a file that passes uses no key that it does not know, has
every key that it demands, and quotes text where plain text would be an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import ScalarString

Check = Callable[[Any, str], None]


def number(value: Any, place: str) -> None:
    assert isinstance(value, int | float), place
    assert not isinstance(value, bool), place


def integer(value: Any, place: str) -> None:
    assert isinstance(value, int), place
    assert not isinstance(value, bool), place
    assert 0 <= value < 2**32, place


def flag(value: Any, place: str) -> None:
    assert isinstance(value, bool), place


def word(value: Any, place: str) -> None:
    assert isinstance(value, str), place


def quoted(value: Any, place: str) -> None:
    """Plain text in attributes is an expression there."""
    assert isinstance(value, ScalarString), place


def one_of(*words: str) -> Check:
    def check(value: Any, place: str) -> None:
        assert value in words, f"{place}: {value}"

    return check


def version(value: Any, place: str) -> None:
    assert str(value) == "0.4", place


def list_of(check: Check) -> Check:
    def inner(value: Any, place: str) -> None:
        assert isinstance(value, CommentedSeq), place
        for index, item in enumerate(value):
            check(item, f"{place}[{index}]")

    return inner


def keys(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(value: Any, place: str) -> None:
        assert isinstance(value, CommentedMap), place
        missing, unknown = set(required) - set(value), set(value) - set(known)
        assert not missing, f"{place}: {missing} missing"
        assert not unknown, f"{place}: {unknown} unknown"
        for key, item in value.items():
            known[key](item, f"{place}.{key}")

    return check


def letters(value: Any, place: str) -> None:
    assert isinstance(value, str), place
    assert len(value) == 1, place


def factor(value: Any, place: str) -> None:
    name, sign, bound = value.partition("=")
    assert (len(name), sign) == (1, "="), place
    assert int(bound) >= 1, place


def scales(value: Any, place: str) -> None:
    assert all(isinstance(item, int | float) for item in value.values()), place


def densities(value: Any, place: str) -> None:
    model = keys(
        {"distribution": one_of("fixed_structured", "hypergeometric", "banded"), "density": number},
        {"band_width": integer},
    )
    for name, item in value.items():
        model(item, f"{place}.{name}")


def instance(value: Any, place: str) -> None:
    for key, item in value.items():
        (densities if key == "densities" else integer)(item, f"{place}.{key}")


def arguments(value: Any, place: str) -> None:
    assert value == {}, place


ESTIMATOR = {
    "technology": quoted,
    "global_cycle_seconds": number,
    "type": quoted,
    "voltage": number,
    "n_rw_ports": integer,
}
NETWORK = {
    "network_word_bits": integer,
    "energy_per_hop": number,
    "router_energy": number,
    "energy_per_ingress": number,
    "wire_energy": number,
    "tile_width": number,
    "network_fill_latency": integer,
    "network_drain_latency": integer,
}
STORAGE = keys(
    {"width": integer, "datawidth": integer, "depth": integer},
    {
        **ESTIMATOR,
        **NETWORK,
        "n_banks": integer,
        "block_size": integer,
        "cluster_size": integer,
        "reduction_supported": flag,
        "multiple_buffering": number,
        "min_utilization": number,
        "shared_bandwidth": number,
        "read_bandwidth": number,
        "write_bandwidth": number,
        "per_dataspace_bandwidth_consumption_scale": scales,
        "allow_overbooking": flag,
        "metadata_block_size": integer,
        "metadata_datawidth": integer,
        "metadata_storage_width": integer,
        "metadata_storage_depth": integer,
        "decompression_supported": flag,
        "compression_supported": flag,
        "power_gated_at": quoted,
        "addr_gen_energy": number,
        "vector_access_energy": number,
    },
)
COMPUTE = keys(
    {"datawidth": integer},
    {
        **ESTIMATOR,
        "width": integer,
        "adder_width": integer,
        "exponent": integer,
        "mantissa": integer,
        "n_banks": integer,
    },
)
SPATIAL = keys({"meshX": integer, "meshY": integer})
STORAGE_CLASSES = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")


def node(value: Any, place: str) -> None:
    if value.tag.value == "!Container":
        keys({"name": word}, {"attributes": keys({}, {**ESTIMATOR, **NETWORK}), "spatial": SPATIAL})(value, place)
        return
    assert value.tag.value == "!Component", place
    storage = any(kind in value["class"] for kind in STORAGE_CLASSES)
    keys(
        {"name": word, "class": word, "attributes": STORAGE if storage else COMPUTE},
        {"subclass": word, "spatial": SPATIAL, "energy_scale": number, "area_scale": number},
    )(value, place)


RANK = keys(
    {"format": one_of("UOP", "CP", "B", "RLE")},
    {"metadata_word_bits": integer, "payload_word_bits": integer, "flattened_rankIDs": list_of(list_of(letters))},
)
OPTION = keys({"target": word, "condition_on": list_of(word)})
SPARSE = keys(
    {"target": word},
    {
        "action_optimization": list_of(keys({"type": one_of("gating", "skipping"), "options": list_of(OPTION)})),
        "representation_format": keys({"data_spaces": list_of(keys({"name": word, "ranks": list_of(RANK)}))}),
        "compute_optimization": list_of(keys({"type": one_of("gating", "skipping")})),
    },
)
ITERATION = {"target": word, "factors": list_of(factor), "permutation": list_of(letters)}


def directive(value: Any, place: str) -> None:
    spaces = list_of(word)
    kinds = {
        "temporal": keys({**ITERATION, "type": word}, {"no_reuse": spaces, "rmw_first_update": spaces}),
        "spatial": keys(
            {**ITERATION, "type": word, "split": integer}, {"no_reuse": spaces, "no_link_transfer": spaces}
        ),
        "dataspace": keys({"target": word, "type": word}, {"keep": spaces, "bypass": spaces, "no_coalesce": spaces}),
    }
    kinds[value["type"]](value, place)


SHAPE = keys(
    {
        "dimensions": list_of(letters),
        "data_spaces": list_of(
            keys({"name": word, "projection": list_of(list_of(list_of(word)))}, {"read_write": flag})
        ),
    },
    {"name": word, "coefficients": list_of(keys({"name": word, "default": integer}))},
)
ACTION = keys({"name": word, "arguments": arguments, "energy": number})
FILE = keys(
    {},
    {
        "architecture": keys({"version": version, "nodes": list_of(node)}),
        "sparse_optimizations": keys({"version": version, "targets": list_of(SPARSE)}),
        "problem": keys({"version": version, "shape": SHAPE, "instance": instance}),
        "mapping": list_of(directive),
        "ERT": keys({"version": version, "tables": list_of(keys({"name": quoted, "actions": list_of(ACTION)}))}),
        "ART": keys({"version": version, "tables": list_of(keys({"name": quoted, "area": number}))}),
    },
)


def check_file(path: Path) -> set[str]:
    """Check one file; its sections."""
    reader = YAML(typ="rt")
    reader.preserve_quotes = True
    data = reader.load(path.read_text(encoding="utf-8"))
    FILE(data, path.name)
    return set(data)
