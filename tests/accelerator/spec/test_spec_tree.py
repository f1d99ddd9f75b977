"""The architecture tree and its linear form: fan-outs, inheritance, branches, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import ARCHITECTURE, design, nodes

from codesign.errors import InputError

MAC = "!Component {name: mac, class: intmac}"
DRAM = "!Component {name: dram, class: DRAM, attributes: {width: 64, datawidth: 8}}"


def sram(name: str, extra: str = "", rest: str = "") -> str:
    return f"!Component {{name: {name}, class: SRAM, attributes: {{depth: 8, width: 16, datawidth: 8{extra}}}{rest}}}"


def test_a_fan_out_becomes_a_dummy_with_the_mesh_before_it(tmp_path: Path) -> None:
    architecture = design(tmp_path, ARCHITECTURE).architecture
    levels = [(level.name, level.mesh_x, level.mesh_y, level.spatial_dummy) for level in architecture.storage]
    assert levels == [
        ("spad", 4, 2, False),
        ("inter_pe_spatial", 1, 1, True),
        ("buffer", 1, 1, False),
        ("dram", 1, 1, False),
    ]
    assert (architecture.compute.name, architecture.compute.instances, architecture.name) == ("mac", 8, "chip")
    assert architecture.fanout(1) == (4, 2)
    assert architecture.fanout(0) == (1, 1)
    assert architecture.global_cycle_seconds == 1e-9


def test_fan_outs_multiply_and_may_stand_at_any_node(tmp_path: Path) -> None:
    text = nodes(
        DRAM,
        "!Container {name: a, spatial: {meshX: 2}}",
        sram("one", rest=", spatial: {meshY: 3}"),
        "!Hierarchical {nodes: [!Container {name: b, spatial: {meshX: 4, meshY: 1}}]}",
        "!Component {name: mac, class: intmac, spatial: {meshX: 5}}",
    )
    architecture = design(tmp_path, text).architecture
    assert [(level.name, level.mesh_x, level.mesh_y) for level in reversed(architecture.storage)] == [
        ("dram", 1, 1),
        ("inter_a_spatial", 1, 1),
        ("inter_one_spatial", 2, 1),
        ("one", 2, 3),
        ("inter_b_spatial", 2, 3),
        ("inter_mac_spatial", 8, 3),
    ]
    assert (architecture.compute.mesh_x, architecture.compute.mesh_y) == (40, 3)


def test_a_container_gives_its_attributes_to_all_after_it(tmp_path: Path) -> None:
    text = nodes(
        DRAM,
        '!Container {name: a, attributes: {technology: "45nm", read_bandwidth: 4, n_banks: 8, multiple_buffering: 2}}',
        sram("one"),
        "!Container {name: b, attributes: {read_bandwidth: 2, energy_per_hop: 0.5}}",
        sram("two"),
        sram("three", ", read_bandwidth: 1, multiple_buffering: 2"),
        MAC,
    )
    three, two, one, dram = design(tmp_path, text).architecture.storage
    assert [level.read_bandwidth for level in (dram, one, two, three)] == [None, 4, 2, 1]
    assert [level.network.energy_per_hop_pJ for level in (one, two)] == [None, 0.5]
    assert "technology" not in dram.attributes
    assert two.attributes["technology"] == "45nm"
    # The real front end gives every storage its own value of these before it looks at the containers.
    assert [level.multiple_buffering for level in (one, two, three)] == [1, 1, 2]
    assert one.attributes["n_banks"] == 2


def test_variables_reach_expressions_and_the_estimator_only(tmp_path: Path) -> None:
    variables = 'variables: {version: 0.4, bits: 8, technology: "65nm", word: bits * 2, read_bandwidth: 3}\n'
    text = nodes(
        "!Container {name: pe, attributes: {lanes: 4}, spatial: {meshX: lanes * 2}}",
        "!Component {name: b, class: SRAM, attributes: {n: 10, depth: n * lanes, width: word * 2, datawidth: word}}",
        "!Component {name: c, class: SRAM, attributes: {depth: b.attributes.depth, width: word, datawidth: word}}",
        MAC,
    )
    c, b, _ = design(tmp_path, variables, text).architecture.storage
    assert (b.size_words, b.word_bits, b.block_size, b.mesh_x) == (80, 16, 2, 8)
    assert c.size_words == 40
    assert b.read_bandwidth is None
    assert (b.attributes["technology"], b.attributes["read_bandwidth"]) == ("65nm", 3)


def test_nodes_that_are_switched_off_vanish(tmp_path: Path) -> None:
    text = nodes(
        DRAM,
        "!Component {name: off, class: SRAM, enabled: false, attributes: {depth: nonsense}}",
        "!Hierarchical {enabled: false, nodes: [!Container {name: x, spatial: {meshX: 4}, attributes: {a: 1}}]}",
        f"!Pipelined {{nodes: [!Nothing , {sram('on')}]}}",
        "!Nothing {name: gap}",
        MAC,
    )
    architecture = design(tmp_path, text).architecture
    assert [level.name for level in architecture.storage] == ["on", "dram"]
    assert architecture.compute.instances == 1


def test_the_tests_of_the_class_are_in_order(tmp_path: Path) -> None:
    text = nodes(
        DRAM,
        "!Component {name: a, class: smartbuffer_mac, attributes: {depth: 1, width: 8, datawidth: 8}}",
        "!Component {name: noc, class: XY_NoC}",
        "!Component {name: pe, class: my_compute_unit, subclass: fancy}",
    )
    loaded = design(tmp_path, text)
    assert [level.name for level in loaded.architecture.storage] == ["a", "dram"]
    assert loaded.architecture.compute.subclass == "fancy"
    assert "noc" in loaded.warnings[0]


def test_several_architecture_files_add_up(tmp_path: Path) -> None:
    architecture = design(tmp_path, nodes(DRAM, sram("one")), nodes(MAC)).architecture
    assert [level.name for level in architecture.storage] == ["one", "dram"]


def test_power_gating_follows_the_real_front_end(tmp_path: Path) -> None:
    gated = sram("outer", ", has_power_gating: true")
    free = design(tmp_path, nodes(DRAM, gated, sram("middle"), sram("inner"), MAC))
    assert [level.power_gated_at for level in free.architecture.storage] == ["middle", None, None, None]
    # A container before it undoes it there, since every container hands down an empty power_gated_at.
    after = design(tmp_path, nodes("!Container {name: chip}", DRAM, gated, sram("middle"), sram("inner"), MAC))
    assert [level.power_gated_at for level in after.architecture.storage] == [None] * 4
    assert "has_power_gating of outer has no effect" in after.warnings[0]
    named = design(tmp_path, nodes(DRAM, gated, sram("inner", ', power_gated_at: "outer"'), MAC))
    assert named.architecture.storage[0].power_gated_at == "outer"


def test_cycle_seconds_are_asked_for_where_they_are_missing(tmp_path: Path) -> None:
    assert design(tmp_path, ARCHITECTURE).cycle_seconds == 1e-9
    with pytest.raises(InputError, match="a missing unit"):
        _ = design(tmp_path, nodes(DRAM, MAC)).cycle_seconds


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((DRAM,), "an architecture needs a compute"),
        ((MAC,), "at least one storage"),
        ((DRAM, MAC, sram("late")), "the compute must be the last component"),
        ((DRAM, MAC, "!Component {name: mac2, class: intmac}"), "the compute must be the last component"),
        ((DRAM, sram("dram"), MAC), "names of components and containers must differ"),
        ((DRAM, "!Container {name: dram}", MAC), "names of components and containers must differ"),
        ((DRAM, "{name: x, class: SRAM}", MAC), "a node needs its tag"),
        ((DRAM, "!Component {class: SRAM}", MAC), "needs `name`"),
        ((DRAM, "!Component {name: x}", MAC), "needs `class`"),
        ((DRAM, "!Component {name: x, class: cache}", MAC), "storage: DRAM, SRAM"),
        ((DRAM, "!Component {name: x, class: SRAM, atributes: {}}", MAC), "did you mean attributes"),
        ((DRAM, "!Container {name: x, class: SRAM}", MAC), "no such key"),
        ((DRAM, "!Container {name: x, spatial: {meshZ: 2}}", MAC), "did you mean mesh"),
        ((DRAM, "!Container {name: x, spatial: {meshX: 0}}", MAC), "fan-out meshX must be a positive integer"),
        ((DRAM, "!Container {name: x, spatial: {meshX: 2.5}}", MAC), "fan-out meshX must be a positive integer"),
        ((DRAM, "!Container {name: x, spatial: {meshX: -4}}", MAC), "fan-out meshX must be a positive integer"),
        ((DRAM, "!Parallel {nodes: [!Container {name: x}]}", MAC), "may not stand directly under !Parallel"),
        ((DRAM, f"!Parallel {{nodes: [{sram('x', rest=', spatial: {meshX: 2}')}]}}", MAC), "may have no fan-out"),
        ((DRAM, "!Component {name: x, class: SRAM, attributes: {depth: 4, width: 16}}", MAC), "attribute datawidth"),
        (
            (DRAM, "!Component {name: x, class: SRAM, attributes: {depth: 4, data_width: 8, width: 8}}", MAC),
            "data_width",
        ),
        ((DRAM, "!Component {name: x, class: SRAM, attributes: {depth: 4, datawidth: 8}}", MAC), "attribute width"),
        ((DRAM, "!Component {name: x, class: SRAM, attributes: {width: 8, datawidth: 8}}", MAC), "attribute depth"),
        ((DRAM, sram("x", ", entries: 5"), MAC), "a size is given once"),
        ((DRAM, sram("x", ", n: -1, block_size: 0"), MAC), "block_size must be a number of at least 1"),
        ((DRAM, sram("x", ", read_bandwidth: 0"), MAC), "read_bandwidth must be a number above 0"),
        ((DRAM, sram("x", ', read_bandwidth: "8 GB/s"'), MAC), "its unit is fixed: words per cycle"),
        ((DRAM, sram("x", ", type: LPDDR4"), MAC), 'put it in quotes: "LPDDR4"'),
        ((DRAM, sram("x", ", bits: max(1, 2)"), MAC), "a comma ends a value"),
        ((DRAM, sram("x", ", technology: 45"), MAC), "technology needs its unit"),
        ((DRAM, sram("x", ", technology: 45nm"), MAC), 'put it in quotes: "45nm"'),
        ((DRAM, sram("x", ", global_cycle_seconds: 1"), MAC), "a missing unit"),
        ((DRAM, sram("x", ', power_gated_at: "nowhere"'), MAC), "must name a storage"),
        ((DRAM, sram("x", ", multiple_buffering: 0"), MAC), "multiple_buffering must be a number of at least 1"),
        ((DRAM, sram("x", ', network_type: "M:N"'), MAC), "1:1 and 1:N"),
        ((DRAM, sram("x", ', network_read: "noc"'), MAC), "user networks"),
        ((DRAM, "!Component {name: x.y, class: SRAM}", MAC), "may not hold dots"),
        ((DRAM, sram("x", rest=", enabled: maybe"), MAC), "the name maybe is not known"),
    ],
)
def test_what_is_refused(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError) as caught:
        design(tmp_path, nodes(*lines))
    assert words in str(caught.value)
    assert caught.value.path == tmp_path / "part0.yaml"
    assert caught.value.line is not None


def test_versions_and_sections(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"only version 0\.4"):
        design(tmp_path, "architecture: {version: 0.3, subtree: []}")
    with pytest.raises(InputError, match="did you mean architecture"):
        design(tmp_path, nodes(DRAM, MAC).replace("architecture:", "architectures:"))
    with pytest.raises(InputError, match="`architecture` is missing"):
        design(tmp_path, "variables: {version: 0.4}")
    with pytest.raises(InputError, match="globals"):
        design(tmp_path, nodes(DRAM, MAC), "globals: {version: 0.4, expression_custom_functions: [f.py]}")
    with pytest.raises(InputError, match="another value already"):
        design(tmp_path, nodes(DRAM, MAC), "variables: {a: 1}", "variables: {a: 2}")
