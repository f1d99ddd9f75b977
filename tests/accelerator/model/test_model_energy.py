"""Energy, area, networks and cycles against hand-computed values."""

from __future__ import annotations

import dataclasses
from math import ceil, sqrt

import pytest
from nest_cases import SOURCE, energy_table, matmul

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.activity import Activity, ComputeActivity, Fates
from codesign.accelerator.model.energy import Prices, compute_energy_pJ
from codesign.accelerator.model.spatial import Group
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Architecture, Compute, Network, Storage
from codesign.accelerator.spec.energy_table import AreaEntry, EnergyEntry, EnergyTable
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.errors import InputError

M, K, N = 4, 8, 2
PES = 4


def loops(**bounds: int) -> tuple[Loop, ...]:
    """Loops over m, k, n (the first one innermost); those not named run once."""
    order = [*bounds, *(name for name in "mkn" if name not in bounds)]
    return tuple(Loop("mkn".index(name), bounds.get(name, 1), bounds.get(name, 1)) for name in order)


def row_of_pes(network: Network | None = None, **outer: object):
    """DRAM over a row of PEs with one register file each; m runs over the PEs, k and n in time."""
    storage = (
        Storage("pe", "regfile", mesh_x=PES, word_bits=8),
        Storage("row", "dummy_storage", spatial_dummy=True, network=network or Network()),
        Storage("dram", "DRAM", word_bits=8, **outer),
    )
    architecture = Architecture("row", storage, Compute("mac", "intmac", mesh_x=PES))
    keep, none = (True, True, True), (False, False, False)
    mapping = Mapping(
        (
            LevelMapping(loops(k=K), (), (), keep),
            LevelMapping(loops(), loops(m=M), (), none),
            LevelMapping(loops(n=N), (), (), keep),
        )
    )
    problem = matmul((M, K, N))
    mapping.check(architecture, problem)
    return architecture, problem, mapping


def table(architecture: Architecture, *extra: EnergyEntry, areas: bool = False) -> EnergyTable:
    real = [level for level in architecture.storage if not level.spatial_dummy]
    entries = energy_table(dataclasses.replace(architecture, storage=tuple(real))).energies
    found = tuple(AreaEntry(node.name, 100.0 * (i + 1), SOURCE) for i, node in enumerate([architecture.compute, *real]))
    return EnergyTable((*entries, *extra), found if areas else ())


def run(case, energy: EnergyTable | None = None) -> Result:
    architecture, problem, mapping = case
    result = evaluate(architecture, problem, mapping, energy or table(architecture))
    assert isinstance(result, Result)
    return result


def test_a_network_without_energies_costs_nothing():
    result = run(row_of_pes())
    assert all(level.network_pJ == 0 for level in result.levels.values())
    assert list(result.levels) == ["dram", "pe"]


def test_hops_of_a_row():
    """B is multicast to all PEs: one route of M - 1 hops a word. A and Z go to each PE: 0, 1, 2, ... hops."""
    hop = 0.5
    result = run(row_of_pes(Network(energy_per_hop_pJ=hop)))
    to_all = K * N * (M - 1)
    one_by_one = sum(range(M))
    weights = K * one_by_one
    outputs = N * one_by_one
    # The network of the row, a level that stores nothing, is on the bill of the next level outside.
    assert result.levels["dram"].network_pJ == pytest.approx(hop * (to_all + weights + outputs))
    assert result.levels["pe"].network_pJ == 0
    parts = sum(level.energy_pJ + level.network_pJ for level in result.levels.values())
    assert result.energy_pJ == pytest.approx(parts + result.computes.energy_pJ)


