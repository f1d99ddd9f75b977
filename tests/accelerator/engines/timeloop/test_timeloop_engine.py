"""The wrapper with stand-ins: what a good run gives, and every bad way in which the real programs end."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from timeloop_cases import MAPPING, dense_case, sparse_case
from timeloop_rendering import render_text, render_xml
from timeloop_stand_ins import StandIns, utilized_instances

from codesign.accelerator.engines import Engine
from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.engines.timeloop import ProgramError, TimeloopEngine, find_installation
from codesign.accelerator.engines.timeloop.inputs import BeyondTimeloopError, check_case, write_tables
from codesign.accelerator.engines.timeloop.mask_pass import dense_part
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.density import DENSE, StructuredNM
from codesign.accelerator.spec.document import read_document
from codesign.accelerator.spec.energy_table import EnergyEntry, Provenance
from codesign.accelerator.spec.loader import load_case
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.accelerator.spec.sparse import ComputeOptimization, SparseOptimizations
from codesign.accelerator.spec.tables_reader import read_tables
from codesign.errors import InputError


def expected(case: Case) -> Result:
    result = simulate(case, semantics="compat")
    assert isinstance(result, Result)
    return result


def run(case: Case, **changed: float) -> Result | Infeasible:
    engine: Engine = TimeloopEngine.found(**changed)  # type: ignore[arg-type]
    return engine(case)


def alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def failure(case: Case, **changed: float) -> str:
    with pytest.raises(ProgramError) as caught:
        run(case, **changed)
    return str(caught.value)


@pytest.mark.parametrize("make", [dense_case, sparse_case])
def test_a_good_run_gives_the_programs_numbers(make, stand_ins: StandIns, tmp_path: Path) -> None:
    case = make(tmp_path)
    want = expected(case)
    stand_ins.answering(case, want)
    got = run(case)
    assert isinstance(got, Result)
    assert got.cycles == want.cycles
    assert got.compute_cycles == want.compute_cycles
    assert got.utilization == want.utilization
    assert got.area_um2 == want.area_um2
    computes = replace(want.computes, kept_away_by_gating=0, kept_away_by_skipping=0)
    assert got.computes == computes
    # Leakage and networks come from the text, to two decimals each.
    assert got.energy_pJ == pytest.approx(want.energy_pJ, abs=0.01 * 2 * len(want.levels))
    assert list(got.levels) == list(want.levels)
    for name, level in got.levels.items():
        assert level.leakage_pJ == pytest.approx(want.levels[name].leakage_pJ, abs=0.0051)
        assert level.network_pJ == pytest.approx(want.levels[name].network_pJ, abs=0.0051)
        assert level.bandwidth_slowdown == want.levels[name].bandwidth_slowdown
        for dataspace, stats in level.dataspaces.items():
            want_stats = want.levels[name].dataspaces[dataspace]
            # Full precision: the archive's 17 digits, not the text's two decimals.
            assert stats.energy_pJ == pytest.approx(want_stats.energy_pJ, rel=1e-14)
            assert replace(stats, energy_pJ=0.0) == replace(want_stats, energy_pJ=0.0)
    assert any("real Timeloop" in warning for warning in got.warnings)


def test_what_the_program_is_given(stand_ins: StandIns, case: Case, tmp_path: Path) -> None:
    stand_ins.answering(case, expected(case))
    seen = tmp_path / "seen"
    script = stand_ins.programs / "timeloop-model"
    script.write_text(
        script.read_text().replace(
            "#!/bin/sh\n",
            f"#!/bin/sh\nmkdir '{seen}'\ncp \"$1\" '{seen}/flat.yaml'\ncp \"$2\" '{seen}/ert.yaml'\n"
            f"pwd > '{seen}/cwd'\nenv > '{seen}/env'\nwc -c > '{seen}/stdin'\n",
        )
    )
    run(case)
    assert (seen / "stdin").read_text().strip() == "0"
    folder = Path((seen / "cwd").read_text().strip())
    assert folder != Path.cwd()
    assert not folder.exists()
    assert "ERT:" in (seen / "ert.yaml").read_text()
    flat = (seen / "flat.yaml").read_text()
    assert "ERT:" not in flat
    lines = flat.splitlines()
    # The stand-in front end joins the files: what it was given reads back as the same case.
    assert lines[0] == "dumped_by_stand_in: true"
    again = tmp_path / "again.yaml"
    again.write_text("\n".join([*lines[1:], ""]) + (seen / "ert.yaml").read_text())
    assert simulate(load_case([again])) == simulate(case)


def test_variables_that_change_timeloops_numbers_are_not_passed_on(
    stand_ins: StandIns, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELOOP_OUTPUT_STAT_SCIENTIFIC", "1")
    monkeypatch.setenv("TIMELOOP_DISABLE_LINK_TRANSFERS", "1")
    stand_ins.answering(case, expected(case))
    script = stand_ins.programs / "timeloop-model"
    script.write_text(script.read_text() + f"\nenv > '{tmp_path}/env'\n")
    run(case)
    env = (tmp_path / "env").read_text()
    assert "TIMELOOP_HIDE_INCONSEQUENTIAL_STATS=0" in env
    assert "SCIENTIFIC" not in env
    assert "LINK_TRANSFERS" not in env


def test_exit_0_with_empty_files_is_no_success(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model("echo 'no valid mappings found'", stats="", xml="")
    told = failure(case)
    assert "exit 0 but wrote no timeloop-model.stats.txt and no timeloop-model.map+stats.xml" in told
    assert "no valid mappings found" in told


def test_exit_0_with_one_file_missing_is_no_success(stand_ins: StandIns, case: Case) -> None:
    result = expected(case)
    stand_ins.model(stats=render_text(case, result, utilized_instances(result)))
    assert "wrote no timeloop-model.map+stats.xml" in failure(case)


def test_an_abort_names_the_signal_and_the_last_lines(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model("echo 'sparse.cpp:12: Assertion failed' >&2; kill -ABRT $$")
    told = failure(case)
    assert "killed by SIGABRT" in told
    assert "Assertion failed" in told


def test_a_shells_code_of_a_signal_is_understood(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model("exit 139")
    told = failure(case)
    assert "killed by SIGSEGV" in told
    assert "it printed nothing" in told


def test_a_hang_is_ended_with_everything_it_started(stand_ins: StandIns, case: Case, tmp_path: Path) -> None:
    stand_ins.model(f"echo started\n(sleep 60; touch '{tmp_path}/survived') &\necho $! > '{tmp_path}/child'\nsleep 60")
    engine = replace(TimeloopEngine.found(), timeout_seconds=1.0)
    with pytest.raises(ProgramError) as caught:
        engine(case)
    told = str(caught.value)
    assert "stopped after 1 s without an end" in told
    assert "started" in told
    child = int((tmp_path / "child").read_text())
    # The signal is sent before the engine answers; a busy machine may deliver it later.
    for _ in range(200):
        if not alive(child):
            break
        time.sleep(0.1)
    assert not alive(child)


def test_nan_in_the_archive_is_an_error(stand_ins: StandIns, case: Case) -> None:
    result = expected(case)
    utilized = utilized_instances(result)
    xml = render_xml(case, result, utilized)
    at = xml.index("<energy><PerDataSpace><item>") + len("<energy><PerDataSpace><item>")
    stand_ins.model(stats=render_text(case, result, utilized), xml=xml[:at] + "-nan" + xml[xml.index("<", at) :])
    told = failure(case)
    assert "spad" in told
    assert "energy is -nan, not a finite number" in told


def test_nan_in_the_text_is_an_error(stand_ins: StandIns, case: Case) -> None:
    result = expected(case)
    utilized = utilized_instances(result)
    stats = render_text(case, result, utilized)
    at = stats.index("Leakage energy (total)          : ") + len("Leakage energy (total)          : ")
    stand_ins.model(
        stats=stats[:at] + "-nan pJ" + stats[stats.index("\n", at) :], xml=render_xml(case, result, utilized)
    )
    assert "`Leakage energy (total)` is '-nan pJ', not a finite number" in failure(case)


def test_files_that_disagree_are_an_error(stand_ins: StandIns, case: Case) -> None:
    result = expected(case)
    utilized = utilized_instances(result)
    other = replace(result, computes=replace(result.computes, energy_pJ=result.computes.energy_pJ + 1))
    stand_ins.model(stats=render_text(case, result, utilized), xml=render_xml(case, other, utilized))
    assert "energy of the computes is" in failure(case)


@pytest.mark.parametrize("cut", [0.1, 0.4, 0.7, 0.95])
def test_files_cut_short_are_an_error(cut: float, stand_ins: StandIns, case: Case) -> None:
    result = expected(case)
    utilized = utilized_instances(result)
    texts = render_text(case, result, utilized), render_xml(case, result, utilized)
    stand_ins.model(stats=texts[0][: int(cut * len(texts[0]))], xml=texts[1])
    assert "cannot be its answer" in failure(case)
    stand_ins.model(stats=texts[0], xml=texts[1][: int(cut * len(texts[1]))])
    assert "it is not XML" in failure(case)


REFUSALS = [
    ("spad: mapped tile size 80 exceeds buffer capacity 64", ("spad", 80, 64, "words")),
    ("spad: mapped metadata tile size 300 exceeds metadata buffer capacity 256", ("spad", 300, 256, "metadata bits")),
    ("spad: mapped tile size 3 is less than constrained minimum utilization 16.5", ("spad", 3, 16.5, "words")),
    ("mac: mapped max Arithmetic instances 8 exceeds hardware instances 4", ("mac", 8, 4, "instances")),
    ("mac: mapped max Arithmetic X expansion 8 exceeds hardware instances 4", ("mac", 8, 4, "meshX")),
    ("buffer: mapped Y expansion 2 exceeds available hardware instances 1", ("buffer", 2, 1, "meshY")),
    (
        "spad: more compression ranks needed than supported in hardware. dataspace name: A",
        ("spad", 1, 0, "compression ranks"),
    ),
]


@pytest.mark.parametrize(("said", "want"), REFUSALS)
def test_an_illegal_mapping_is_a_result(said: str, want: tuple, stand_ins: StandIns, case: Case) -> None:
    stand_ins.model(f'echo "ERROR: couldn\'t map level {said}" >&2\nexit 1')
    answer = run(case)
    assert isinstance(answer, Infeasible)
    assert (answer.level, answer.demand, answer.capacity, answer.unit) == want
    assert math.isfinite(answer.demand)


def test_a_refusal_that_is_not_understood_is_shown(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model('echo "ERROR: couldn\'t map level spad: the moon is full" >&2\nexit 1')
    told = failure(case)
    assert "failed (exit 1)" in told
    assert "the moon is full" in told


def test_both_engines_call_the_same_mapping_illegal(stand_ins: StandIns, tmp_path: Path) -> None:
    # 8 x 4 + 4 x 4 + 8 x 4 words in a scratchpad of 64.
    large = MAPPING.replace("M=1, K=2, N=2", "M=1, K=1, N=1").replace("M=2, K=1, N=2", "M=1, K=1, N=1")
    large = large.replace("M=4, K=2, N=1", "M=8, K=4, N=4")
    case = dense_case(tmp_path, mapping=large)
    mine = simulate(case)
    assert isinstance(mine, Infeasible)
    stand_ins.model(
        f"echo \"ERROR: couldn't map level {mine.level}: mapped tile size {mine.demand} exceeds buffer capacity "
        f'{mine.capacity}" >&2\nexit 1'
    )
    theirs = run(case)
    assert isinstance(theirs, Infeasible)
    assert (theirs.level, theirs.demand, theirs.capacity, theirs.unit) == (
        mine.level,
        mine.demand,
        mine.capacity,
        mine.unit,
    )
    assert theirs.message == mine.message


def test_the_front_ends_refusal_is_shown(stand_ins: StandIns, case: Case) -> None:
    stand_ins.front_end(body='raise KeyError("Missing required attribute depth")')
    stand_ins.model()
    told = failure(case)
    assert "front end wrote no input" in told
    assert "Missing required attribute depth" in told
    assert "wants a depth for every storage" in told


def test_a_program_that_cannot_be_started(stand_ins: StandIns, case: Case) -> None:
    path = stand_ins.model()
    path.write_bytes(b"\x7fELF not really")
    assert "timeloop-model cannot be started" in failure(case)


def test_without_the_programs_the_message_says_how_to_get_them(
    stand_ins: StandIns, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = failure(case)
    assert "not installed: timeloop-model" in told
    assert "timeloopaccelergy/timeloop-accelergy-pytorch" in told
    assert "accelergy-timeloop-infrastructure" in told
    assert not find_installation().works


def test_a_broken_front_end_is_found_before_anything_runs(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model()
    stand_ins.front_end(at_import='raise ImportError("libtimeloop-model.so: cannot open shared object file")')
    told = failure(case)
    assert "installed but does not work" in told
    assert "cannot open shared object file" in told


def test_a_front_end_of_an_unknown_version(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model()
    package = stand_ins.folder / "lib" / "pytimeloop" / "timeloopfe" / "common"
    (package / "backend_calls.py").write_text("def another_name(): pass\n")
    told = failure(case)
    assert "version is unknown" in told
    assert "written for Timeloop 4cf6d4c" in told


def test_a_front_end_that_kills_the_interpreter(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model()
    stand_ins.front_end(at_import="import os; os.abort()")
    assert "importing it ends with killed by SIGABRT" in failure(case)


def test_an_energy_table_without_a_component_is_refused_before_timeloop_ignores_it(
    stand_ins: StandIns, case: Case
) -> None:
    stand_ins.model()
    assert case.energy is not None
    without = replace(case.energy, energies=tuple(e for e in case.energy if e.component != "spad"))
    with pytest.raises(InputError, match="no component spad"):
        run(replace(case, energy=without))
    without = replace(case.energy, energies=tuple(e for e in case.energy if e.action != "read"))
    with pytest.raises(InputError, match="needs an action random_read or read"):
        run(replace(case, energy=without))
    with pytest.raises(InputError, match="has no energy table"):
        run(replace(case, energy=None))


def test_what_the_front_end_cannot_express_is_an_error(stand_ins: StandIns, case: Case) -> None:
    stand_ins.model()
    with pytest.raises(InputError, match="installed version"):
        TimeloopEngine.found()(case, stride_rule="pre_a12fff5")
    level = case.mapping.levels[0]
    loop = replace(level.temporal[0], bound=level.temporal[0].bound + 1)
    imperfect = replace(level, temporal=(loop, *level.temporal[1:]))
    with pytest.raises(InputError, match=r"imperfect|must multiply|bound"):
        run(replace(case, mapping=replace(case.mapping, levels=(imperfect, *case.mapping.levels[1:]))))
    huge = replace(case.problem, bounds=(8, 2**31, 4))
    with pytest.raises(InputError):
        run(replace(case, problem=huge))


def beyond(tmp_path: Path) -> dict[str, Case]:
    """Cases that the real program cannot be told of, by what its error says."""
    sparse = sparse_case(tmp_path)
    structured = replace(sparse.problem, densities=(DENSE, DENSE, StructuredNM(2, 4, 1)))
    masked = SparseOptimizations(compute=(ComputeOptimization("mac", "skipping", on="outputs"),))
    mask = Dataspace("Mask", ((Term(0),), (Term(2),)))
    three = Problem("masked", sparse.problem.dimensions, sparse.problem.bounds, (*sparse.problem.dataspaces, mask))
    levels = tuple(
        replace(level, keep=(*level.keep, not storage.spatial_dummy))
        for level, storage in zip(sparse.mapping.levels, sparse.architecture.storage, strict=True)
    )
    return {
        "density model StructuredNM of Z": replace(sparse, problem=structured, sparse=masked),
        "mask over outputs": replace(sparse, sparse=masked),
        "3 operands": replace(sparse, problem=three, mapping=replace(sparse.mapping, levels=levels)),
    }


def test_what_timeloop_cannot_express_is_told_apart(tmp_path: Path) -> None:
    for message, case in beyond(tmp_path).items():
        with pytest.raises(BeyondTimeloopError, match=message):
            check_case(case)


def test_a_mask_over_outputs_saves_on_timeloops_dense_counts(stand_ins: StandIns, tmp_path: Path) -> None:
    case = beyond(tmp_path)["density model StructuredNM of Z"]
    dense = dense_part(case)
    given = tmp_path / "given.yaml"
    stand_ins.answering(dense, expected(dense))
    script = stand_ins.programs / "timeloop-model"
    script.write_text(script.read_text() + f"\ncp \"$1\" '{given}'\n")
    answer = run(case)
    want = simulate(case)
    assert isinstance(answer, Result)
    assert isinstance(want, Result)
    assert answer.levels == want.levels
    # Two of every four outputs are left out, with all their products.
    assert answer.computes.actual == answer.computes.algorithmic // 2
    assert "dense counts by the real Timeloop; zeros and masks by codesign's own pass" in answer.warnings[0]
    assert "StructuredNM" in answer.warnings[0]
    assert "sparse_optimizations" not in given.read_text()


def test_there_are_no_savings_on_counts_that_differ(stand_ins: StandIns, tmp_path: Path) -> None:
    case = beyond(tmp_path)["density model StructuredNM of Z"]
    dense = dense_part(case)
    result = expected(dense)
    level = result.levels["spad"]
    stats = replace(level.dataspaces["A"], algorithmic_reads=7, actual_reads=7)
    other = replace(
        result, levels={**result.levels, "spad": replace(level, dataspaces={**level.dataspaces, "A": stats})}
    )
    stand_ins.answering(dense, other)
    with pytest.raises(InputError, match="its dense counts differ") as caught:
        run(case)
    assert "spad.A algorithmic_reads" in str(caught.value)
    stand_ins.model(
        'echo "ERROR: couldn\'t map level spad: mapped tile size 80 exceeds buffer capacity 64" >&2; exit 1'
    )
    with pytest.raises(InputError, match="densely the mapping does not fit"):
        run(case)


def test_files_are_kept_where_they_are_asked_for(stand_ins: StandIns, case: Case, tmp_path: Path) -> None:
    stand_ins.answering(case, expected(case))
    engine = replace(TimeloopEngine.found(), keep=tmp_path / "kept")
    engine(case)
    (folder,) = (tmp_path / "kept").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"arch.yaml", "ert.yaml", "parsed-processed-input.yaml", "timeloop-model.stats.txt"} <= names


def test_counters_that_wrapped_around_are_said(stand_ins: StandIns, tmp_path: Path) -> None:
    case = sparse_case(tmp_path)
    result = expected(case)
    level = result.levels["spad"]
    stats = replace(level.dataspaces["B"], skipped_reads=2**64 - 5)
    wrapped = replace(level, dataspaces={**level.dataspaces, "B": stats})
    stand_ins.answering(case, replace(result, levels={**result.levels, "spad": wrapped}))
    answer = run(case)
    assert isinstance(answer, Result)
    assert answer.levels["spad"].dataspaces["B"].skipped_reads == 2**64 - 5
    assert any("skipped_reads has wrapped around" in warning for warning in answer.warnings)


def test_wires_of_the_energy_table_reach_timeloop(tmp_path: Path, case: Case) -> None:
    assert case.energy is not None
    wire = EnergyEntry("wire", "transfer_random", 0.125, Provenance("mine"))
    other = EnergyEntry("spare_part", "read", 1.0, Provenance("mine"))
    table = replace(case.energy, energies=(*case.energy.energies, wire, other))
    path = write_tables(table, case.architecture, tmp_path)
    document = read_document([path])
    again = read_tables(document.one("ERT"), document.one("ART"))
    assert again is not None
    assert again.actions("wire") == {"transfer_random": 0.125}
    assert "spare_part" not in path.read_text()
