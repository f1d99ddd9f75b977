"""The real mapper through the wrapper, with stand-ins: it is ended by SIGINT, and says nothing by exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from timeloop_cases import ARCHITECTURE, MAPPING, dense_case, tables, write_files
from timeloop_rendering import render_text, render_xml
from timeloop_stand_ins import StandIns, utilized_instances

from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.accelerator.engines.timeloop.mapper import TimeloopMapper
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.loader import Design, load_design
from codesign.errors import InputError

# As the real mapper writes it: factors without "=", permutations as words, names of the fan-outs' own levels.
WRITTEN = """
mapping:
- {target: spad, type: datatype, keep: [A, B, Z], bypass: []}
- {target: inter_rows_spatial, type: datatype, keep: [], bypass: [A, B, Z]}
- {target: spad, type: temporal, factors: M4 K2 N1, permutation: KMN}
- {target: inter_rows_spatial, type: temporal, factors: M1 K1 N1, permutation: KMN}
- {target: inter_rows_spatial, type: spatial, factors: M1 K4 N1, permutation: KMN, split: 3}
- {target: buffer, type: temporal, factors: M2 K1 N2, permutation: MKN}
- {target: dram, type: temporal, factors: M1 K2 N2, permutation: MKN}
"""


@pytest.fixture
def design(tmp_path: Path) -> Design:
    path = tmp_path / "arch.yaml"
    path.write_text(ARCHITECTURE)
    return load_design([path])


def install(stand_ins: StandIns, case: Case, before: str = "", written: str = WRITTEN) -> Result:
    """A timeloop-mapper that writes the case's answer and this mapping."""
    result = simulate(case)
    assert isinstance(result, Result)
    utilized = utilized_instances(result)
    texts = {
        "stats.txt": render_text(case, result, utilized),
        "map+stats.xml": render_xml(case, result, utilized),
        "map.yaml": written,
    }
    lines = [before]
    for name, text in texts.items():
        (stand_ins.folder / name).write_text(text)
        lines.append(f"cp '{stand_ins.folder}/{name}' 'timeloop-mapper.{name}'")
    stand_ins.model()
    stand_ins.program("timeloop-mapper", "\n".join(lines))
    return result


def search(design: Design, case: Case, seconds: float = 30) -> tuple[object, Result] | Infeasible:
    assert case.energy is not None
    return TimeloopMapper.found().search(design, case.problem, case.energy, seconds=seconds)


def test_the_mapping_reads_back_with_its_numbers(stand_ins: StandIns, design: Design, tmp_path: Path) -> None:
    case = dense_case(tmp_path)
    given = tmp_path / "given.yaml"
    want = install(stand_ins, case, f"cp \"$1\" '{given}'")
    answer = search(design, case)
    assert not isinstance(answer, Infeasible)
    mapping, result = answer
    assert mapping == case.mapping
    assert result.cycles == want.cycles
    text = given.read_text()
    assert "victory_condition: 0" in text
    assert "num_threads: 1" in text
    assert "optimization_metric: [edp]" in text


def test_it_is_ended_by_an_interrupt_and_its_best_is_taken(stand_ins: StandIns, design: Design, tmp_path: Path) -> None:
    case = dense_case(tmp_path)
    install(stand_ins, case, "trap 'stop=1' INT\nwhile [ -z \"$stop\" ]; do sleep 0.1; done")
    assert not isinstance(search(design, case, seconds=1.0), Infeasible)


def test_exit_0_with_empty_files_means_no_mapping(stand_ins: StandIns, design: Design, tmp_path: Path) -> None:
    stand_ins.model()
    stand_ins.program("timeloop-mapper", "touch timeloop-mapper.stats.txt timeloop-mapper.map+stats.xml")
    answer = search(design, dense_case(tmp_path))
    assert isinstance(answer, Infeasible)
    assert "no valid mapping in 30 s" in answer.message


def test_exit_0_without_files_is_a_failure(stand_ins: StandIns, design: Design, tmp_path: Path) -> None:
    stand_ins.model()
    stand_ins.program("timeloop-mapper", "echo 'could not read mapper section'")
    with pytest.raises(ProgramError, match="wrote no stats") as caught:
        search(design, dense_case(tmp_path))
    assert "could not read mapper section" in str(caught.value)


def test_an_abort_is_a_failure(stand_ins: StandIns, design: Design, tmp_path: Path) -> None:
    stand_ins.model()
    stand_ins.program("timeloop-mapper", "kill -SEGV $$")
    with pytest.raises(ProgramError, match="SIGSEGV"):
        search(design, dense_case(tmp_path))


def test_a_design_mixed_with_other_sections_is_refused(stand_ins: StandIns, tmp_path: Path) -> None:
    stand_ins.model()
    stand_ins.program("timeloop-mapper", "exit 0")
    path = tmp_path / "all.yaml"
    path.write_text(ARCHITECTURE + tables() + MAPPING)
    with pytest.raises(InputError, match="may hold nothing else"):
        search(load_design([path]), dense_case(tmp_path))
    # Files of their own are passed over.
    files = write_files(tmp_path / "apart")
    design = load_design([files[0], files[3]])
    with pytest.raises(ProgramError, match="wrote no stats"):
        search(design, dense_case(tmp_path))