def test_routers_and_ingress():
    router, ingress = 0.25, 0.125
    result = run(row_of_pes(Network(router_energy_pJ=router, ingress_energy_pJ=ingress)))
    sent_to_all = K * N
    sent_to_one = M * K + M * N
    routers = sent_to_all * (1 + M - 1) + sent_to_one * (1 + sum(range(M)) // M)
    want = routers * router + (sent_to_all + sent_to_one) * ingress
    assert result.levels["dram"].network_pJ == pytest.approx(want)


def test_wires_are_as_long_as_a_tile_is_wide():
    wire, bits = 0.01, 8
    case = row_of_pes(Network(wire_energy_pJ_per_bit_mm=wire, word_bits=bits))
    hops = K * N * (M - 1) + (K + N) * sum(range(M))
    by_width = row_of_pes(Network(wire_energy_pJ_per_bit_mm=wire, word_bits=bits, tile_width_um=50.0))
    assert run(by_width).levels["dram"].network_pJ == pytest.approx(hops * bits * wire * 0.05)
    pe_area = 100.0 + 200.0  # a MAC and its register file
    by_area = run(case, table(case[0], areas=True))
    assert by_area.levels["dram"].network_pJ == pytest.approx(hops * bits * wire * sqrt(pe_area) / 1000)
    with pytest.raises(InputError, match="area table"):
        run(case)


def test_an_energy_table_may_price_all_wires():
    case = row_of_pes(Network(tile_width_um=1000.0, word_bits=8))
    wire = EnergyEntry("wire", "transfer_random", 0.02, SOURCE)
    hops = K * N * (M - 1) + (K + N) * sum(range(M))
    assert run(case, table(case[0], wire)).levels["dram"].network_pJ == pytest.approx(hops * 8 * 0.02)


def test_hops_go_along_the_middle_row_then_up_and_down():
    """A 3 x 3 mesh: to all nine, 2 hops along the middle row, and 2 in each of three columns."""
    group = Group((3, 3), (0, 0), (3, 3))
    assert group.shares(hops=True).groups == ((9, 1, 2 + 3 * 2.0),)


@pytest.mark.parametrize(
    ("bounds", "offsets"), [((3, 4), (1, 1)), ((3, 4), (1, 3)), ((2, 2, 3), (0, 5, -5)), ((4,), (0,))]
)
@pytest.mark.parametrize("mesh", [(4, 5), (3, 4), (12, 1)])
@pytest.mark.parametrize("multicast", [True, False])
def test_the_closed_form_of_a_group_counts_its_elements(bounds, offsets, mesh, multicast):
    group = Group(bounds, offsets, mesh, multicast)
    closed = sorted(entry[:2] for entry in group.shares(hops=False).groups)
    assert closed == sorted(entry[:2] for entry in group.shares(hops=True).groups)


def test_area_is_instances_times_area():
    case = row_of_pes()
    assert run(case).area_um2 is None
    assert run(case, table(case[0], areas=True)).area_um2 == PES * 100 + PES * 200 + 300
    partial = dataclasses.replace(table(case[0]), areas=(AreaEntry("mac", 1.0, SOURCE),))
    with pytest.raises(InputError, match="no component pe"):
        run(case, partial)


def test_leakage_of_the_instances_in_use():
    result = run(row_of_pes())
    assert result.cycles == K * N
    assert result.levels["pe"].leakage_pJ == pytest.approx(4.0 * K * N * M)  # "leak" of level 0 in the table is 4 pJ


def test_instances_behind_a_common_power_gate_leak_together():
    architecture, problem, mapping = row_of_pes()
    pe = dataclasses.replace(architecture.storage[0], power_gated_at="dram")
    architecture = dataclasses.replace(architecture, storage=(pe, *architecture.storage[1:]))
    result = run((architecture, problem, mapping))
    assert result.levels["pe"].leakage_pJ == pytest.approx(4.0 * K * N * PES)
    broken = dataclasses.replace(pe, power_gated_at="drma")
    with pytest.raises(InputError, match="did you mean dram"):
        run((dataclasses.replace(architecture, storage=(broken, *architecture.storage[1:])), problem, mapping))


def test_addresses_are_generated_for_what_is_read_filled_and_updated():
    each = 0.75
    with_addresses = run(row_of_pes(address_generation_energy_pJ=each)).levels["dram"]
    without = run(row_of_pes()).levels["dram"]
    generated = M * K + K * N + M * N  # reads of A and B, updates of Z
    assert with_addresses.energy_pJ - without.energy_pJ == pytest.approx(generated * each)


def test_latencies_of_networks_are_added_once():
    result = run(row_of_pes(Network(fill_latency_cycles=7, drain_latency_cycles=5)))
    assert result.cycles == K * N + 12
    assert result.levels["pe"].cycles == K * N


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_shared_bandwidth_counts_reads_and_writes(scale):
    words = 1.0
    case = row_of_pes(shared_bandwidth=words, bandwidth_scale={"A": scale})
    moved = scale * M * K + K * N + M * N
    assert run(case).levels["dram"].cycles == ceil(moved / words)


def test_gated_computes_without_an_entry_cost_a_full_one():
    compute = Compute("mac", "intmac")
    computes = ComputeActivity(100, Fates(random=60, gated=30, skipped=10), 1.0)
    entries = [EnergyEntry("mac", "compute", 2.0, SOURCE)]
    prices = Prices(EnergyTable(tuple(entries)))
    assert compute_energy_pJ(compute, computes, prices) == 100 * 2.0
    assert len(prices.warnings) == 2
    entries += [EnergyEntry("mac", "compute_gated", 0.5, SOURCE), EnergyEntry("mac", "compute_skipped", 0.0, SOURCE)]
    prices = Prices(EnergyTable(tuple(entries)))
    assert compute_energy_pJ(compute, computes, prices) == 60 * 2.0 + 30 * 0.5
    assert prices.warnings == []


def test_more_specific_actions_win_and_repeated_ones_give_the_largest():
    entries = (("read", 1.0), ("random_read", 3.0), ("write", 5.0), ("write", 4.0), ("gated_read", 0.5))
    prices = Prices(EnergyTable(tuple(EnergyEntry("buffer", action, energy, SOURCE) for action, energy in entries)))
    assert prices.storage("buffer", "read", "random") == 3.0
    assert prices.storage("buffer", "fill", "random") == prices.storage("buffer", "update", "random") == 5.0
    assert prices.storage("buffer", "read", "gated") == prices.storage("buffer", "read", "skipped") == 0.5
    assert prices.storage("buffer", "fill", "gated") == 0.0
    with pytest.raises(InputError, match="metadata_read"):
        prices.storage("buffer", "metadata_read", "random")


def test_a_level_that_is_hardly_filled_breaks_min_utilization():
    architecture, problem, mapping = row_of_pes()
    pe = dataclasses.replace(architecture.storage[0], size_words=1000, min_utilization=0.5)
    architecture = dataclasses.replace(architecture, storage=(pe, *architecture.storage[1:]))
    result = evaluate(architecture, problem, mapping, table(architecture))
    assert isinstance(result, Infeasible)
    assert (result.level, result.demand, result.capacity) == ("pe", K + K + 1, 500)


def test_a_mesh_narrower_than_the_mapping():
    architecture, problem, mapping = row_of_pes()
    pe = dataclasses.replace(architecture.storage[0], mesh_x=2, mesh_y=2)
    compute = dataclasses.replace(architecture.compute, mesh_x=2, mesh_y=2)
    architecture = dataclasses.replace(architecture, storage=(pe, *architecture.storage[1:]), compute=compute)
    result = evaluate(architecture, problem, mapping, table(architecture))
    assert isinstance(result, Infeasible)
    assert (result.level, result.unit, result.demand, result.capacity) == ("mac", "meshX", M, 2)


def test_overbooking_is_refused_instead_of_guessed():
    architecture, problem, mapping = row_of_pes()
    pe = dataclasses.replace(architecture.storage[0], size_words=4, allow_overbooking=True)
    architecture = dataclasses.replace(architecture, storage=(pe, *architecture.storage[1:]))
    with pytest.raises(InputError, match="not modelled"):
        evaluate(architecture, problem, mapping, table(architecture))


def test_activity_defaults_are_not_shared():
    first, second = (Activity(Fates(), Fates(), Fates(), 0, 0, 1.0) for _ in range(2))
    first.metadata_read_bits.random = 5
    assert second.metadata_read_bits.random == 0


def test_a_levels_own_vector_energy_stands_in_for_its_table():
    each = 0.5
    case = row_of_pes(vector_access_energy_pJ=each)
    entries = [entry for entry in table(case[0]).energies if entry.component != "dram"]
    dram = run(case, EnergyTable(tuple(entries))).levels["dram"]
    assert dram.energy_pJ == pytest.approx(each * (M * K + K * N + M * N))
    assert dram.leakage_pJ == 0
