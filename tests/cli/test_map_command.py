"""``codesign map``: the contract of the JSON, the written mapping, exit codes, messages."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codesign.cli.app import run

ARCHITECTURE = """
architecture:
  version: 0.4
  nodes:
  - !Component {name: dram, class: DRAM, attributes: {width: 8, datawidth: 8}}
  - !Component {name: buffer, class: SRAM, attributes: {depth: 64, width: 8, datawidth: 8}}
  - !Component {name: mac, class: intmac, attributes: {width: 8}, spatial: {meshX: 4}}
"""
PROBLEM = """
problem:
  shape:
    name: product
    dimensions: [M, N, K]
    data_spaces:
    - {name: A, projection: [[[M]], [[K]]]}
    - {name: B, projection: [[[K]], [[N]]]}
    - {name: Z, projection: [[[M]], [[N]]], read_write: true}
  instance: {M: 8, N: 6, K: 10}
"""
ERT = """
ERT:
  version: 0.4
  tables:
  - {name: "top.dram[1..1]", actions: [{name: read, energy: 80}, {name: write, energy: 90}, {name: update, energy: 90},
     {name: leak, energy: 0}]}
  - {name: "top.buffer[1..1]", actions: [{name: read, energy: 1}, {name: write, energy: 2}, {name: update, energy: 3},
     {name: leak, energy: 0}]}
  - {name: "top.mac[1..4]", actions: [{name: compute, energy: 0.5}]}
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, text in (("arch", ARCHITECTURE), ("problem", PROBLEM), ("ert", ERT)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return [str(tmp_path / f"{name}.yaml") for name in ("arch", "problem", "ert")]


def answer(path: Path) -> dict:
    return json.loads(path.read_text())


def test_simulating_the_written_mapping_gives_the_same_result(files, tmp_path):
    out, found, again = (tmp_path / name for name in ("mapping.yaml", "map.json", "simulate.json"))
    arguments = ["--budget", "3000", "--out", str(out), "--json", str(found), "--quiet"]
    assert run(["map", *files, *arguments]) == 0
    assert run(["simulate", *files, str(out), "--json", str(again), "--quiet"]) == 0
    data = answer(found)
    assert answer(again)[0]["result"] == data["best"]
    assert {"best", "mapping", "evaluated", "valid", "seconds", "objective"} <= set(data)
    assert data["objective"] == data["best"]["energy_pJ"] * data["best"]["cycles"]
    assert data["evaluated"] >= data["valid"] > 0
    assert {entry["target"] for entry in data["mapping"]} == {"dram", "buffer", "mac"}
    assert data["lower_bound"]["cycles"] <= data["best"]["cycles"] == 8 * 6 * 10 // 4


def test_the_same_seed_gives_the_same_file_for_any_number_of_workers(files, tmp_path):
    texts = set()
    for workers in ("1", "3"):
        out = tmp_path / f"{workers}.yaml"
        arguments = ["--budget", "3000", "--seed", "5", "--workers", workers, "--out", str(out), "--quiet"]
        assert run(["map", *files, *arguments]) == 0
        texts.add(out.read_text())
    assert len(texts) == 1


def test_the_table_and_the_explanation_are_shown(files, capsys):
    assert run(["map", *files, "--budget", "1000", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "product" in shown
    assert "parallel for" in shown
    assert "buffer" in shown


def test_a_store_answers_the_second_time(files, tmp_path):
    found = tmp_path / "map.json"
    arguments = ["--budget", "1000", "--mappings", str(tmp_path / "store"), "--json", str(found), "--quiet"]
    assert run(["map", *files, *arguments]) == 0
    first = answer(found)
    assert run(["map", *files, *arguments]) == 0
    second = answer(found)
    assert (first["stopped"], second["stopped"]) == ("budget", "stored")
    assert second["best"] == first["best"]


def test_several_problems_are_a_list(files, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(PROBLEM.replace("K: 10", "K: 12").replace("name: product", "name: larger"))
    found = tmp_path / "map.json"
    assert run(["map", *files, str(other), "--budget", "1000", "--json", str(found), "--quiet"]) == 0
    assert [layer["layer"] for layer in answer(found)["layers"]] == ["product", "larger"]


def test_a_pareto_set_is_in_the_json(files, tmp_path):
    found = tmp_path / "map.json"
    arguments = ["--objective", "energy,latency", "--pareto", "--budget", "5000", "--json", str(found), "--quiet"]
    assert run(["map", *files, *arguments]) == 0
    data = answer(found)
    assert data["pareto"][0]["best"] == data["best"]


def constrained(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "constraints.yaml"
    path.write_text(f"constraints:\n  targets:\n{text}")
    return ["--constraints", str(path)]


KEEP_ALL = "  - {target: buffer, type: dataspace, keep: [A, B, Z]}\n"


def test_constraints_are_followed(files, tmp_path):
    limits = constrained(tmp_path, "  - {target: buffer, type: temporal, factors: [K=5], permutation: [N]}\n")
    found = tmp_path / "map.json"
    assert run(["map", *files, *limits, "--budget", "2000", "--json", str(found), "--quiet"]) == 0
    own = next(
        entry for entry in answer(found)["mapping"] if entry["target"] == "buffer" and entry["type"] == "temporal"
    )
    assert "K=5" in own["factors"]
    assert own["permutation"][0] == "N"


def test_constraints_that_leave_nothing_are_infeasible_with_a_reason(files, tmp_path, capsys):
    limits = constrained(tmp_path, "  - {target: buffer, type: temporal, factors: [M=8, N=6, K=10]}\n" + KEEP_ALL)
    found = tmp_path / "map.json"
    assert run(["map", *files, *limits, "--budget", "1000", "--json", str(found)]) == 3
    said = capsys.readouterr().err
    assert "no legal mapping" in said
    assert "buffer" in said
    data = answer(found)["best"]
    assert data["legal"] is False
    assert data["demand"] > data["capacity"] == 64
    assert data["levers"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--budget", "0"], "budget must be positive"),
        (["--seconds", "0"], "budget must be positive"),
        (["--objective", "speed"], "did you mean|known"),
        (["--objective", "edp", "--pareto"], "two different objectives"),
        (["--json", "/nowhere/at/all.json"], "folder of the file must exist"),
    ],
)
def test_bad_flags(files, capsys, arguments, says):
    assert run(["map", *files, *arguments]) == 2
    assert re.search(says, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  - {target: buffer, type: temporal, factors: [X=2]}\n", "X"),
        ("  - {target: nowhere, type: temporal, factors: [K=2]}\n", "nowhere"),
        (
            "  - {target: buffer, type: temporal, factors: [K=2]}\n"
            "  - {target: buffer, type: temporal, factors: [K=5]}\n",
            "K",
        ),
    ],
)
def test_bad_constraints(files, tmp_path, capsys, text, says):
    assert run(["map", *files, *constrained(tmp_path, text), "--budget", "100"]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "constraints.yaml" in said


def test_a_store_of_another_version_is_bad_input(files, tmp_path, capsys):
    store = tmp_path / "store"
    arguments = ["map", *files, "--budget", "300", "--mappings", str(store), "--quiet"]
    assert run(arguments) == 0
    (path,) = store.rglob("*.yaml")
    path.write_text(path.read_text().replace("version 1", "version 9", 1))
    assert run(arguments) == 2
    assert "must be of version 1" in capsys.readouterr().err


def test_a_problem_is_needed(files, capsys):
    assert run(["map", files[0], files[2]]) == 2
    assert "problem" in capsys.readouterr().err


# Says with a file that the search itself has begun: how long the imports take, nobody knows.
SEARCHING = """
import runpy, sys
from pathlib import Path
from codesign.accelerator.mapper.islands import Island

mark, advance = Path(sys.argv.pop(1)), Island.advance


def marked(self, until, clock=None):
    advance(self, until, clock)
    if until:
        mark.touch()


Island.advance = marked
runpy.run_module("codesign", run_name="__main__")
"""


def test_ctrl_c_gives_the_best_so_far(files, tmp_path):
    found, mark = tmp_path / "map.json", tmp_path / "searching"
    command = [sys.executable, "-c", SEARCHING, str(mark), "map", *files, "--quiet", "--seconds", "300"]
    process = subprocess.Popen([*command, "--json", str(found)])
    while not mark.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    assert answer(found)["stopped"] == "interrupted"


# Whole models.

NETWORK = """
import torch


def build():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 10),
    )
"""


@pytest.fixture
def network(tmp_path: Path) -> list[str]:
    (tmp_path / "net.py").write_text(NETWORK)
    return ["--model", f"{tmp_path / 'net.py'}:build", "--input-shape", "3,6,6", "--budget", "800", "--quiet"]


def test_a_model_is_mapped_layer_by_layer_whatever_the_number_of_workers(network, tmp_path):
    answers = []
    for workers in ("1", "3"):
        found = tmp_path / f"{workers}.json"
        arguments = ["--workers", workers, "--json", str(found)]
        assert run(["map", "vector_pe_edge", *network, *arguments]) == 0
        answers.append(answer(found))
    one, other = answers
    assert [row["mapping"] for row in one["layers"]] == [row["mapping"] for row in other["layers"]]
    assert one["total"]["layers"] == 4
    assert one["total"]["different_layers"] == 3
    assert one["layers"][1]["best"] == one["layers"][2]["best"]
    assert one["total"]["cycles"] == sum(row["best"]["cycles"] for row in one["layers"])
    assert one["total"]["energy_pJ"] == pytest.approx(sum(row["best"]["energy_pJ"] for row in one["layers"]))
    assert one["total"]["macs"] == 36 * 8 * 9 * (3 + 8 + 8) + 8 * 36 * 10
    assert one["architecture"] == "edge"


def test_evaluate_takes_the_mappings_of_a_model(network, tmp_path, monkeypatch):
    from codesign.accelerator.mapper import find
    from codesign.evaluation.accelerators import load_accelerator
    from codesign.evaluation.hardware import map_layers
    from codesign.models.factories import build_from_factory
    from codesign.models.tracing import trace

    store = tmp_path / "store"
    assert run(["map", "vector_pe_edge", *network, "--mappings", str(store)]) == 0
    assert len(list(store.rglob("*.yaml"))) == 3

    def searched(*_: object, **__: object) -> None:
        raise AssertionError("it is in the store")

    monkeypatch.setattr(find, "search_mapping", searched)
    layers = trace(build_from_factory(network[1], None), (3, 6, 6)).layers
    assert len(map_layers(load_accelerator("vector_pe_edge"), layers, mappings=store)) == 4


def test_the_table_of_a_model_ends_with_its_totals(network, capsys):
    assert run(["map", "vector_pe_edge", *[flag for flag in network if flag != "--quiet"]]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 6
    assert "total (3 different)" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "resnet999"], "zoo name"),
        (["--model", "resnet20", "--input-shape", "3,32"], "three positive integers"),
        (["--model", "resnet20", "--out", "mapping.yaml"], "one file holds one mapping"),
        (["--input-shape", "3,32,32"], "goes with --model"),
    ],
)
def test_bad_flags_of_a_model(capsys, arguments, says):
    assert run(["map", "vector_pe_edge", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_model_brings_its_own_problems(files, capsys):
    assert run(["map", *files, "--model", "resnet20"]) == 2
    assert "its own problems" in capsys.readouterr().err


def test_an_unknown_architecture_is_named_with_those_that_there_are(capsys):
    assert run(["map", "eyeris_row_stationary", "--model", "resnet20"]) == 2
    assert "eyeriss_row_stationary" in capsys.readouterr().err


def test_a_layer_without_a_mapping_is_said_and_the_exit_code_is_3(network, tmp_path, capsys):
    limits, found = tmp_path / "limits.yaml", tmp_path / "map.json"
    # 5 rows do not divide the 6 of the convolutions; the linear layer has none to divide.
    limits.write_text("constraints:\n  targets:\n  - {target: accumulation_buffer, type: temporal, factors: [P=5]}\n")
    shown = [flag for flag in network if flag != "--quiet"]
    assert run(["map", "vector_pe_edge", *shown, "--constraints", str(limits), "--json", str(found)]) == 3
    assert "no factors of P" in capsys.readouterr().err
    data = answer(found)
    assert (data["total"]["mapped"], data["total"]["layers"]) == (1, 4)
    assert [row["best"]["legal"] for row in data["layers"]] == [False, False, False, True]
